//! A playbook of a stranger wants out: the data directory, the credentials of
//! NATS, the workspace of another run, the host's files, other processes.

use infraflow_tests::git::Repository;
use infraflow_tests::host::Host;

use crate::COMMANDS;
use crate::workflows::{manual, sh};

#[test]
fn promise_06_a_hostile_playbook_stays_in_its_box() {
    let repository = Repository::new();
    let config = format!(
        "{COMMANDS}sources:\n  shop: {{ type: forgejo, insecure: true, url: \"{}\" }}\nsecrets:\n  token: {{ file: token }}\n",
        repository.url()
    );
    let mut host = Host::new(&config);
    host.write("token", "a-secret-of-the-operator");
    host.workflow(
        "victim",
        &manual(
            "victim",
            &[sh("keep", "echo a-file-of-another-run > mine", "")],
        ),
    );
    host.start();
    let victim = host.run("victim", &[]);
    let other = victim["workspace"].as_str().unwrap().to_owned();
    let folder = host.folder();
    let home = std::env::var("HOME").expect("whoever runs the tests has a home");
    let targets = [
        format!("{other}/mine"),
        format!("{folder}/token"),
        format!("{folder}/infraflow.yaml"),
        format!("{folder}/data/credentials/operator.env"),
        format!("{folder}/data/nats/server.conf"),
        format!("{folder}/data/keys/blobs.key"),
        "/etc/shadow".to_owned(),
        format!("{home}/.bashrc"),
        "/proc/1/environ".to_owned(),
    ];
    let attempts: String = targets
        .iter()
        .map(|target| format!("cat {target} && echo REACHED {target}; "))
        .collect();
    let more = format!(
        "ls {folder} && echo REACHED folder; \
         kill -0 {pid} && echo REACHED host; \
         id -u | grep -qx 0 && echo REACHED root; \
         mount -t tmpfs none /mnt && echo REACHED mount; \
         env | grep -i nats && echo REACHED environment; \
         curl -s {http}/healthz && echo REACHED http; \
         touch /usr/evil && echo REACHED usr; \
         echo DONE",
        pid = host.pid(),
        http = host.http(),
    );
    let script = serde_json::Value::from(format!("{attempts}{more}"));
    let playbook = format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.shell: {script}\n      register: out\n    - ansible.builtin.debug: {{ var: out.stdout_lines }}\n"
    );
    repository.commit(&[
        ("evil.yml", &playbook),
        ("hosts", "localhost ansible_connection=local\n"),
    ]);
    let steps = [
        "id: source\nuses: checkout@1\nwith: { source: shop, branch: main }\n".to_owned(),
        "id: play\nuses: ansible@1\nwith: { playbook: evil.yml, inventory: hosts }\n".to_owned(),
    ];
    host.workflow("evil", &manual("evil", &steps));
    let run = infraflow_tests::wait::wait_for("the workflow", || {
        let output = host.cli(&["trigger", "evil"]);
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    let ended = host.ended(&run);
    let text = host.texts(&run).join("\n");
    assert!(text.contains("DONE"), "{ended:#}\n{text}");
    let http = "REACHED http";
    assert!(!text.replace(http, "").contains("REACHED"), "{text}");
    for secret in [
        "a-secret-of-the-operator",
        "a-file-of-another-run",
        &host.credential("NATS_PASSWORD"),
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
}
