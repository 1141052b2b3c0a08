use super::*;

const L: Duration = Duration::from_secs(12);

fn at(seconds: u64) -> BootTime {
    Duration::from_secs(1_000 + seconds)
}

fn host() -> HostName {
    HostName::new("h1").unwrap()
}

fn table() -> LeaseTable {
    let mut table = LeaseTable::default();
    table.connected(at(0));
    table.saw(&host(), Incarnation(1), L, 10, at(0));
    table.is_complete(at(0));
    table
}

/// Looks at the clock every second until then.
fn wait(table: &mut LeaseTable, from: u64, until: u64) -> Vec<HostName> {
    (from..=until)
        .flat_map(|second| table.tick(at(second)))
        .collect()
}

fn is_gone(table: &LeaseTable, life: u64, now: BootTime) -> bool {
    table.standing(&host(), Incarnation(life), now).is_gone()
}

#[test]
fn the_holder_stops_before_anybody_may_take_over() {
    let times = LeaseTimes { lease: L };
    let mut own = OwnLease::new(times);
    assert!(!own.may_act(at(0)), "never confirmed");
    own.confirm(at(0));
    own.confirm(Duration::ZERO);
    for (seconds, may_act) in [(0, true), (5, true), (6, false), (100, false)] {
        assert_eq!(own.may_act(at(seconds)), may_act, "{seconds}");
    }
    assert!(own.effects_until() < own.tools_until());
    // Somebody sees the renewal when it was sent, at the earliest.
    assert!(own.tools_until() < at(0) + L);
    assert!(times.renewal() * 2 < times.effects());
}

#[test]
fn a_lease_runs_out_when_it_was_seen_unchanged_for_a_period() {
    let mut table = table();
    assert_eq!(wait(&mut table, 0, 12), []);
    assert!(!is_gone(&table, 1, at(12)));
    assert_eq!(table.tick(at(13)), [host()]);
    assert!(is_gone(&table, 1, at(13)));
    assert_eq!(table.tick(at(14)), [], "told once");
    assert_eq!(
        table.host_standing(&host(), at(20)),
        Standing::Gone {
            since: Duration::from_secs(7)
        }
    );
    // It comes back.
    table.saw(&host(), Incarnation(1), L, 11, at(21));
    assert!(!is_gone(&table, 1, at(21)));
}

#[test]
fn renewals_keep_it() {
    let mut table = table();
    for second in 1..100 {
        table.saw(&host(), Incarnation(1), L, 10 + second, at(second));
        assert_eq!(table.tick(at(second)), []);
    }
    // The same revision again is no renewal.
    table.saw(&host(), Incarnation(1), L, 109, at(105));
    assert_eq!(wait(&mut table, 100, 112), [host()]);
}

#[test]
fn what_was_not_seen_while_disconnected_proves_nothing() {
    let mut table = table();
    table.disconnected();
    assert_eq!(table.tick(at(500)), []);
    table.connected(at(500));
    assert_eq!(wait(&mut table, 500, 512), []);
    assert_eq!(table.tick(at(513)), [host()]);
}

#[test]
fn another_life_and_a_clean_end_free_it_at_once() {
    let mut table = table();
    table.saw(&host(), Incarnation(2), L, 11, at(3));
    assert!(is_gone(&table, 1, at(3)));
    assert!(!is_gone(&table, 2, at(3)));
    assert_eq!(table.host_standing(&host(), at(3)), Standing::Alive);
    table.saw_left(&host(), 12, at(4));
    assert!(is_gone(&table, 2, at(4)));
    assert!(table.host_standing(&host(), at(4)).is_gone());
}

#[test]
fn who_stood_still_itself_takes_nobody_for_gone() {
    let mut table = table();
    table.tick(at(1));
    // Stopped for a minute: the renewals of that time are not read yet.
    assert_eq!(table.tick(at(60)), []);
    assert_eq!(table.tick(at(62)), []);
    table.saw(&host(), Incarnation(1), L, 30, at(62));
    assert!(!is_gone(&table, 1, at(72)));
}

#[test]
fn an_unknown_host_is_gone_once_everything_is_known() {
    let mut table = LeaseTable::default();
    table.connected(at(0));
    assert!(!is_gone(&table, 1, at(0)));
    table.is_complete(at(1));
    assert!(is_gone(&table, 1, at(2)));
}
