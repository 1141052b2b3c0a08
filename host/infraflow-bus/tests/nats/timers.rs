//! Timers fire once, at their time, whatever happens to the server.

use std::time::Duration;

use infraflow_bus::{TimerInbox, TimerStore};
use infraflow_core::Timestamp;
use infraflow_core::ports::{Delivery, DueTimer, Inbox as _, Timers as _};
use serde_json::json;

use crate::server::{Plain, Server, run, soon, wait_for};

fn after(time: Duration) -> Timestamp {
    Timestamp::now() + time
}

async fn next(inbox: &TimerInbox) -> DueTimer {
    let Delivery { item, receipt } = soon("a due timer", inbox.next()).await;
    assert!(
        item.due <= Timestamp::now(),
        "{item:?} came before its time"
    );
    receipt.done().await.unwrap();
    item
}

async fn stored(plain: &Plain) -> u64 {
    let info = plain.api("STREAM.INFO.TIMERS", &json!({})).await;
    info["state"]["messages"].as_u64().unwrap()
}

async fn none_left(plain: &Plain) {
    wait_for("no timers to be left", async || {
        (stored(plain).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_timer_fires_once_and_is_gone() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let (timers, inbox) = (TimerStore::new(bus.clone()), TimerInbox::open(bus));
    let first = after(Duration::from_millis(300));
    let second = after(Duration::from_secs(2));
    timers.set(run(1), first).await.unwrap();
    timers.set(run(2), second).await.unwrap();
    for (number, due) in [(1, first), (2, second)] {
        let run = run(number);
        assert_eq!(next(&inbox).await, DueTimer { run, due });
    }
    none_left(&server.plain().await).await;
}

#[tokio::test]
async fn a_newer_timer_replaces_the_older_one() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let (timers, inbox) = (TimerStore::new(bus.clone()), TimerInbox::open(bus));
    let soonest = after(Duration::from_millis(400));
    let later = after(Duration::from_millis(1_500));
    let last = after(Duration::from_secs(3));
    // Put off, and brought forward.
    timers.set(run(1), soonest).await.unwrap();
    timers.set(run(1), later).await.unwrap();
    let far = after(Duration::from_secs(3_600));
    timers.set(run(2), far).await.unwrap();
    timers.set(run(2), soonest).await.unwrap();
    timers.set(run(3), last).await.unwrap();
    let mut came = Vec::new();
    for _ in 0..3 {
        came.push(next(&inbox).await);
    }
    let expected = [(2, soonest), (1, later), (3, last)].map(|(number, due)| DueTimer {
        run: run(number),
        due,
    });
    assert_eq!(came, expected);
    none_left(&server.plain().await).await;
}

#[tokio::test]
async fn a_timer_of_the_past_fires_at_once() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let (timers, inbox) = (TimerStore::new(bus.clone()), TimerInbox::open(bus));
    for due in [
        "1970-01-01T00:00:01Z".parse().unwrap(),
        Timestamp::now() - Duration::from_secs(60),
    ] {
        timers.set(run(1), due).await.unwrap();
        assert_eq!(next(&inbox).await, DueTimer { run: run(1), due });
    }
}

#[tokio::test]
async fn timers_survive_a_killed_server() {
    let mut server = Server::start().await;
    let bus = server.bus().await;
    let (timers, inbox) = (TimerStore::new(bus.clone()), TimerInbox::open(bus));
    // One is due while the server is down, the other one after it.
    let within = after(Duration::from_millis(700));
    let beyond = after(Duration::from_secs(8));
    timers.set(run(1), within).await.unwrap();
    timers.set(run(2), beyond).await.unwrap();
    server.kill();
    wait_for("the first timer's time to pass", async || {
        (Timestamp::now() > within).then_some(())
    })
    .await;
    server.restart().await;
    for (number, due) in [(1, within), (2, beyond)] {
        let run = run(number);
        assert_eq!(next(&inbox).await, DueTimer { run, due });
    }
    none_left(&server.plain().await).await;
}

/// A due timer that no host confirms comes again.
#[tokio::test]
async fn a_due_timer_that_was_not_settled_comes_again() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let (timers, inbox) = (TimerStore::new(bus.clone()), TimerInbox::open(bus));
    let due = after(Duration::from_millis(100));
    timers.set(run(1), due).await.unwrap();
    for _ in 0..3 {
        let delivery = soon("a due timer", inbox.next()).await;
        assert_eq!(delivery.item.run, run(1));
        delivery.receipt.later(Duration::from_millis(50)).await;
    }
    assert_eq!(next(&inbox).await.run, run(1));
    none_left(&server.plain().await).await;
}

/// What is no timer is settled for good: it does not come again for ever.
#[tokio::test]
async fn what_is_no_timer_is_given_up() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let inbox = TimerInbox::open(bus.clone());
    let plain = server.plain().await;
    plain.store("infraflow.timer.due.run.x", "{}").await;
    let subject = format!("infraflow.timer.due.run.{}", run(1));
    plain.store(&subject, "no JSON").await;
    let due = after(Duration::ZERO);
    TimerStore::new(bus).set(run(2), due).await.unwrap();
    assert_eq!(next(&inbox).await.run, run(2));
    none_left(&plain).await;
}
