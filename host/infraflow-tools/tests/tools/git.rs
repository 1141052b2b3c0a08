//! Checkouts with the real git: from this host, by ssh and by http.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::grant::{Capability, NotGranted};
use infraflow_core::mask::MaskSet;
use infraflow_core::ports::{Tools as _, Trust};
use infraflow_core::tool::{
    CallError, Checkout, CheckoutRequest, CommitId, GuestPath, RefName, Revision,
};
use infraflow_tools::{SourceRepo, ToolsConfig};

use crate::ssh::{Sshd, run, user};
use crate::world::{Attempt, World, command, guest, soon};

/// A repository with a branch, two tags and two commits on `main`.
pub(crate) struct Repo {
    path: Utf8PathBuf,
    first: String,
    pub(crate) second: String,
    _folder: tempfile::TempDir,
}

impl Repo {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let path = Utf8Path::from_path(folder.path())
            .unwrap()
            .join("shop repo.git");
        let work = path.with_file_name("work");
        run("git", &["init", "-q", "-b", "main", work.as_str()]);
        let git = |arguments: &[&str]| {
            let mut all = vec![
                "-C",
                work.as_str(),
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@x",
            ];
            all.extend(arguments);
            run("git", &all)
        };
        let commit = |file: &str, text: &str, message: &str| {
            std::fs::write(work.join(file), text).unwrap();
            git(&["add", "-A"]);
            git(&["commit", "-q", "-m", message]);
            git(&["rev-parse", "HEAD"])
        };
        let first = commit("file", "one", "first\n\nbody");
        git(&["tag", "light"]);
        git(&["branch", "release/1.0"]);
        let second = commit("file", "two", "second commit");
        git(&["tag", "-a", "-m", "annotated", "v1"]);
        run(
            "git",
            &["clone", "-q", "--bare", work.as_str(), path.as_str()],
        );
        Self {
            path,
            first,
            second,
            _folder: folder,
        }
    }

    fn source(&self, url: &str) -> SourceRepo {
        SourceRepo {
            url: Some(url.to_owned()),
            ..SourceRepo::default()
        }
    }

    pub(crate) fn add(&self, config: &mut ToolsConfig) {
        let source = self.source(self.path.as_str());
        config.sources.insert("shop".parse().unwrap(), source);
        config
            .sources
            .insert("empty".parse().unwrap(), SourceRepo::default());
    }
}

pub(crate) fn request(revision: Revision) -> CheckoutRequest {
    CheckoutRequest {
        source: Some("shop".parse().unwrap()),
        revision,
        path: GuestPath::root(),
        depth: Some(1),
    }
}

pub(crate) fn commit(id: &str) -> Revision {
    Revision::Commit(CommitId::new(id).unwrap())
}

pub(crate) async fn checkout(
    world: &World,
    attempt: &Attempt,
    request: CheckoutRequest,
) -> Result<Checkout, CallError> {
    let checkout = world.door.checkout(&attempt.scope, request);
    soon("the checkout", checkout).await
}

fn file(world: &World) -> String {
    std::fs::read_to_string(world.workspace("git").join("file")).unwrap()
}

#[tokio::test]
async fn every_kind_of_revision() {
    let repo = Repo::new();
    let world = World::with(&[], |config| repo.add(config)).await;
    let branch = Revision::Branch(RefName::new("release/1.0").unwrap());
    let tag = |name| Revision::Tag(RefName::new(name).unwrap());
    for (revision, id, subject, text) in [
        (commit(&repo.first), &repo.first, "first", "one"),
        (commit(&repo.second), &repo.second, "second commit", "two"),
        (branch, &repo.first, "first", "one"),
        (tag("light"), &repo.first, "first", "one"),
        (tag("v1"), &repo.second, "second commit", "two"),
    ] {
        let attempt = world.attempt("git");
        let done = checkout(&world, &attempt, request(revision)).await.unwrap();
        assert_eq!((&done.commit, done.subject.as_str()), (id, subject));
        assert_eq!(file(&world), text);
        let line = attempt.lines.texts().pop().unwrap();
        assert_eq!(line, format!("checked out {id} of `shop`: {subject}"));
    }
}

#[tokio::test]
async fn a_checkout_is_idempotent_and_leaves_no_hook() {
    let repo = Repo::new();
    let world = World::with(&[], |config| repo.add(config)).await;
    let attempt = world.attempt("git");
    let mut into = request(commit(&repo.second));
    into.path = guest("deep/er");
    into.depth = None;
    let first = checkout(&world, &attempt, into.clone()).await.unwrap();
    let folder = world.workspace("git").join("deep/er");
    // Hostile code of the run prepares the folder for the next one.
    let script = "cd deep/er; mkdir -p .git/hooks; \
                  printf '#!/bin/sh\\ntouch /workspace/hook-ran\\n' > .git/hooks/post-checkout; \
                  chmod +x .git/hooks/post-checkout; git config core.fsmonitor /workspace/x; \
                  echo rubbish > rubbish; git rev-list --count HEAD; git status --short";
    let output = world.sh(&attempt, script).await.unwrap();
    assert_eq!(
        output.stdout, "2\n?? rubbish\n",
        "the whole history, and git works"
    );
    assert_eq!(checkout(&world, &attempt, into).await.unwrap(), first);
    assert!(!folder.join("rubbish").exists() && !folder.join(".git/hooks").exists());
    assert!(!world.workspace("git").join("hook-ran").exists());
    let config = std::fs::read_to_string(folder.join(".git/config")).unwrap();
    assert!(!config.contains("fsmonitor"), "{config}");
}

#[tokio::test]
async fn what_an_event_names_is_the_default() {
    let repo = Repo::new();
    let world = World::with(&[], |config| repo.add(config)).await;
    let mut attempt = world.attempt("git");
    let mut of_event = request(Revision::Event);
    of_event.source = None;
    let told = checkout(&world, &attempt, of_event.clone()).await;
    assert!(matches!(told, Err(CallError::Invalid(_))), "{told:?}");
    attempt.scope.event_source = Some("shop".parse().unwrap());
    let told = checkout(&world, &attempt, of_event.clone()).await;
    assert!(matches!(told, Err(CallError::Invalid(_))), "{told:?}");
    attempt.scope.event_commit = Some(CommitId::new(&repo.first).unwrap());
    let done = checkout(&world, &attempt, of_event).await.unwrap();
    assert_eq!(done.commit, repo.first);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let repo = Repo::new();
    let world = World::with(&[], |config| {
        repo.add(config);
        let gone = SourceRepo {
            url: Some("/nonexistent/repo.git".to_owned()),
            ..SourceRepo::default()
        };
        config.sources.insert("gone".parse().unwrap(), gone);
    })
    .await;
    let attempt = world.attempt("git");
    let missing = "1".repeat(40);
    for (source, revision, expected) in [
        (
            "shop",
            commit(&missing),
            CallError::NotFound(format!("commit {missing} in source `shop`")),
        ),
        (
            "shop",
            Revision::Branch(RefName::new("nope").unwrap()),
            CallError::NotFound("branch `nope` in source `shop`".to_owned()),
        ),
        (
            "shop",
            Revision::Tag(RefName::new("nope").unwrap()),
            CallError::NotFound("tag `nope` in source `shop`".to_owned()),
        ),
        (
            "other",
            commit(&missing),
            CallError::NotFound("source `other`".to_owned()),
        ),
        (
            "empty",
            commit(&missing),
            CallError::Invalid(
                "source `empty` has no repository: expected an `url` in its configuration"
                    .to_owned(),
            ),
        ),
        (
            "gone",
            commit(&missing),
            CallError::Unavailable(
                "the repository of source `gone` is not there: `/nonexistent/repo.git`".to_owned(),
            ),
        ),
    ] {
        let mut wanted = request(revision);
        wanted.source = Some(source.parse().unwrap());
        let told = checkout(&world, &attempt, wanted).await;
        assert_eq!(told, Err(expected));
    }
}

#[tokio::test]
async fn a_remote_repository_needs_the_network() {
    let repo = Repo::new();
    let world = World::with(&[], |config| {
        for url in ["https://127.0.0.1:1/x", "git@127.0.0.1:x"] {
            let name = if url.starts_with('h') { "web" } else { "ssh" };
            config
                .sources
                .insert(name.parse().unwrap(), repo.source(url));
        }
    })
    .await;
    for name in ["web", "ssh"] {
        let mut wanted = request(commit(&repo.first));
        wanted.source = Some(name.parse().unwrap());
        let told = checkout(&world, &world.attempt("git"), wanted.clone()).await;
        let capability = Capability::Network;
        assert_eq!(told, Err(CallError::NotGranted(NotGranted { capability })));
        // With it, nobody answers there.
        let granted = world.attempt_with("git", &["network"]);
        let told = checkout(&world, &granted, wanted).await;
        let Err(CallError::Unavailable(text)) = told else {
            panic!("{told:?}");
        };
        assert!(text.starts_with("fetch from source `"), "{text}");
    }
}

#[tokio::test]
async fn by_ssh_with_the_key_and_the_host_key_checked() {
    let sshd = Sshd::start();
    let repo = Repo::new();
    let secrets = [
        ("key", sshd.private_key.as_str()),
        ("other-key", sshd.other_key.as_str()),
        ("hosts", sshd.known_hosts.as_str()),
        ("wrong-hosts", sshd.wrong_known_hosts.as_str()),
    ];
    // A space in an ssh address is what git cannot quote for us.
    let plain = repo.path.with_file_name("shop.git");
    std::os::unix::fs::symlink(&repo.path, &plain).unwrap();
    let url = format!("ssh://{}@127.0.0.1:{}{plain}", user(), sshd.port);
    let cases = [
        ("good", Some("key"), Some("hosts"), None),
        (
            "wrong",
            Some("key"),
            Some("wrong-hosts"),
            Some("Host key verification failed"),
        ),
        (
            "unknown",
            Some("key"),
            None,
            Some("Host key verification failed"),
        ),
        (
            "stranger",
            Some("other-key"),
            Some("hosts"),
            Some("Permission denied"),
        ),
    ];
    let world = World::with(&secrets, |config| {
        for (name, key, hosts, _) in cases {
            let source = SourceRepo {
                url: Some(url.clone()),
                private_key: key.map(|name| name.parse().unwrap()),
                known_hosts: hosts.map(|name| name.parse().unwrap()),
                ..SourceRepo::default()
            };
            config.sources.insert(name.parse().unwrap(), source);
        }
    })
    .await;
    for (name, _, _, expected) in cases {
        let attempt = world.attempt_with("git", &["network"]);
        let mut wanted = request(commit(&repo.second));
        wanted.source = Some(name.parse().unwrap());
        let told = checkout(&world, &attempt, wanted).await;
        match (told, expected) {
            (Ok(done), None) => assert_eq!(done.commit, repo.second),
            (Err(CallError::Unavailable(text)), Some(expected)) => {
                assert!(text.contains(expected), "{name}: {text}");
            }
            (told, _) => panic!("{name}: {told:?}"),
        }
    }
}

/// git's own server side behind a few lines of HTTP.
fn web_server(root: &Utf8Path, authorization: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let root = root.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(&root, authorization, stream);
        }
    });
    port
}

fn answer(root: &Utf8Path, authorization: &str, mut stream: std::net::TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return;
        }
        match line.trim() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let find = |line: &String| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        };
        head.iter().find_map(find).unwrap_or_default()
    };
    if header("authorization") != authorization {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\
                       Content-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(refusal.as_bytes()).unwrap();
        return;
    }
    let length = header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut words = head[0].split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    #[expect(clippy::disallowed_methods, reason = "a test sets its scene")]
    let mut command = std::process::Command::new("git");
    let mut process = command
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", length.to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(&body).unwrap();
    let output = process.wait_with_output().unwrap().stdout;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        .unwrap();
    stream.write_all(&output).unwrap();
}

#[tokio::test]
async fn by_http_with_a_token_that_shows_nowhere() {
    let repo = Repo::new();
    // `x-access-token:tok3n-of-the-forge`
    let port = web_server(
        repo.path.parent().unwrap(),
        "Basic eC1hY2Nlc3MtdG9rZW46dG9rM24tb2YtdGhlLWZvcmdl",
    );
    let secrets = [("token", "tok3n-of-the-forge"), ("wrong", "another-token")];
    let plain = repo.path.with_file_name("shop.git");
    std::os::unix::fs::symlink(&repo.path, &plain).unwrap();
    let url = format!("http://127.0.0.1:{port}/shop.git");
    let world = World::with(&secrets, |config| {
        for name in ["token", "wrong"] {
            let mut source = repo.source(&url);
            source.password = Some(name.parse().unwrap());
            config.sources.insert(name.parse().unwrap(), source);
        }
    })
    .await;
    let mut attempt = world.attempt_with("git", &["network"]);
    attempt.scope.mask = MaskSet::new(secrets.map(|(_, value)| value));
    let mut wanted = request(commit(&repo.first));
    wanted.source = Some("token".parse().unwrap());
    let done = checkout(&world, &attempt, wanted.clone()).await.unwrap();
    assert_eq!(done.commit, repo.first);
    let config = std::fs::read_to_string(world.workspace("git").join(".git/config")).unwrap();
    assert!(
        !config.contains("tok3n") && !config.contains("Basic"),
        "{config}"
    );
    wanted.source = Some("wrong".parse().unwrap());
    let told = checkout(&world, &attempt, wanted).await;
    let Err(CallError::Unavailable(text)) = told else {
        panic!("{told:?}");
    };
    assert!(
        text.contains("Authentication failed") || text.contains("could not read Username"),
        "{text}"
    );
    let said = attempt.lines.texts().join("\n") + &text;
    assert!(
        !said.contains("tok3n") && !said.contains("another-token"),
        "{said}"
    );
}

#[tokio::test]
async fn a_checkout_of_a_stranger_takes_the_runs_trust_away() {
    let repo = Repo::new();
    let without_jail = |config: &mut ToolsConfig| {
        repo.add(config);
        let own = SourceRepo {
            trusted: true,
            ..repo.source(repo.path.as_str())
        };
        config.sources.insert("own".parse().unwrap(), own);
        config.jail.bubblewrap = Some("/no/such/bwrap".into());
    };
    let world = World::with(&[], without_jail).await;
    let mut attempt = world.attempt("git");
    attempt.scope.trust = Trust::Trusted;
    let mut wanted = request(commit(&repo.second));
    wanted.source = Some("own".parse().unwrap());
    checkout(&world, &attempt, wanted).await.unwrap();
    let runs = async || {
        let call = world.door.run_command(&attempt.scope, command("true", &[]));
        soon("the command", call).await
    };
    runs().await.unwrap();
    let refused = checkout(&world, &attempt, request(commit(&repo.second))).await;
    for refused in [refused.map(drop), runs().await.map(drop)] {
        match refused {
            Err(CallError::Unavailable(text)) => {
                assert!(text.contains("no jail can be made"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}
