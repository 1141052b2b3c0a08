//! Answers for whoever operates hosts: locks, hosts, repeated runs, the audit.

use infraflow_bus::{CallFailure, StoredAudit};
use infraflow_core::id::{HostName, LockName, UserName};
use infraflow_core::ports::{AuditPhase, Sequence};
use infraflow_core::run::OriginKind;
use infraflow_engine::HostView;
use infraflow_engine::control::{GivenInputs, LockView, Repeat};

use super::server::{Api, control, failure, invalid, unavailable};
use super::types::{
    AuditItem, AuditPage, AuditQuery, DrainRequest, HostItem, LockHolder, LockItem, LockRef,
    LockReleased, LockWaiter, RepeatRequest, Started,
};

/// Most audit entries in one answer.
const ENTRIES_MAX: usize = 200;

/// Most waiters of a lock in one answer.
const WAITERS_MAX: usize = 200;

impl Api {
    pub(super) async fn repeat_run(
        &self,
        user: &UserName,
        request: RepeatRequest,
    ) -> Result<Started, CallFailure> {
        let of = self.engine.find_run(&request.run).map_err(control)?;
        let kind = OriginKind::from_name(&request.kind)
            .ok_or_else(|| invalid(format!("`{}` is not a way to repeat a run", request.kind)))?;
        let repeat = Repeat {
            kind,
            inputs: GivenInputs::Texts(request.texts),
            latest: request.latest,
        };
        let made = self
            .engine
            .repeat_run(of, repeat, user, &request.request_id)
            .await
            .map_err(control)?;
        Ok(Started {
            run: made.run.to_string(),
            event: made.event.to_string(),
        })
    }

    pub(super) async fn list_locks(&self) -> Result<Vec<LockItem>, CallFailure> {
        let locks = self.engine.locks().await.map_err(control)?;
        Ok(locks.iter().map(|view| self.lock_item(view)).collect())
    }

    fn lock_item(&self, view: &LockView) -> LockItem {
        let listed = |run| self.engine.index().get(run);
        let state = &view.lock.state;
        let holders = state.holders.iter().map(|holder| {
            let known = listed(holder.run);
            LockHolder {
                run: holder.run.to_string(),
                workflow: known.as_ref().map(|run| run.summary.workflow.to_string()),
                state: known.map(|run| run.summary.state.name().to_owned()),
                since: holder.since,
                token: holder.token,
                is_over: view.over.contains(&holder.run),
            }
        });
        let waiting = state.waiters.iter().filter(|w| !view.over.contains(&w.run));
        let waiters = waiting.take(WAITERS_MAX).map(|waiter| LockWaiter {
            run: waiter.run.to_string(),
            workflow: listed(waiter.run).map(|run| run.summary.workflow.to_string()),
            order: waiter.order.0,
        });
        LockItem {
            name: view.lock.name.to_string(),
            max: state.max,
            holders: holders.collect(),
            waiters: waiters.collect(),
        }
    }

    pub(super) async fn release_lock(
        &self,
        user: &UserName,
        wanted: LockRef,
    ) -> Result<LockReleased, CallFailure> {
        let name = LockName::new(&wanted.lock).map_err(|error| invalid(error.to_string()))?;
        let run = match &wanted.run {
            Some(run) => Some(self.engine.find_run(run).map_err(control)?),
            None => None,
        };
        let runs = self
            .engine
            .release_lock(&name, run, user)
            .await
            .map_err(control)?;
        Ok(LockReleased {
            lock: wanted.lock,
            runs: runs.iter().map(ToString::to_string).collect(),
        })
    }

    pub(super) fn list_hosts(&self) -> Vec<HostItem> {
        self.engine.hosts().iter().map(host_item).collect()
    }

    pub(super) async fn drain_host(
        &self,
        user: &UserName,
        request: DrainRequest,
    ) -> Result<HostItem, CallFailure> {
        let host = match request.host {
            Some(host) => HostName::new(&host).map_err(|error| invalid(error.to_string()))?,
            None => self.only_host()?,
        };
        self.engine
            .drain_host(&host, request.draining, user)
            .await
            .map_err(control)?;
        let hosts = self.engine.hosts();
        let found = hosts.iter().find(|view| view.card.host == host);
        let mut item = found
            .map(host_item)
            .ok_or_else(|| failure("not_found", "the host is gone"))?;
        // What it says of itself comes with its next renewal.
        if item.state != "gone" {
            item.state = if request.draining {
                "draining"
            } else {
                "alive"
            }
            .to_owned();
        }
        Ok(item)
    }

    fn only_host(&self) -> Result<HostName, CallFailure> {
        let hosts = self.engine.hosts();
        let alive: Vec<&HostView> = hosts.iter().filter(|host| host.is_alive).collect();
        match alive.as_slice() {
            [only] => Ok(only.card.host.clone()),
            _ => {
                let names: Vec<&str> = alive.iter().map(|host| host.card.host.as_str()).collect();
                Err(invalid(format!(
                    "which host? There are `{}`",
                    names.join("`, `")
                )))
            }
        }
    }

    pub(super) async fn list_audit(&self, query: AuditQuery) -> Result<AuditPage, CallFailure> {
        let limit = query.limit.clamp(1, ENTRIES_MAX);
        let page = self
            .bus
            .audit_entries(query.before.map(Sequence), limit)
            .await
            .map_err(unavailable)?;
        let oldest = page.entries.first().map(|stored| stored.position.0);
        let entries = page.entries.into_iter().rev().map(audit_item);
        Ok(AuditPage {
            entries: entries.collect(),
            next: oldest.filter(|_| page.more),
        })
    }
}

fn audit_item(stored: StoredAudit) -> AuditItem {
    let position = stored.position.0;
    match stored.entry {
        Ok(entry) => {
            let (phase, reason) = match entry.phase {
                AuditPhase::Intent => ("intent", String::new()),
                AuditPhase::Done => ("done", String::new()),
                AuditPhase::Refused { reason } => ("refused", reason),
            };
            AuditItem {
                position,
                at: Some(entry.at),
                actor: entry.actor.to_string(),
                action: entry.action,
                object: entry.object,
                detail: entry.detail,
                phase: phase.to_owned(),
                reason,
                act: format!("{:016x}", entry.act),
            }
        }
        Err(problem) => AuditItem {
            position,
            at: None,
            actor: String::new(),
            action: String::new(),
            object: String::new(),
            detail: infraflow_core::Json::Null,
            phase: "unreadable".to_owned(),
            reason: problem,
            act: String::new(),
        },
    }
}

fn host_item(view: &HostView) -> HostItem {
    let card = &view.card;
    let state = match (view.is_alive, card.draining) {
        (false, _) => "gone",
        (true, true) => "draining",
        (true, false) => "alive",
    };
    HostItem {
        name: card.host.to_string(),
        state: state.to_owned(),
        pools: card.pools.iter().map(ToString::to_string).collect(),
        runs_active: card.runs_active,
        started_at: card.started_at,
        version: card.version.clone(),
        lease_ms: u64::try_from(card.lease.as_millis()).unwrap_or(u64::MAX),
    }
}
