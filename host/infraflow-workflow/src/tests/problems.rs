//! Bad workflows, as a person sees them: all problems at once, with their places.

use super::*;

#[test]
fn all_problems_come_at_once() {
    bad(
        "\
infraflow: v1
nmae: deploy
on:
  - git.push: { branch: main }
  - schedule: { cron: \"0 3 * * *\" }
timeout: 30
lock: [shop, '']
stages:
  - name: main
    steps:
      - id: plan
        uses: opentofu
        retry: { attempts: 0, delay: 5 }
        with: { region: \"{{ vars.regoin }}\" }
      - id: plan
        uses: command@1
        when: \"steps.plna.outputs.changes > 0\"
        approve: { min: 2 }
      - uses: command@1
vars: { region: eu }
",
        &expect![[r#"
            error: `name` is missing
             --> w.yaml:1:1
              |
            1 | infraflow: v1
              | ^^^^^^^^^^^^^

            error: unknown key `nmae`
             --> w.yaml:2:1
              |
            2 | nmae: deploy
              | ^^^^ expected one of `infraflow`, `name`, `description`, `on`, `inputs`, `vars`, `lock`, `concurrency`, `timeout`, `runs_on`, `project`, `environment`, `stages`
              |
              = help: did you mean `name`?

            error: unknown key `branch`
             --> w.yaml:4:17
              |
            4 |   - git.push: { branch: main }
              |                 ^^^^^^ expected one of `source`, `branches`, `paths`, `inputs`
              |
              = help: did you mean `branches`?

            error: `schedule` is not supported yet
             --> w.yaml:5:5
              |
            5 |   - schedule: { cron: "0 3 * * *" }
              |     ^^^^^^^^

            error: `timeout` is the number 30
             --> w.yaml:6:10
              |
            6 | timeout: 30
              |          ^^ expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
              |
              = help: give it a unit: `30s`, `30m` or `30h`

            error: `` is not a valid lock name
             --> w.yaml:7:14
              |
            7 | lock: [shop, '']
              |              ^^ expected 1 to 200 bytes without control characters

            error: `opentofu` does not name a plugin
              --> w.yaml:12:15
               |
            12 |         uses: opentofu
               |               ^^^^^^^^ expected a name and a major version, like `ansible@1`

            error: `attempts` is the number 0
              --> w.yaml:13:28
               |
            13 |         retry: { attempts: 0, delay: 5 }
               |                            ^ expected a whole number from 1 to 100

            error: `delay` is the number 5
              --> w.yaml:13:38
               |
            13 |         retry: { attempts: 0, delay: 5 }
               |                                      ^ expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
               |
               = help: give it a unit: `5s`, `5m` or `5h`

            error: `vars.regoin` does not exist
              --> w.yaml:14:29
               |
            14 |         with: { region: "{{ vars.regoin }}" }
               |                             ^^^^^^^^^^^ `vars` has `region`
               |
               = help: did you mean `region`?

            error: duplicate step `plan`
              --> w.yaml:15:13
               |
            15 |       - id: plan
               |             ^^^^
               |
            note: a step `plan` stands here already
              --> w.yaml:11:13
               |
            11 |       - id: plan
               |             ^^^^

            error: `steps.plna` does not exist
              --> w.yaml:17:16
               |
            17 |         when: "steps.plna.outputs.changes > 0"
               |                ^^^^^^^^^^^^^^^^^^^^^^^^^^ `steps` has `plan`
               |
               = help: did you mean `plan`?

            error: `approve` is not supported yet
              --> w.yaml:18:9
               |
            18 |         approve: { min: 2 }
               |         ^^^^^^^

            error: `id` is missing
              --> w.yaml:19:9
               |
            19 |       - uses: command@1
               |         ^^^^^^^^^^^^^^^
        "#]],
    );
}

/// One of each kind that `all_problems_come_at_once` does not show.
#[test]
fn other_kinds_of_problems() {
    bad(
        &with_step("when: \"inputs.env ==\""),
        &expect![[r#"
        error: this expression cannot be read: unexpected end of input, expected expression
          --> w.yaml:11:15
           |
        11 |         when: "inputs.env =="
           |               ^^^^^^^^^^^^^^^
    "#]],
    );
    bad(
        &with_step("with: { a: \"{{ inputs.env | uper }}\" }"),
        &expect![[r#"
            error: there is no filter `uper`
              --> w.yaml:11:37
               |
            11 |         with: { a: "{{ inputs.env | uper }}" }
               |                                     ^^^^
        "#]],
    );
    bad(
        &with_step("on_interrupt: [retry]"),
        &expect![[r#"
        error: `on_interrupt` is a list
          --> w.yaml:11:23
           |
        11 |         on_interrupt: [retry]
           |                       ^^^^^^^ expected one of `retry`, `fail`, `ask`
    "#]],
    );
    bad(
        &with_step("timeout: 31d"),
        &expect![[r#"
        error: `timeout` is the text `31d`
          --> w.yaml:11:18
           |
        11 |         timeout: 31d
           |                  ^^^ expected a duration from `1ms` to `30d`
    "#]],
    );
    bad(
        "infraflow: v1\nname: [\n",
        &expect![[r#"
            error: a value is missing here
             --> w.yaml:2:8
              |
            2 | name: [
              |        ^
        "#]],
    );
    let steps = "      - { id: s, uses: a@1 }\n".repeat(limits::WORKFLOW_STEPS + 1);
    let text =
        format!("infraflow: v1\nname: a\non: manual\nstages:\n  - name: s\n    steps:\n{steps}");
    let report = parse_workflow("w.yaml", &text).unwrap_err();
    let kinds: Vec<&str> = report.problems().iter().map(|p| p.kind.name()).collect();
    assert_eq!(
        (kinds[0], report.more()),
        ("duplicate", limits::WORKFLOW_STEPS + 1 - 100)
    );
}

/// As many steps as there may be, and one more.
#[test]
fn step_count() {
    let text = |count: usize| {
        let steps = (0..count).map(|n| format!("      - {{ id: s{n}, uses: a@1 }}\n"));
        let steps: String = steps.collect();
        format!("infraflow: v1\nname: a\non: manual\nstages:\n  - name: s\n    steps:\n{steps}")
    };
    assert_eq!(
        good(&text(limits::WORKFLOW_STEPS)).steps().count(),
        limits::WORKFLOW_STEPS
    );
    bad(
        &text(limits::WORKFLOW_STEPS + 1),
        &expect![[r#"
        error: the workflow has 2001 steps
         --> w.yaml:5:3
          |
        5 |   - name: s
          |   ^^^^^^^^^ expected at most 2000
    "#]],
    );
}

#[test]
fn keys_that_are_not_built_are_refused_by_name() {
    let text = "\
infraflow: v1
name: a
on: manual
outputs: {}
permissions: {}
on_success: []
on_error: []
finally: []
stages:
  - name: s
    vars: {}
    when: x
    parallel: true
    max_parallel: 2
    timeout: 1m
    on_success: []
    on_error: []
    finally: []
    steps:
      - id: one
        uses: a@1
        needs: []
        vars: {}
        continue_on_error: true
        permissions: {}
        for_each: []
        max_parallel: 1
        rollback: {}
        on_success: []
        on_error: []
        inputs: {}
      - { id: two, approve: {} }
      - { id: three, call: other }
      - { id: four, wait: { event: x } }
      - { id: five, emit: x }
      - { id: six, parallel: [] }
";
    bad_briefly(
        text,
        &expect![[r#"
            4:1 `outputs` is not supported yet
            5:1 `permissions` is not supported yet
            6:1 `on_success` is not supported yet
            7:1 `on_error` is not supported yet
            8:1 `finally` is not supported yet
            11:5 `vars` is not supported yet
            12:5 `when` is not supported yet
            13:5 `parallel` is not supported yet
            14:5 `max_parallel` is not supported yet
            15:5 `timeout` is not supported yet
            16:5 `on_success` is not supported yet
            17:5 `on_error` is not supported yet
            18:5 `finally` is not supported yet
            22:9 `needs` is not supported yet
            23:9 `vars` is not supported yet
            24:9 `continue_on_error` is not supported yet
            25:9 `permissions` is not supported yet
            26:9 `for_each` is not supported yet
            27:9 `max_parallel` is not supported yet
            28:9 `rollback` is not supported yet
            29:9 `on_success` is not supported yet
            30:9 `on_error` is not supported yet
            31:9 `inputs` is not supported yet
            32:20 `approve` is not supported yet
            33:22 `call` is not supported yet
            34:29 `event` is not supported yet
            35:21 `emit` is not supported yet
            36:20 `parallel` is not supported yet
        "#]],
    );
}

#[test]
fn triggers_that_are_not_built_are_refused_by_name() {
    bad_briefly(
        &with_on(
            "on: [{git.pull_request: {}}, git.release, container, incident, {schedule: {}}, run, all_of, git.push: {if: x, if_plugin: y, dedupe: {}, threshold: {}, debounce: 1s}, manual: {if: x}]",
        ),
        &expect![[r#"
            3:7 `git.pull_request` is not supported yet
            3:30 `git.release` is not supported yet
            3:43 `container` is not supported yet
            3:54 `incident` is not supported yet
            3:65 `schedule` is not supported yet
            3:80 `run` is not supported yet
            3:85 `all_of` is not supported yet
            3:104 `if` is not supported yet
            3:111 `if_plugin` is not supported yet
            3:125 `dedupe` is not supported yet
            3:137 `threshold` is not supported yet
            3:152 `debounce` is not supported yet
            3:176 `if` is not supported yet
        "#]],
    );
}

#[test]
fn wrong_types() {
    bad_briefly(
        "[]",
        &expect![[r#"
        1:1 the document is a list | expected a map
    "#]],
    );
    bad_briefly(
        "text",
        &expect![[r#"
        1:1 the document is the text `text` | expected a map
    "#]],
    );
    bad_briefly(
        "infraflow: v1\nname: 5\ndescription: []\non: 5\ninputs: []\nvars: x\ntimeout: {}\nproject: a b\nenvironment:\nstages: {}\n",
        &expect![[r#"
            2:7 `name` is the number 5 | expected a text | put it in quotes: `"5"`
            3:14 `description` is a list | expected a text
            4:5 `on` is the number 5 | expected a trigger: `git.push`, `git.tag`, `manual`, `event`
            5:9 `inputs` is a list | expected a JSON Schema of an object
            6:7 `vars` is the text `x` | expected a map
            7:10 `timeout` is a map | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
            8:10 `a b` is not a valid project name | expected 1 to 63 letters, digits, `-` or `_`, starting with a letter or a digit
            9:12 `environment` is empty | expected a text
            10:9 `stages` is a map | expected a list
        "#]],
    );
    bad_briefly(
        "infraflow: v1\nname: a\non: manual\nstages:\n  - x\n  - name: []\n    steps: []\n  - name: s\n    steps:\n      - x\n      -\n      - id: 5\n        name: 1.10\n        uses: []\n        with: []\n        when: []\n        timeout: 1h1h\n        retry: 3\n        on_interrupt: rety\n",
        &expect![[r#"
            5:5 an item of `stages` is the text `x` | expected a map
            6:11 `name` is a list | expected a text
            7:12 `steps` is an empty list | expected at least one
            10:9 an item of `steps` is the text `x` | expected a map
            11:8 `uses` is missing | say what the step does: `uses` calls a plugin, `wait` waits
            11:8 `id` is missing
            12:13 `id` is the number 5 | expected a text | put it in quotes: `"5"`
            13:15 `name` is the number 1.1 | expected a text | put it in quotes: `"1.10"`
            14:15 `uses` is a list | expected a text
            15:15 `with` is a list | expected a map
            16:15 `when` is a list | expected a text
            17:18 `timeout` is the text `1h1h` | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
            18:16 `retry` is the number 3 | expected a map
            19:23 `on_interrupt` is the text `rety` | expected one of `retry`, `fail`, `ask` | did you mean `retry`?
        "#]],
    );
}

#[test]
fn nothing() {
    bad(
        "",
        &expect![[r#"
        error: the document is empty
         --> w.yaml:1:1
          |
        1 |
          | ^ expected a map
    "#]],
    );
    bad_briefly(
        "# only\n# comments\n",
        &expect![[r#"
        1:1 the document is empty | expected a map
    "#]],
    );
    bad_briefly(
        "{}",
        &expect![[r#"
        1:1 `infraflow` is missing | begin with `infraflow: v1`
        1:1 `name` is missing
        1:1 `on` is missing | `on: manual` is for a workflow that people start
        1:1 `stages` is missing
    "#]],
    );
    bad_briefly(
        "infraflow: v1\nname: a\non: []\nstages: []\n",
        &expect![[r#"
        3:5 `on` is an empty list | expected at least one
        4:9 `stages` is an empty list | expected at least one
    "#]],
    );
    bad_briefly(
        "infraflow: v2\nname: a\nnew_things: 1\n",
        &expect![[r#"
        1:12 `infraflow` is the text `v2` | expected `v1`, the version that this host knows
    "#]],
    );
    bad_briefly(
        "infraflow: 1\n",
        &expect![[r#"
        1:12 `infraflow` is the number 1 | expected `v1`, the version that this host knows
    "#]],
    );
}
