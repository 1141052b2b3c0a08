#!/usr/bin/env bash
# Breaks one promise after the other behind its test-only switch, and shows that
# the promise's test fails. Takes about ten minutes; `make promises` builds what
# it needs.
#
#   tests/promises.sh [<break>...]
set -uo pipefail
cd "$(dirname "$0")/.."

export INFRAFLOW_BIN=$PWD/target/debug/infraflow-faults

cases=(
  "AckBeforeRecord crashes::promise_02_killed_at_created"
  "AckWorkBeforeEnd crashes::promise_02_a_run_that_was_given_back_is_not_forgotten"
  "RandomRunId triggers::promise_03_an_event_with_an_id_makes_one_run_however_often_it_comes"
  "NoRecovery crashes::promise_04_killed_at_attempt_started"
  "NoFencing hosts::promise_04_a_zombie_does_no_harm"
  "NoLeases hosts::promise_04_runs_of_living_hosts_are_left_alone"
  "NoTimers waiting::promise_04_timers_survive_the_death_of_everything"
  "LocksLeak waiting::promise_04_a_lock_is_free_when_its_run_is_over"
  "ForgetFinishedSteps crashes::promise_05_a_finished_step_is_not_run_again"
  "GrantEverything running::promise_06_a_plugin_without_a_grant_reaches_nothing"
  "NoDeadline running::promise_07_a_step_that_takes_too_long_is_stopped_with_all_it_started"
  "NoMasking running::promise_08_a_secret_is_never_shown"
  "LostLinesFail logs::promise_09_a_plugin_that_floods_loses_lines_and_nothing_else"
  "AlwaysReady lifecycle::promise_10_a_host_without_nats_is_not_ready"
  "SilentShutdown lifecycle::promise_12_a_shutdown_records_what_it_interrupts"
)

run() { cargo test --quiet --workspace --test it -- --exact "$1" 2>&1; }

failed=0
for case in "${cases[@]}"; do
  read -r broken test <<<"$case"
  if [ $# -gt 0 ] && [[ " $* " != *" $broken "* ]]; then continue; fi
  if ! output=$(run "$test") || ! grep -q "1 passed" <<<"$output"; then
    echo "FAIL  $broken: its test $test fails before anything is broken"
    tail -n 20 <<<"$output"
    failed=1
    continue
  fi
  if INFRAFLOW_BREAK=$broken run "$test" >/dev/null; then
    echo "FAIL  $broken: $test does not notice"
    failed=1
  else
    echo "ok    $broken: $test fails, as it should"
  fi
done
exit $failed
