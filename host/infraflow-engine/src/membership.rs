//! Which hosts there are, whether this one may act, and whose claims are dead.
//!
//! A host that has its NATS account to itself needs no lease: every claim of
//! another life is a dead one's. Several hosts renew leases; the rules and their
//! times are `infraflow_core::lease`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use infraflow_core::id::{HostName, PoolName};
use infraflow_core::lease::{BootTime, LeaseTable, LeaseTimes, OwnLease, Standing};
use infraflow_core::ports::{Clock, Fence, HostCard, HostChange, Hosts, LeaseError};
use infraflow_core::run::Claim;
use tokio::sync::watch;

use crate::engine::Shared;
use crate::executor::Nudge;
use crate::sabotage::{self, Break};

/// How often the clock is looked at for leases that have run out.
const TICK: Duration = Duration::from_millis(200);

/// How this host shares its NATS account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenancy {
    /// It has it to itself.
    Sole,
    /// Other hosts may be there; each has a lease of this length.
    Leased(Duration),
}

/// The ports of a host that shares its account.
#[derive(Clone)]
pub struct LeasePorts {
    /// The leases of all.
    pub hosts: Arc<dyn Hosts>,
    /// What ends this host's tools when its lease is not renewed.
    pub fence: Arc<dyn Fence>,
}

/// The hosts, as this one sees them.
pub(crate) struct Membership {
    tenancy: Tenancy,
    clock: Arc<dyn Clock>,
    me: HostName,
    view: Mutex<View>,
    /// How often the lease has run out.
    lapses: AtomicU64,
    acting: watch::Sender<bool>,
    conflict: watch::Sender<bool>,
}

struct View {
    own: OwnLease,
    table: LeaseTable,
    cards: BTreeMap<HostName, HostCard>,
}

/// A host, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// What it said last.
    pub card: HostCard,
    /// Whether its lease holds.
    pub is_alive: bool,
}

impl Membership {
    pub(crate) fn new(tenancy: Tenancy, me: HostName, clock: Arc<dyn Clock>) -> Self {
        let lease = match tenancy {
            Tenancy::Sole => Duration::MAX,
            Tenancy::Leased(lease) => lease,
        };
        Self {
            tenancy,
            clock,
            me,
            view: Mutex::new(View {
                own: OwnLease::new(LeaseTimes { lease }),
                table: LeaseTable::default(),
                cards: BTreeMap::new(),
            }),
            lapses: AtomicU64::new(0),
            acting: watch::Sender::new(tenancy == Tenancy::Sole),
            conflict: watch::Sender::new(false),
        }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.tenancy != Tenancy::Sole
    }

    /// How long a run without a claim or a sign of life is left alone.
    pub(crate) fn patience(&self) -> Duration {
        match self.tenancy {
            Tenancy::Sole => Duration::from_secs(30),
            Tenancy::Leased(lease) => (2 * lease).max(Duration::from_secs(10)),
        }
    }

    /// The same at the start: work items of a host that is alone were delivered
    /// to its earlier life, and would come again only after their ack wait.
    pub(crate) fn first_patience(&self) -> Duration {
        match self.tenancy {
            Tenancy::Sole => Duration::ZERO,
            Tenancy::Leased(_) => self.patience(),
        }
    }

    /// Whether this host may begin effects now.
    pub(crate) fn may_act(&self) -> bool {
        self.tenancy == Tenancy::Sole
            || sabotage::is(Break::NoFencing)
            || self.view().own.may_act(self.clock.boot())
    }

    /// Waits until this host may begin effects. Cancel-safe.
    pub(crate) async fn until_may_act(&self) {
        let mut acting = self.acting.subscribe();
        while !self.may_act() {
            // The sender is ours.
            drop(tokio::time::timeout(TICK, acting.changed()).await);
        }
    }

    /// How often this host's lease has run out.
    pub(crate) fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Acquire)
    }

    /// Whether the lease has run out since it had run out that often: then
    /// this host's tools were ended for that.
    pub(crate) fn has_lapsed_since(&self, lapses: u64) -> bool {
        if self.tenancy == Tenancy::Sole {
            return false;
        }
        self.lapses() != lapses || self.clock.boot() >= self.view().own.tools_until()
    }

    /// Notes a confirmed renewal; says whether this host could not act before.
    fn confirm(&self, sent: BootTime, fence: &dyn Fence) -> bool {
        let own = {
            let mut view = self.view();
            view.own.confirm(sent);
            view.own
        };
        if !sabotage::is(Break::NoFencing) {
            fence.extend(own.effects_until(), own.tools_until());
        }
        let is_back = !self.acting.send_replace(true);
        if is_back {
            tracing::info!("this host has its lease");
        }
        is_back
    }

    /// Finds that the lease has run out; says so once.
    fn has_run_out(&self, now: BootTime) -> bool {
        let is_over = now >= self.view().own.tools_until();
        if !is_over || sabotage::is(Break::NoFencing) || !self.acting.send_replace(false) {
            return false;
        }
        self.lapses.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// Whether the holder of a claim may still act.
    pub(crate) fn standing(&self, claim: &Claim) -> Standing {
        match self.tenancy {
            Tenancy::Sole => Standing::Gone {
                since: Duration::MAX,
            },
            Tenancy::Leased(_) => {
                self.view()
                    .table
                    .standing(&claim.host, claim.incarnation, self.clock.boot())
            }
        }
    }

    /// Whether any life of a host is there, and for how long not.
    pub(crate) fn host_standing(&self, host: &HostName) -> Standing {
        match self.tenancy {
            Tenancy::Sole if *host == self.me => Standing::Alive,
            Tenancy::Sole => Standing::Gone {
                since: Duration::MAX,
            },
            Tenancy::Leased(_) => self.view().table.host_standing(host, self.clock.boot()),
        }
    }

    /// Whether another living host executes runs of a pool.
    pub(crate) fn has_others_in(&self, pool: &PoolName) -> bool {
        self.hosts().iter().any(|host| {
            host.is_alive && host.card.host != self.me && host.card.pools.contains(pool)
        })
    }

    /// Every host that was seen.
    pub(crate) fn hosts(&self) -> Vec<HostView> {
        let now = self.clock.boot();
        let view = self.view();
        view.cards
            .values()
            .map(|card| HostView {
                card: card.clone(),
                is_alive: !view.table.standing(&card.host, card.life, now).is_gone(),
            })
            .collect()
    }

    /// Waits until another process is found to have this host's name.
    pub(crate) async fn conflict(&self) {
        let mut conflict = self.conflict.subscribe();
        if conflict.wait_for(|conflict| *conflict).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Renews this host's lease. Never returns.
pub(crate) async fn renew(shared: Arc<Shared>, ports: LeasePorts) {
    let Tenancy::Leased(lease) = shared.membership.tenancy else {
        return std::future::pending().await;
    };
    let interval = LeaseTimes { lease }.renewal();
    loop {
        let sent = shared.ports.clock.boot();
        let card = shared.card();
        // An answer that comes later than this is worth nothing.
        let renewed = tokio::time::timeout(lease / 3, ports.hosts.renew(&card)).await;
        match renewed {
            Ok(Ok(())) => {
                if shared.membership.confirm(sent, ports.fence.as_ref()) {
                    shared.sweep_now.notify_one();
                }
            }
            Ok(Err(error @ LeaseError::Taken(_))) => {
                tracing::error!(%error, "lease lost");
                shared.membership.conflict.send_replace(true);
            }
            Ok(Err(LeaseError::Unavailable(reason))) => {
                tracing::warn!(reason, "lease not renewed");
            }
            Err(_) => tracing::warn!("lease not renewed: NATS does not answer"),
        }
        let spent = shared.ports.clock.boot().saturating_sub(sent);
        let rest = interval.saturating_sub(spent);
        drop(tokio::time::timeout(rest, shared.renew_now.notified()).await);
    }
}

/// Notes what hosts do, and what the clock says of their leases. Never returns.
pub(crate) async fn watch_hosts(shared: Arc<Shared>, ports: LeasePorts) {
    loop {
        let mut change = tokio::time::timeout(TICK, ports.hosts.next()).await.ok();
        // All that has come already: who looks late must not take it for silence.
        while let Some(seen) = change {
            note(&shared, seen);
            change = ports.hosts.next().now_or_never();
        }
        let now = shared.ports.clock.boot();
        let gone = shared.membership.view().table.tick(now);
        for host in &gone {
            tracing::warn!(%host, "host is gone: its runs are taken over");
        }
        if !gone.is_empty() {
            // What was on its way to it would come again only after its ack wait.
            shared.is_urgent.store(true, Ordering::Release);
            shared.sweep_now.notify_one();
        }
        if shared.membership.has_run_out(now) {
            tracing::error!("this host's lease has run out: its attempts end");
            shared.nudge_all(|| Nudge::Fence);
        }
    }
}

fn note(shared: &Shared, change: HostChange) {
    let now = shared.ports.clock.boot();
    let membership = &shared.membership;
    match change {
        HostChange::Renewed { card, revision } => {
            let mut view = membership.view();
            view.table
                .saw(&card.host, card.life, card.lease, revision.0, now);
            if view
                .cards
                .get(&card.host)
                .is_none_or(|known| known.life != card.life)
            {
                tracing::info!(host = %card.host, "host takes part");
                shared.sweep_now.notify_one();
            }
            view.cards.insert(card.host.clone(), card);
        }
        HostChange::Left { host, revision } => {
            tracing::info!(%host, "host has left");
            let mut view = membership.view();
            view.table.saw_left(&host, revision.0, now);
            view.cards.remove(&host);
            shared.sweep_now.notify_one();
        }
        HostChange::Drain { host, draining } if host == membership.me => {
            shared.set_drained(draining);
        }
        HostChange::Drain { .. } => {}
        HostChange::Complete => {
            let mut view = membership.view();
            view.table.connected(now);
            view.table.is_complete(now);
            shared.sweep_now.notify_one();
        }
        HostChange::Disconnected => membership.view().table.disconnected(),
    }
}
