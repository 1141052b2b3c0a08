//! The listener, request by request, with a store that records.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use futures::{FutureExt as _, StreamExt as _, stream};
use infraflow_core::event::{Event, Provider};
use infraflow_core::limits::ByteCount;
use infraflow_core::ports::{
    BoxFuture, Clock, EventPublisher, PublishError, Secret, Sequence, StoreError,
};
use infraflow_core::{Json, Timestamp};
use tower::ServiceExt as _;

use super::{SECRET, settings, source};
use crate::http::{WebhookLimits, Webhooks, webhook_path, webhook_router};
use crate::sample::{Encoding, SamplePush, SampleRequest, push_request, request};
use crate::source::{WebhookSettings, WebhookSource};

const BEFORE: &str = "1111111111111111111111111111111111111111";
const AFTER: &str = "2222222222222222222222222222222222222222";

/// A store that answers as it is told and remembers what it was given.
#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<Event>>,
    answer: Option<PublishError>,
    never_answers: bool,
}

impl EventPublisher for Recorder {
    fn publish<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<Sequence, PublishError>> {
        Box::pin(async move {
            if self.never_answers {
                std::future::pending::<()>().await;
            }
            if let Some(error) = &self.answer {
                return Err(error.clone());
            }
            self.events.lock().unwrap().push(event.clone());
            Ok(Sequence(1))
        })
    }

    fn newest(&self) -> BoxFuture<'_, Result<Sequence, StoreError>> {
        Box::pin(std::future::ready(Ok(Sequence::NONE)))
    }
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        super::now()
    }

    fn boot(&self) -> Duration {
        Duration::ZERO
    }
}

struct Listener {
    router: Router,
    recorder: Arc<Recorder>,
}

impl Listener {
    fn new() -> Self {
        Self::with(Recorder::default(), WebhookLimits::default())
    }

    fn with(recorder: Recorder, limits: WebhookLimits) -> Self {
        let insecure = WebhookSource::new(WebhookSettings {
            secrets: vec![],
            insecure: true,
            ..settings("open", Provider::Gitea)
        });
        let recorder = Arc::new(recorder);
        let sources = [source(Provider::Forgejo), insecure.unwrap()];
        let webhooks = Webhooks::new(sources, recorder.clone(), Arc::new(Noon), limits);
        Self {
            router: webhook_router(Arc::new(webhooks)),
            recorder,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        Answer::of(response).await
    }

    fn stored(&self) -> Vec<String> {
        let events = self.recorder.events.lock().unwrap();
        events.iter().map(|event| event.id.to_string()).collect()
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    body: String,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let status = response.status();
        let header = response.headers().get("retry-after");
        let retry_after = header.map(|value| value.to_str().unwrap().to_owned());
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        Self {
            status,
            retry_after,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    fn error(&self) -> String {
        let json: Json = serde_json::from_str(&self.body).unwrap();
        json["error"].as_str().unwrap().to_owned()
    }
}

fn signed(encoding: Encoding) -> SampleRequest {
    let push = SamplePush::to_main("shop/infra", BEFORE, AFTER);
    push_request(
        Provider::Forgejo,
        &push,
        "delivery-1",
        Some(&Secret::new(SECRET)),
        encoding,
    )
}

fn post(path: &str, sample: &SampleRequest) -> Request<Body> {
    let mut builder = Request::post(path);
    for (name, value) in &sample.headers {
        builder = builder.header(*name, value);
    }
    builder.body(Body::from(sample.body.clone())).unwrap()
}

fn chunked(sample: &SampleRequest, chunks: Vec<Vec<u8>>) -> Request<Body> {
    let chunks = chunks
        .into_iter()
        .map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk)));
    let mut request = post("/webhooks/shop", sample);
    *request.body_mut() = Body::from_stream(stream::iter(chunks));
    request
}

#[tokio::test]
async fn a_signed_push_is_stored_and_confirmed() {
    for encoding in [Encoding::Json, Encoding::Form] {
        let listener = Listener::new();
        let path = webhook_path(source(Provider::Forgejo).name());
        let answer = listener.send(post(&path, &signed(encoding))).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let json: Json = serde_json::from_str(&answer.body).unwrap();
        let expected = serde_json::json!({
            "event_id": "delivery-1",
            "events": [{ "id": "delivery-1", "type": "git.push", "subject": "shop/infra@main" }],
        });
        assert_eq!(json, expected);
        assert_eq!(listener.stored(), ["delivery-1"]);
    }
}

#[tokio::test]
async fn a_body_may_come_in_pieces() {
    let sample = signed(Encoding::Json);
    for size in [1, 7, 100, 10_000] {
        let listener = Listener::new();
        let chunks = sample.body.chunks(size).map(<[u8]>::to_vec).collect();
        let answer = listener.send(chunked(&sample, chunks)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{size}: {answer:?}");
    }
}

/// Every refusal, its status and its text; nothing of any of them is stored.
#[tokio::test]
async fn refusals() {
    let listener = Listener::new();
    let sample = signed(Encoding::Json);
    let edited = |edit: &dyn Fn(&mut SampleRequest)| {
        let mut sample = sample.clone();
        edit(&mut sample);
        post("/webhooks/shop", &sample)
    };
    let without = |part: &'static str| {
        edited(&move |sample| sample.headers.retain(|(name, _)| !name.contains(part)))
    };
    let get = Request::get("/webhooks/shop").body(Body::empty()).unwrap();
    let secret = Secret::new(SECRET);
    let signed_body = |body: &str| {
        let encoding = Encoding::Json;
        let sample = request(
            Provider::Forgejo,
            "push",
            body.into(),
            "d",
            Some(&secret),
            encoding,
        );
        post("/webhooks/shop", &sample)
    };
    for (request, status, text) in [
        (
            post("/webhooks/nope", &sample),
            404,
            "there is no such source",
        ),
        (
            post("/webhooks/SHOP", &sample),
            404,
            "there is no such source",
        ),
        (
            post("/webhooks/%ff", &sample),
            404,
            "there is no such source",
        ),
        (get, 405, "only POST is taken here"),
        (
            without("signature"),
            401,
            "the request is not signed: set the source's secret in the webhook",
        ),
        (
            edited(&|sample| sample.body.push(b' ')),
            401,
            "the signature is wrong",
        ),
        (
            without("-event"),
            400,
            "the header `x-forgejo-event` is missing",
        ),
        (
            without("forgejo-event"),
            400,
            "source `shop` is of type `forgejo`, but the request comes from Gitea: set its `type` to `gitea`",
        ),
        (
            without("delivery"),
            400,
            "the header `x-forgejo-delivery` is missing",
        ),
        (
            signed_body("{"),
            400,
            "the body cannot be read at line 1, column 1: EOF while parsing an object at line 1 column 1",
        ),
        (
            signed_body("{\"ref\":\n5}"),
            400,
            "the body cannot be read at line 2, column 1: invalid type: integer `5`, expected a text at line 2 column 1",
        ),
        (signed_body("{}"), 400, "`before` is missing"),
        (signed_body("[]"), 400, "the body is not a JSON object"),
    ] {
        let answer = listener.send(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.error().as_str()),
            (status, text)
        );
    }
    assert!(listener.stored().is_empty());
}

#[tokio::test]
async fn names_of_sources_cannot_be_told_apart_from_others() {
    let listener = Listener::new();
    let sample = signed(Encoding::Json);
    let mut answers = vec![];
    for path in ["/webhooks/nope", "/webhooks/sho", "/webhooks/%2e%2e"] {
        let answer = listener.send(post(path, &sample)).await;
        answers.push((answer.status, answer.body));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // Another method does not tell either.
    let get = Request::get("/webhooks/nope").body(Body::empty()).unwrap();
    assert_eq!(listener.send(get).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn ignored_kinds_are_answered_without_content() {
    let listener = Listener::new();
    let secret = Secret::new(SECRET);
    for kind in ["create", "pull_request", "something-new"] {
        let sample = request(
            Provider::Forgejo,
            kind,
            "{}".into(),
            "d",
            Some(&secret),
            Encoding::Json,
        );
        let answer = listener.send(post("/webhooks/shop", &sample)).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (StatusCode::NO_CONTENT, "")
        );
    }
    assert!(listener.stored().is_empty());
}

#[tokio::test]
async fn an_insecure_source_takes_unsigned_requests() {
    let listener = Listener::new();
    let push = SamplePush::to_main("shop/infra", BEFORE, AFTER);
    let sample = push_request(Provider::Gitea, &push, "d", None, Encoding::Json);
    let answer = listener.send(post("/webhooks/open", &sample)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

#[tokio::test]
async fn what_the_store_says_is_passed_on() {
    let too_large = PublishError::TooLarge { bytes: 600_000 };
    for (error, status, retry_after, text) in [
        (
            PublishError::Full,
            503,
            Some("60"),
            "the event could not be stored: try again",
        ),
        (
            PublishError::Unavailable("10.0.0.7: connection refused".into()),
            503,
            Some("5"),
            "the event could not be stored: try again",
        ),
        (
            too_large,
            413,
            None,
            "the event has 600000 bytes, more than the 512 KiB allowed",
        ),
    ] {
        let recorder = Recorder {
            answer: Some(error),
            ..Recorder::default()
        };
        let listener = Listener::with(recorder, WebhookLimits::default());
        let answer = listener
            .send(post("/webhooks/shop", &signed(Encoding::Json)))
            .await;
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.retry_after.as_deref(),
                answer.error().as_str()
            ),
            (status, retry_after, text)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_given_up() {
    let recorder = Recorder {
        never_answers: true,
        ..Recorder::default()
    };
    let listener = Listener::with(recorder, WebhookLimits::default());
    let begun = tokio::time::Instant::now();
    let answer = listener
        .send(post("/webhooks/shop", &signed(Encoding::Json)))
        .await;
    assert_eq!(begun.elapsed(), infraflow_core::limits::WEBHOOK_STORE);
    assert_eq!(
        (answer.status.as_u16(), answer.retry_after.as_deref()),
        (503, Some("5"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let listener = Listener::new();
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
    let mut request = post("/webhooks/shop", &signed(Encoding::Json));
    *request.body_mut() = Body::from_stream(first.chain(stream::pending()));
    let begun = tokio::time::Instant::now();
    let answer = listener.send(request).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT, "{answer:?}");
    assert_eq!(begun.elapsed(), infraflow_core::limits::WEBHOOK_READ);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let listener = Listener::new();
    let chunks = stream::iter([
        Ok(Bytes::from_static(b"{")),
        Err(std::io::Error::other("gone")),
    ]);
    let mut request = post("/webhooks/shop", &signed(Encoding::Json));
    *request.body_mut() = Body::from_stream(chunks);
    let answer = listener.send(request).await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (400, "the body broke off")
    );
}

/// At the limit a body is looked at (and its signature is wrong), one byte past
/// it it is too large; and nothing after that is read.
#[tokio::test]
async fn size() {
    let limits = WebhookLimits {
        body: ByteCount(1_000),
        ..WebhookLimits::default()
    };
    let listener = Listener::with(Recorder::default(), limits);
    let sample = |bytes: usize| SampleRequest {
        body: vec![b'x'; bytes],
        ..signed(Encoding::Json)
    };
    for (bytes, status) in [(1_000, 401), (1_001, 413)] {
        let answer = listener.send(post("/webhooks/shop", &sample(bytes))).await;
        assert_eq!(answer.status.as_u16(), status);
        let mut announced = post("/webhooks/shop", &sample(bytes));
        let length = bytes.to_string().parse().unwrap();
        announced.headers_mut().insert("content-length", length);
        assert_eq!(listener.send(announced).await.status.as_u16(), status);
        let chunks = sample(bytes).body.chunks(100).map(<[u8]>::to_vec).collect();
        assert_eq!(
            listener
                .send(chunked(&sample(bytes), chunks))
                .await
                .status
                .as_u16(),
            status
        );
    }
    // A body without an end is read up to the limit and no further.
    let read = Arc::new(Mutex::new(0));
    let counted = read.clone();
    let endless = stream::repeat_with(move || {
        *counted.lock().unwrap() += 100;
        Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 100]))
    });
    let mut request = post("/webhooks/shop", &sample(0));
    *request.body_mut() = Body::from_stream(endless);
    let answer = listener.send(request).await;
    assert_eq!(
        answer.error(),
        "the body has more than the 1000 bytes allowed"
    );
    assert_eq!(*read.lock().unwrap(), 1_100);
    // An announced size is enough to refuse.
    let mut announced = post("/webhooks/shop", &sample(0));
    announced
        .headers_mut()
        .insert("content-length", "26214401".parse().unwrap());
    assert_eq!(
        listener.send(announced).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn memory_for_all_bodies_is_bounded_and_given_back() {
    let sample = signed(Encoding::Json);
    let bytes = u64::try_from(sample.body.len()).unwrap();
    let limits = WebhookLimits {
        memory: ByteCount(bytes),
        ..WebhookLimits::default()
    };
    let listener = Listener::with(Recorder::default(), limits);
    // One body at a time fits, again and again.
    for _ in 0..3 {
        let answer = listener.send(post("/webhooks/shop", &sample)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }
    // While another one is held, it does not.
    let (held, hold) = tokio::sync::oneshot::channel::<()>();
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
    let rest = stream::once(async move {
        let _ = hold.await;
        Ok(Bytes::from_static(b"}"))
    });
    let mut slow = post("/webhooks/shop", &sample);
    *slow.body_mut() = Body::from_stream(first.chain(rest));
    let mut slow = Box::pin(listener.send(slow));
    assert!((&mut slow).now_or_never().is_none());
    let answer = listener.send(post("/webhooks/shop", &sample)).await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.retry_after.as_deref(),
            answer.error().as_str()
        ),
        (503, Some("5"), "too many webhooks at once: try again")
    );
    held.send(()).unwrap();
    assert_eq!(slow.await.status, StatusCode::UNAUTHORIZED);
    let answer = listener.send(post("/webhooks/shop", &sample)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[test]
fn limits_are_finite() {
    let limits = WebhookLimits::default();
    assert!(limits.read < Duration::from_secs(60) && limits.store < Duration::from_secs(60));
    assert!(limits.body < limits.memory);
}
