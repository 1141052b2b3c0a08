//! Brings a fault about while a host waits at its gate.

use std::time::Duration;

use infraflow_tests::nats::RawClient;
use infraflow_tests::wait::pause_for;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::judge::Violation;
use crate::play::{LEASE, Play};
use crate::scenario::Fault;

/// The stream of journals.
const RUNS: &str = "RUNS";

/// Strikes, and lets the host through its gate.
pub(crate) fn strike(play: &mut Play<'_>, fault: Fault, victim: usize) -> Result<(), Violation> {
    match fault {
        Fault::Kill => kill(play, victim),
        Fault::Term => {
            play.tell_to_end(victim);
            pause_for(play.random.millis(0..=400));
        }
        Fault::Stop => stop(play, victim),
        Fault::NatsKill => nats_kill(play, victim),
        Fault::Cut => cut(play, victim),
        Fault::DiskFull => disk_full(play, victim)?,
        Fault::Twice => {
            play.publish();
            play.publish();
            pause_for(play.random.millis(0..=300));
        }
        Fault::ClockForward => {
            let seconds = clock_step(play);
            play.cluster.member(victim).set_clock(seconds);
        }
        Fault::ClockBack => {
            let seconds = clock_step(play);
            play.cluster.member(victim).set_clock(-seconds);
        }
    }
    play.cluster.member(victim).open_gate();
    Ok(())
}

fn kill(play: &mut Play<'_>, victim: usize) {
    let is_alone = play.cluster.members.len() == 1;
    let delay = match is_alone || play.random.coin() {
        true => Duration::ZERO,
        false => LEASE * 3,
    };
    let member = play.cluster.member(victim);
    member.host.signal(Signal::KILL);
    member.host.wait_until_gone();
    play.comes_back_after(victim, delay);
}

/// By how many seconds a clock steps.
fn clock_step(play: &mut Play<'_>) -> i64 {
    let steps: &[i64] = match play.waits_for_a_time() {
        true => &[2, 7, 15],
        false => &[7, 90, 3_000],
    };
    play.random.pick(steps).copied().unwrap_or(7)
}

/// Past its lease, so long that others have found that; alone, any time.
fn stop(play: &mut Play<'_>, victim: usize) {
    let time = if play.cluster.members.len() == 1 {
        play.random.millis(100..=millis(LEASE))
    } else {
        play.random
            .millis(millis(LEASE) + 500..=millis(LEASE * 5 / 2))
    };
    let member = play.cluster.member(victim);
    member.host.signal(Signal::STOP);
    pause_for(time);
    // Open before it goes on: what it does next, it does with what it believes.
    member.open_gate();
    member.host.signal(Signal::CONT);
}

fn nats_kill(play: &mut Play<'_>, victim: usize) {
    let is_early = play.random.coin();
    let time = play.random.millis(0..=1_500);
    play.cluster.server.kill();
    if is_early {
        play.cluster.member(victim).open_gate();
    }
    pause_for(time);
    play.cluster.server.restart();
}

fn cut(play: &mut Play<'_>, victim: usize) {
    let stands = play.random.coin();
    let time = play.random.millis(50..=millis(LEASE * 3 / 2));
    let member = play.cluster.member(victim);
    match stands {
        true => member.proxy.stall(),
        false => member.proxy.cut(),
    }
    member.open_gate();
    pause_for(time);
    member.proxy.restore();
}

/// The disk, where there is one to fill, or the stream.
fn disk_full(play: &mut Play<'_>, victim: usize) -> Result<(), Violation> {
    let time = play.random.millis(300..=1_500);
    let fills_the_disk = play.cluster.disk().is_some() && play.random.coin();
    if !fills_the_disk {
        return stream_full(play, victim, time);
    }
    if let Some(disk) = play.cluster.disk() {
        disk.fill();
    }
    play.cluster.member(victim).open_gate();
    pause_for(time);
    if let Some(disk) = play.cluster.disk() {
        disk.make_room();
    }
    // What an operator does: JetStream stays off after it could not write.
    play.cluster.server.kill();
    play.cluster.server.restart();
    Ok(())
}

fn stream_full(play: &mut Play<'_>, victim: usize, time: Duration) -> Result<(), Violation> {
    let mut client = RawClient::connect(&play.cluster.server.url(), "", "");
    let info = api(&mut client, &format!("STREAM.INFO.{RUNS}"), &json!({}))?;
    let config = info.get("config").cloned().unwrap_or_default();
    let used = info.pointer("/state/bytes").cloned().unwrap_or_default();
    let mut full = config.clone();
    if let Some(fields) = full.as_object_mut() {
        fields.insert("max_bytes".to_owned(), used);
    }
    api(&mut client, &format!("STREAM.UPDATE.{RUNS}"), &full)?;
    play.cluster.member(victim).open_gate();
    pause_for(time);
    api(&mut client, &format!("STREAM.UPDATE.{RUNS}"), &config)?;
    Ok(())
}

fn api(client: &mut RawClient, verb: &str, body: &Value) -> Result<Value, Violation> {
    let answer = client.request(&format!("$JS.API.{verb}"), &body.to_string());
    let value: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    match value.get("error") {
        None => Ok(value),
        Some(error) => Err(Violation::new("the harness", format!("{verb}: {error}"))),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
