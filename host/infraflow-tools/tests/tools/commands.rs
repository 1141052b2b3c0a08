//! Processes that behave badly, and the `command` capability.

use std::time::{Duration, Instant};

use infraflow_core::limits::{COMMAND_STDOUT, LOG_LINE};
use infraflow_core::line::Stream;
use infraflow_core::mask::MaskSet;
use infraflow_core::ports::{StopReason, Tools as _};
use infraflow_core::tool::{CallError, ProcessEnd, SecretEnv};
use infraflow_tools::CommandSpec;

use crate::world::{Attempt, World, command, eventually, guest, marker, processes_with, soon};

async fn both_ways() -> [World; 2] {
    [World::new().await, World::without_jail().await]
}

#[tokio::test]
async fn ends_are_told_as_they_were() {
    for world in both_ways().await {
        for (script, end) in [
            ("exit 0", ProcessEnd::Exited(0)),
            ("exit 3", ProcessEnd::Exited(3)),
            // Not by the number that shells make of it.
            ("exit 143", ProcessEnd::Exited(143)),
            ("kill -9 $$", ProcessEnd::Signalled(9)),
            ("kill -TERM $$", ProcessEnd::Signalled(15)),
            ("kill -SEGV $$", ProcessEnd::Signalled(11)),
        ] {
            let output = world.sh(&world.attempt("ends"), script).await.unwrap();
            assert_eq!(output.end, end, "{script}");
        }
    }
}

#[tokio::test]
async fn a_tool_that_ignores_term_is_killed_after_its_grace() {
    for world in both_ways().await {
        let marker = marker();
        let attempt = world.attempt("stubborn");
        let script = format!(
            "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 1000.{marker}\" & \
             echo up; while :; do sleep 1000.{marker}; done"
        );
        let call = world.sh(&attempt, &script);
        let stop = async {
            attempt.lines.wait_for("up").await;
            attempt.stop.stop(StopReason::Cancel);
            std::future::pending::<()>().await;
        };
        let begun = Instant::now();
        let output = tokio::select! {
            output = call => output.unwrap(),
            () = stop => unreachable!(),
        };
        assert_eq!(output.end, ProcessEnd::Signalled(9));
        assert!(begun.elapsed() >= world.config.grace);
        assert_eq!(
            processes_with(&marker),
            Vec::<i32>::new(),
            "gone when it returns"
        );
    }
}

#[tokio::test]
async fn term_reaches_every_process_inside() {
    for world in both_ways().await {
        let attempt = world.attempt("polite");
        // Both the script and a child in a session of its own say goodbye.
        let script = "setsid sh -c 'trap \"echo child; exit 0\" TERM; echo up; while :; do sleep 0.05; done' & \
                      trap 'wait; echo parent; exit 7' TERM; while :; do sleep 0.05; done";
        let call = world.sh(&attempt, script);
        let stop = async {
            attempt.lines.wait_for("up").await;
            attempt.stop.stop(StopReason::Timeout);
            std::future::pending::<()>().await;
        };
        let output = tokio::select! {
            output = call => output.unwrap(),
            () = stop => unreachable!(),
        };
        assert_eq!(
            output.end,
            ProcessEnd::Exited(7),
            "{:?}",
            attempt.lines.texts()
        );
        assert!(
            output.stdout.contains("child\nparent\n"),
            "{}",
            output.stdout
        );
    }
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipe_is_waited_for_and_then_ended() {
    for world in both_ways().await {
        let marker = marker();
        let attempt = world.attempt("leak");
        let script = format!("setsid sleep 1000.{marker} & echo done");
        let output = world.sh(&attempt, &script).await.unwrap();
        assert_eq!(output.end, ProcessEnd::Exited(0));
        assert_eq!(output.stdout, "done\n");
        assert!(attempt.scope.facts.leaked_handles());
        assert_eq!(processes_with(&marker), Vec::<i32>::new());

        // One that ends in time is no leak, and its output is not lost.
        let attempt = world.attempt("late");
        let output = world.sh(&attempt, "(sleep 0.1; echo late) & echo early");
        assert_eq!(output.await.unwrap().stdout, "early\nlate\n");
        assert!(!attempt.scope.facts.leaked_handles());
    }
}

#[tokio::test]
async fn dropping_a_call_kills_its_tool() {
    for world in both_ways().await {
        let marker = marker();
        let attempt = world.attempt("dropped");
        let script =
            format!("trap '' TERM; setsid sleep 1000.{marker} & echo up; sleep 1000.{marker}");
        tokio::select! {
            output = world.sh(&attempt, &script) => panic!("{output:?}"),
            () = soon("the tool", attempt.lines.wait_for("up")) => {}
        }
        eventually("its end", || processes_with(&marker).is_empty()).await;
    }
}

#[tokio::test]
async fn output_of_every_kind_arrives() {
    let world = World::new().await;
    let attempt = world.attempt("many");
    let script = "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; \
                  yes x | head -n 99000; printf 'a\\377b\\nno newline'";
    let output = world.sh(&attempt, script).await.unwrap();
    assert!(output.stdout_truncated);
    assert_eq!(output.stdout.len(), COMMAND_STDOUT.to_usize());
    let texts = attempt.lines.texts();
    assert_eq!(texts.len(), 100_002);
    assert_eq!(texts[999], "line 999");
    assert_eq!(texts[100_000], "a\u{fffd}b");
    assert_eq!(texts[100_001], "no newline");
}

#[tokio::test]
async fn a_line_of_five_megabytes_is_split_and_not_lost() {
    let world = World::new().await;
    let attempt = world.attempt("long");
    let script = "head -c 5242880 /dev/zero | tr '\\0' x; echo; echo end";
    world.sh(&attempt, script).await.unwrap();
    let lines = attempt.lines.all();
    let (end, pieces) = lines.split_last().unwrap();
    assert_eq!(end.text, "end");
    assert_eq!(pieces.len(), 5_242_880 / LOG_LINE.to_usize());
    assert!(pieces.iter().rev().skip(1).all(|line| line.continues));
    assert!(!pieces.last().unwrap().continues);
}

#[tokio::test]
async fn both_streams_can_flood_at_once() {
    let world = World::new().await;
    let attempt = world.attempt("flood");
    let script = "yes out | head -n 50000 & yes err | head -n 50000 >&2; wait";
    world.sh(&attempt, script).await.unwrap();
    let lines = attempt.lines.all();
    let count = |stream| lines.iter().filter(|line| line.stream == stream).count();
    assert_eq!(
        (count(Stream::Stdout), count(Stream::Stderr)),
        (50_000, 50_000)
    );
}

#[tokio::test]
async fn promise_08_a_secret_is_masked_however_it_is_written() {
    let secret = "s3cr3t-of-the-step";
    let world = World::with(&[("token", secret)], |_| {}).await;
    let mut attempt = world.attempt("masked");
    attempt.scope.mask = MaskSet::new([secret]);
    let mut request = command(
        "sh",
        &[
            "-c",
            "printf s3cr3t; sleep 0.1; echo -of-the-step; echo $TOKEN | base64; echo $TOKEN >&2",
        ],
    );
    request.secret_env.push(SecretEnv {
        variable: "TOKEN".to_owned(),
        secret: "token".parse().unwrap(),
    });
    let output = soon("it", world.door.run_command(&attempt.scope, request))
        .await
        .unwrap();
    assert!(output.stdout.starts_with("***\n***"), "{}", output.stdout);
    let texts = attempt.lines.texts().join("\n");
    assert!(
        !texts.contains("s3cr3t") && !texts.contains("of-the-step"),
        "{texts}"
    );
    assert_eq!(texts.matches("***").count(), 3, "{texts}");
}

#[tokio::test]
async fn a_full_disk_is_the_tools_failure_and_not_ours() {
    if !crate::world::is_root() {
        return; // Needs a mount of its own.
    }
    let world = World::new().await;
    world.write("full", "x", "x").await;
    let workspace = world.workspace("full");
    let mount = Mount::small(workspace.as_str());
    let attempt = world.attempt("full");
    let script = "head -c 2000000 /dev/zero > big; echo ended $?";
    let output = world.sh(&attempt, script).await.unwrap();
    assert_eq!(output.stdout, "ended 1\n");
    let data = vec![0; 2_000_000];
    let written = world
        .door
        .write_file(&attempt.scope, guest("more"), data)
        .await;
    assert_eq!(
        written,
        Err(CallError::Unavailable(
            "use `more`: the disk is full".to_owned()
        ))
    );
    let names = std::fs::read_dir(&workspace).unwrap().flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["big"], "nothing half written is left");
    drop(mount);
}

/// A small file system that is gone at the end.
struct Mount(String);

impl Mount {
    fn small(path: &str) -> Self {
        let options = format!(
            "size=1m,mode=755,uid={uid},gid={uid}",
            uid = infraflow_tools::jail::TOOL_UID
        );
        #[expect(clippy::disallowed_methods, reason = "a test sets its scene")]
        let mut command = std::process::Command::new("mount");
        let made = command
            .args(["-t", "tmpfs", "-o", &options, "tmpfs", path])
            .status();
        assert!(made.unwrap().success());
        Self(path.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "a test clears up")]
        let mut command = std::process::Command::new("umount");
        let _ = command.args(["-l", &self.0]).status();
    }
}

#[tokio::test]
async fn a_missing_program_or_folder_is_named() {
    let world = World::with(&[], |config| {
        let spec = CommandSpec::new("/usr/bin/nothing-of-that-name".into());
        config.commands.insert("missing".parse().unwrap(), spec);
        let spec = CommandSpec::new("/etc/hostname".into());
        config.commands.insert("no-program".parse().unwrap(), spec);
    })
    .await;
    let attempt = world.attempt("missing");
    for name in ["missing", "no-program"] {
        let run = world.door.run_command(&attempt.scope, command(name, &[]));
        let Err(CallError::Unavailable(text)) = soon(name, run).await else {
            panic!("{name}");
        };
        assert!(text.starts_with("start `/"), "{text}");
    }
    let mut request = command("true", &[]);
    request.dir = guest("no/such/folder");
    let run = world.door.run_command(&attempt.scope, request).await;
    assert_eq!(run, Err(CallError::NotFound("`no/such/folder`".to_owned())));
    let run = world
        .door
        .run_command(&attempt.scope, command("truee", &[]))
        .await;
    let Err(CallError::NotFound(text)) = run else {
        panic!("there is no such command");
    };
    assert_eq!(
        text,
        "command `truee` (configured: cat, missing, no-program, sh, true)"
    );
}

#[tokio::test]
async fn requests_at_and_past_their_limits() {
    let world = World::new().await;
    let attempt = world.attempt("limits");
    let run = async |request| {
        let run = world.door.run_command(&attempt.scope, request);
        soon("the command", run).await.map(|output| output.end)
    };
    let fine = Ok(ProcessEnd::Exited(0));
    let limit = |name, value, unit| Err(CallError::LimitExceeded { name, value, unit });
    use infraflow_core::tool::Unit::{Bytes, Items};

    let longest = "x".repeat(128 * 1024 - 1);
    assert_eq!(run(command("true", &[&longest])).await, fine);
    let longer = "x".repeat(128 * 1024);
    assert_eq!(
        run(command("true", &[&longer])).await,
        limit("argument_bytes", 131_072, Bytes)
    );
    assert_eq!(run(command("true", &["x"; 256])).await, fine);
    assert_eq!(
        run(command("true", &["x"; 257])).await,
        limit("arguments", 256, Items)
    );
    let mut request = command("true", &[]);
    request.stdin = Some(vec![0; 1 << 20]);
    assert_eq!(run(request.clone()).await, fine);
    request.stdin = Some(vec![0; (1 << 20) + 1]);
    assert_eq!(run(request).await, limit("stdin_bytes", 1 << 20, Bytes));
    let mut request = command("true", &[]);
    request.env.push(("LD_PRELOAD".to_owned(), "/x".to_owned()));
    assert!(matches!(run(request).await, Err(CallError::Invalid(_))));
    let mut request = command("true", &[]);
    request.secret_env.push(SecretEnv {
        variable: "TOKEN".to_owned(),
        secret: "none".parse().unwrap(),
    });
    assert_eq!(
        run(request).await,
        Err(CallError::NotFound("secret `none`".to_owned()))
    );
}

#[tokio::test]
async fn standard_input_is_closed_or_given() {
    for world in both_ways().await {
        let attempt = world.attempt("stdin");
        let run = async |stdin| {
            let mut request = command("cat", &[]);
            request.stdin = stdin;
            let run = world.door.run_command(&attempt.scope, request);
            soon("cat", run).await.unwrap().stdout
        };
        assert_eq!(run(None).await, "");
        assert_eq!(run(Some(b"given".to_vec())).await, "given");
    }
}

#[tokio::test]
async fn tools_wait_for_a_place_and_give_up_when_they_are_to_end() {
    let world = World::with(&[], |config| config.active = 1).await;
    let first = world.attempt("first");
    let second = world.attempt("second");
    let holds = world.sh(&first, "echo up; sleep 600");
    let story = async {
        first.lines.wait_for("up").await;
        let waiting = world.sh(&second, "echo ran");
        tokio::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
        assert!(early.is_err(), "there is one place");
        second.stop.stop(StopReason::Cancel);
        let Err(CallError::Unavailable(text)) = waiting.await else {
            panic!("it never started");
        };
        assert!(text.contains("before its tool started"), "{text}");
        assert_eq!(second.lines.texts(), Vec::<String>::new());
    };
    tokio::select! {
        output = holds => panic!("{output:?}"),
        () = story => {}
    }
    // The place is free again.
    let third: Attempt = world.attempt("third");
    assert_eq!(world.sh(&third, "echo ran").await.unwrap().stdout, "ran\n");
}
