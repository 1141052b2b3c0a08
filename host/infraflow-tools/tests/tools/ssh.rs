//! A real sshd on a loopback port, one process a connection.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};

/// A running sshd, and the keys that go with it.
pub(crate) struct Sshd {
    pub(crate) port: u16,
    /// The key that it lets in.
    pub(crate) private_key: String,
    /// A key that it does not let in.
    pub(crate) other_key: String,
    /// A known hosts file that has its host key.
    pub(crate) known_hosts: String,
    /// A known hosts file that has another host key for it.
    pub(crate) wrong_known_hosts: String,
    ended: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl Sshd {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        for key in ["host", "wrong_host", "user", "other"] {
            run(
                "ssh-keygen",
                &[
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-f",
                    root.join(key).as_str(),
                ],
            );
        }
        if crate::world::is_root() {
            // Where sshd drops its privileges.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let config = format!(
            "HostKey {root}/host\nAuthorizedKeysFile {root}/user.pub\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             PidFile none\nSubsystem sftp internal-sftp\n"
        );
        std::fs::write(root.join("config"), config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ended = Arc::new(AtomicBool::new(false));
        serve(listener, root.join("config"), Arc::clone(&ended));
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let known = |name: &str| format!("[127.0.0.1]:{port} {}", read(name));
        Self {
            port,
            private_key: read("user"),
            other_key: read("other"),
            known_hosts: known("host.pub"),
            wrong_known_hosts: known("wrong_host.pub"),
            ended,
            _folder: folder,
        }
    }
}

fn serve(listener: TcpListener, config: Utf8PathBuf, ended: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            let input = OwnedFd::from(stream);
            let output = input.try_clone().unwrap();
            #[expect(clippy::disallowed_methods, reason = "a test sets its scene")]
            let mut command = std::process::Command::new("/usr/sbin/sshd");
            let mut process = command
                .args(["-i", "-e", "-f", config.as_str()])
                .stdin(input)
                .stdout(output)
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            drop(command);
            std::thread::spawn(move || process.wait());
        }
    });
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Runs a program that sets the scene.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "a test sets its scene")]
    let mut command = std::process::Command::new(program);
    let output = command.args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.trim().to_owned()
}

/// The user that tests run as, whom sshd lets in.
pub(crate) fn user() -> String {
    run("id", &["-un"])
}
