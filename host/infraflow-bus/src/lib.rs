//! Subjects, topology, consumers, journals, logs, KV and objects on NATS
//! JetStream.
//!
//! The only crate that knows NATS. It never knows what a workflow means, never
//! retries a step, and no type of the NATS client crosses its public API.

pub mod bare;
pub mod subject;
pub mod topology;

mod blobs;
mod connect;
mod dead;
mod feed;
mod fetch;
mod inbox;
mod journals;
mod logs;
mod notices;
mod owner;
mod publish;
mod reply;
mod rpc;
mod status;
mod task;
mod watch;
mod wire;
mod workflows;

pub use blobs::{BlobKey, SealedBlobs};
pub use connect::{Bus, BusConfig, ConnectError, Credentials};
pub use dead::{DeadLetter, DeadLetters};
pub use feed::Feed;
pub use fetch::FetchError;
pub use inbox::{EventInbox, InboxHealth, WorkInbox};
pub use journals::JournalStore;
pub use logs::{LogPage, LogStore};
pub use notices::NoticeBoard;
pub use owner::OwnerError;
pub use publish::Publisher;
pub use rpc::{CallError, CallFailure, Reply, RpcClient, RpcRequest, RpcServer};
pub use status::{BusStatus, Fill};
pub use watch::{Bell, EventTail};
pub use wire::line::LoggedLine;
pub use workflows::WorkflowBucket;
