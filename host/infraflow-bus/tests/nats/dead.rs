//! What the server gives up lies among the dead letters.

use std::time::Duration;

use infraflow_bus::{DeadLetter, DeadLetters, EventInbox};
use infraflow_core::ports::{DeadReason, Inbox as _, Sequence};
use serde_json::json;

use crate::server::{Server, soon, wait_for};

async fn letters(dead: &DeadLetters) -> Option<Vec<DeadLetter>> {
    let (letters, more) = dead.list(Sequence::NONE, 10).await.unwrap();
    assert!(!more);
    (!letters.is_empty()).then_some(letters)
}

#[tokio::test]
async fn an_event_that_nobody_settles_becomes_a_dead_letter() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let inbox = EventInbox::open(bus.clone()).await.unwrap();
    let plain = server.plain().await;
    plain.store("infraflow.trigger.deploy", "{\"a\":1}").await;
    let dead = DeadLetters::new(bus.clone());
    let mut deliveries = 0;
    let found = loop {
        tokio::select! {
            delivery = inbox.next() => {
                deliveries += 1;
                assert_eq!(delivery.item.deliveries, deliveries);
                delivery.receipt.later(Duration::ZERO).await;
            }
            found = wait_for("a dead letter", async || letters(&dead).await) => break found,
        }
    };
    assert_eq!(deliveries, 50, "as the consumer's file says");
    let [letter] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(letter.reason, DeadReason::DeliveryLimit.name());
    assert_eq!(letter.subject, "infraflow.trigger.deploy");
    assert_eq!(letter.payload, b"{\"a\":1}");
    assert_eq!(letter.sequence, Sequence(1));
    assert!(letter.detail.contains("50 times"), "{}", letter.detail);
    assert_eq!(letter.headers, []);
    // When the event has gone, that is said.
    plain.api("STREAM.PURGE.EVENTS", &json!({})).await;
    let found = letters(&dead).await.unwrap();
    assert!(found[0].detail.contains("not stored"), "{found:?}");
    assert_eq!(found[0].payload, b"");
}

#[tokio::test]
async fn news_that_cannot_be_read_are_a_letter_still() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let subject = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVENTS.router";
    server.plain().await.store(subject, "no JSON").await;
    let dead = DeadLetters::new(bus.clone());
    let found = soon("the letter", letters(&dead)).await.unwrap();
    assert!(found[0].detail.contains("cannot be read"), "{found:?}");
}
