//! Checkouts of configured repositories.
//!
//! The address is always the operator's, never one from an event. Git runs in
//! the jail, with the network only for a repository that needs it. Hooks,
//! filters, submodules and file system monitors are off, and no configuration
//! but the one made here counts. The target folder is emptied first, so git
//! never runs in a repository that somebody else has prepared.
//!
//! `.git` stays in the checkout: steps may ask it what changed. It holds no
//! address with a password and no hook.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::Utf8PathBuf;
use infraflow_core::grant::{Capability, NotGranted};
use infraflow_core::id::SourceName;
use infraflow_core::limits::ERROR_TEXT;
use infraflow_core::line::{Level, Line, Stream};
use infraflow_core::ports::{Secrets, ToolScope};
use infraflow_core::tool::{CallError, Checkout, CheckoutRequest, CommitId, ProcessEnd, Revision};

use crate::ansible::shell_quoted;
use crate::config::SourceRepo;
use crate::context::Context;
use crate::errors::shorten;
use crate::jail::{Access, Bind, Network, Places, Room};
use crate::limits::{GIT_OUTPUT, GIT_SUBJECT};
use crate::process::{Launch, Stand};
use crate::programs::{find_program, is_executable, needed_by};
use crate::shim::PrivateFile;
use crate::sinks::{Both, Capture, LogLines};
use crate::variables::secret_error;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    /// On this host.
    Local(Utf8PathBuf),
    /// By `http` or `https`.
    Web(String),
    /// By `ssh`.
    Ssh(String),
}

/// Puts the files of a commit into the workspace.
pub(crate) async fn checkout(
    context: &Context,
    scope: &ToolScope,
    request: CheckoutRequest,
) -> Result<Checkout, CallError> {
    let source = source_of(scope, &request)?;
    let repo = context.config.sources.get(&source);
    let repo = repo.ok_or_else(|| CallError::NotFound(format!("source `{source}`")))?;
    let address = address_of(&source, repo)?;
    let wanted = wanted(scope, &request.revision)?;
    let network = network_for(scope, &address)?;
    let program = find_git(context).ok_or_else(|| {
        CallError::Unavailable("git is not installed: install the package `git`".to_owned())
    })?;
    let binds = match &address {
        Address::Local(path) => vec![Bind {
            host: local_repository(&source, path)?,
            name: REPOSITORY,
            access: Access::Read,
        }],
        Address::Web(_) | Address::Ssh(_) => Vec::new(),
    };
    if !repo.trusted {
        context.workspaces.distrust(scope.run).await?;
    }
    context.workspaces.fresh(scope.run, &request.path).await?;
    let room = Room {
        workspace: Some(context.workspaces.path(scope.run)),
        network,
        read_only: needed_by(&program),
        binds,
    };
    let stand = context.prepare(scope, room).await?;
    let credentials = read_credentials(&*context.secrets, repo, &address)?;
    let git = Git {
        scope,
        program,
        url: url(&address, stand.places()),
        files: files(&address, &credentials, stand.places()),
        environment: environment(&address, &credentials, stand.places()),
        directory: stand.places().of(&request.path),
        stand,
    };
    git.fetch(&source, &wanted, request.depth).await?;
    let (commit, subject) = git.switch(wanted.revision()).await?;
    scope.lines.line(Line {
        stream: Stream::Host,
        level: Level::Info,
        text: format!("checked out {commit} of `{source}`: {subject}"),
        continues: false,
    });
    Ok(Checkout {
        source,
        commit,
        subject,
        path: request.path,
    })
}

/// The bind's name.
const REPOSITORY: &str = "repository";

/// `git`, where there is one.
pub(crate) fn find_git(context: &Context) -> Option<Utf8PathBuf> {
    match &context.config.git {
        Some(path) => Some(path.clone()).filter(|path| is_executable(path)),
        None => find_program("git", &context.config.search_path),
    }
}

fn source_of(scope: &ToolScope, request: &CheckoutRequest) -> Result<SourceName, CallError> {
    let source = request
        .source
        .clone()
        .or_else(|| scope.event_source.clone());
    source.ok_or_else(|| {
        CallError::Invalid(
            "the run's event came through no source: expected a source to check out".to_owned(),
        )
    })
}

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Commit(CommitId),
    Branch(String),
    Tag(String),
}

fn wanted(scope: &ToolScope, revision: &Revision) -> Result<Wanted, CallError> {
    Ok(match revision {
        Revision::Event => Wanted::Commit(scope.event_commit.clone().ok_or_else(|| {
            CallError::Invalid(
                "the run's event names no commit: expected a commit, a branch or a tag".to_owned(),
            )
        })?),
        Revision::Commit(commit) => Wanted::Commit(commit.clone()),
        Revision::Branch(name) => Wanted::Branch(name.as_str().to_owned()),
        Revision::Tag(name) => Wanted::Tag(name.as_str().to_owned()),
    })
}

impl Wanted {
    fn refspec(&self) -> String {
        match self {
            Self::Commit(commit) => commit.to_string(),
            Self::Branch(name) => format!("+refs/heads/{name}:refs/remotes/origin/{name}"),
            Self::Tag(name) => format!("+refs/tags/{name}:refs/tags/{name}"),
        }
    }

    /// What to check out once it is fetched.
    fn revision(&self) -> &str {
        match self {
            Self::Commit(commit) => commit.as_str(),
            Self::Branch(_) | Self::Tag(_) => "FETCH_HEAD",
        }
    }

    fn shown(&self, source: &SourceName) -> String {
        match self {
            Self::Commit(commit) => format!("commit {commit} in source `{source}`"),
            Self::Branch(name) => format!("branch `{name}` in source `{source}`"),
            Self::Tag(name) => format!("tag `{name}` in source `{source}`"),
        }
    }

    fn is_sha256(&self) -> bool {
        matches!(self, Self::Commit(commit) if commit.as_str().len() == 64)
    }
}

fn address_of(source: &SourceName, repo: &SourceRepo) -> Result<Address, CallError> {
    let Some(url) = &repo.url else {
        return Err(CallError::Invalid(format!(
            "source `{source}` has no repository: expected an `url` in its configuration"
        )));
    };
    parse_address(url)
        .map_err(|why| CallError::Invalid(format!("the address of source `{source}` {why}")))
}

/// The address, or what is wrong with it. The text does not repeat it: it may
/// hold a password.
fn parse_address(url: &str) -> Result<Address, &'static str> {
    const EXPECTED: &str = "cannot be used: expected an absolute path, or `file://`, `https://`, \
                            `http://`, `ssh://` or `user@host:path`";
    if url.chars().any(char::is_control) {
        return Err("holds control characters");
    }
    if let Some(path) = url.strip_prefix("file://").or(Some(url))
        && path.starts_with('/')
    {
        return Ok(Address::Local(path.into()));
    }
    if url.chars().any(char::is_whitespace) {
        return Err("holds white space: expected `%20`");
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        // `user@host:path`
        let (host, path) = url.split_once(':').ok_or(EXPECTED)?;
        let valid = !host.is_empty() && !path.is_empty() && !host.starts_with('-');
        let valid = valid && !host.contains('/') && host.contains('@');
        return if valid {
            Ok(Address::Ssh(url.to_owned()))
        } else {
            Err(EXPECTED)
        };
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.starts_with('-') {
        return Err(EXPECTED);
    }
    let has_password = host
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'));
    if has_password {
        return Err("holds a password: expected it in a secret");
    }
    match scheme {
        "https" | "http" if host.contains('@') => {
            Err("holds a user: expected it in the field `user`")
        }
        "https" | "http" => Ok(Address::Web(url.to_owned())),
        "ssh" => Ok(Address::Ssh(url.to_owned())),
        _ => Err(EXPECTED),
    }
}

fn network_for(scope: &ToolScope, address: &Address) -> Result<Network, CallError> {
    match address {
        Address::Local(_) => Ok(Network::None),
        Address::Web(_) | Address::Ssh(_) => {
            if scope.permissions.allow(&Capability::Network) {
                Ok(Network::Host)
            } else {
                let capability = Capability::Network;
                Err(NotGranted { capability }.into())
            }
        }
    }
}

fn local_repository(source: &SourceName, path: &Utf8PathBuf) -> Result<Utf8PathBuf, CallError> {
    let found = path.canonicalize_utf8().ok().filter(|path| path.is_dir());
    found.ok_or_else(|| {
        CallError::Unavailable(format!(
            "the repository of source `{source}` is not there: `{path}`"
        ))
    })
}

fn url(address: &Address, places: &Places) -> String {
    match address {
        Address::Local(_) => places.bound(REPOSITORY).into_string(),
        Address::Web(url) | Address::Ssh(url) => url.clone(),
    }
}

// ---- credentials ----------------------------------------------------------------

#[derive(Default)]
struct Credentials {
    private_key: Option<String>,
    known_hosts: Option<String>,
    /// The value of an `Authorization` header.
    authorization: Option<String>,
}

fn read_credentials(
    secrets: &dyn Secrets,
    repo: &SourceRepo,
    address: &Address,
) -> Result<Credentials, CallError> {
    let read = |name: &Option<infraflow_core::id::SecretName>| match name {
        Some(name) => {
            let secret = secrets.read(name).map_err(|error| secret_error(&error))?;
            Ok::<_, CallError>(Some(secret.expose().to_owned()))
        }
        None => Ok(None),
    };
    let mut credentials = Credentials::default();
    match address {
        Address::Local(_) => {}
        Address::Web(_) => {
            let user = repo.user.as_deref().unwrap_or("x-access-token");
            credentials.authorization = read(&repo.password)?.map(|password| {
                let pair = format!("{user}:{}", password.trim_end_matches(['\r', '\n']));
                format!("Basic {}", STANDARD.encode(pair))
            });
        }
        Address::Ssh(_) => {
            credentials.private_key = read(&repo.private_key)?;
            credentials.known_hosts = read(&repo.known_hosts)?;
        }
    }
    Ok(credentials)
}

/// Git's whole configuration, and the files it names.
fn files(address: &Address, credentials: &Credentials, places: &Places) -> Vec<PrivateFile> {
    let allowed = match address {
        Address::Local(_) => &["file"][..],
        Address::Web(_) => &["https", "http"],
        Address::Ssh(_) => &["ssh"],
    };
    let mut config = CONFIG.to_owned();
    for protocol in allowed {
        config.push_str(&format!("[protocol \"{protocol}\"]\n\tallow = always\n"));
    }
    if let Some(value) = &credentials.authorization {
        config.push_str(&format!(
            "[http]\n\textraHeader = \"Authorization: {value}\"\n"
        ));
    }
    let mut files = vec![private(places, "gitconfig", config)];
    for (name, text) in [
        ("private_key", &credentials.private_key),
        ("known_hosts", &credentials.known_hosts),
    ] {
        if let Some(text) = text {
            let mut text = text.clone();
            if !text.ends_with('\n') {
                text.push('\n');
            }
            files.push(private(places, name, text));
        }
    }
    files
}

fn private(places: &Places, name: &str, text: String) -> PrivateFile {
    PrivateFile {
        path: places.private.join(name),
        mode: 0o600,
        text,
    }
}

/// What holds for every repository.
const CONFIG: &str = "\
[advice]
	detachedHead = false
[core]
	hooksPath = /dev/null
	fsmonitor = false
	attributesFile = /dev/null
	excludesFile = /dev/null
[credential]
	helper =
[gc]
	auto = 0
[http]
	followRedirects = false
[maintenance]
	auto = false
[protocol]
	allow = never
[safe]
	directory = *
[submodule]
	recurse = false
[transfer]
	credentialsInUrl = die
";

fn environment(
    address: &Address,
    credentials: &Credentials,
    places: &Places,
) -> Vec<(String, String)> {
    let config = places.private.join("gitconfig").into_string();
    let mut environment: Vec<(String, String)> = [
        ("GIT_CONFIG_GLOBAL", config.as_str()),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "/bin/false"),
        ("SSH_ASKPASS", "/bin/false"),
        ("GIT_LFS_SKIP_SMUDGE", "1"),
        ("GIT_CEILING_DIRECTORIES", "/"),
        ("LC_ALL", "C"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if let Address::Ssh(_) = address {
        let command = ssh_command(credentials, places);
        environment.push(("GIT_SSH_COMMAND".to_owned(), command));
        environment.push(("GIT_SSH_VARIANT".to_owned(), "ssh".to_owned()));
    }
    environment
}

/// Git hands this to a shell; every word of it is ours and quoted.
fn ssh_command(credentials: &Credentials, places: &Places) -> String {
    let known_hosts = match credentials.known_hosts {
        Some(_) => places.private.join("known_hosts"),
        None => "/dev/null".into(),
    };
    let mut options = vec![
        "BatchMode=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        format!("UserKnownHostsFile=\"{known_hosts}\""),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "ConnectTimeout=30".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
    ];
    if credentials.private_key.is_some() {
        let key = places.private.join("private_key");
        options.push(format!("IdentityFile=\"{key}\""));
    }
    let options: Vec<String> = options
        .iter()
        .map(|option| format!("-o {}", shell_quoted(option)))
        .collect();
    format!("ssh -F none {}", options.join(" "))
}

// ---- running --------------------------------------------------------------------

struct Git<'a> {
    scope: &'a ToolScope,
    stand: Stand<'a>,
    program: Utf8PathBuf,
    url: String,
    files: Vec<PrivateFile>,
    environment: Vec<(String, String)>,
    directory: Utf8PathBuf,
}

/// How one git command went.
struct Done {
    end: ProcessEnd,
    stdout: String,
    /// Masked.
    stderr: String,
}

impl Done {
    fn is_fine(&self) -> bool {
        self.end == ProcessEnd::Exited(0)
    }

    /// Whether the other side does not have what was asked for, or does not
    /// want to give it by that name.
    fn is_missing(&self) -> bool {
        [
            "couldn't find remote ref",
            "not our ref",
            "unadvertised object",
            "no such remote ref",
        ]
        .iter()
        .any(|text| self.stderr.contains(text))
    }

    fn said(&self) -> String {
        let lines = self
            .stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        match self.end {
            ProcessEnd::Signalled(signal) => format!("git was ended by signal {signal}"),
            ProcessEnd::Exited(code) if lines.is_empty() => format!("git exited with {code}"),
            ProcessEnd::Exited(_) => shorten(lines.join("; "), ERROR_TEXT),
        }
    }
}

impl Git<'_> {
    async fn git(&self, arguments: &[&str]) -> Result<Done, CallError> {
        let launch = Launch {
            program: self.program.clone(),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            environment: self.environment.clone(),
            directory: self.directory.clone(),
            files: self.files.clone(),
            stdin: None,
        };
        let mut stdout = Capture::new(GIT_OUTPUT);
        let log = LogLines::new(self.scope, Stream::Stderr, Level::Info);
        let mut stderr = Both(log, Capture::new(GIT_OUTPUT));
        let end = self.stand.run(launch, &mut stdout, &mut stderr).await?;
        Ok(Done {
            end,
            stdout: stdout.text(),
            stderr: self.scope.mask.mask(&stderr.1.text()),
        })
    }

    async fn fetch(
        &self,
        source: &SourceName,
        wanted: &Wanted,
        depth: Option<u32>,
    ) -> Result<(), CallError> {
        let unavailable = |done: &Done| {
            CallError::Unavailable(format!("fetch from source `{source}`: {}", done.said()))
        };
        let format = if wanted.is_sha256() { "sha256" } else { "sha1" };
        let format = format!("--object-format={format}");
        let made = self
            .git(&["init", "--quiet", "--template=", &format])
            .await?;
        if !made.is_fine() {
            return Err(unavailable(&made));
        }
        let depth = depth.map(|depth| format!("--depth={}", depth.max(1)));
        let mut arguments = FETCH.to_vec();
        arguments.extend(depth.as_deref());
        let refspec = wanted.refspec();
        arguments.extend(["--", &self.url, &refspec]);
        let fetched = self.git(&arguments).await?;
        if fetched.is_fine() {
            return Ok(());
        }
        if !fetched.is_missing() {
            return Err(unavailable(&fetched));
        }
        let missing = CallError::NotFound(wanted.shown(source));
        let Wanted::Commit(commit) = wanted else {
            return Err(missing);
        };
        // Old servers give only what a branch or a tag points at.
        let mut arguments = FETCH.to_vec();
        let everything = [
            "+refs/heads/*:refs/remotes/origin/*",
            "+refs/tags/*:refs/tags/*",
        ];
        arguments.extend(["--", &self.url]);
        arguments.extend(everything);
        let fetched = self.git(&arguments).await?;
        if !fetched.is_fine() {
            return Err(unavailable(&fetched));
        }
        let object = format!("{commit}^{{commit}}");
        let found = self.git(&["cat-file", "-e", &object]).await?;
        if found.is_fine() {
            Ok(())
        } else {
            Err(missing)
        }
    }

    /// Puts what was fetched into the folder; its commit and subject.
    async fn switch(&self, revision: &str) -> Result<(String, String), CallError> {
        let arguments = ["checkout", "--quiet", "--force", "--detach", revision];
        let done = self.git(&arguments).await?;
        if !done.is_fine() {
            return Err(CallError::Unavailable(format!(
                "check out: {}",
                done.said()
            )));
        }
        let done = self.git(&["log", "-1", "--format=%H%n%s"]).await?;
        let mut lines = done.stdout.lines();
        match (done.is_fine(), lines.next()) {
            (true, Some(commit)) => {
                let subject = lines.next().unwrap_or_default();
                let subject = self.scope.mask.mask(subject);
                Ok((commit.to_owned(), shorten(subject, GIT_SUBJECT)))
            }
            _ => Err(CallError::Unavailable(format!(
                "read the commit: {}",
                done.said()
            ))),
        }
    }
}

/// What every fetch has.
const FETCH: [&str; 5] = [
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-recurse-submodules",
    "--no-auto-maintenance",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        use Address::{Local, Ssh, Web};
        let good = [
            ("/srv/git/shop.git", Local("/srv/git/shop.git".into())),
            ("file:///srv/my shop", Local("/srv/my shop".into())),
            ("https://x.org/a/b.git", Web("https://x.org/a/b.git".into())),
            ("http://x:3000/a", Web("http://x:3000/a".into())),
            ("ssh://git@x:22/a", Ssh("ssh://git@x:22/a".into())),
            ("git@x.org:a/b.git", Ssh("git@x.org:a/b.git".into())),
        ];
        for (text, expected) in good {
            assert_eq!(parse_address(text), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "relative/path",
            "file://host/path",
            "https://user:pass@x/a",
            "https://user@x/a",
            "ssh://u:p@x/a",
            "ssh://-oProxyCommand=x/a",
            "-oProxyCommand=x@y:a",
            "ext::sh -c x",
            "ext::sh",
            "git://x/a",
            "https://",
            "https://x/a b",
            "host:path",
            "a@b:",
        ] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn refspecs() {
        let branch = Wanted::Branch("release/1".into());
        assert_eq!(
            branch.refspec(),
            "+refs/heads/release/1:refs/remotes/origin/release/1"
        );
        let tag = Wanted::Tag("v1".into());
        assert_eq!(tag.refspec(), "+refs/tags/v1:refs/tags/v1");
    }

    fn places() -> Places {
        Places::inside(&Room {
            workspace: Some("/w".into()),
            network: Network::None,
            read_only: vec![],
            binds: vec![],
        })
    }

    #[test]
    fn credentials_are_in_files_and_nowhere_else() {
        let credentials = Credentials {
            private_key: Some("KEY".into()),
            known_hosts: Some("HOSTS".into()),
            authorization: Some("Basic eHg=".into()),
        };
        let ssh = Address::Ssh("git@x:a".into());
        let shown = format!("{:?}", environment(&ssh, &credentials, &places()));
        assert!(!shown.contains("KEY") && !shown.contains("HOSTS") && !shown.contains("eHg="));
        assert!(shown.contains("IdentityFile") && shown.contains("StrictHostKeyChecking=yes"));
        let files = files(&ssh, &credentials, &places());
        let text = |name: &str| {
            let path = places().private.join(name);
            files
                .iter()
                .find(|file| file.path == path)
                .unwrap()
                .text
                .clone()
        };
        assert_eq!(text("private_key"), "KEY\n");
        assert!(text("gitconfig").contains("extraHeader = \"Authorization: Basic eHg=\""));
        assert!(text("gitconfig").contains("[protocol \"ssh\"]"));
        assert!(!text("gitconfig").contains("[protocol \"file\"]"));
    }

    proptest! {
        #[test]
        fn an_address_is_never_an_option(text in "[-a-z@:/. ]{0,30}") {
            match parse_address(&text) {
                Ok(Address::Local(path)) => prop_assert!(path.is_absolute()),
                Ok(Address::Web(url) | Address::Ssh(url)) => prop_assert!(!url.starts_with('-')),
                Err(_) => {}
            }
        }
    }
}
