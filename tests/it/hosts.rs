//! Several hosts on one NATS server: they share the work, take over from dead
//! ones and never from living ones, and hand over when they leave.

use infraflow_tests::cluster::Cluster;
use infraflow_tests::push;
use infraflow_tests::wait::{pause, wait_for};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::COMMANDS;
use crate::workflows::{call, log, manual, sh};

const LEASED: &str = "lease: 3s\nshutdown_grace: 200ms\n";

fn cluster(hosts: usize, more: &str) -> Cluster {
    Cluster::new(hosts, &format!("{COMMANDS}{LEASED}{more}"), None)
}

/// A step that waits for a file that its host's workspace does not get by itself.
fn waiting(id: &str, more: &str) -> String {
    sh(id, "while ! test -e go; do sleep 0.05; done", more)
}

/// The files of a run on a host.
fn files(cluster: &mut Cluster, host: usize, run: &str) -> PathBuf {
    cluster.member(host).host.path(&format!("data/work/{run}"))
}

/// Makes the file that a step of a run waits for, once its host has its files.
fn let_go(cluster: &mut Cluster, host: usize, run: &str) {
    let folder = files(cluster, host, run);
    wait_for("the files of the run", || folder.is_dir().then_some(()));
    fs::write(folder.join("go"), "").unwrap();
}

fn host_of(run: &Value) -> String {
    run["run"]["host"].as_str().unwrap_or_default().to_owned()
}

/// The hosts that claimed a run, in order.
fn claims(run: &Value) -> Vec<String> {
    let journal = run["journal"].as_array().unwrap().iter();
    journal
        .filter(|record| {
            let entries = record["entries"].as_array().unwrap();
            entries.iter().any(|entry| entry == "claimed")
        })
        .map(|record| record["host"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until both hosts know each other.
fn acquainted(cluster: &mut Cluster, hosts: usize) {
    for index in 0..hosts {
        let host = &cluster.member(index).host;
        wait_for("the hosts to know each other", || {
            let listed = host.json(&["host", "list"]);
            let alive = listed
                .as_array()?
                .iter()
                .filter(|host| host["state"] == "alive");
            (alive.count() == hosts).then_some(())
        });
    }
}

#[test]
fn a_new_host_takes_part() {
    let mut cluster = cluster(2, "limits: { runs_active: 1 }\n");
    cluster.workflow("w", &manual("w", &[waiting("wait", "")]));
    cluster.start(0..1);
    let alpha = &cluster.member(0).host;
    let first = alpha.trigger("w", &[]);
    alpha.until_state(&first, "running");
    let second = alpha.trigger("w", &[]);
    alpha.until_state(&second, "queued");
    cluster.start(1..2);
    let beta = &cluster.member(1).host;
    let taken = beta.until_state(&second, "running");
    assert_eq!(host_of(&taken), "beta", "{taken:#}");
    let_go(&mut cluster, 0, &first);
    let_go(&mut cluster, 1, &second);
    for run in [&first, &second] {
        assert_eq!(
            cluster.member(0).host.ended(run)["run"]["state"],
            "succeeded"
        );
    }
}

/// The files of a run go where the run goes; a finished step is not run again.
#[test]
fn promise_04_a_dead_host_is_replaced_within_its_lease() {
    let mut cluster = cluster(2, "");
    let steps = [
        call("one", &cluster.counter.url("one"), ""),
        sh(
            "file",
            "echo kept > kept.txt; mkdir sub; ln -s ../kept.txt sub/link",
            "",
        ),
        sh(
            "wait",
            "test \"$(cat sub/link)\" = kept; while ! test -e go; do sleep 0.05; done",
            "on_interrupt: retry",
        ),
        call("two", &cluster.counter.url("two"), ""),
    ];
    cluster.workflow("w", &manual("w", &steps));
    cluster.start(0..2);
    acquainted(&mut cluster, 2);
    let run = cluster.member(0).host.trigger("w", &[]);
    let first = wait_for("the waiting step", || {
        let shown = cluster.member(0).host.try_show(&run)?;
        (shown["run"]["step"] == "wait").then(|| host_of(&shown))
    });
    let (dead, alive) = if first == "alpha" { (0, 1) } else { (1, 0) };
    cluster.member(dead).host.kill();
    cluster.member(dead).host.nothing_is_left();
    let second = cluster.member(alive).name;
    let taken = wait_for("the other host to have it", || {
        let shown = cluster.member(alive).host.try_show(&run)?;
        (host_of(&shown) == second).then_some(shown)
    });
    assert_eq!(taken["run"]["state"], "running", "{taken:#}");
    // Restored before the step began again.
    wait_for("its files", || {
        let path = files(&mut cluster, alive, &run);
        (fs::read_to_string(path.join("sub/link")).ok()? == "kept\n").then_some(())
    });
    let_go(&mut cluster, alive, &run);
    let ended = cluster.member(alive).host.ended(&run);
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    assert_eq!(claims(&ended), [first, second.to_owned()], "{ended:#}");
    assert_eq!(
        (cluster.counter.count("one"), cluster.counter.count("two")),
        (1, 1)
    );
}

#[test]
fn promise_04_runs_of_living_hosts_are_left_alone() {
    let mut cluster = cluster(2, "");
    cluster.workflow("w", &manual("w", &[waiting("wait", "on_interrupt: retry")]));
    cluster.start(0..1);
    let run = cluster.member(0).host.trigger("w", &[]);
    cluster.member(0).host.until_state(&run, "running");
    // It looks for runs to take up at once, and again when it has seen the other.
    cluster.start(1..2);
    acquainted(&mut cluster, 2);
    pause(Duration::from_secs(4));
    let_go(&mut cluster, 0, &run);
    let ended = cluster.member(0).host.ended(&run);
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    assert_eq!(claims(&ended), ["alpha"], "{ended:#}");
}

/// A host that stands still past its lease: its tools are dead before another
/// host goes on, and when it comes back it does nothing.
#[test]
fn promise_04_a_zombie_does_no_harm() {
    let mut cluster = cluster(2, "");
    let script = format!(
        "echo $$ > pid; while ! test -e go; do sleep 0.05; done; curl -sS {}",
        cluster.counter.url("effect")
    );
    cluster.workflow(
        "w",
        &manual(
            "w",
            &[
                sh("work", &script, "on_interrupt: retry"),
                log("after", "done", ""),
            ],
        ),
    );
    let network = "commands: { sh: { program: /bin/sh, network: true } }\nlease: 3s\n";
    for index in 0..2 {
        let url = cluster.member(index).proxy.url();
        cluster
            .member(index)
            .host
            .configure(&format!("{network}nats: {{ url: \"{url}\" }}\n"));
    }
    cluster.start(0..1);
    let run = cluster.member(0).host.trigger("w", &[]);
    let path = wait_for("the tool to run", || {
        let shown = cluster.member(0).host.try_show(&run)?;
        let path = PathBuf::from(shown["workspace"].as_str()?);
        path.join("pid").exists().then_some(path)
    });
    cluster.start(1..2);
    cluster.member(0).host.signal(Signal::STOP);
    let taken = wait_for("the other host to have it", || {
        let shown = cluster.member(1).host.try_show(&run)?;
        (host_of(&shown) == "beta").then_some(shown)
    });
    assert_eq!(taken["run"]["state"], "running");
    // A tool that lived would act now, though its host still stands still.
    fs::write(path.join("go"), "").unwrap();
    pause(Duration::from_secs(1));
    assert_eq!(cluster.counter.count("effect"), 0, "the first tool is dead");
    cluster.member(0).host.signal(Signal::CONT);
    wait_for("the first host to be ready again", || {
        let ready = format!("{}/readyz", cluster.member(0).host.http());
        (push::get(&ready).status == 200).then_some(())
    });
    let_go(&mut cluster, 1, &run);
    let ended = cluster.member(1).host.ended(&run);
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    assert_eq!(cluster.counter.count("effect"), 1, "{ended:#}");
    assert_eq!(claims(&ended), ["alpha", "beta"]);
    for index in 0..2 {
        wait_for("both to agree", || {
            let shown = cluster.member(index).host.try_show(&run)?;
            (shown["run"]["state"] == "succeeded").then_some(())
        });
    }
}

#[test]
fn promise_12_a_leaving_host_hands_over() {
    let mut cluster = cluster(2, "");
    let steps = [
        sh("file", "echo kept > kept.txt", ""),
        sh(
            "wait",
            "cat kept.txt; while ! test -e go; do sleep 0.05; done",
            "on_interrupt: retry",
        ),
    ];
    cluster.workflow("w", &manual("w", &steps));
    // It is alone when it writes the files.
    cluster.start(0..1);
    let run = cluster.member(0).host.trigger("w", &[]);
    wait_for("the second step", || {
        let shown = cluster.member(0).host.try_show(&run)?;
        (shown["run"]["step"] == "wait").then_some(())
    });
    cluster.start(1..2);
    acquainted(&mut cluster, 2);
    assert_eq!(cluster.member(0).host.stop(), 0);
    cluster.member(0).host.nothing_is_left();
    wait_for("the other host to have it", || {
        let shown = cluster.member(1).host.try_show(&run)?;
        (host_of(&shown) == "beta").then_some(())
    });
    let_go(&mut cluster, 1, &run);
    let ended = cluster.member(1).host.ended(&run);
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    let hosts = cluster.member(1).host.json(&["host", "list"]);
    assert_eq!(hosts.as_array().unwrap().len(), 1, "{hosts:#}");
}

#[test]
fn a_drained_host_takes_nothing_and_gives_back() {
    let mut cluster = cluster(2, "");
    cluster.workflow(
        "w",
        &manual("w", &[waiting("wait", ""), sh("more", "true", "")]),
    );
    cluster.start(0..1);
    let held = cluster.member(0).host.trigger("w", &[]);
    cluster.member(0).host.until_state(&held, "running");
    cluster.start(1..2);
    acquainted(&mut cluster, 2);
    // Any host can be told about any other.
    let drained = cluster.member(1).host.json(&["host", "drain", "alpha"]);
    assert_eq!(drained["state"], "draining");
    let ready = format!("{}/readyz", cluster.member(0).host.http());
    let answer = wait_for("it to be not ready", || {
        let answer = push::get(&ready);
        (answer.status == 503).then_some(answer)
    });
    assert!(answer.body.contains("host undrain"), "{}", answer.body);
    for _ in 0..5 {
        let run = cluster.member(0).host.trigger("w", &[]);
        let shown = cluster.member(0).host.until_state(&run, "running");
        assert_eq!(host_of(&shown), "beta", "{shown:#}");
        let_go(&mut cluster, 1, &run);
        assert_eq!(
            cluster.member(1).host.ended(&run)["run"]["state"],
            "succeeded"
        );
    }
    // What it had goes to the other one after the attempt.
    let_go(&mut cluster, 0, &held);
    let ended = cluster.member(1).host.ended(&held);
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    assert_eq!(claims(&ended), ["alpha", "beta"], "{ended:#}");
    let undrained = cluster.member(1).host.json(&["host", "undrain", "alpha"]);
    assert_eq!(undrained["state"], "alive");
    wait_for("it to be ready", || {
        (push::get(&ready).status == 200).then_some(())
    });
    let audit = cluster.member(1).host.json(&["audit"]);
    let actions: Vec<&str> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["action"].as_str().unwrap())
        .collect();
    assert!(
        actions.contains(&"host.drain") && actions.contains(&"host.undrain"),
        "{actions:?}"
    );
}

#[test]
fn a_run_goes_to_the_hosts_of_its_pool() {
    let mut cluster = cluster(2, "");
    let url = cluster.member(1).proxy.url();
    cluster.member(1).host.configure(&format!(
        "{COMMANDS}{LEASED}pools: [dmz]\nnats: {{ url: \"{url}\" }}\n"
    ));
    let text = manual("w", &[log("hello", "hello", "")]).replacen(
        "on: manual\n",
        "on: manual\nruns_on: dmz\n",
        1,
    );
    cluster.workflow("w", &text);
    cluster.workflow("d", &manual("d", &[log("hello", "hello", "")]));
    cluster.start(0..1);
    let alpha = &cluster.member(0).host;
    let run = alpha.trigger("w", &[]);
    alpha.until_state(&run, "queued");
    cluster.start(1..2);
    let ended = cluster.member(0).host.ended(&run);
    assert_eq!(claims(&ended), ["beta"], "{ended:#}");
    for _ in 0..5 {
        let ended = cluster.member(1).host.run("d", &[]);
        assert_eq!(claims(&ended), ["alpha"], "{ended:#}");
    }
}

/// Files that were never stored pin the run to their host, for a while.
#[test]
fn promise_04_a_run_whose_files_are_lost_ends_interrupted() {
    let mut cluster = cluster(2, "workspace_grace: 8s\n");
    let steps = [
        sh("file", "echo kept > kept.txt", ""),
        waiting("wait", "on_interrupt: retry"),
    ];
    cluster.workflow("w", &manual("w", &steps));
    cluster.start(0..1);
    let run = cluster.member(0).host.trigger("w", &[]);
    wait_for("the second step", || {
        let shown = cluster.member(0).host.try_show(&run)?;
        (shown["run"]["step"] == "wait").then_some(())
    });
    cluster.member(0).host.kill();
    cluster.member(0).host.nothing_is_left();
    cluster.start(1..2);
    let ended = cluster.member(1).host.ended(&run);
    assert_eq!(ended["run"]["state"], "interrupted", "{ended:#}");
    let reason = ended["run"]["reason"].as_str().unwrap();
    assert!(
        reason.contains("files were on host `alpha` alone"),
        "{reason}"
    );
}

/// The same, and the host comes back in time.
#[test]
fn promise_04_a_run_waits_for_the_host_that_has_its_files() {
    let mut cluster = cluster(2, "");
    let steps = [
        sh("file", "echo kept > kept.txt", ""),
        sh(
            "wait",
            "cat kept.txt; while ! test -e go; do sleep 0.05; done",
            "on_interrupt: retry",
        ),
    ];
    cluster.workflow("w", &manual("w", &steps));
    cluster.start(0..1);
    let run = cluster.member(0).host.trigger("w", &[]);
    let path = wait_for("the second step", || {
        let shown = cluster.member(0).host.try_show(&run)?;
        (shown["run"]["step"] == "wait").then(|| files(&mut cluster, 0, &run))
    });
    cluster.member(0).host.kill();
    cluster.member(0).host.nothing_is_left();
    cluster.start(1..2);
    // Past the lease the other host still leaves it alone.
    pause(Duration::from_secs(5));
    let shown = cluster.member(1).host.show(&run);
    assert_eq!(claims(&shown), ["alpha"], "{shown:#}");
    fs::write(path.join("go"), "").unwrap();
    cluster.start(0..1);
    let ended = cluster.member(0).host.ended(&run);
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    assert_eq!(claims(&ended), ["alpha", "alpha"], "{ended:#}");
}

#[test]
fn promise_04_a_lock_outlives_no_run_whose_host_is_gone() {
    let mut cluster = cluster(2, "");
    let text =
        manual("w", &[waiting("wait", "")]).replacen("on: manual\n", "on: manual\nlock: one\n", 1);
    cluster.workflow("w", &text);
    cluster.start(0..1);
    let first = cluster.member(0).host.trigger("w", &[]);
    cluster.member(0).host.until_state(&first, "running");
    let second = cluster.member(0).host.trigger("w", &[]);
    cluster.member(0).host.until_state(&second, "blocked");
    cluster.start(1..2);
    acquainted(&mut cluster, 2);
    cluster.member(0).host.kill();
    cluster.member(0).host.nothing_is_left();
    let beta = &cluster.member(1).host;
    assert_eq!(beta.ended(&first)["run"]["state"], "interrupted");
    beta.until_state(&second, "running");
    let_go(&mut cluster, 1, &second);
    assert_eq!(
        cluster.member(1).host.ended(&second)["run"]["state"],
        "succeeded"
    );
}

#[test]
fn hosts_that_do_not_belong_together_are_refused() {
    let mut cluster = cluster(3, "");
    cluster.start(0..1);
    // Another key for sealed files.
    let other = "ff".repeat(32);
    cluster.member(1).host.write("data/keys/blobs.key", &other);
    cluster.member(1).host.spawn();
    assert_eq!(cluster.member(1).host.wait_until_gone(), 6);
    let log = cluster.member(1).host.log();
    assert!(log.contains("blobs.key"), "{log}");
    // One that wants the account for itself.
    let url = cluster.member(2).proxy.url();
    cluster
        .member(2)
        .host
        .configure(&format!("sole_host: true\nnats: {{ url: \"{url}\" }}\n"));
    cluster.member(2).host.spawn();
    assert_eq!(cluster.member(2).host.wait_until_gone(), 6);
    let log = cluster.member(2).host.log();
    assert!(log.contains("alpha"), "{log}");
    // A copy of a data directory that is in use.
    cluster
        .member(2)
        .host
        .configure(&format!("{LEASED}nats: {{ url: \"{url}\" }}\n"));
    cluster.member(2).host.write("data/host-name", "alpha\n");
    cluster.member(2).host.spawn();
    let gone = wait_for("one of the two to end", || {
        (0..3)
            .step_by(2)
            .find(|index| cluster.member(*index).host.exited().is_some())
    });
    let log = cluster.member(gone).host.log();
    assert!(log.contains("under this host's name"), "{log}");
}

/// A run waits when its host leaves: its files go with it, or stay where they
/// are, but never in between.
#[test]
fn promise_04_killed_at_files_stored() {
    for side in ["before", "after"] {
        let mut cluster = cluster(2, "workspace_grace: 1h\n");
        let steps = [
            sh("file", "echo kept > kept.txt", ""),
            "id: nap\nwait: { for: 12s }\n".to_owned(),
            sh("read", "test \"$(cat kept.txt)\" = kept", ""),
        ];
        cluster.workflow("w", &manual("w", &steps));
        let log = cluster.member(0).host.path("killed").display().to_string();
        let alpha = &mut cluster.member(0).host;
        alpha.set_env("INFRAFLOW_KILL", &format!("{side}:files_stored:1"));
        alpha.set_env("INFRAFLOW_KILL_LOG", &log);
        cluster.start(0..1);
        let run = cluster.member(0).host.trigger("w", &[]);
        cluster.member(0).host.until_state(&run, "waiting");
        cluster.start(1..2);
        acquainted(&mut cluster, 2);
        cluster.member(0).host.signal(Signal::TERM);
        assert_eq!(cluster.member(0).host.wait_until_gone(), 128 + 9, "{side}");
        cluster.member(0).host.nothing_is_left();
        if side == "before" {
            // Only it has the files: it must come back.
            cluster.member(0).disarm();
            cluster.start(0..1);
        }
        let ended = cluster.member(1).host.ended(&run);
        assert_eq!(ended["run"]["state"], "succeeded", "{side}: {ended:#}");
    }
}
