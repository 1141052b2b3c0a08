//! Hosts and their leases, in the bucket `hosts`: `lease.<host>` and
//! `drain.<host>`.
//!
//! Whoever follows the leases of others draws conclusions from hearing nothing,
//! so a watch that is dead without saying so would be dangerous. The own lease
//! is the probe: a renewal that was confirmed and does not come back by the
//! watch means that the watch is dead, and it is reported as a lost connection.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use bytes::Bytes;
use futures::StreamExt as _;
use infraflow_core::id::HostName;
use infraflow_core::ports::{
    BoxFuture, HostCard, HostChange, Hosts, LeaseError, Revision, StoreError,
};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::timeout;

use crate::connect::{Bus, REQUEST_TIMEOUT};
use crate::kv::{self, Bucket, Stored};
use crate::owner;
use crate::reply::NotStored;
use crate::task::{Task, spawn};
use crate::wire::host;

/// Changes that wait in memory for the reader. More stay on the server.
const PREFETCH: usize = 1_024;

/// The pause before a failed watch begins again.
const RESTART_DELAY: Duration = Duration::from_millis(200);

/// How often the watch is compared with the own renewals.
const PROBE: Duration = Duration::from_millis(100);

/// How often a renewal that met another version of the lease is tried again.
const RENEWALS_MAX: usize = 4;

const LEASE: &str = "lease.";
const DRAIN: &str = "drain.";

fn lease_key(host: &HostName) -> String {
    format!("{LEASE}{host}")
}

fn drain_key(host: &HostName) -> String {
    format!("{DRAIN}{host}")
}

/// The hosts of one NATS account, as one of them sees them.
pub struct HostStore {
    bus: Bus,
    bucket: Bucket,
    /// The revision of the lease that this life wrote last.
    written: Mutex<Option<u64>>,
    probe: watch::Sender<Probe>,
    changes: Mutex<mpsc::Receiver<HostChange>>,
    _task: Task,
}

/// The last renewal that the server confirmed.
#[derive(Debug, Clone, Copy, Default)]
struct Probe {
    revision: u64,
    lease: Duration,
}

impl HostStore {
    /// Opens the store and starts to watch it.
    pub fn open(bus: Bus) -> Self {
        let bucket = kv::hosts(&bus);
        let (sender, changes) = mpsc::channel(PREFETCH);
        let (probe, probed) = watch::channel(Probe::default());
        let task = spawn(watch_forever(bus.clone(), bucket.clone(), probed, sender));
        Self {
            bus,
            bucket,
            written: Mutex::new(None),
            probe,
            changes: Mutex::new(changes),
            _task: task,
        }
    }

    /// The lease of a host as the server has it now; `None` when there is none.
    /// Whoever is about to take over from a host that seems gone looks once
    /// more: that its revision still is the one seen a lease ago proves it,
    /// however late the news of the watch were read.
    ///
    /// # Errors
    /// When the server does not answer, or the lease cannot be read.
    pub async fn lease(&self, host: &HostName) -> Result<Option<(HostCard, Revision)>, StoreError> {
        match self
            .bucket
            .read(&lease_key(host))
            .await
            .map_err(StoreError)?
        {
            Some(Stored {
                revision,
                value: Some(value),
            }) => {
                let card = host::decode(host.clone(), &value).map_err(|reason| {
                    StoreError(format!(
                        "the lease of host `{host}` cannot be read: {reason}"
                    ))
                })?;
                Ok(Some((card, Revision(revision))))
            }
            _ => Ok(None),
        }
    }

    async fn renew_lease(&self, card: &HostCard) -> Result<(), LeaseError> {
        // A late answer is worth less than the next renewal.
        let patience = (card.lease / 3).min(REQUEST_TIMEOUT);
        match timeout(patience, self.write_lease(card)).await {
            Ok(written) => written,
            Err(_) => Err(LeaseError::Unavailable("no answer in time".to_owned())),
        }
    }

    async fn write_lease(&self, card: &HostCard) -> Result<(), LeaseError> {
        let mut written = self.written.lock().await;
        let is_first = written.is_none();
        let key = lease_key(&card.host);
        let mut expected = match *written {
            Some(revision) => revision,
            None => self.read_lease(&key).await?.map_or(0, |s| s.revision),
        };
        let value = Bytes::from(host::encode(card));
        for _ in 0..RENEWALS_MAX {
            match self.bucket.write(&key, value.clone(), expected).await {
                Ok(revision) => {
                    if is_first {
                        self.check_owner(card).await?;
                    }
                    *written = Some(revision);
                    self.probe.send_replace(Probe {
                        revision,
                        lease: card.lease,
                    });
                    return Ok(());
                }
                Err(NotStored::WrongSequence) => {
                    let found = self.read_lease(&key).await?;
                    if !is_first && is_foreign(card, found.as_ref()) {
                        return Err(LeaseError::Taken(card.host.clone()));
                    }
                    expected = found.map_or(0, |stored| stored.revision);
                }
                Err(error) => return Err(LeaseError::Unavailable(error.to_string())),
            }
        }
        Err(LeaseError::Unavailable(
            "the lease keeps being changed by somebody else".to_owned(),
        ))
    }

    async fn read_lease(&self, key: &str) -> Result<Option<Stored>, LeaseError> {
        let read = self.bucket.read(key).await;
        read.map_err(LeaseError::Unavailable)
    }

    /// A host that wants the account for itself writes that and then looks for
    /// leases; we write a lease and then look for such a host. So one of the
    /// two sees the other, whoever is quicker.
    async fn check_owner(&self, card: &HostCard) -> Result<(), LeaseError> {
        let found = owner::other_owner(&self.bucket, &card.host).await;
        let Some(other) = found.map_err(LeaseError::Unavailable)? else {
            return Ok(());
        };
        if let Err(error) = self.bucket.remove(&lease_key(&card.host), None).await {
            tracing::warn!(%error, "lease not given back");
        }
        Err(LeaseError::Unavailable(
            owner::OwnerError::Other { owner: other }.to_string(),
        ))
    }

    async fn give_back(&self, card: &HostCard) -> Result<(), LeaseError> {
        let mut written = self.written.lock().await;
        let key = lease_key(&card.host);
        for _ in 0..RENEWALS_MAX {
            let Some(stored) = self.read_lease(&key).await? else {
                return Ok(());
            };
            if stored.value.is_none() || is_foreign(card, Some(&stored)) {
                return Ok(());
            }
            match self.bucket.remove(&key, Some(stored.revision)).await {
                Ok(_) => {
                    *written = None;
                    return Ok(());
                }
                Err(NotStored::WrongSequence) => {}
                Err(error) => return Err(LeaseError::Unavailable(error.to_string())),
            }
        }
        Err(LeaseError::Unavailable(
            "the lease keeps being changed by somebody else".to_owned(),
        ))
    }

    async fn drain(&self, host: &HostName, draining: bool) -> Result<(), StoreError> {
        let key = drain_key(host);
        let written = if draining {
            self.bucket
                .put(&key, Bytes::from_static(b"{\"v\":1}"))
                .await
        } else {
            self.bucket.remove(&key, None).await
        };
        written
            .map(drop)
            .map_err(|error| StoreError(error.to_string()))
    }
}

/// Whether another life has the lease.
fn is_foreign(card: &HostCard, found: Option<&Stored>) -> bool {
    let Some(value) = found.and_then(|stored| stored.value.as_ref()) else {
        return false;
    };
    host::decode(card.host.clone(), value).map_or(true, |found| found.life != card.life)
}

impl Hosts for HostStore {
    fn renew<'a>(&'a self, card: &'a HostCard) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(self.renew_lease(card))
    }

    fn leave<'a>(&'a self, card: &'a HostCard) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(self.give_back(card))
    }

    fn next(&self) -> BoxFuture<'_, HostChange> {
        Box::pin(async move {
            match self.changes.lock().await.recv().await {
                Some(change) => change,
                // The task ends only with us.
                None => std::future::pending().await,
            }
        })
    }

    fn set_draining<'a>(
        &'a self,
        host: &'a HostName,
        draining: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.drain(host, draining))
    }
}

impl std::fmt::Debug for HostStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostStore")
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}

async fn watch_forever(
    bus: Bus,
    bucket: Bucket,
    probe: watch::Receiver<Probe>,
    sender: mpsc::Sender<HostChange>,
) {
    loop {
        bus.connected().await;
        let reason = match watch_once(&bus, &bucket, probe.clone(), &sender).await {
            Ok(()) => return,
            Err(reason) => reason,
        };
        if bus.is_closing() {
            return;
        }
        tracing::warn!(%reason, "watch of hosts interrupted, starting it again");
        if sender.send(HostChange::Disconnected).await.is_err() {
            return;
        }
        tokio::time::sleep(RESTART_DELAY).await;
    }
}

/// Watches until something is wrong; ends well when nobody listens any more.
async fn watch_once(
    bus: &Bus,
    bucket: &Bucket,
    probe: watch::Receiver<Probe>,
    sender: &mpsc::Sender<HostChange>,
) -> Result<(), async_nats::Error> {
    let mut connection = bus.changes();
    let stream = bus.jetstream.get_stream_no_info(bucket.stream()).await?;
    let config = pull::OrderedConfig {
        filter_subjects: [LEASE, DRAIN]
            .map(|keys| bucket.subject(&format!("{keys}*")))
            .into(),
        deliver_policy: DeliverPolicy::LastPerSubject,
        ..pull::OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut complete = consumer.cached_info().num_pending == 0;
    let mut messages = consumer.messages().await?;
    if complete && sender.send(HostChange::Complete).await.is_err() {
        return Ok(());
    }
    let mut echo = Echo::new(probe);
    let mut ticks = tokio::time::interval(PROBE);
    loop {
        let next = tokio::select! {
            next = messages.next() => next,
            _ = connection.changed() => return Err("the connection was lost".into()),
            _ = ticks.tick() => {
                echo.check()?;
                continue;
            }
        };
        let message = next.ok_or("the server ended the watch")??;
        let info = message.info()?;
        echo.saw(info.stream_sequence);
        let value = kv::value(
            message
                .headers
                .as_ref()
                .unwrap_or(&async_nats::HeaderMap::new()),
            message.payload.clone(),
        );
        let key = bucket.key(&message.subject).unwrap_or_default();
        if let Some(change) = change(key, info.stream_sequence, value)
            && sender.send(change).await.is_err()
        {
            return Ok(());
        }
        if !complete && info.pending == 0 {
            complete = true;
            if sender.send(HostChange::Complete).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Whether the own renewals come back.
struct Echo {
    probe: watch::Receiver<Probe>,
    seen: u64,
    /// Since how many looks a confirmed renewal is missing.
    behind: u32,
}

impl Echo {
    fn new(probe: watch::Receiver<Probe>) -> Self {
        Self {
            probe,
            seen: 0,
            behind: 0,
        }
    }

    fn saw(&mut self, revision: u64) {
        self.seen = self.seen.max(revision);
    }

    fn check(&mut self) -> Result<(), &'static str> {
        let Probe { revision, lease } = *self.probe.borrow();
        if revision <= self.seen {
            self.behind = 0;
            return Ok(());
        }
        self.behind += 1;
        // Well before any lease of the same length could seem to run out.
        if PROBE * self.behind > lease / 4 {
            return Err("a confirmed renewal did not come back");
        }
        Ok(())
    }
}

fn change(key: &str, revision: u64, value: Option<Bytes>) -> Option<HostChange> {
    let name = |prefix: &str| HostName::new(key.strip_prefix(prefix)?).ok();
    if let Some(host) = name(DRAIN) {
        let draining = value.is_some();
        return Some(HostChange::Drain { host, draining });
    }
    let Some(host) = name(LEASE) else {
        tracing::error!(key, "key that is no host's in the bucket `hosts`");
        return None;
    };
    let revision = Revision(revision);
    let Some(value) = value else {
        return Some(HostChange::Left { host, revision });
    };
    match host::decode(host, &value) {
        Ok(card) => Some(HostChange::Renewed { card, revision }),
        Err(reason) => {
            tracing::error!(key, reason, "lease that cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_no_hosts_are_left_out() {
        for key in ["owner", "lease.", "lease.a.b", "lease.-", "drain.ü", ""] {
            assert_eq!(change(key, 1, None), None, "{key}");
        }
        let host = HostName::new("a").unwrap();
        assert_eq!(
            change("lease.a", 7, None),
            Some(HostChange::Left {
                host: host.clone(),
                revision: Revision(7),
            })
        );
        assert_eq!(change("lease.a", 7, Some(Bytes::from_static(b"{}"))), None);
        for (value, draining) in [(Some(Bytes::new()), true), (None, false)] {
            assert_eq!(
                change("drain.a", 7, value),
                Some(HostChange::Drain {
                    host: host.clone(),
                    draining,
                })
            );
        }
    }

    #[test]
    fn a_renewal_that_does_not_come_back_ends_the_watch() {
        let lease = Duration::from_secs(2);
        let (sender, probe) = watch::channel(Probe::default());
        let mut echo = Echo::new(probe);
        assert_eq!(echo.check(), Ok(()));
        sender.send_replace(Probe { revision: 5, lease });
        // 4 looks are 400 ms, a quarter of the lease is 500 ms.
        for _ in 0..5 {
            assert_eq!(echo.check(), Ok(()));
        }
        assert!(echo.check().is_err());
        echo.saw(5);
        assert_eq!(echo.check(), Ok(()));
        assert_eq!(echo.behind, 0);
    }
}
