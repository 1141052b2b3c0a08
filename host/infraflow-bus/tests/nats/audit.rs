//! The audit is written once for each phase, and read in pages.

use infraflow_bus::AuditStore;
use infraflow_core::event::Actor;
use infraflow_core::id::UserName;
use infraflow_core::ports::{Audit as _, AuditEntry, AuditPhase, Sequence};
use serde_json::json;

use crate::server::Server;

fn entry(act: u64, phase: AuditPhase) -> AuditEntry {
    AuditEntry {
        act,
        actor: Actor::User(UserName::new("ann").unwrap()),
        action: "runs.cancel".to_owned(),
        object: "x".to_owned(),
        detail: json!(null),
        at: "2026-11-21T20:00:00Z".parse().unwrap(),
        phase,
    }
}

#[tokio::test]
async fn acts_are_written_once_and_read_newest_last() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let audit = AuditStore::new(bus.clone());
    assert_eq!(bus.audit_entries(None, 10).await.unwrap().entries, []);
    let mut written = Vec::new();
    for act in 0..5 {
        for phase in [AuditPhase::Intent, AuditPhase::Done] {
            let entry = entry(act, phase);
            audit.write(&entry).await.unwrap();
            audit.write(&entry).await.unwrap();
            written.push(entry);
        }
    }
    let mut before = None;
    let mut read = Vec::new();
    for expected in [4, 4, 2] {
        let page = bus.audit_entries(before, 4).await.unwrap();
        assert_eq!(page.entries.len(), expected);
        assert_eq!(page.more, expected == 4);
        before = page.entries.first().map(|entry| entry.position);
        let entries = page.entries.into_iter().map(|entry| entry.entry.unwrap());
        read.splice(0..0, entries);
    }
    assert_eq!(read, written);
    assert_eq!(before, Some(Sequence(1)));
    assert!(
        bus.audit_entries(before, 4)
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    // Subjects can be filtered by actor and action.
    let plain = server.plain().await;
    let filter = json!({ "subjects_filter": "infraflow.audit.user%3Aann.runs.>" });
    let info = plain.api("STREAM.INFO.AUDIT", &filter).await;
    assert_eq!(
        info["state"]["subjects"],
        json!({ "infraflow.audit.user%3Aann.runs.cancel": 10 })
    );
    // What somebody else put there is shown as unreadable.
    plain.store("infraflow.audit.x.y", "no JSON").await;
    let page = bus.audit_entries(None, 1).await.unwrap();
    assert!(page.entries[0].entry.is_err());
    // Nobody takes anything back.
    let purged = plain.try_api("STREAM.PURGE.AUDIT", &json!({})).await;
    assert!(purged.get("error").is_some(), "{purged}");
}
