//! Real playbooks and modules, through the whole product.

use infraflow_tests::git::Repository;
use infraflow_tests::host::Host;

use crate::COMMANDS;
use crate::workflows::manual;

const PLAYBOOK: &str = "\
- hosts: all
  gather_facts: false
  tasks:
    - name: Greet
      ansible.builtin.debug: { msg: \"hello {{ name }}\" }
    - name: Write
      ansible.builtin.copy: { content: \"{{ name }}\", dest: \"{{ playbook_dir }}/written.txt\" }
";

#[test]
fn a_playbook_runs_without_any_workflow() {
    let mut host = Host::new(COMMANDS);
    host.write("plays/site.yml", PLAYBOOK);
    host.write("plays/hosts", "localhost ansible_connection=local\n");
    host.start();
    let arguments = [
        "run",
        "--playbook",
        "plays/site.yml",
        "-i",
        "plays/hosts",
        "-e",
        "name=Ann",
    ];
    let output = host.cli(&arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("hello Ann"), "{text}");
    assert!(text.contains("succeeded in"), "{text}");
    let run = host.show(host.runs()[0]["id"].as_str().unwrap());
    let outputs = &run["steps"][1]["outputs"];
    assert_eq!(outputs["hosts"]["localhost"]["changed"], 1, "{outputs:#}");
    // With `--check` it changes nothing.
    let checked = host.cli(&[&arguments[..], &["--check"]].concat());
    assert!(checked.status.success());
    let run = host.show(host.runs()[0]["id"].as_str().unwrap());
    let workspace = run["workspace"].as_str().unwrap();
    assert!(!std::path::Path::new(&format!("{workspace}/written.txt")).exists());
    for (playbook, code) in [("plays/none.yml", 5), ("/no/such", 5)] {
        assert_eq!(
            host.cli(&["run", "--playbook", playbook, "-i", "plays/hosts"])
                .status
                .code(),
            Some(code)
        );
    }
}

#[test]
fn bad_playbooks_and_paths_are_refused() {
    let repository = Repository::new();
    repository.commit(&[
        ("broken.yml", "- hosts: all\n  tasks: [\n"),
        ("failing.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.fail: { msg: on purpose }\n"),
        ("hosts", "localhost ansible_connection=local\n"),
    ]);
    repository.link("passwd.yml", "/etc/passwd");
    repository.link("etc", "/etc");
    let config = format!(
        "{COMMANDS}sources:\n  shop: {{ type: forgejo, insecure: true, url: \"{}\" }}\n",
        repository.url()
    );
    let mut host = Host::new(&config);
    let steps = [
        "id: source\nuses: checkout@1\nwith: { source: shop, branch: main }\n".to_owned(),
        "id: play\nuses: ansible@1\nwith: { playbook: \"{{ inputs.playbook }}\", inventory: hosts }\n".to_owned(),
    ];
    host.workflow("play", &manual("play", &steps));
    host.start();
    for (playbook, state, expected) in [
        ("none.yml", "failed", "none.yml"),
        ("../../../etc/passwd", "failed", "../"),
        ("/etc/passwd", "failed", "/etc/passwd"),
        ("passwd.yml", "failed", "passwd.yml"),
        ("etc/hostname", "failed", "etc/hostname"),
        ("broken.yml", "failed", ""),
        ("failing.yml", "failed", "localhost"),
        ("-v", "failed", "-v"),
    ] {
        let run = host.run("play", &[&format!("playbook={playbook}")]);
        assert_eq!(run["run"]["state"], state, "{playbook}: {run:#}");
        let reason = run["run"]["reason"].as_str().unwrap();
        assert!(reason.contains(expected), "{playbook}: {reason}");
        let texts = host.texts(run["run"]["id"].as_str().unwrap()).join("\n");
        assert!(!texts.contains("root:x:0"), "{playbook}: {texts}");
    }
    let failing = host.run("play", &["playbook=failing.yml"]);
    assert_eq!(
        failing["steps"][1]["outputs"]["failed_hosts"],
        serde_json::json!(["localhost"]),
        "{failing:#}"
    );
}
