//! Leases, drains, and whose account it is.

use std::time::Duration;

use infraflow_bus::{BlobKey, BlobKeyError, Bus, HostStore, OwnerError};
use infraflow_core::id::{HostName, Incarnation, PoolName};
use infraflow_core::ports::{HostCard, HostChange, Hosts as _, LeaseError, Revision};
use serde_json::json;

use crate::server::{Server, soon, wait_for};

fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn card(host: &str, life: u64) -> HostCard {
    HostCard {
        host: name(host),
        life: Incarnation(life),
        pools: vec![PoolName::default_pool()],
        lease: Duration::from_secs(2),
        draining: false,
        started_at: "2026-11-21T20:00:00Z".parse().unwrap(),
        runs_active: 0,
        version: "0.2.0".to_owned(),
    }
}

async fn next(hosts: &HostStore) -> HostChange {
    soon("a change among the hosts", hosts.next()).await
}

fn renewed(change: HostChange) -> (HostCard, Revision) {
    match change {
        HostChange::Renewed { card, revision } => (card, revision),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everybody_sees_who_comes_renews_and_leaves() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let (a, b) = (HostStore::open(bus.clone()), HostStore::open(bus));
    for hosts in [&a, &b] {
        assert_eq!(next(hosts).await, HostChange::Complete);
    }
    let mut card = card("a", 1);
    let mut last = Revision(0);
    for active in 0..3 {
        card.runs_active = active;
        a.renew(&card).await.unwrap();
        for hosts in [&a, &b] {
            let (seen, revision) = renewed(next(hosts).await);
            assert_eq!(seen, card);
            assert!(revision.0 > last.0);
            if std::ptr::eq(hosts, &raw const b) {
                last = revision;
            }
        }
    }
    assert_eq!(
        b.lease(&name("a")).await.unwrap(),
        Some((card.clone(), last))
    );
    b.set_draining(&name("a"), true).await.unwrap();
    b.set_draining(&name("a"), false).await.unwrap();
    for draining in [true, false] {
        let host = name("a");
        assert_eq!(next(&a).await, HostChange::Drain { host, draining });
    }
    a.leave(&card).await.unwrap();
    a.leave(&card).await.unwrap();
    assert!(matches!(next(&a).await, HostChange::Left { host, .. } if host == name("a")));
    assert_eq!(b.lease(&name("a")).await.unwrap(), None);
    a.renew(&card).await.unwrap();
    assert_eq!(renewed(next(&a).await).0, card);
}

#[tokio::test]
async fn a_second_life_takes_the_lease_and_the_first_one_hears_it() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let (old, new) = (HostStore::open(bus.clone()), HostStore::open(bus));
    old.renew(&card("a", 1)).await.unwrap();
    old.renew(&card("a", 1)).await.unwrap();
    new.renew(&card("a", 2)).await.unwrap();
    let taken = Err(LeaseError::Taken(name("a")));
    assert_eq!(old.renew(&card("a", 1)).await, taken);
    new.renew(&card("a", 2)).await.unwrap();
    // Who has lost the lease does not take the other's away by leaving.
    old.leave(&card("a", 1)).await.unwrap();
    let (found, _) = new.lease(&name("a")).await.unwrap().unwrap();
    assert_eq!(found.life, Incarnation(2));
    // A lease that was removed by hand is written again.
    let plain = server.plain().await;
    let purge = json!({ "filter": "$KV.hosts.lease.a" });
    plain.api("STREAM.PURGE.KV_hosts", &purge).await;
    new.renew(&card("a", 2)).await.unwrap();
    new.renew(&card("a", 2)).await.unwrap();
}

#[tokio::test]
async fn after_each_connect_everything_is_told_again() {
    let mut server = Server::start().await;
    let bus = server.bus().await;
    let hosts = HostStore::open(bus.clone());
    assert_eq!(next(&hosts).await, HostChange::Complete);
    hosts.renew(&card("a", 1)).await.unwrap();
    hosts.set_draining(&name("b"), true).await.unwrap();
    let (_, revision) = renewed(next(&hosts).await);
    next(&hosts).await;
    server.kill();
    assert_eq!(next(&hosts).await, HostChange::Disconnected);
    wait_for("the connection to be missed", async || {
        hosts.renew(&card("a", 1)).await.is_err().then_some(())
    })
    .await;
    server.restart().await;
    let mut told = Vec::new();
    loop {
        match next(&hosts).await {
            // The server may not be ready at the first try.
            HostChange::Disconnected => told.clear(),
            HostChange::Complete => break,
            change => told.push(change),
        }
    }
    let (host, draining) = (name("b"), true);
    assert_eq!(
        told,
        [
            HostChange::Renewed {
                card: card("a", 1),
                revision
            },
            HostChange::Drain { host, draining }
        ]
    );
    hosts.renew(&card("a", 1)).await.unwrap();
}

/// A watch whose consumer somebody has paused looks alive; the own renewals
/// show that it is not.
#[tokio::test]
async fn a_silent_watch_is_found_by_the_own_renewals() {
    let server = Server::start().await;
    let hosts = HostStore::open(server.bus().await);
    assert_eq!(next(&hosts).await, HostChange::Complete);
    hosts.renew(&card("a", 1)).await.unwrap();
    renewed(next(&hosts).await);
    let plain = server.plain().await;
    let consumers = plain.api("CONSUMER.NAMES.KV_hosts", &json!({})).await;
    let consumer = consumers["consumers"][0].as_str().unwrap();
    let pause = json!({ "pause_until": "2126-01-01T00:00:00Z" });
    plain
        .api(&format!("CONSUMER.PAUSE.KV_hosts.{consumer}"), &pause)
        .await;
    hosts.renew(&card("a", 1)).await.unwrap();
    assert_eq!(next(&hosts).await, HostChange::Disconnected);
    assert_eq!(renewed(next(&hosts).await).0, card("a", 1));
    assert_eq!(next(&hosts).await, HostChange::Complete);
}

async fn other_owner(bus: &Bus, host: &str) -> String {
    match bus.share(&name(host)).await {
        Err(error @ OwnerError::Other { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_host_alone_and_hosts_that_share_never_mix() {
    let server = Server::start().await;
    let bus = server.bus().await;
    // Alone: nobody else may.
    bus.own_alone(&name("a")).await.unwrap();
    bus.own_alone(&name("a")).await.unwrap();
    let error = bus.own_alone(&name("b")).await.unwrap_err().to_string();
    assert!(error.contains("host `a`"), "{error}");
    assert!(error.contains("nats kv del hosts owner"), "{error}");
    assert!(other_owner(&bus, "b").await.contains("sole_host"));
    // Who tries all the same with a lease does not get it.
    let late = HostStore::open(bus.clone());
    let error = late.renew(&card("b", 2)).await.unwrap_err();
    assert!(error.to_string().contains("host `a`"), "{error}");
    assert_eq!(late.lease(&name("b")).await.unwrap(), None);
    // Shared: nobody may have it alone.
    bus.share(&name("a")).await.unwrap();
    bus.share(&name("b")).await.unwrap();
    late.renew(&card("b", 2)).await.unwrap();
    let error = bus.own_alone(&name("a")).await.unwrap_err().to_string();
    assert!(error.contains("lease") && error.contains(": b."), "{error}");
    bus.share(&name("c")).await.unwrap();
    // The last one that shared may have it alone, its own old lease is no hindrance.
    bus.own_alone(&name("b")).await.unwrap();
    assert_eq!(late.lease(&name("b")).await.unwrap(), None);
    bus.share(&name("b")).await.unwrap();
    bus.own_alone(&name("a")).await.unwrap();
}

#[tokio::test]
async fn all_hosts_seal_with_the_same_key() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let (ours, theirs) = (BlobKey::new([1; 32]), BlobKey::new([2; 32]));
    bus.check_blob_key(&theirs).await.unwrap();
    bus.check_blob_key(&theirs).await.unwrap();
    let error = bus.check_blob_key(&ours).await.unwrap_err();
    assert!(matches!(error, BlobKeyError::Differs { .. }));
    assert!(error.to_string().contains("keys/blobs.key"), "{error}");
}
