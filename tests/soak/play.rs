//! Plays one scenario: starts the hosts, publishes the events, brings the fault
//! about when a host waits at its gate, does what the workload needs somebody
//! from outside for, and waits until everything has come to its end.

use std::process::Child;
use std::time::{Duration, Instant};

use infraflow_tests::cluster::{Cluster, Member, NAMES};
use infraflow_tests::disk::SmallDisk;
use infraflow_tests::history::Journal;
use infraflow_tests::wait::{pause, wait_for};
use rustix::process::Signal;

use crate::fault;
use crate::judge::{self, Violation};
use crate::random::Random;
use crate::scenario::{Fault, Scenario};
use crate::workload::{NAME, Workload};

/// The lease of the hosts.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// The longest time until everything has ended: the longest wait of the
/// protocol, for an event whose host died, is 30 s.
const PATIENCE: Duration = Duration::from_secs(100);

/// How long the waiting step is held when no gate is reached while it waits.
const HELD: Duration = Duration::from_millis(1_500);

/// How long nothing may be on its way while an event has no run: an event that
/// is acknowledged then is lost.
const LOST: Duration = Duration::from_secs(8);

/// How long after the end of everything a gate may still be met.
const NOTED: Duration = Duration::from_millis(500);

/// The pause between two looks for lost events.
const LOST_LOOK: Duration = Duration::from_millis(500);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The longest wait for an answer of the program.
const CALL_TIME: Duration = Duration::from_secs(8);

/// The hosts' configuration.
fn config(scenario: &Scenario) -> String {
    let hosts = match scenario.is_sole {
        true => "sole_host: true".to_owned(),
        false => format!("lease: {}s", LEASE.as_secs()),
    };
    format!(
        "commands:\n  sh: {{ program: /bin/sh, network: true }}\nshutdown_grace: 200ms\n{hosts}\n"
    )
}

/// What became of a scenario that violated nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Played {
    /// Its fault struck.
    Hit,
    /// No host came to the gate.
    Missed,
}

/// Makes the hosts of a scenario.
pub(crate) fn cluster(scenario: &Scenario) -> Cluster {
    let disk = match scenario.cell.fault {
        Fault::DiskFull => SmallDisk::mount(),
        _ => None,
    };
    let cluster = Cluster::new(scenario.hosts, &config(scenario), disk);
    let text = scenario
        .workload
        .workflow(&cluster.counter, scenario.on_interrupt);
    cluster.workflow(NAME, &text);
    for event in scenario.event_ids() {
        cluster.counter.fail_once(&format!("once/{event}"));
    }
    cluster.counter.hold("open/");
    cluster
}

/// Plays it.
pub(crate) fn play(scenario: &Scenario, cluster: &mut Cluster) -> Result<Played, Violation> {
    let mut play = Play {
        scenario,
        cluster,
        random: scenario.random.clone(),
        begun: Instant::now(),
        waiting_since: None,
        call: None,
        calls: 0,
        told_to_end: None,
        back_at: None,
        idle: Idle::default(),
        ended: None,
        is_hit: false,
    };
    play.begin();
    play.until_ended()?;
    let played = if play.is_hit {
        Played::Hit
    } else {
        Played::Missed
    };
    drop(play.call);
    judge::judge(scenario, cluster)?;
    Ok(played)
}

/// A call of the program that runs.
struct Call {
    child: Child,
    begun: Instant,
}

impl Call {
    fn is_over(&mut self) -> bool {
        if self.begun.elapsed() > CALL_TIME {
            drop(self.child.kill());
        }
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// A scenario that is being played.
pub(crate) struct Play<'a> {
    scenario: &'a Scenario,
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) random: Random,
    begun: Instant,
    waiting_since: Option<Instant>,
    call: Option<Call>,
    calls: usize,
    told_to_end: Option<usize>,
    back_at: Option<(usize, Instant)>,
    idle: Idle,
    ended: Option<Instant>,
    is_hit: bool,
}

/// Since when nothing is on its way, as far as was looked.
#[derive(Debug, Default)]
struct Idle {
    since: Option<Instant>,
    looked: Option<Instant>,
}

impl Play<'_> {
    // ---- the beginning ---------------------------------------------------------------

    fn begin(&mut self) {
        let all = 0..self.scenario.hosts;
        match self.scenario.workload {
            Workload::Takeover | Workload::Ask => {
                self.cluster.start(all);
                self.publish();
                self.until_the_step_waits();
                self.hand_over();
            }
            Workload::Beside => {
                self.cluster.start(all);
                self.cluster.publish(NAME, "e1");
                self.until_the_step_waits();
                let holder = self.until_known();
                self.arm(holder..holder + 1);
                for event in self.scenario.event_ids().iter().skip(1) {
                    self.cluster.publish(NAME, event);
                }
            }
            Workload::Leave => {
                self.cluster.start(0..1);
                self.publish();
                self.leave();
            }
            _ => {
                self.arm(all.clone());
                self.cluster.start(all);
                self.publish();
            }
        }
    }

    /// Others come once the run is parked, and its host leaves.
    fn leave(&mut self) {
        let hosts = self.scenario.hosts;
        wait_for("the run to be parked", || {
            let journals = self.cluster.history().journals();
            journals.first()?.has("parked").then_some(())
        });
        self.arm(0..1);
        self.cluster.start(1..hosts);
        for other in NAMES.iter().take(hosts).skip(1) {
            let host = &self.cluster.member(0).host;
            let line = format!("host takes part host={other}");
            wait_for("the hosts to know each other", || {
                host.log().contains(&line).then_some(())
            });
        }
        self.tell_to_end(0);
    }

    /// Kills the host that has the run; the gates are of those that may take it
    /// over, its next life too.
    fn hand_over(&mut self) {
        let holder = self.until_known();
        let member = self.cluster.member(holder);
        member.host.kill();
        member.host.nothing_is_left();
        self.arm(0..self.scenario.hosts);
        let delay = match self.scenario.hosts == 1 || self.random.coin() {
            true => Duration::ZERO,
            false => LEASE * 3,
        };
        self.comes_back_after(holder, delay);
    }

    /// The same, once its claim has been read.
    fn until_known(&mut self) -> usize {
        wait_for("the claim of the first run", || self.holder())
    }

    /// The host that has the first run.
    fn holder(&mut self) -> Option<usize> {
        let journals = self.cluster.history().journals();
        let name = journals.first()?.claimed_by()?.to_owned();
        let is_it = |member: &Member| member.name == name && member.host.is_up();
        self.cluster.members.iter().position(is_it)
    }

    fn until_the_step_waits(&self) {
        let counter = self.cluster.counter.clone();
        wait_for("the first host to run the step", || {
            let has_begun = counter.in_order().iter().any(|path| is_open(path));
            has_begun.then_some(())
        });
    }

    fn arm(&mut self, members: std::ops::Range<usize>) {
        let point = self.scenario.point();
        for index in members {
            self.cluster.member(index).arm(&point);
        }
    }

    /// Whether its runs wait for a time.
    pub(crate) fn waits_for_a_time(&self) -> bool {
        self.scenario.workload.waits_for_a_time()
    }

    /// Publishes the events, for the first time or again.
    pub(crate) fn publish(&self) {
        for event in self.scenario.event_ids() {
            self.cluster.publish(NAME, &event);
        }
    }

    // ---- on the way ------------------------------------------------------------------

    fn until_ended(&mut self) -> Result<(), Violation> {
        loop {
            self.watch_gates()?;
            self.watch_hosts()?;
            let journals = self.cluster.history().journals();
            self.let_go();
            self.poke(&journals);
            let is_quiet = self.back_at.is_none() && self.told_to_end.is_none();
            if self.have_ended(&journals) && is_quiet && self.has_met_the_gate() {
                return Ok(());
            }
            if self.begun.elapsed() > PATIENCE || self.has_lost_an_event(&journals) {
                return Err(self.stuck(&journals));
            }
            pause(LOOK);
        }
    }

    /// Whether the fault struck, or nobody will come to the gate any more: the
    /// last record is seen a little before its writer says that it was the one.
    fn has_met_the_gate(&mut self) -> bool {
        let since = *self.ended.get_or_insert_with(Instant::now);
        self.is_hit || since.elapsed() > NOTED
    }

    fn have_ended(&self, journals: &[Journal]) -> bool {
        self.scenario.event_ids().iter().all(|event| {
            let mut runs = journals
                .iter()
                .filter(|j| j.event() == Some(event.as_str()));
            runs.next().is_some_and(|journal| journal.end().is_some())
        })
    }

    fn without_a_run(&self, journals: &[Journal]) -> Vec<String> {
        let has_run = |event: &String| journals.iter().any(|j| j.event() == Some(event.as_str()));
        let events = self.scenario.event_ids().into_iter();
        events.filter(|event| !has_run(event)).collect()
    }

    /// Whether every delivery is acknowledged, for a while now, and an event has
    /// no run all the same.
    fn has_lost_an_event(&mut self, journals: &[Journal]) -> bool {
        if self.without_a_run(journals).is_empty() {
            self.idle = Idle::default();
            return false;
        }
        let is_fresh = |looked: Instant| looked.elapsed() < LOST_LOOK;
        if !self.idle.looked.is_some_and(is_fresh) {
            self.idle.looked = Some(Instant::now());
            let is_idle = judge::open_deliveries(self.cluster, "EVENTS.router") == Some(0);
            self.idle.since = match is_idle {
                true => self.idle.since.or(self.idle.looked),
                false => None,
            };
        }
        self.idle.since.is_some_and(|since| since.elapsed() > LOST)
    }

    fn stuck(&self, journals: &[Journal]) -> Violation {
        let lost = self.without_a_run(journals);
        if lost.is_empty() {
            return Violation::new(
                "a run never sticks",
                format!("not ended after {PATIENCE:?}"),
            );
        }
        Violation::new("every event has its run", format!("none for {lost:?}"))
    }

    /// Brings the fault about at the first host that comes to its gate.
    fn watch_gates(&mut self) -> Result<(), Violation> {
        if self.is_hit {
            return Ok(());
        }
        let hit = (0..self.scenario.hosts).find(|index| {
            let member = self.cluster.members.get(*index);
            member.is_some_and(|member| member.hit().is_some())
        });
        let Some(victim) = hit else { return Ok(()) };
        self.is_hit = true;
        for (index, member) in self.cluster.members.iter().enumerate() {
            if index != victim {
                member.open_gate();
            }
        }
        fault::strike(self, self.scenario.cell.fault, victim)
    }

    /// No host ends by itself; the ones that were told to come back.
    fn watch_hosts(&mut self) -> Result<(), Violation> {
        if let Some((index, _)) = self.back_at.filter(|(_, at)| Instant::now() >= *at) {
            self.back_at = None;
            self.bring_back(index);
        }
        for index in 0..self.scenario.hosts {
            let member = self.cluster.member(index);
            let Some(status) = member.host.exited() else {
                continue;
            };
            let name = member.name;
            if self.told_to_end != Some(index) || status != 0 {
                return Err(Violation::new(
                    "a host ends only when it is told to",
                    format!("host {name} ended with status {status}"),
                ));
            }
            self.told_to_end = None;
            self.bring_back(index);
        }
        Ok(())
    }

    /// Starts a host again that has ended or is about to, without a gate once the
    /// fault has struck.
    fn bring_back(&mut self, index: usize) {
        // A call is a process of the host's folder, too.
        self.call = None;
        let is_hit = self.is_hit;
        let member = self.cluster.member(index);
        if member.host.is_up() {
            member.host.wait_until_gone();
        }
        member.host.nothing_is_left();
        if is_hit {
            member.disarm();
        }
        self.cluster.start(index..index + 1);
    }

    /// A killed host comes back after a while.
    pub(crate) fn comes_back_after(&mut self, index: usize, delay: Duration) {
        if self.told_to_end == Some(index) {
            self.told_to_end = None;
        }
        self.back_at = Some((index, Instant::now() + delay));
    }

    /// Tells a host to end; it comes back.
    pub(crate) fn tell_to_end(&mut self, index: usize) {
        self.cluster.member(index).host.signal(Signal::TERM);
        self.told_to_end = Some(index);
    }

    /// Lets the waiting step go once the fault is over, or when none comes while
    /// it waits.
    fn let_go(&mut self) {
        let counter = &self.cluster.counter;
        if self.waiting_since.is_none() && counter.in_order().iter().any(|path| is_open(path)) {
            self.waiting_since = Some(Instant::now());
        }
        let has_waited = self
            .waiting_since
            .is_some_and(|since| since.elapsed() > HELD);
        if self.is_hit || has_waited {
            counter.let_go("open/");
        }
    }

    // ---- what somebody does from outside ---------------------------------------------

    fn poke(&mut self, journals: &[Journal]) {
        let Some(journal) = journals.first().filter(|journal| journal.end().is_none()) else {
            return;
        };
        let run = journal.run.to_string();
        match self.scenario.workload {
            Workload::Cancel if self.waiting_since.is_some() && !journal.has("stop_requested") => {
                self.call(&["runs", "cancel", &run]);
            }
            Workload::WaitCancel if journal.has("parked") && !journal.has("stop_requested") => {
                self.call(&["runs", "cancel", &run]);
            }
            Workload::Ask if journal.last() == "parked" => {
                self.call(&["runs", "resume", &run, "--answer", "done"]);
            }
            Workload::Release if self.waiting_since.is_some() && self.calls == 0 => {
                self.calls = 1;
                if let Some(index) = self.holder() {
                    self.tell_to_end(index);
                }
            }
            _ => {}
        }
    }

    /// Calls the program, on one host after the other, one call at a time. What
    /// it was for is seen in the journal.
    fn call(&mut self, arguments: &[&str]) {
        if self.call.as_mut().is_some_and(|call| !call.is_over()) {
            return;
        }
        self.call = None;
        let up: Vec<usize> = (0..self.scenario.hosts)
            .filter(|index| {
                let member = self.cluster.members.get(*index);
                member.is_some_and(|member| member.host.is_up())
            })
            .collect();
        let turn = up.get(self.calls % up.len().max(1));
        if let Some(index) = turn {
            self.calls += 1;
            let child = self.cluster.member(*index).host.call(arguments);
            self.call = Some(Call {
                child,
                begun: Instant::now(),
            });
        }
    }
}

/// A waiting step asks whether it may go on.
fn is_open(path: &str) -> bool {
    path.starts_with("/open/")
}

impl Drop for Call {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
