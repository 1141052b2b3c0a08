//! Real Ansible: on localhost in the jail, and by ssh.

use infraflow_core::JsonMap;
use infraflow_core::line::Level;
use infraflow_core::mask::MaskSet;
use infraflow_core::ports::{StopReason, Tools as _};
use infraflow_core::tool::{
    CallError, Connection, Diff, PingRequest, PlaybookEnding, PlaybookMode, PlaybookRequest,
    PlaybookResult, ProcessEnd,
};

use crate::ssh::{Sshd, user};
use crate::world::{Attempt, World, guest, soon, tools_bin};

const LOCAL: &str = "localhost ansible_connection=local\n";

fn request(playbook: &str) -> PlaybookRequest {
    PlaybookRequest {
        playbook: guest(playbook),
        inventory: vec![guest("hosts")],
        limit: vec![],
        tags: vec![],
        skip_tags: vec![],
        extra_vars: JsonMap::new(),
        mode: PlaybookMode::Apply,
        diff: Diff::Hide,
        forks: None,
        verbosity: 0,
        connection: Connection::default(),
    }
}

/// A world with a playbook for localhost.
async fn world_of(playbook: &str) -> World {
    let world = World::new().await;
    world.write("run", "hosts", LOCAL).await;
    world.write("run", "site.yml", playbook).await;
    world
}

async fn run(world: &World, attempt: &Attempt, request: PlaybookRequest) -> PlaybookResult {
    let run = world.door.run_playbook(&attempt.scope, request);
    soon("Ansible", run).await.unwrap()
}

async fn run_site(world: &World) -> (PlaybookResult, Attempt) {
    let attempt = world.attempt("run");
    let result = run(world, &attempt, request("site.yml")).await;
    (result, attempt)
}

fn counts(result: &PlaybookResult) -> Vec<String> {
    let shown = result.hosts.iter().map(|h| {
        format!(
            "{} ok={} changed={} failed={} unreachable={} skipped={} rescued={} ignored={}",
            h.host, h.ok, h.changed, h.failures, h.unreachable, h.skipped, h.rescued, h.ignored
        )
    });
    shown.collect()
}

const EVERYTHING: &str = r#"
- hosts: all
  gather_facts: true
  tasks:
    - name: write
      copy: { content: "{{ text }}\n", dest: "{{ playbook_dir }}/written" }
      tags: [write]
    - name: skip
      debug: { msg: never }
      when: false
    - name: ignore
      command: /bin/false
      ignore_errors: true
      tags: [ignore]
    - name: count
      set_stats: { data: { version: "1.2", hosts: ["{{ inventory_hostname }}"] } }
"#;

#[tokio::test]
async fn a_playbook_changes_what_it_says_and_counts_it() {
    let world = world_of(EVERYTHING).await;
    let attempt = world.attempt("run");
    let mut wanted = request("site.yml");
    wanted
        .extra_vars
        .insert("text".to_owned(), "it's \"quoted\"".into());
    let result = run(&world, &attempt, wanted).await;
    let lines = attempt.lines.texts();
    assert_eq!(result.ending, PlaybookEnding::Succeeded, "{lines:#?}");
    assert_eq!(result.end, ProcessEnd::Exited(0));
    assert_eq!(
        counts(&result),
        ["localhost ok=4 changed=2 failed=0 unreachable=0 skipped=1 rescued=0 ignored=1"]
    );
    assert_eq!(
        serde_json::Value::from(result.custom_stats),
        serde_json::json!({"hosts": ["localhost"], "version": "1.2"})
    );
    assert_eq!(result.message, "");
    let written = world.workspace("run").join("written");
    assert_eq!(
        std::fs::read_to_string(written).unwrap(),
        "it's \"quoted\"\n"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("PLAY [all] ***")),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("changed: [localhost]")),
        "{lines:#?}"
    );
    assert!(
        !lines
            .iter()
            .any(|line| line.contains('\u{1b}') || line.contains('\r'))
    );
    assert!(!attempt.scope.facts.leaked_handles());
    let names = std::fs::read_dir(world.workspace("run")).unwrap().flatten();
    let mut names: Vec<_> = names
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["hosts", "site.yml", "written"],
        "nothing else is left behind"
    );
}

#[tokio::test]
async fn check_diff_and_tags() {
    let world = world_of(EVERYTHING).await;
    let attempt = world.attempt("run");
    let mut wanted = request("site.yml");
    wanted.extra_vars.insert("text".to_owned(), "new".into());
    wanted.mode = PlaybookMode::Check;
    wanted.diff = Diff::Show;
    wanted.tags = vec!["write".to_owned(), "never".to_owned()];
    wanted.skip_tags = vec!["ignore".to_owned()];
    wanted.forks = Some(2);
    wanted.verbosity = 1;
    let result = run(&world, &attempt, wanted).await;
    assert_eq!(
        counts(&result),
        ["localhost ok=2 changed=1 failed=0 unreachable=0 skipped=0 rescued=0 ignored=0"]
    );
    assert!(
        !world.workspace("run").join("written").exists(),
        "it only checked"
    );
    let lines = attempt.lines.texts();
    assert!(lines.iter().any(|line| line == "+new"), "{lines:#?}");
}

#[tokio::test]
async fn failed_tasks_are_named() {
    let world = world_of(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: break it\n      \
         command: sh -c 'echo because >&2; exit 3'\n",
    )
    .await;
    let (result, attempt) = run_site(&world).await;
    assert_eq!(result.ending, PlaybookEnding::HostsFailed);
    assert_eq!(result.end, ProcessEnd::Exited(2));
    assert_eq!(
        result.message,
        "localhost: task `break it`: non-zero return code (exit code 3): because"
    );
    let errors = attempt.lines.all();
    assert!(
        errors
            .iter()
            .any(|l| l.level == Level::Error && l.text.contains("FAILED!"))
    );
}

#[tokio::test]
async fn a_rescued_failure_is_a_success() {
    let world = world_of(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - block:\n        - fail: { msg: no }\n      \
         rescue:\n        - debug: { msg: rescued }\n",
    )
    .await;
    let (result, _) = run_site(&world).await;
    assert_eq!(result.ending, PlaybookEnding::Succeeded);
    assert_eq!(result.message, "");
    assert_eq!(
        counts(&result),
        ["localhost ok=1 changed=0 failed=0 unreachable=0 skipped=0 rescued=1 ignored=0"]
    );
}

#[tokio::test]
async fn what_never_runs_says_why() {
    let world = world_of("- hosts: all\n  tasks: [\n").await;
    let (result, _) = run_site(&world).await;
    assert_eq!(result.ending, PlaybookEnding::NotRun);
    assert_eq!(
        result.end,
        ProcessEnd::Exited(4),
        "the code of unreachable hosts too"
    );
    assert!(
        result.message.starts_with("[ERROR]: YAML parsing failed"),
        "{}",
        result.message
    );

    world
        .write(
            "run",
            "site.yml",
            "- hosts: all\n  tasks:\n    - no_such_module: {}\n",
        )
        .await;
    let (result, _) = run_site(&world).await;
    assert_eq!(result.ending, PlaybookEnding::NotRun);
    assert!(
        result.message.contains("no_such_module"),
        "{}",
        result.message
    );

    world
        .write("run", "site.yml", "- hosts: nobody\n  tasks: []\n")
        .await;
    let (result, _) = run_site(&world).await;
    assert_eq!(
        (result.ending, result.message.as_str()),
        (PlaybookEnding::NotRun, "no hosts matched")
    );

    let mut limited = request("site.yml");
    limited.limit = vec!["nobody".to_owned()];
    let result = run(&world, &world.attempt("run"), limited).await;
    assert_eq!(result.ending, PlaybookEnding::NotRun);
    assert!(
        result.message.contains("no hosts to target"),
        "{}",
        result.message
    );
}

#[tokio::test]
async fn paths_are_checked_before_anything_runs() {
    let world = world_of(EVERYTHING).await;
    let attempt = world.attempt("run");
    let link = world.workspace("run").join("link.yml");
    std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
    for (playbook, inventory, expected) in [
        (
            "none.yml",
            "hosts",
            CallError::NotFound("`none.yml`".to_owned()),
        ),
        (
            "link.yml",
            "hosts",
            CallError::Invalid("`link.yml`: it leads out of the workspace".to_owned()),
        ),
        (
            "",
            "hosts",
            CallError::Invalid("`.`: expected a regular file".to_owned()),
        ),
        ("site.yml", "inv", CallError::NotFound("`inv`".to_owned())),
    ] {
        let mut wanted = request(playbook);
        wanted.inventory = vec![guest(inventory)];
        let told = world.door.run_playbook(&attempt.scope, wanted).await;
        assert_eq!(told, Err(expected));
    }
    assert_eq!(attempt.lines.texts(), Vec::<String>::new());
}

#[tokio::test]
async fn the_jail_says_no_to_a_curious_playbook() {
    let world = world_of(
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - name: look
      stat: { path: "{{ item }}" }
      loop: "{{ paths }}"
      register: found
    - set_stats: { data: { seen: "{{ found.results | selectattr('stat.exists') | map(attribute='item') | list }}" } }
"#,
    )
    .await;
    world.write("other", "file", "of another run").await;
    let mut wanted = request("site.yml");
    let paths = [
        world.data_dir.clone(),
        world.data_dir.join("lock"),
        world.workspace("other"),
        "/etc/shadow".into(),
        "/root/.ssh".into(),
        "/workspace/site.yml".into(),
    ];
    let paths: Vec<String> = paths
        .into_iter()
        .map(camino::Utf8PathBuf::into_string)
        .collect();
    wanted.extra_vars.insert("paths".to_owned(), paths.into());
    let result = run(&world, &world.attempt("run"), wanted).await;
    assert_eq!(
        result.custom_stats["seen"],
        serde_json::json!(["/workspace/site.yml"]),
        "{}",
        result.message
    );
}

const VAULTED: &str = "\
$ANSIBLE_VAULT;1.1;AES256
66376136353761326365316331623538383339306337326131356362663031613335356439333131
3361386566643130353965653535656138356431333438340a646636643331326463396331303662
34666161303135353432623330656262656532663633626338356239373361656364616631366163
3032616362626137390a613362313430326666363535616438386236613130323264366437353563
33633932616264363331636333656235333135663037313266653266353663313931
";

#[tokio::test]
async fn a_vault_is_opened_by_its_secret() {
    let playbook = "- hosts: all\n  gather_facts: false\n  vars_files: [vault.yml]\n  tasks:\n    \
                    - debug: { var: vaulted }\n";
    let world = World::with(&[("vault", "vault-password")], |_| {}).await;
    world.write("run", "hosts", LOCAL).await;
    world.write("run", "play/site.yml", playbook).await;
    world.write("run", "play/vault.yml", VAULTED).await;
    let mut wanted = request("play/site.yml");
    let result = run(&world, &world.attempt("run"), wanted.clone()).await;
    assert_ne!(
        result.ending,
        PlaybookEnding::Succeeded,
        "without the password"
    );
    wanted.connection.vault_password = Some("vault".parse().unwrap());
    let attempt = world.attempt("run");
    let result = run(&world, &attempt, wanted.clone()).await;
    assert_eq!(
        result.ending,
        PlaybookEnding::Succeeded,
        "{}",
        result.message
    );
    let lines = attempt.lines.texts().join("\n");
    assert!(lines.contains("from-the-vault"), "{lines}");
    wanted.connection.vault_password = Some("none".parse().unwrap());
    let told = world.door.run_playbook(&attempt.scope, wanted).await;
    assert_eq!(told, Err(CallError::NotFound("secret `none`".to_owned())));
}

#[tokio::test]
async fn an_event_that_is_very_long_is_cut_into_lines() {
    let world = world_of(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - debug: { msg: \"{{ 'x' * 5242880 }}\" }\n",
    )
    .await;
    let (result, attempt) = run_site(&world).await;
    assert_eq!(
        result.ending,
        PlaybookEnding::Succeeded,
        "{}",
        result.message
    );
    let bytes: usize = attempt.lines.texts().iter().map(String::len).sum();
    assert!(bytes > 5_242_880, "{bytes}");
    assert!(attempt.lines.all().iter().any(|line| line.continues));
}

#[tokio::test]
async fn a_stopped_playbook_ends() {
    let marker = crate::world::marker();
    let world = world_of(&format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: wait\n      \
         command: sleep 1000.{marker}\n"
    ))
    .await;
    let attempt = world.attempt("run");
    let call = run(&world, &attempt, request("site.yml"));
    let stop = async {
        let runs = || !crate::world::processes_with(&format!("1000.{marker}")).is_empty();
        crate::world::eventually("the task", runs).await;
        attempt.stop.stop(StopReason::Cancel);
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = call => result,
        () = stop => unreachable!(),
    };
    assert_ne!(result.ending, PlaybookEnding::Succeeded);
    assert_eq!(crate::world::processes_with(&marker), Vec::<i32>::new());
}

#[tokio::test]
async fn without_ansible_runner_the_output_says_the_same() {
    let plain = tempfile::tempdir().unwrap();
    let folder = camino::Utf8Path::from_path(plain.path()).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder, open).unwrap();
    for name in ["ansible-playbook", "ansible-galaxy"] {
        std::os::unix::fs::symlink(tools_bin().join(name), folder.join(name)).unwrap();
    }
    let world = World::with(&[], |config| config.ansible = Some(folder.to_owned())).await;
    world.write("run", "hosts", LOCAL).await;
    world.write("run", "site.yml", EVERYTHING).await;
    let mut wanted = request("site.yml");
    wanted.extra_vars.insert("text".to_owned(), "x".into());
    let result = run(&world, &world.attempt("run"), wanted).await;
    assert_eq!(
        counts(&result),
        ["localhost ok=4 changed=2 failed=0 unreachable=0 skipped=1 rescued=0 ignored=1"]
    );
    assert_eq!(result.custom_stats["version"], "1.2");
    assert_eq!(result.ending, PlaybookEnding::Succeeded);

    // Without `text` its first task fails.
    let (result, _) = run_site(&world).await;
    assert_eq!(result.ending, PlaybookEnding::HostsFailed);
    assert!(
        result.message.starts_with("localhost: task `write`: "),
        "{}",
        result.message
    );
    world.write("run", "site.yml", "- hosts: [\n").await;
    let (result, _) = run_site(&world).await;
    assert_eq!(result.ending, PlaybookEnding::NotRun);
    assert!(
        result.message.starts_with("[ERROR]: YAML parsing failed"),
        "{}",
        result.message
    );
}

#[tokio::test]
async fn requirements_are_installed_into_the_workspace() {
    let world = World::new().await;
    world.write("run", "hosts", LOCAL).await;
    let files = [
        (
            "requirements.yml",
            "collections:\n  - { name: ./collection, type: dir }\n",
        ),
        (
            "collection/galaxy.yml",
            "namespace: acme\nname: tools\nversion: 1.0.0\nreadme: README.md\nauthors: [me]\n",
        ),
        ("collection/README.md", "x"),
        (
            "collection/roles/hello/tasks/main.yml",
            "- debug: { msg: from-the-collection }\n",
        ),
        (
            "site.yml",
            "- hosts: all\n  gather_facts: false\n  roles: [acme.tools.hello]\n",
        ),
    ];
    for (path, text) in files {
        world.write("run", path, text).await;
    }
    let ungranted = world.attempt("run");
    let refused = world
        .door
        .install_requirements(&ungranted.scope, guest("requirements.yml"));
    assert!(matches!(refused.await, Err(CallError::NotGranted(_))));
    let attempt = world.attempt_with("run", &["network"]);
    let missing = world
        .door
        .install_requirements(&attempt.scope, guest("none.yml"));
    assert_eq!(
        missing.await,
        Err(CallError::NotFound("`none.yml`".to_owned()))
    );
    let install = world
        .door
        .install_requirements(&attempt.scope, guest("requirements.yml"));
    let result = soon("galaxy", install).await.unwrap();
    assert_eq!(
        result.ending,
        PlaybookEnding::Succeeded,
        "{:#?}",
        attempt.lines.texts()
    );
    let (result, attempt) = run_site(&world).await;
    assert_eq!(
        result.ending,
        PlaybookEnding::Succeeded,
        "{}",
        result.message
    );
    let lines = attempt.lines.texts().join("\n");
    assert!(lines.contains("from-the-collection"), "{lines}");
}

// ---- by ssh ---------------------------------------------------------------------

struct Ssh {
    world: World,
    sshd: Sshd,
}

async fn by_ssh() -> Ssh {
    let sshd = Sshd::start();
    let secrets = [
        ("key", sshd.private_key.as_str()),
        ("other-key", sshd.other_key.as_str()),
        ("hosts", sshd.known_hosts.as_str()),
        ("wrong-hosts", sshd.wrong_known_hosts.as_str()),
    ];
    let world = World::with(&secrets, |_| {}).await;
    let inventory = format!(
        "web ansible_host=127.0.0.1 ansible_port={} ansible_python_interpreter=/usr/bin/python3\n",
        sshd.port
    );
    world.write("run", "hosts", &inventory).await;
    let playbook = "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: write\n      \
                    copy: { content: by-ssh, dest: \"{{ dest }}\" }\n";
    world.write("run", "site.yml", playbook).await;
    // What would turn the check off by mistake.
    world
        .write("run", "ansible.cfg", "[defaults]\nhost_key_checking = False\n[ssh_connection]\nssh_args = -o StrictHostKeyChecking=no\n")
        .await;
    Ssh { world, sshd }
}

fn connection(key: &str, hosts: Option<&str>) -> Connection {
    Connection {
        user: Some(user()),
        private_key: Some(key.parse().unwrap()),
        known_hosts: hosts.map(|name| name.parse().unwrap()),
        ..Connection::default()
    }
}

#[tokio::test]
async fn by_ssh_with_the_key_and_the_host_key_checked() {
    let Ssh { world, sshd } = by_ssh().await;
    let dest = world.outside.join("written");
    let mut wanted = request("site.yml");
    wanted
        .extra_vars
        .insert("dest".to_owned(), dest.as_str().into());
    let cases = [
        (
            "wrong host key",
            connection("key", Some("wrong-hosts")),
            "Host key verification failed",
        ),
        (
            "no known hosts",
            connection("key", None),
            "Host key verification failed",
        ),
        (
            "wrong key",
            connection("other-key", Some("hosts")),
            "Permission denied",
        ),
    ];
    for (name, connection, expected) in cases {
        let attempt = world.attempt_with("run", &["network"]);
        wanted.connection = connection;
        let result = run(&world, &attempt, wanted.clone()).await;
        assert_eq!(result.ending, PlaybookEnding::HostsUnreachable, "{name}");
        assert_eq!(result.end, ProcessEnd::Exited(4), "{name}");
        assert!(
            result.message.contains(expected),
            "{name}: {}",
            result.message
        );
        assert_eq!(
            counts(&result),
            ["web ok=0 changed=0 failed=0 unreachable=1 skipped=0 rescued=0 ignored=0"]
        );
        assert!(!dest.exists(), "{name}");
    }
    wanted.connection = connection("key", Some("hosts"));
    // Without the network nobody is reached.
    let offline = run(&world, &world.attempt("run"), wanted.clone()).await;
    assert_eq!(offline.ending, PlaybookEnding::HostsUnreachable);

    let mut attempt = world.attempt_with("run", &["network"]);
    attempt.scope.mask = MaskSet::new([sshd.private_key.as_str()]);
    let result = run(&world, &attempt, wanted).await;
    assert_eq!(
        result.ending,
        PlaybookEnding::Succeeded,
        "{}",
        result.message
    );
    assert_eq!(
        std::fs::read_to_string(dest).unwrap(),
        "by-ssh",
        "outside of the jail"
    );
    assert!(
        !attempt.scope.facts.leaked_handles(),
        "a kept connection is no leak"
    );
}

#[tokio::test]
async fn ping_tells_who_answers() {
    let Ssh { world, sshd } = by_ssh().await;
    let more = format!("\nnobody ansible_host=127.0.0.1 ansible_port=1\nlocal {LOCAL}");
    let more = more.replace("local localhost", "local");
    let inventory = format!(
        "web ansible_host=127.0.0.1 ansible_port={} ansible_python_interpreter=/usr/bin/python3{more}",
        sshd.port
    );
    world.write("run", "hosts", &inventory).await;
    let attempt = world.attempt_with("run", &["network"]);
    let ping = |limit: &[&str]| {
        let request = PingRequest {
            inventory: vec![guest("hosts")],
            limit: limit.iter().map(|&text| text.to_owned()).collect(),
            connection: connection("key", Some("hosts")),
        };
        soon("ping", world.door.ping(&attempt.scope, request))
    };
    let result = ping(&[]).await.unwrap();
    assert_eq!(
        result.ending,
        PlaybookEnding::HostsUnreachable,
        "{}",
        result.message
    );
    assert_eq!(
        counts(&result),
        [
            "local ok=1 changed=0 failed=0 unreachable=0 skipped=0 rescued=0 ignored=0",
            "nobody ok=0 changed=0 failed=0 unreachable=1 skipped=0 rescued=0 ignored=0",
            "web ok=1 changed=0 failed=0 unreachable=0 skipped=0 rescued=0 ignored=0"
        ]
    );
    let result = ping(&["web", "local"]).await.unwrap();
    assert_eq!(result.ending, PlaybookEnding::Succeeded);
    assert_eq!(result.hosts.len(), 2);
}
