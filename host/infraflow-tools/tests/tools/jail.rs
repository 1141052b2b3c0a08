//! What hostile code can see and do from inside.

use infraflow_core::ports::{Tools as _, Trust};
use infraflow_core::tool::{CallError, ProcessEnd};
use infraflow_tools::CommandSpec;
use infraflow_tools::jail::{Jail, JailConfig, JailMode, JailStatus, JailView, TOOL_UID};

use crate::world::{World, command, is_root, program, soon};

#[tokio::test]
async fn a_jail_holds_by_its_own_probe() {
    let status = soon("the probe", Jail::probe(&JailConfig::new(program()))).await;
    let JailStatus::Holds(view) = status else {
        panic!("{status:?}");
    };
    let own = rustix::process::getuid().as_raw();
    assert_eq!(view.uid, if is_root() { TOOL_UID } else { own });
    assert!(view.no_new_privileges);
    assert!(view.capabilities.bytes().all(|b| b == b'0'));
}

#[tokio::test]
async fn without_bubblewrap_the_package_is_named() {
    let mut config = JailConfig::new(program());
    config.bubblewrap = Some("/nonexistent/bwrap".into());
    let JailStatus::Missing { reason, mend } = Jail::probe(&config).await else {
        panic!("there is no bubblewrap");
    };
    assert_eq!(reason, "bubblewrap is not there");
    assert!(mend.contains("`bubblewrap`"), "{mend}");
    config.bubblewrap = Some("/bin/false".into());
    let JailStatus::Missing { reason, .. } = Jail::probe(&config).await else {
        panic!("this is no bubblewrap");
    };
    assert!(reason.contains("Exited(1)"), "{reason}");
    config.mode = JailMode::Off;
    assert_eq!(Jail::probe(&config).await, JailStatus::Off);
}

/// Our own program as a command: it looks around.
async fn look(world: &World, paths: &[&str]) -> JailView {
    let mut arguments = vec!["shim", "look"];
    arguments.extend(paths);
    let attempt = world.attempt("look");
    let looked = world
        .door
        .run_command(&attempt.scope, command("look", &arguments));
    let output = soon("looking", looked).await.unwrap();
    assert_eq!(
        output.end,
        ProcessEnd::Exited(0),
        "{:?}",
        attempt.lines.texts()
    );
    serde_json::from_str(&output.stdout).unwrap()
}

async fn world_that_looks() -> World {
    World::with(&[], |config| {
        let spec = CommandSpec::new(program());
        config.commands.insert("look".parse().unwrap(), spec);
    })
    .await
}

#[tokio::test]
async fn hostile_code_sees_nothing_of_the_host() {
    let world = world_that_looks().await;
    world.write("other", "secret.txt", "of another run").await;
    let shown: Vec<String> = [
        world.data_dir.clone(),
        world.data_dir.join("lock"),
        world.data_dir.join("work"),
        world.workspace("other"),
        world.outside.clone(),
        "/etc/shadow".into(),
        "/root".into(),
        "/var/lib".into(),
        "/var/run".into(),
        "/sys".into(),
        "/home".into(),
    ]
    .into_iter()
    .map(camino::Utf8PathBuf::into_string)
    .collect();
    let paths: Vec<&str> = shown.iter().map(String::as_str).collect();
    let view = look(&world, &paths).await;
    let expected: Vec<std::path::PathBuf> = vec!["/home".into()];
    assert_eq!(
        view.visible, expected,
        "of /home there is only the tool's own"
    );
    assert_eq!(view.foreign_processes, 0);
    assert!(view.interfaces.is_empty());
    assert!(view.writable.is_empty(), "{:?}", view.writable);
    assert!(view.no_new_privileges);
    if is_root() {
        assert_eq!(view.uid, TOOL_UID);
        assert!(!view.can_signal_init);
        assert!(view.capability_bounds.bytes().all(|b| b == b'0'));
    }
}

#[tokio::test]
async fn what_it_may_see_is_its_workspace_and_a_clean_environment() {
    let world = World::new().await;
    world.write("mine", "file", "hello").await;
    let attempt = world.attempt("mine");
    let script = "pwd; cat file; echo; env | sort | cut -d= -f1 | tr '\\n' ' '; echo; \
                  touch new /tmp/x $HOME/y; id -un; ls -ld . | cut -c1-10";
    let output = world.sh(&attempt, script).await.unwrap();
    assert_eq!(
        output.stdout,
        "/workspace\nhello\nHOME LANG LOGNAME PATH PWD SHELL TERM TMPDIR USER \ninfraflow\ndrwxr-xr-x\n"
    );
    assert!(world.workspace("mine").join("new").exists());
}

#[tokio::test]
async fn a_jail_has_the_network_only_when_it_is_configured() {
    use std::io::Read as _;
    let world = World::with(&[], |config| {
        let mut spec = CommandSpec::new("/bin/bash".into());
        config
            .commands
            .insert("offline".parse().unwrap(), spec.clone());
        spec.network = true;
        config.commands.insert("online".parse().unwrap(), spec);
    })
    .await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("echo through > /dev/tcp/127.0.0.1/{port}");
    let attempt = world.attempt("net");
    let run = |name| {
        world
            .door
            .run_command(&attempt.scope, command(name, &["-c", &script]))
    };
    let offline = soon("offline", run("offline")).await.unwrap();
    assert_eq!(offline.end, ProcessEnd::Exited(1));
    let online = soon("online", run("online")).await.unwrap();
    assert_eq!(online.end, ProcessEnd::Exited(0));
    let mut text = String::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "through\n");
}

#[tokio::test]
async fn untrusted_code_does_not_run_where_no_jail_can_be_made() {
    let world = World::with(&[], |config| {
        config.jail.bubblewrap = Some("/nonexistent/bwrap".into());
    })
    .await;
    let mut attempt = world.attempt("x");
    let refused = world.sh(&attempt, "echo ran").await.unwrap_err();
    let CallError::Unavailable(text) = refused else {
        panic!("{refused:?}");
    };
    assert!(text.contains("`bubblewrap`"), "{text}");
    assert_eq!(attempt.lines.texts(), Vec::<String>::new());

    attempt.scope.trust = Trust::Trusted;
    let output = world.sh(&attempt, "echo ran").await.unwrap();
    assert_eq!(output.stdout, "ran\n");
    let warning = &attempt.lines.texts()[0];
    assert!(warning.contains("runs without a jail"), "{warning}");
}

#[tokio::test]
async fn with_the_jail_off_by_name_tools_see_the_host() {
    let world = World::without_jail().await;
    let attempt = world.attempt("open");
    let output = world.sh(
        &attempt,
        "pwd; test -e /proc/self/root/etc/shadow && echo host",
    );
    let output = output.await.unwrap();
    assert_eq!(
        output.stdout,
        format!("{}\nhost\n", world.workspace("open"))
    );
    assert_eq!(attempt.lines.texts().len(), 2, "no warning");
    let left = std::fs::read_dir(world.data_dir.join("private/loose")).unwrap();
    assert_eq!(left.count(), 0, "private folders are removed");
}

#[tokio::test]
async fn nothing_of_a_call_shows_in_the_process_list() {
    let world = World::with(&[("token", "hunter2-hunter2")], |_| {}).await;
    let attempt = world.attempt("ps");
    let mut request = command("sh", &["-c", "echo up; cat"]);
    request.secret_env.push(infraflow_core::tool::SecretEnv {
        variable: "TOKEN".to_owned(),
        secret: "token".parse().unwrap(),
    });
    request.args[1] = "echo up; sleep 600".to_owned();
    let call = world.door.run_command(&attempt.scope, request);
    let watch = async {
        attempt.lines.wait_for("up").await;
        crate::world::processes_with("hunter2-hunter2")
    };
    tokio::select! {
        end = call => panic!("{end:?}"),
        found = soon("the tool", watch) => assert_eq!(found, Vec::<i32>::new()),
    }
    assert_eq!(
        crate::world::processes_with(world.data_dir.as_str()),
        Vec::<i32>::new()
    );
}

#[tokio::test]
async fn a_fork_bomb_ends_with_its_jail() {
    // The kernel counts the processes of the user, and other tests have some, too.
    let world = World::with(&[], |config| config.jail.limits.processes = Some(400)).await;
    let marker = crate::world::marker();
    let attempt = world.attempt("bomb");
    let script = format!(
        "i=0; while [ $i -lt 30 ]; do setsid sleep 1000.{marker} & i=$((i+1)); done; echo up; wait"
    );
    let call = world
        .door
        .run_command(&attempt.scope, command("sh", &["-c", &script]));
    tokio::select! {
        end = call => panic!("{end:?}"),
        () = soon("the bomb", attempt.lines.wait_for("up")) => {}
    }
    let gone = || crate::world::processes_with(&marker).is_empty();
    crate::world::eventually("their end", gone).await;
}
