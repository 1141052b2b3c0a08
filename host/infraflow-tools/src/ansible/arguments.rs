//! Ansible's command line, environment and private files: functions of data.

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::Json;
use infraflow_core::limits::ByteCount;
use infraflow_core::tool::{
    Become, CallError, Connection, Diff, GuestPath, PlaybookMode, PlaybookRequest,
};

use crate::errors::{too_large, too_many};
use crate::jail::Places;
use crate::limits::{FORKS, INVENTORIES, VARS};
use crate::shim::PrivateFile;

/// Secrets of a connection, as values.
#[derive(Default)]
pub(super) struct ConnectionSecrets {
    pub(super) private_key: Option<String>,
    pub(super) known_hosts: Option<String>,
    pub(super) vault_password: Option<String>,
}

/// What every Ansible command of a request has in common.
pub(super) struct Prepared {
    pub(super) arguments: Vec<String>,
    pub(super) files: Vec<PrivateFile>,
    pub(super) environment: Vec<(String, String)>,
}

/// Checks what can be seen without touching anything.
pub(super) fn check(request: &PlaybookRequest) -> Result<(), CallError> {
    check_inventory(&request.inventory)?;
    let vars = serde_json::to_vec(&request.extra_vars).map_or(usize::MAX, |json| json.len());
    if vars > VARS.to_usize() {
        return Err(too_large("vars_bytes", VARS));
    }
    if let Some(forks) = request.forks
        && !(1..=FORKS).contains(&forks)
    {
        return Err(CallError::Invalid(format!(
            "forks {forks}: expected 1 to {FORKS}"
        )));
    }
    if request.verbosity > 4 {
        return Err(CallError::Invalid(format!(
            "verbosity {}: expected 0 to 4",
            request.verbosity
        )));
    }
    for (what, list) in [
        ("limit", &request.limit),
        ("tags", &request.tags),
        ("skip_tags", &request.skip_tags),
    ] {
        if let Some(bad) = list
            .iter()
            .find(|item| item.trim().is_empty() || has_control(item))
        {
            return Err(CallError::Invalid(format!(
                "{what} holds `{}`: expected a word",
                bad.escape_debug()
            )));
        }
    }
    check_connection(&request.connection)
}

pub(super) fn check_inventory(inventory: &[GuestPath]) -> Result<(), CallError> {
    if inventory.len() > INVENTORIES {
        return Err(too_many("inventories", INVENTORIES));
    }
    Ok(())
}

pub(super) fn check_connection(connection: &Connection) -> Result<(), CallError> {
    let become_user = match &connection.become_user {
        Become::User(user) => Some(user),
        Become::AsPlaybook | Become::Root => None,
    };
    for (what, user) in [
        ("user", connection.user.as_ref()),
        ("become_user", become_user),
    ] {
        if let Some(user) = user
            && (user.is_empty() || user.len() > 256 || has_control(user))
        {
            return Err(CallError::Invalid(format!(
                "{what} `{}`: expected a user name",
                user.escape_debug()
            )));
        }
    }
    Ok(())
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Options for `ansible-playbook`, without the playbook. Nothing secret is in
/// them.
pub(super) fn prepare(
    request: &PlaybookRequest,
    secrets: ConnectionSecrets,
    places: &Places,
    installed: Installed,
) -> Prepared {
    let mut arguments = Vec::new();
    let mut files = Vec::new();
    for inventory in &request.inventory {
        arguments.extend(["-i".to_owned(), places.of(inventory).into_string()]);
    }
    if !request.limit.is_empty() {
        // By a file: the failed hosts of a large inventory do not fit an
        // argument, and a pattern that starts with `@` would name a file.
        let path = places.private.join("limit");
        arguments.push(format!("--limit=@{path}"));
        files.push(private(path, request.limit.join("\n") + "\n"));
    }
    for (option, tags) in [
        ("--tags", &request.tags),
        ("--skip-tags", &request.skip_tags),
    ] {
        if !tags.is_empty() {
            arguments.push(format!("{option}={}", tags.join(",")));
        }
    }
    if !request.extra_vars.is_empty() {
        let path = places.private.join("extra_vars.json");
        arguments.push(format!("--extra-vars=@{path}"));
        let vars = Json::Object(request.extra_vars.clone()).to_string();
        files.push(private(path, vars));
    }
    if request.mode == PlaybookMode::Check {
        arguments.push("--check".to_owned());
    }
    if request.diff == Diff::Show {
        arguments.push("--diff".to_owned());
    }
    if let Some(forks) = request.forks {
        arguments.push(format!("--forks={forks}"));
    }
    if request.verbosity > 0 {
        arguments.push(format!("-{}", "v".repeat(request.verbosity.into())));
    }
    connect(
        &request.connection,
        secrets,
        places,
        &mut arguments,
        &mut files,
    );
    let environment = environment(places, installed);
    Prepared {
        arguments,
        files,
        environment,
    }
}

fn connect(
    connection: &Connection,
    secrets: ConnectionSecrets,
    places: &Places,
    arguments: &mut Vec<String>,
    files: &mut Vec<PrivateFile>,
) {
    if let Some(user) = &connection.user {
        arguments.push(format!("--user={user}"));
    }
    match &connection.become_user {
        Become::AsPlaybook => {}
        Become::Root => arguments.push("--become".to_owned()),
        Become::User(user) => {
            arguments.extend(["--become".to_owned(), format!("--become-user={user}")]);
        }
    }
    if let Some(key) = secrets.private_key {
        let path = places.private.join("private_key");
        arguments.push(format!("--private-key={path}"));
        files.push(private(path, with_newline(key)));
    }
    if let Some(password) = secrets.vault_password {
        let path = places.private.join("vault_password");
        arguments.push(format!("--vault-password-file={path}"));
        files.push(private(path, password));
    }
    let known_hosts = match secrets.known_hosts {
        Some(text) => {
            let path = places.private.join("known_hosts");
            files.push(private(path.clone(), with_newline(text)));
            path
        }
        None => "/dev/null".into(),
    };
    for program in SSH_PROGRAMS {
        files.push(PrivateFile {
            path: wrapper(places, program),
            mode: 0o700,
            text: ssh_wrapper(program, &known_hosts),
        });
    }
}

/// The programs by which Ansible reaches hosts.
const SSH_PROGRAMS: [&str; 3] = ["ssh", "sftp", "scp"];

fn wrapper(places: &Places, program: &str) -> Utf8PathBuf {
    places.private.join("bin").join(program)
}

/// `ssh` that always checks host keys: the first value of an option counts, so
/// neither `ansible.cfg` nor an inventory can turn it off by mistake.
fn ssh_wrapper(program: &str, known_hosts: &Utf8Path) -> String {
    let file = shell_quoted(&format!("UserKnownHostsFile=\"{known_hosts}\""));
    format!(
        "#!/bin/sh\nexec /usr/bin/{program} -o StrictHostKeyChecking=yes -o {file} \
         -o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no \"$@\"\n"
    )
}

/// Where roles and collections that were installed are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Installed {
    /// In the workspace: `install-requirements` puts them there, and they stay
    /// with it.
    InWorkspace,
    /// Nowhere. Ansible makes its home folder in any case, so it gets one that
    /// is private to the call.
    Nowhere,
}

/// The folder of the workspace that holds what was installed.
pub(super) const INSTALLED: &str = ".ansible";

fn environment(places: &Places, installed: Installed) -> Vec<(String, String)> {
    let home = match installed {
        Installed::InWorkspace => places.workspace.join(INSTALLED),
        Installed::Nowhere => places.home.join(INSTALLED),
    };
    let mut environment: Vec<(String, String)> = [
        ("ANSIBLE_NOCOWS", "1".to_owned()),
        ("ANSIBLE_NOCOLOR", "1".to_owned()),
        ("ANSIBLE_RETRY_FILES_ENABLED", "False".to_owned()),
        ("ANSIBLE_HOST_KEY_CHECKING", "True".to_owned()),
        ("ANSIBLE_PIPELINING", "True".to_owned()),
        ("ANSIBLE_HOME", home.into_string()),
        (
            "ANSIBLE_LOCAL_TEMP",
            places.tmp.join("ansible").into_string(),
        ),
        (
            "ANSIBLE_SSH_CONTROL_PATH_DIR",
            places.tmp.join("cp").into_string(),
        ),
        (
            "ANSIBLE_GALAXY_CACHE_DIR",
            places.tmp.join("galaxy").into_string(),
        ),
        (
            "ANSIBLE_GALAXY_TOKEN_PATH",
            places.tmp.join("galaxy_token").into_string(),
        ),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ("PYTHONUNBUFFERED", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for program in SSH_PROGRAMS {
        let name = format!("ANSIBLE_{}_EXECUTABLE", program.to_ascii_uppercase());
        environment.push((name, wrapper(places, program).into_string()));
    }
    environment
}

/// The private files that make ansible-runner run a playbook, and its
/// arguments.
pub(super) fn for_runner(
    prepared: &mut Prepared,
    playbook: &Utf8Path,
    directory: &Utf8Path,
    places: &Places,
) -> Vec<String> {
    let folder = places.private.join("runner");
    let options: Vec<String> = prepared
        .arguments
        .iter()
        .map(|text| shell_quoted(text))
        .collect();
    prepared
        .files
        .push(private(folder.join("env/cmdline"), options.join(" ")));
    // Its own copy of the output would only use up memory.
    let settings = "{\"suppress_output_file\": true, \"pexpect_timeout\": 1}";
    prepared
        .files
        .push(private(folder.join("env/settings"), settings.to_owned()));
    [
        "run",
        folder.as_str(),
        "--json",
        "--ident",
        "run",
        "--project-dir",
        directory.as_str(),
        "-p",
        playbook.as_str(),
    ]
    .map(str::to_owned)
    .into()
}

pub(super) fn private(path: Utf8PathBuf, text: String) -> PrivateFile {
    PrivateFile {
        path,
        mode: 0o600,
        text,
    }
}

/// OpenSSH refuses keys without a newline at their end.
fn with_newline(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A word for a shell, and for Python's `shlex`.
pub(crate) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

/// The most that a request's own words may take; far above what anybody writes.
pub(super) const OPTIONS: ByteCount = ByteCount::kib(64);

/// Checks the length of what becomes options.
pub(super) fn check_length(arguments: &[String]) -> Result<(), CallError> {
    let bytes: usize = arguments.iter().map(|text| text.len() + 1).sum();
    if bytes > OPTIONS.to_usize() {
        return Err(too_large("ansible_option_bytes", OPTIONS));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jail::{Network, Room};
    use proptest::prelude::*;

    fn places() -> Places {
        Places::inside(&Room {
            workspace: Some("/data/work/r".into()),
            network: Network::None,
            read_only: vec![],
            binds: vec![],
        })
    }

    pub(crate) fn request() -> PlaybookRequest {
        PlaybookRequest {
            playbook: GuestPath::new("deploy/site.yml").unwrap(),
            inventory: vec![],
            limit: vec![],
            tags: vec![],
            skip_tags: vec![],
            extra_vars: infraflow_core::JsonMap::new(),
            mode: PlaybookMode::Apply,
            diff: Diff::Hide,
            forks: None,
            verbosity: 0,
            connection: Connection::default(),
        }
    }

    fn arguments(request: &PlaybookRequest) -> String {
        let prepared = prepare(
            request,
            ConnectionSecrets::default(),
            &places(),
            Installed::Nowhere,
        );
        prepared.arguments.join(" ")
    }

    #[test]
    fn every_field_becomes_its_option() {
        type Change = fn(&mut PlaybookRequest);
        let cases: [(Change, &str); 12] = [
            (|_| {}, ""),
            (
                |r| r.inventory = vec![GuestPath::new("inv/a").unwrap(), GuestPath::root()],
                "-i /workspace/inv/a -i /workspace",
            ),
            (
                |r| r.limit = vec!["web".into(), "@x".into()],
                "--limit=@/run/infraflow/private/limit",
            ),
            (|r| r.tags = vec!["a".into(), "b".into()], "--tags=a,b"),
            (|r| r.skip_tags = vec!["-c".into()], "--skip-tags=-c"),
            (
                |r| drop(r.extra_vars.insert("k".into(), 1.into())),
                "--extra-vars=@/run/infraflow/private/extra_vars.json",
            ),
            (|r| r.mode = PlaybookMode::Check, "--check"),
            (|r| r.diff = Diff::Show, "--diff"),
            (|r| r.forks = Some(7), "--forks=7"),
            (|r| r.verbosity = 3, "-vvv"),
            (|r| r.connection.user = Some("-x".into()), "--user=-x"),
            (
                |r| r.connection.become_user = Become::User("db".into()),
                "--become --become-user=db",
            ),
        ];
        for (change, expected) in cases {
            let mut request = request();
            change(&mut request);
            assert_eq!(check(&request), Ok(()));
            assert_eq!(arguments(&request), expected);
        }
    }

    #[test]
    fn secrets_are_files_and_never_arguments() {
        let secrets = ConnectionSecrets {
            private_key: Some("KEY".into()),
            known_hosts: Some("HOSTS\n".into()),
            vault_password: Some("VAULT".into()),
        };
        let mut prepared = prepare(&request(), secrets, &places(), Installed::Nowhere);
        let runner = for_runner(
            &mut prepared,
            Utf8Path::new("/workspace/site.yml"),
            Utf8Path::new("/workspace"),
            &places(),
        );
        let shown = format!(
            "{:?}{runner:?}{:?}",
            prepared.arguments, prepared.environment
        );
        for secret in ["KEY", "HOSTS", "VAULT"] {
            assert!(
                !shown
                    .replace("ANSIBLE_HOST_KEY_CHECKING", "")
                    .contains(secret),
                "{shown}"
            );
        }
        let file = |name: &str| {
            let path = places().private.join(name);
            prepared
                .files
                .iter()
                .find(|file| file.path == path)
                .unwrap()
        };
        assert_eq!(file("private_key").text, "KEY\n");
        assert_eq!(file("private_key").mode, 0o600);
        assert_eq!(file("known_hosts").text, "HOSTS\n");
        assert_eq!(file("vault_password").text, "VAULT");
        assert!(file("bin/ssh").text.contains("known_hosts"));
        assert!(file("runner/env/cmdline").text.contains("'--private-key="));
    }

    #[test]
    fn without_known_hosts_no_host_is_known() {
        let prepared = prepare(
            &request(),
            ConnectionSecrets::default(),
            &places(),
            Installed::Nowhere,
        );
        let ssh = prepared
            .files
            .iter()
            .find(|f| f.path.ends_with("bin/ssh"))
            .unwrap();
        assert!(ssh.text.contains("StrictHostKeyChecking=yes"));
        assert!(ssh.text.contains("UserKnownHostsFile=\"/dev/null\""));
    }

    #[test]
    fn requests_at_and_past_their_limits() {
        type Change = fn(&mut PlaybookRequest);
        let good: [Change; 3] = [
            |r| r.forks = Some(FORKS),
            |r| r.verbosity = 4,
            |r| r.inventory = vec![GuestPath::root(); INVENTORIES],
        ];
        for change in good {
            let mut request = request();
            change(&mut request);
            assert_eq!(check(&request), Ok(()));
        }
        let bad: [Change; 9] = [
            |r| r.forks = Some(0),
            |r| r.forks = Some(FORKS + 1),
            |r| r.verbosity = 5,
            |r| r.inventory = vec![GuestPath::root(); INVENTORIES + 1],
            |r| r.limit = vec![" ".into()],
            |r| r.tags = vec!["a\nb".into()],
            |r| r.connection.user = Some(String::new()),
            |r| r.connection.become_user = Become::User("a\0".into()),
            |r| {
                let long = "x".repeat(VARS.to_usize());
                r.extra_vars.insert("k".into(), long.into());
            },
        ];
        for (number, change) in bad.into_iter().enumerate() {
            let mut request = request();
            change(&mut request);
            assert!(check(&request).is_err(), "case {number}");
        }
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(shell_quoted("a b"), "'a b'");
        assert_eq!(shell_quoted("it's"), "'it'\"'\"'s'");
        assert_eq!(shell_quoted("$(x)`y`\\"), "'$(x)`y`\\'");
    }

    proptest! {
        /// Whatever a word holds, it stays one word of a shell.
        #[test]
        fn a_quoted_word_is_one_word(text in "[a-z '\"$`\\\\\n]{0,20}") {
            let quoted = shell_quoted(&text);
            let mut plain = String::new();
            let mut rest = quoted.as_str();
            while !rest.is_empty() {
                let quote = rest.chars().next().unwrap();
                let (inner, tail) = rest.strip_prefix(quote).unwrap().split_once(quote).unwrap();
                plain.push_str(inner);
                rest = tail;
            }
            prop_assert_eq!(plain, text);
        }
    }
}
