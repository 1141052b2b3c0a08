//! Requests to the hosts and their answers: what the command line is a client
//! of.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use infraflow_core::id::UserName;
use serde::{Deserialize, Serialize};

use crate::connect::{Bus, ConnectError};
use crate::subject;

/// All hosts share this queue: one of them answers.
const QUEUE: &str = "hosts";

/// A failed request, as the host tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFailure {
    /// What kind of failure, one of a documented set: `not_found`, `invalid`,
    /// `conflict`, `unavailable`, `not_allowed`.
    pub code: String,
    /// For people: what failed and what to do.
    pub message: String,
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A host's answer.
pub type Reply = Result<Vec<u8>, CallFailure>;

/// Marks a failed answer; its payload is a [`CallFailure`].
const FAILURE_HEADER: &str = "Infraflow-Failure";

/// Takes requests.
pub struct RpcServer {
    bus: Bus,
    requests: async_nats::Subscriber,
}

/// A request.
pub struct RpcRequest {
    /// Who asks; the server's permissions bind it to the connection.
    pub user: UserName,
    /// For what.
    pub verb: String,
    /// With what: a JSON document, unless the verb says otherwise.
    pub payload: Vec<u8>,
    bus: Bus,
    answer_to: async_nats::Subject,
}

impl RpcServer {
    /// Starts taking requests.
    ///
    /// # Errors
    /// When the connection refuses the subscription.
    pub async fn open(bus: Bus) -> Result<Self, String> {
        let requests = bus
            .client
            .queue_subscribe(format!("{}.>", subject::RPC), QUEUE.to_owned())
            .await
            .map_err(|error| error.to_string())?;
        bus.flush().await;
        Ok(Self { bus, requests })
    }

    /// The next request; `None` when the connection is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<RpcRequest> {
        loop {
            let message = self.requests.next().await?;
            let (Some(answer_to), Some((user, verb))) =
                (message.reply.clone(), subject::parse_rpc(&message.subject))
            else {
                tracing::debug!(subject = %message.subject, "request without a user or a reply");
                continue;
            };
            return Some(RpcRequest {
                user,
                verb: verb.to_owned(),
                payload: message.payload.to_vec(),
                bus: self.bus.clone(),
                answer_to,
            });
        }
    }
}

impl RpcRequest {
    /// Answers.
    pub async fn answer(self, reply: Reply) {
        let sent = match reply {
            Ok(payload) => {
                self.bus
                    .client
                    .publish(self.answer_to, payload.into())
                    .await
            }
            Err(failure) => {
                let mut headers = async_nats::HeaderMap::new();
                headers.insert(FAILURE_HEADER, failure.code.as_str());
                let payload = serde_json::to_vec(&failure).unwrap_or_default();
                self.bus
                    .client
                    .publish_with_headers(self.answer_to, headers, payload.into())
                    .await
            }
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "request not answered");
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The host says no.
    #[error("{0}")]
    Failed(CallFailure),
    /// No host is there.
    #[error("no host answers on this NATS server: is `infraflow up` running?")]
    NoHost,
    /// The user may not ask that.
    #[error("NATS did not deliver the request: {0}")]
    NotDelivered(String),
}

/// Sends requests.
#[derive(Debug, Clone)]
pub struct RpcClient {
    bus: Bus,
    user: UserName,
}

impl RpcClient {
    /// A client for this user. The connection's credentials must be that
    /// user's.
    pub fn new(bus: Bus, user: UserName) -> Self {
        Self { bus, user }
    }

    /// Connects as a user, with inboxes under a prefix of its own.
    ///
    /// # Errors
    /// As [`Bus::connect`].
    pub async fn connect(
        mut config: crate::connect::BusConfig,
        user: UserName,
    ) -> Result<Self, ConnectError> {
        config.inbox_prefix = Some(format!("_INBOX.{user}"));
        Ok(Self::new(Bus::connect(config).await?, user))
    }

    /// The connection.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The user.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// When no host is there, none answers within `timeout`, or it says no.
    pub async fn call(
        &self,
        verb: &str,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let request = async_nats::Request::new()
            .payload(payload.into())
            .timeout(Some(timeout));
        let subject = subject::rpc(&self.user, verb);
        let answer = self
            .bus
            .client
            .send_request(subject, request)
            .await
            .map_err(|error| match error.kind() {
                async_nats::RequestErrorKind::NoResponders => CallError::NoHost,
                _ => CallError::NotDelivered(error.to_string()),
            })?;
        let failed = answer
            .headers
            .as_ref()
            .is_some_and(|h| h.get(FAILURE_HEADER).is_some());
        if !failed {
            return Ok(answer.payload);
        }
        Err(match serde_json::from_slice(&answer.payload) {
            Ok(failure) => CallError::Failed(failure),
            Err(error) => CallError::NotDelivered(error.to_string()),
        })
    }
}
