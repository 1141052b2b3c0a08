//! Bubblewrap's options for one tool: a function of data.
//!
//! Binds named paths, never `/`. Everything that is not named here does not
//! exist inside.

use camino::{Utf8Path, Utf8PathBuf};

use super::{Access, JailConfig, Machine, Network, Room, User, inside};
use crate::limits::{JAIL_ETC, JAIL_PRIVATE, JAIL_SHM};

/// Of the host's `/etc`, what every tool may read.
const ETC: [&str; 5] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/alternatives",
];

/// Of the host's `/etc`, what a tool with the network may read too.
const ETC_NETWORK: [&str; 8] = [
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];

/// What a root shim needs before it gives everything up.
const SHIM_CAPABILITIES: [&str; 4] = ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_CHOWN"];

/// The options, without the command.
pub(super) fn arguments(
    config: &JailConfig,
    machine: &Machine,
    shim: &Utf8Path,
    room: &Room,
) -> Vec<String> {
    let mut list = List::default();
    namespaces(&mut list, machine.user, room.network);
    system(&mut list, machine);
    etc(&mut list, room.network);
    list.add(["--proc", "/proc", "--dev", "/dev"]);
    list.tmpfs("/dev/shm", "1777", JAIL_SHM.0);
    list.tmpfs("/tmp", "1777", config.tmp_bytes);
    // `/var` is where programs look for it.
    list.folder("/var");
    list.add(["--symlink", "../tmp", "/var/tmp"]);
    list.parents(Utf8Path::new(inside::HOME));
    list.tmpfs(inside::HOME, "0700", config.home_bytes);
    for path in config.read_only.iter().chain(&room.read_only) {
        if !machine.is_in_system(path) {
            list.bind(Access::Read, path, path);
        }
    }
    list.bind(Access::Read, shim, Utf8Path::new(inside::SHIM));
    list.parents(Utf8Path::new(inside::PRIVATE));
    list.tmpfs(inside::PRIVATE, "0700", JAIL_PRIVATE.0);
    for bind in &room.binds {
        list.bind(bind.access, &bind.host, &inside::bound(bind.name));
    }
    if let Some(workspace) = &room.workspace {
        list.bind(Access::Write, workspace, Utf8Path::new(inside::WORKSPACE));
    }
    list.add(["--remount-ro", "/dev", "--remount-ro", "/"]);
    list.add(["--chdir", "/"]);
    list.arguments
}

fn namespaces(list: &mut List, user: User, network: Network) {
    match user {
        // Real root makes the mounts; the shim gives root up before any foreign
        // code runs. With a user namespace instead, the outer user would stay 0.
        User::Root => {
            list.add(["--unshare-pid", "--unshare-ipc", "--unshare-uts"]);
            list.add(["--unshare-cgroup-try"]);
            if network == Network::None {
                list.add(["--unshare-net"]);
            }
        }
        User::Ordinary(_) => {
            list.add(["--unshare-all", "--unshare-user", "--disable-userns"]);
            if network == Network::Host {
                list.add(["--share-net"]);
            }
        }
    }
    list.add(["--die-with-parent", "--new-session", "--cap-drop", "ALL"]);
    if user == User::Root {
        for capability in SHIM_CAPABILITIES {
            list.add(["--cap-add", capability]);
        }
    }
}

fn system(list: &mut List, machine: &Machine) {
    list.folders.push("/usr".into());
    list.add(["--ro-bind", "/usr", "/usr"]);
    for (folder, target) in &machine.system_folders {
        match target {
            Some(target) => list.add(["--symlink", target.as_str(), folder.as_str()]),
            None => list.add(["--ro-bind", folder.as_str(), folder.as_str()]),
        }
    }
}

fn etc(list: &mut List, network: Network) {
    list.tmpfs("/etc", "0755", JAIL_ETC.0);
    let more = match network {
        Network::None => &[][..],
        Network::Host => &ETC_NETWORK[..],
    };
    for path in ETC.iter().chain(more) {
        list.parents(Utf8Path::new(path));
        list.add(["--ro-bind-try", path, path]);
    }
}

/// Options, and the folders that are there already.
#[derive(Default)]
struct List {
    arguments: Vec<String>,
    folders: Vec<Utf8PathBuf>,
}

impl List {
    fn add<const N: usize>(&mut self, arguments: [&str; N]) {
        self.arguments.extend(arguments.map(str::to_owned));
    }

    /// A folder that everybody may enter. Those that bubblewrap makes by itself
    /// are open to root alone.
    fn folder(&mut self, path: &str) {
        let path = Utf8PathBuf::from(path);
        if path != "/" && !self.folders.contains(&path) {
            self.add(["--perms", "0755", "--dir", path.as_str()]);
            self.folders.push(path);
        }
    }

    fn parents(&mut self, path: &Utf8Path) {
        let above: Vec<&Utf8Path> = path.ancestors().skip(1).collect();
        // What lies in a bound folder is there, or cannot be made.
        for folder in above.into_iter().rev() {
            if !folder.starts_with("/usr") {
                self.folder(folder.as_str());
            }
        }
    }

    fn tmpfs(&mut self, path: &str, mode: &str, bytes: u64) {
        let bytes = bytes.to_string();
        self.add(["--perms", mode, "--size", &bytes, "--tmpfs", path]);
        self.folders.push(path.into());
    }

    fn bind(&mut self, access: Access, host: &Utf8Path, inside: &Utf8Path) {
        self.parents(inside);
        let option = match access {
            Access::Read => "--ro-bind",
            Access::Write => "--bind",
        };
        self.add([option, host.as_str(), inside.as_str()]);
        self.folders.push(inside.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bind;
    use super::*;

    fn machine(user: User) -> Machine {
        Machine {
            user,
            system_folders: vec![
                ("/bin".into(), Some("usr/bin".into())),
                ("/lib64".into(), None),
            ],
        }
    }

    fn room(network: Network) -> Room {
        Room {
            workspace: Some("/data/work/r".into()),
            network,
            read_only: vec!["/opt/venv".into(), "/usr/local/bin".into()],
            binds: vec![Bind {
                host: "/data/tofu/k".into(),
                name: "state",
                access: Access::Write,
            }],
        }
    }

    fn text(user: User, network: Network) -> String {
        let config = JailConfig::new("/opt/infraflow".into());
        let shim = Utf8Path::new("/opt/infraflow");
        let list = arguments(&config, &machine(user), shim, &room(network)).join(" ");
        list.replace(" --", "\n--")
    }

    #[test]
    fn as_root_without_network() {
        let expected = "\
--unshare-pid
--unshare-ipc
--unshare-uts
--unshare-cgroup-try
--unshare-net
--die-with-parent
--new-session
--cap-drop ALL
--cap-add CAP_SETUID
--cap-add CAP_SETGID
--cap-add CAP_SETPCAP
--cap-add CAP_CHOWN
--ro-bind /usr /usr
--symlink usr/bin /bin
--ro-bind /lib64 /lib64
--perms 0755
--size 1048576
--tmpfs /etc
--ro-bind-try /etc/ld.so.cache /etc/ld.so.cache
--ro-bind-try /etc/ld.so.conf /etc/ld.so.conf
--ro-bind-try /etc/ld.so.conf.d /etc/ld.so.conf.d
--ro-bind-try /etc/localtime /etc/localtime
--ro-bind-try /etc/alternatives /etc/alternatives
--proc /proc
--dev /dev
--perms 1777
--size 67108864
--tmpfs /dev/shm
--perms 1777
--size 1073741824
--tmpfs /tmp
--perms 0755
--dir /var
--symlink ../tmp /var/tmp
--perms 0755
--dir /home
--perms 0700
--size 268435456
--tmpfs /home/infraflow
--perms 0755
--dir /opt
--ro-bind /opt/venv /opt/venv
--perms 0755
--dir /run
--perms 0755
--dir /run/infraflow
--ro-bind /opt/infraflow /run/infraflow/infraflow
--perms 0700
--size 536870912
--tmpfs /run/infraflow/private
--bind /data/tofu/k /run/infraflow/state
--bind /data/work/r /workspace
--remount-ro /dev
--remount-ro /
--chdir /";
        assert_eq!(text(User::Root, Network::None), expected);
    }

    #[test]
    fn an_ordinary_user_gets_a_user_namespace() {
        let list = text(User::Ordinary(1000), Network::None);
        assert!(list.starts_with("--unshare-all\n--unshare-user\n--disable-userns\n--die-with-parent\n--new-session\n--cap-drop ALL\n--ro-bind /usr"));
        assert!(!list.contains("--share-net") && !list.contains("--cap-add"));
    }

    #[test]
    fn the_network_is_shared_only_when_it_is_granted() {
        assert!(text(User::Ordinary(1000), Network::Host).contains("--share-net\n"));
        let root = text(User::Root, Network::Host);
        assert!(!root.contains("--unshare-net"));
        assert!(root.contains("--perms 0755\n--dir /etc/ssl\n--ro-bind-try /etc/ssl/certs"));
        assert!(!root.contains("/etc/ssl/private") && !root.contains("--ro-bind /etc"));
    }
}
