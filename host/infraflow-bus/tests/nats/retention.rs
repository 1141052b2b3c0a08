//! What the host removes when it is old.

use infraflow_bus::{BlobKey, DeadLetters, LogStore, SealedBlobs};
use infraflow_core::Timestamp;
use infraflow_core::id::Digest;
use infraflow_core::ports::{BlobError, Blobs as _, Sequence};
use serde_json::json;

use crate::server::{Server, run};

#[tokio::test]
async fn log_lines_go_by_run() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let plain = server.plain().await;
    for number in [1, 2] {
        let subject = format!("infraflow.log.{}.step", run(number));
        plain.store(&subject, "line").await;
    }
    bus.remove_logs_of(run(1)).await.unwrap();
    let info = plain
        .api("STREAM.INFO.LOGS", &json!({ "subjects_filter": ">" }))
        .await;
    let kept = format!("infraflow.log.{}.step", run(2));
    assert_eq!(info["state"]["subjects"], json!({ kept: 1 }));
    let page = LogStore::new(bus).read(run(1), Sequence::NONE, 10).await;
    assert_eq!(page.unwrap().lines, []);
}

#[tokio::test]
async fn dead_letters_go_by_age() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let plain = server.plain().await;
    let dead = DeadLetters::new(bus.clone());
    for _ in 0..3 {
        plain.store("infraflow.dead.event.x", "").await;
    }
    let (letters, _) = dead.list(Sequence::NONE, 10).await.unwrap();
    assert_eq!(
        bus.remove_dead_before(Timestamp::UNIX_EPOCH).await.unwrap(),
        0
    );
    let removed = bus.remove_dead_before(letters[2].time).await.unwrap();
    assert_eq!(removed, 2);
    let (left, _) = dead.list(Sequence::NONE, 10).await.unwrap();
    assert_eq!(left, letters[2..]);
    assert_eq!(bus.remove_dead_before(Timestamp::MAX).await.unwrap(), 1);
    assert_eq!(bus.remove_dead_before(Timestamp::MAX).await.unwrap(), 0);
}

#[tokio::test]
async fn blobs_are_listed_and_removed_for_good() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let blobs = SealedBlobs::new(bus, BlobKey::new([1; 32]));
    assert_eq!(blobs.list().await.unwrap(), []);
    let before = Timestamp::now();
    let first = blobs.put(vec![1; 10]).await.unwrap();
    let second = blobs.put(vec![2; 300_000]).await.unwrap();
    blobs.set_pointer("a.b", second, None).await.unwrap();
    assert_eq!(
        blobs.pointers_all().await.unwrap(),
        [("a.b".to_owned(), second)]
    );
    let listed = blobs.list().await.unwrap();
    let digests: Vec<Digest> = listed.iter().map(|blob| blob.digest).collect();
    assert_eq!(digests, [first, second]);
    assert_eq!(listed[0].bytes, 10 + 40);
    assert!(listed[0].stored_at >= before - std::time::Duration::from_secs(1));
    blobs.remove(second).await.unwrap();
    blobs.remove(second).await.unwrap();
    let missing = blobs.get(second, 1_000_000).await;
    assert_eq!(missing, Err(BlobError::NotFound(second.to_string())));
    assert_eq!(blobs.list().await.unwrap().len(), 1);
    // What was removed can be stored again.
    assert_eq!(blobs.put(vec![2; 300_000]).await, Ok(second));
    assert_eq!(blobs.get(second, 1_000_000).await, Ok(vec![2; 300_000]));
    blobs.remove(first).await.unwrap();
    blobs.remove(second).await.unwrap();
    let info = server
        .plain()
        .await
        .api("STREAM.INFO.OBJ_artifacts", &json!({}))
        .await;
    assert_eq!(info["state"]["messages"], 0, "no markers stay");
}
