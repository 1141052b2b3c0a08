//! Subjects, topology, consumers, journals, timers, locks, leases, logs, KV and
//! objects on NATS JetStream.
//!
//! The only crate that knows NATS. It never knows what a workflow means, never
//! retries a step, and no type of the NATS client crosses its public API.

pub mod bare;
pub mod subject;
pub mod topology;

mod audit;
mod blobs;
mod connect;
mod dead;
mod feed;
mod fetch;
mod hosts;
mod inbox;
mod journals;
mod kv;
mod locks;
mod logs;
mod notices;
mod owner;
mod publish;
mod pull;
mod puller;
mod reply;
mod rpc;
mod status;
mod task;
mod timers;
mod watch;
mod wire;
mod workflows;

pub use audit::{AuditPage, AuditStore, StoredAudit};
pub use blobs::{BlobKey, SealedBlobs, StoredBlob};
pub use connect::{Bus, BusConfig, ConnectError, Credentials};
pub use dead::{DeadLetter, DeadLetters};
pub use feed::Feed;
pub use fetch::FetchError;
pub use hosts::HostStore;
pub use inbox::{EventInbox, TimerInbox, WorkInbox};
pub use journals::JournalStore;
pub use locks::LockStore;
pub use logs::{LogPage, LogStore};
pub use notices::NoticeBoard;
pub use owner::{BlobKeyError, OwnerError};
pub use publish::Publisher;
pub use puller::InboxHealth;
pub use rpc::{CallError, CallFailure, Reply, RpcClient, RpcRequest, RpcServer};
pub use status::{BusStatus, Fill};
pub use timers::TimerStore;
pub use watch::{Bell, EventTail};
pub use wire::line::LoggedLine;
pub use workflows::WorkflowBucket;
