//! A consumer that was deleted or paused while the connection stays up shows as
//! unhealthy, and then delivers again.

use std::time::{Duration, Instant};

use infraflow_bus::{Bus, EventInbox, Feed, InboxHealth, TimerInbox, TimerStore, WorkInbox};
use infraflow_core::Timestamp;
use infraflow_core::id::PoolName;
use infraflow_core::ports::{FeedItem, Inbox as _, RunFeed as _, Sequence, Timers as _};
use serde_json::{Value, json};

use crate::server::{Plain, Server, run, soon, wait_for};

/// What the promise allows between the failure and its being shown.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

async fn alive(look: impl Fn() -> InboxHealth) {
    wait_for("health", async || {
        (look() == InboxHealth::Alive).then_some(())
    })
    .await;
}

/// Waits for ill health, which must show in time, and returns the reason.
async fn dead(look: impl Fn() -> InboxHealth) -> String {
    let start = Instant::now();
    let reason = wait_for("ill health", async || match look() {
        InboxHealth::Alive => None,
        InboxHealth::Dead { reason } => Some(reason),
    })
    .await;
    let shown = start.elapsed();
    assert!(shown < SHOWN_WITHIN, "shown after {shown:?}");
    reason
}

fn for_ever() -> Value {
    json!({ "pause_until": "2126-01-01T00:00:00Z" })
}

/// Deletes and pauses a consumer; `provoke` makes something to deliver, which
/// `take` must get.
async fn break_and_heal(
    plain: &Plain,
    consumer: &str,
    look: impl Fn() -> InboxHealth,
    mut provoke: impl AsyncFnMut(),
    mut take: impl AsyncFnMut(),
) {
    alive(&look).await;
    let delete = format!("CONSUMER.DELETE.{consumer}");
    plain.api(&delete, &json!({})).await;
    dead(&look).await;
    alive(&look).await;
    provoke().await;
    soon("a delivery after the deletion", take()).await;

    let pause = format!("CONSUMER.PAUSE.{consumer}");
    plain.api(&pause, &for_ever()).await;
    provoke().await;
    let reason = dead(&look).await;
    assert_eq!(reason, "the consumer is paused");
    alive(&look).await;
    soon("a delivery after the pause", take()).await;
}

#[tokio::test]
async fn the_inbox_of_events() {
    let server = Server::start().await;
    let inbox = EventInbox::open(server.bus().await).await.unwrap();
    let plain = server.plain().await;
    break_and_heal(
        &plain,
        "EVENTS.router",
        || inbox.health(),
        async || plain.store("infraflow.trigger.deploy", "").await,
        async || inbox.next().await.receipt.done().await.unwrap(),
    )
    .await;
}

#[tokio::test]
async fn the_inbox_of_work_of_a_pool() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let pool = PoolName::new("gpu").unwrap();
    // Two hosts of the pool share its consumer.
    let inbox = WorkInbox::open(bus.clone(), &pool);
    let other = WorkInbox::open(bus.clone(), &PoolName::default_pool());
    alive(|| other.health()).await;
    let plain = server.plain().await;
    let subject = format!("infraflow.run.{}.wake.gpu", run(1));
    break_and_heal(
        &plain,
        "RUNS.work-gpu",
        || inbox.health(),
        async || plain.store(&subject, "{}").await,
        async || {
            let delivery = inbox.next().await;
            assert_eq!(delivery.item.run, run(1));
            delivery.receipt.done().await.unwrap();
        },
    )
    .await;
    let second = WorkInbox::open(bus, &pool);
    alive(|| second.health()).await;
    assert_eq!(other.health(), InboxHealth::Alive);
}

#[tokio::test]
async fn the_inbox_of_timers() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let inbox = TimerInbox::open(bus.clone());
    let timers = TimerStore::new(bus);
    break_and_heal(
        &server.plain().await,
        "TIMERS.timers",
        || inbox.health(),
        async || timers.set(run(1), Timestamp::now()).await.unwrap(),
        async || inbox.next().await.receipt.done().await.unwrap(),
    )
    .await;
}

async fn position(feed: &Feed) -> Sequence {
    match soon("an item of the feed", feed.next()).await {
        FeedItem::Unreadable { sequence, .. } => sequence,
        other => panic!("{other:?}"),
    }
}

async fn feed_of(bus: Bus) -> Feed {
    let feed = Feed::open(bus);
    assert!(matches!(
        soon("the feed to catch up", feed.next()).await,
        FeedItem::CaughtUp
    ));
    alive(|| feed.health()).await;
    feed
}

#[tokio::test]
async fn the_feed_of_journals() {
    let server = Server::start().await;
    let feed = feed_of(server.bus().await).await;
    let plain = server.plain().await;
    let subject = format!("infraflow.run.{}.step", run(1));
    plain.store(&subject, "{}").await;
    assert_eq!(position(&feed).await, Sequence(1));
    let names = plain.api("CONSUMER.NAMES.RUNS", &json!({})).await;
    let consumer = names["consumers"][0].as_str().unwrap().to_owned();
    let pause = format!("CONSUMER.PAUSE.RUNS.{consumer}");
    plain.api(&pause, &for_ever()).await;
    for _ in 0..3 {
        plain.store(&subject, "{}").await;
    }
    let reason = dead(|| feed.health()).await;
    assert!(reason.contains("no record came"), "{reason}");
    for sequence in 2..5 {
        assert_eq!(position(&feed).await, Sequence(sequence));
    }
    alive(|| feed.health()).await;
    // A deleted one: the client makes it again, with or without our help.
    let names = plain.api("CONSUMER.NAMES.RUNS", &json!({})).await;
    for consumer in names["consumers"].as_array().unwrap() {
        let consumer = consumer.as_str().unwrap();
        let delete = format!("CONSUMER.DELETE.RUNS.{consumer}");
        plain.try_api(&delete, &json!({})).await;
    }
    plain.store(&subject, "{}").await;
    assert_eq!(position(&feed).await, Sequence(5));
}

/// Records at the end that were removed are not missing.
#[tokio::test]
async fn a_feed_behind_removed_records_is_healthy() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let plain = server.plain().await;
    let subject = format!("infraflow.run.{}.step", run(1));
    for _ in 0..3 {
        plain.store(&subject, "{}").await;
    }
    bus.remove_journal(run(1)).await.unwrap();
    let feed = Feed::open(bus);
    alive(|| feed.health()).await;
    let start = Instant::now();
    wait_for("some looks at the feed", async || {
        assert_eq!(feed.health(), InboxHealth::Alive);
        (start.elapsed() > Duration::from_secs(8)).then_some(())
    })
    .await;
}
