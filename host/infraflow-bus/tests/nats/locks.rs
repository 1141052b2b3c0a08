//! Locks are changed by compare-and-set only.

use infraflow_bus::LockStore;
use infraflow_core::id::LockName;
use infraflow_core::lock::Holder;
use infraflow_core::ports::{LockStoreError, Locks as _, Revision, Sequence, StoredLock};

use crate::server::{Server, run};

fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

/// The lock with one more holder, and a new token.
fn taken(mut lock: StoredLock, number: u8) -> StoredLock {
    lock.state.last_token += 1;
    lock.state.holders.push(Holder {
        run: run(number),
        order: Sequence(u64::from(number)),
        token: lock.state.last_token,
        since: "2026-11-21T20:00:00Z".parse().unwrap(),
    });
    lock
}

#[tokio::test]
async fn only_one_of_two_writers_wins() {
    let server = Server::start().await;
    let locks = LockStore::new(&server.bus().await);
    let name = name("prod");
    let empty = locks.read(&name).await.unwrap();
    assert_eq!(empty.revision, Revision(0));
    assert!(empty.state.is_unused());
    let first = taken(empty.clone(), 1);
    locks.write(&first).await.unwrap();
    let late = taken(empty, 2);
    assert_eq!(locks.write(&late).await, Err(LockStoreError::Conflict));
    let read = locks.read(&name).await.unwrap();
    assert_eq!(read.state, first.state);
    // A change of a version that is there wins, of one that was does not.
    let second = taken(read.clone(), 2);
    locks.write(&second).await.unwrap();
    assert_eq!(locks.write(&second).await, Err(LockStoreError::Conflict));
    assert_eq!(locks.read(&name).await.unwrap().state, second.state);
}

#[tokio::test]
async fn a_lock_that_nobody_has_is_not_kept_and_its_tokens_grow() {
    let server = Server::start().await;
    let locks = LockStore::new(&server.bus().await);
    let name = name("prod");
    let mut last = 0;
    for number in 1..4 {
        let mut lock = taken(locks.read(&name).await.unwrap(), number);
        let token = lock.state.last_token;
        assert!(token > last, "{token} after {last}");
        last = token;
        locks.write(&lock).await.unwrap();
        lock = locks.read(&name).await.unwrap();
        assert_eq!(locks.list().await.unwrap(), [lock.clone()]);
        lock.state.leave(run(number));
        locks.write(&lock).await.unwrap();
        assert_eq!(locks.list().await.unwrap(), []);
        assert_eq!(locks.write(&lock).await, Err(LockStoreError::Conflict));
    }
    // Also when the key has gone altogether, as its marker does after a day.
    server
        .plain()
        .await
        .api("STREAM.PURGE.KV_locks", &serde_json::json!({}))
        .await;
    let read = locks.read(&name).await.unwrap();
    assert_eq!(read.revision, Revision(0));
    assert!(read.state.last_token >= last, "{read:?}");
    locks.write(&taken(read, 9)).await.unwrap();
}

#[tokio::test]
async fn any_name_is_a_lock() {
    let server = Server::start().await;
    let locks = LockStore::new(&server.bus().await);
    let long = "ü".repeat(100);
    let mut names = ["a.b", "*", ">", "a b", "a=b", "a%b", "$KV", &long].map(name);
    names.sort();
    for (number, name) in names.iter().enumerate() {
        let lock = locks.read(name).await.unwrap();
        let number = u8::try_from(number).unwrap();
        locks.write(&taken(lock, number)).await.unwrap();
    }
    let listed: Vec<LockName> = locks
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|lock| lock.name)
        .collect();
    assert_eq!(listed, names);
    for name in &names {
        assert_eq!(
            locks.read(name).await.unwrap().state.holders.len(),
            1,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_lock_that_cannot_be_read_is_said_so() {
    let server = Server::start().await;
    let locks = LockStore::new(&server.bus().await);
    server.plain().await.store("$KV.locks.prod", "{}").await;
    let error = locks.read(&name("prod")).await.unwrap_err();
    assert!(error.to_string().contains("lock `prod`"), "{error}");
}
