//! An inbox that pauses gives back what it took: another host gets it at once.

use std::time::{Duration, Instant};

use infraflow_bus::{InboxHealth, WorkInbox};
use infraflow_core::id::PoolName;
use infraflow_core::ports::{Inbox as _, WorkItem};
use serde_json::json;

use crate::server::{Plain, Server, run, soon, wait_for};

/// Less than what a delivery that nobody settled stays away.
const AT_ONCE: Duration = Duration::from_secs(15);

/// More than one pull takes into memory.
const MANY: u16 = 1_500;

async fn wake(plain: &Plain, items: u16) {
    let subject = format!("infraflow.run.{}.wake.default", run(1));
    for _ in 0..items {
        plain.store(&subject, "{}").await;
    }
}

async fn take(inbox: &WorkInbox, items: u16) {
    for item in 0..items {
        let delivery = soon(&format!("item {item}"), inbox.next()).await;
        assert_eq!(delivery.item, WorkItem { run: run(1) });
        delivery.receipt.done().await.unwrap();
    }
}

async fn pending(plain: &Plain, field: &str) -> u64 {
    let info = plain
        .api("CONSUMER.INFO.RUNS.work-default", &json!({}))
        .await;
    info[field].as_u64().unwrap()
}

async fn check_that_what_was_taken_goes_back(items: u16) {
    let server = Server::start().await;
    let bus = server.bus().await;
    let pool = PoolName::default_pool();
    let plain = server.plain().await;
    let first = WorkInbox::open(bus.clone(), &pool);
    wake(&plain, items).await;
    wait_for("items to be taken", async || {
        (pending(&plain, "num_ack_pending").await >= u64::from(items.min(512))).then_some(())
    })
    .await;
    let start = Instant::now();
    first.pause(true);
    let second = WorkInbox::open(bus.clone(), &pool);
    take(&second, items).await;
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(first.health(), InboxHealth::Alive);
    // And back again; what the other one took goes back, too.
    second.pause(true);
    wake(&plain, 3).await;
    let start = Instant::now();
    first.pause(false);
    take(&first, 3).await;
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_was_taken_goes_back() {
    check_that_what_was_taken_goes_back(5).await;
}

#[tokio::test]
async fn what_was_taken_goes_back_when_there_is_more() {
    check_that_what_was_taken_goes_back(MANY).await;
}

/// Also what somebody waits for who does not know of the pause.
#[tokio::test]
async fn a_paused_inbox_gives_nothing_to_who_waits() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let pool = PoolName::default_pool();
    let plain = server.plain().await;
    let (first, second) = (
        WorkInbox::open(bus.clone(), &pool),
        WorkInbox::open(bus, &pool),
    );
    let waits = async {
        first.pause(true);
        first.next().await
    };
    let others = async {
        wake(&plain, 20).await;
        take(&second, 20).await;
    };
    tokio::select! {
        biased;
        delivery = waits => panic!("{:?}", delivery.item),
        () = soon("all items", others) => {}
    }
}
