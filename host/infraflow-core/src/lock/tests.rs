use super::*;

fn run(n: u8) -> RunId {
    format!("{:0>26}", n).parse().unwrap()
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn asker(n: u8, on_conflict: OnConflict) -> Asker {
    Asker {
        run: run(n),
        order: Sequence(u64::from(n)),
        on_conflict,
    }
}

struct Lock {
    state: LockState,
    max: u32,
    policy: OnConflict,
}

impl Lock {
    fn new(max: u32, policy: OnConflict) -> Self {
        Self {
            state: LockState::default(),
            max,
            policy,
        }
    }

    fn ask_knowing(&mut self, n: u8, over: &[u8]) -> String {
        let over: HashSet<RunId> = over.iter().map(|n| run(*n)).collect();
        let (answer, displaced) = self
            .state
            .ask(asker(n, self.policy), self.max, &over, now());
        let mut text = match answer {
            LockAnswer::Taken { token } => format!("taken {token}"),
            LockAnswer::Waits => "waits".to_owned(),
            LockAnswer::Superseded { by } => format!("superseded by {}", short(by)),
            LockAnswer::Full => "full".to_owned(),
        };
        for run in displaced.cancel {
            text.push_str(&format!(", cancels {}", short(run)));
        }
        for run in displaced.skip {
            text.push_str(&format!(", skips {}", short(run)));
        }
        text
    }

    fn ask(&mut self, n: u8) -> String {
        self.ask_knowing(n, &[])
    }

    fn next(&self) -> Vec<String> {
        self.state.next().into_iter().map(short).collect()
    }
}

fn short(run: RunId) -> String {
    run.to_string().trim_start_matches('0').to_owned()
}

#[test]
fn queues_in_the_order_of_events() {
    let mut lock = Lock::new(1, OnConflict::Queue);
    assert_eq!(lock.ask(3), "taken 1");
    assert_eq!(lock.ask(3), "taken 1", "asking again changes nothing");
    assert_eq!(lock.ask(9), "waits");
    assert_eq!(lock.ask(5), "waits");
    assert_eq!(lock.ask(9), "waits");
    assert_eq!(lock.next(), Vec::<String>::new());
    assert!(lock.state.leave(run(3)));
    assert!(!lock.state.leave(run(3)));
    assert_eq!(lock.next(), ["5"]);
    assert_eq!(lock.ask(9), "waits", "5 is first");
    assert_eq!(lock.ask(4), "taken 2", "an older event goes first");
    assert!(lock.state.leave(run(4)));
    assert_eq!(lock.ask(5), "taken 3");
    assert_eq!(lock.ask_knowing(9, &[5]), "taken 4", "5 has ended");
}

#[test]
fn several_may_have_it() {
    let mut lock = Lock::new(2, OnConflict::Queue);
    assert_eq!(lock.ask(1), "taken 1");
    assert_eq!(lock.ask(2), "taken 2");
    assert_eq!(lock.ask(3), "waits");
    assert_eq!(lock.ask(4), "waits");
    lock.state.leave(run(1));
    lock.state.leave(run(2));
    assert_eq!(lock.next(), ["3", "4"]);
    assert_eq!(lock.ask(4), "taken 3", "there is room for both");
    assert_eq!(lock.ask(3), "taken 4");
    assert_eq!(lock.ask(5), "waits");
}

#[test]
fn skip_keeps_the_newest_waiting() {
    let mut lock = Lock::new(1, OnConflict::Skip);
    assert_eq!(lock.ask(5), "taken 1");
    assert_eq!(lock.ask(7), "waits", "a newer one is never dropped");
    assert_eq!(lock.ask(6), "superseded by 7");
    assert_eq!(lock.ask(4), "superseded by 7", "it would deploy last");
    assert_eq!(lock.ask(9), "waits, skips 7");
    lock.state.leave(run(5));
    assert_eq!(lock.ask(9), "taken 2");
    assert_eq!(lock.ask(8), "superseded by 9");
}

#[test]
fn cancel_running_cancels_older_ones_only() {
    let mut lock = Lock::new(1, OnConflict::CancelRunning);
    assert_eq!(lock.ask(5), "taken 1");
    assert_eq!(lock.ask(7), "waits, cancels 5");
    assert_eq!(lock.ask(7), "waits, cancels 5", "until it has ended");
    assert_eq!(lock.ask(9), "waits, cancels 7, cancels 5");
    assert_eq!(lock.ask(8), "superseded by 9");
    assert_eq!(lock.ask_knowing(9, &[5]), "taken 2");
    assert_eq!(lock.ask(2), "superseded by 9");
}

#[test]
fn there_is_no_conflict_while_there_is_room() {
    let mut lock = Lock::new(2, OnConflict::CancelRunning);
    assert_eq!(lock.ask(5), "taken 1");
    assert_eq!(lock.ask(7), "taken 2", "5 goes on: two may have it");
    assert_eq!(lock.ask(9), "waits, cancels 5, cancels 7");
    let mut lock = Lock::new(2, OnConflict::Skip);
    assert_eq!(lock.ask(5), "taken 1");
    assert_eq!(lock.ask(4), "taken 2", "late, but it takes nobody's place");
    assert_eq!(lock.ask(3), "superseded by 5");
}

#[test]
fn a_queue_is_bounded() {
    let mut lock = Lock::new(1, OnConflict::Queue);
    lock.ask(1);
    for order in 0..u64::try_from(LOCK_WAITERS).unwrap() {
        lock.state.waiters.push(Waiter {
            order: Sequence(order + 2),
            run: run(2),
        });
    }
    assert_eq!(lock.ask(250), "full");
}

proptest::proptest! {
    /// Whatever happens, no more have it than may, nobody has it twice or waits
    /// while having it, the queue is sorted, and while there is room for
    /// somebody who waits somebody is next.
    #[test]
    fn locks_are_never_over_full_and_never_stuck(
        max in 1_u32..4,
        policy in proptest::sample::select(OnConflict::ALL.to_vec()),
        moves in proptest::collection::vec((0_u8..20, 0_u8..3), 0..80),
    ) {
        let mut lock = Lock::new(max, policy);
        for (n, what) in moves {
            match what {
                0 => drop(lock.ask(n)),
                1 => drop(lock.state.leave(run(n))),
                _ => lock.state.forget(&HashSet::from([run(n)])),
            }
            let holders: HashSet<RunId> = lock.state.holders.iter().map(|h| h.run).collect();
            proptest::prop_assert_eq!(holders.len(), lock.state.holders.len());
            let most = usize::try_from(max).unwrap();
            proptest::prop_assert!(holders.len() <= most);
            proptest::prop_assert!(lock.state.waiters.is_sorted());
            proptest::prop_assert!(lock.state.waiters.iter().all(|w| !holders.contains(&w.run)));
            let has_room = holders.len() < most;
            proptest::prop_assert_eq!(lock.next().is_empty(), !has_room || lock.state.waiters.is_empty());
        }
    }
}
