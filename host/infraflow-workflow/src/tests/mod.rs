//! Whole workflows: good ones as what they become, bad ones as the report that
//! a person sees.

mod docs;

use std::time::Duration;

use expect_test::{Expect, expect};
use infraflow_core::template::Template;
use infraflow_core::workflow::Workflow;
use infraflow_core::{duration, limits};

use proptest::prelude::*;

use crate::diagnostic::Style;
use crate::parse_workflow;

/// A workflow around some top-level keys.
fn with_top(extra: &str) -> String {
    format!(
        "infraflow: v1\nname: a\non: manual\n{extra}stages:\n  - name: main\n    steps:\n      - id: one\n        uses: command@1\n"
    )
}

/// A workflow whose only step has these further lines.
fn with_step(lines: &str) -> String {
    let mut text =
        with_top("inputs: { properties: { env: { type: string } } }\nvars: { region: eu }\n");
    for line in lines.lines() {
        text.push_str("        ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A workflow with this `on`.
fn with_on(on: &str) -> String {
    format!(
        "infraflow: v1\nname: a\n{on}\ninputs: {{ properties: {{ env: {{ type: string }} }} }}\nstages:\n  - name: main\n    steps:\n      - {{ id: one, uses: command@1 }}\n"
    )
}

fn good(text: &str) -> Workflow {
    parse_workflow("w.yaml", text).unwrap_or_else(|report| panic!("{report}"))
}

#[track_caller]
fn bad(text: &str, expected: &Expect) {
    match parse_workflow("w.yaml", text) {
        Ok(workflow) => panic!("it was taken: {workflow:#?}"),
        Err(report) => expected.assert_eq(&report.render(Style::Plain)),
    }
}

/// The messages alone, with their places.
#[track_caller]
fn bad_briefly(text: &str, expected: &Expect) {
    let report = parse_workflow("w.yaml", text).expect_err("it was taken");
    let mut lines = String::new();
    for problem in report.problems() {
        let position = report.position(problem.span.start());
        lines.push_str(&format!("{position} {}", problem.message));
        for more in problem.expected.iter().chain(&problem.hint) {
            lines.push_str(&format!(" | {more}"));
        }
        lines.push('\n');
    }
    expected.assert_eq(&lines);
}

// ---- good workflows -----------------------------------------------------------

const FULL: &str = r#"
infraflow: v1
name: deploy-shop
description: Provision and configure the shop
on:
  - git.push:
      source: shop-repo
      branches: [main, "release/*"]
      paths: ["infra/**", "!**/*.md"]
      inputs: { env: "{{ 'prod' if event.data.branch == 'main' else 'stage' }}" }
  - git.tag: { source: [shop-repo, "other-*"], tags: "v*" }
  - manual:
  - event: shop.ready
  - event: { type: [a.b, "c.*"], subject: infraflow.event.custom.> }
inputs:
  type: object
  properties:
    env: { type: string, enum: [stage, prod], default: stage }
vars: { region: eu-south-1, count: 3, name: "shop-{{ inputs.env }}" }
timeout: 1h
project: shop
environment: live
stages:
  - name: provision
    steps:
      - id: source
        uses: checkout@1
      - id: plan
        name: Plan it
        uses: opentofu@1
        with: { action: plan, vars: { region: "{{ vars.region }}" }, n: 1, list: [a, "{{ inputs.env }}"] }
        timeout: 10m
        retry: { attempts: 3, delay: 5s, backoff: exponential, max_delay: 1m, jitter: 0.2, on: [failed, timed_out] }
        on_interrupt: ask
  - name: configure
    steps:
      - id: web
        when: "steps.plan.outputs.changes > 0 and inputs.env == 'prod'"
        uses: ansible@1
        with: { playbook: site.yml }
        on_interrupt: retry
"#;

#[test]
fn everything_that_is_built() {
    let workflow = good(FULL);
    expect![[r#"
        Workflow {
            name: "deploy-shop",
            digest: sha256:847525bba2ee9d5720dbb72d6a570289f5b12164f53b86364682724b2b80022c,
            description: "Provision and configure the shop",
            triggers: [
                Trigger {
                    filter: GitPush {
                        sources: [
                            "shop-repo",
                        ],
                        branches: [
                            "main",
                            "release/*",
                        ],
                        paths: [
                            "infra/**",
                            "!**/*.md",
                        ],
                    },
                    inputs: Some(
                        Map(
                            [
                                (
                                    "env",
                                    Expr(
                                        Expr("'prod' if event.data.branch == 'main' else 'stage'"),
                                    ),
                                ),
                            ],
                        ),
                    ),
                },
                Trigger {
                    filter: GitTag {
                        sources: [
                            "shop-repo",
                            "other-*",
                        ],
                        tags: [
                            "v*",
                        ],
                    },
                    inputs: None,
                },
                Trigger {
                    filter: Manual,
                    inputs: None,
                },
                Trigger {
                    filter: Event {
                        types: [
                            "shop.ready",
                        ],
                        subject: None,
                    },
                    inputs: None,
                },
                Trigger {
                    filter: Event {
                        types: [
                            "a.b",
                            "c.*",
                        ],
                        subject: Some(
                            SubjectPattern(
                                "infraflow.event.custom.>",
                            ),
                        ),
                    },
                    inputs: None,
                },
            ],
            inputs: InputSpec {
                schema: Schema({"properties":{"env":{"default":"stage","enum":["stage","prod"],"type":"string"}},"type":"object"}),
                properties: {
                    "env": Object {
                        "default": String("stage"),
                        "enum": Array [
                            String("stage"),
                            String("prod"),
                        ],
                        "type": String("string"),
                    },
                },
                takes_others: false,
            },
            vars: Map(
                [
                    (
                        "region",
                        Literal(
                            String("eu-south-1"),
                        ),
                    ),
                    (
                        "count",
                        Literal(
                            Number(3),
                        ),
                    ),
                    (
                        "name",
                        Text(
                            Text {
                                source: "shop-{{ inputs.env }}",
                                paths: [
                                    "inputs.env",
                                ],
                                tolerates_missing: false,
                            },
                        ),
                    ),
                ],
            ),
            timeout: 3600s,
            project: "shop",
            environment: "live",
            pool: "default",
            stages: [
                Stage {
                    name: "provision",
                    steps: [
                        Step {
                            id: "source",
                            label: None,
                            when: None,
                            timeout: 3600s,
                            retry: RetryPolicy {
                                attempts: 1,
                                delay: 5s,
                                backoff: Constant,
                                max_delay: 300s,
                                jitter: 0.0,
                                on: None,
                            },
                            on_interrupt: None,
                            uses: PluginRef {
                                name: "checkout",
                                major: 1,
                            },
                            with: Literal(
                                Object {},
                            ),
                        },
                        Step {
                            id: "plan",
                            label: Some(
                                "Plan it",
                            ),
                            when: None,
                            timeout: 600s,
                            retry: RetryPolicy {
                                attempts: 3,
                                delay: 5s,
                                backoff: Exponential,
                                max_delay: 60s,
                                jitter: 0.2,
                                on: Some(
                                    [
                                        "failed",
                                        "timed_out",
                                    ],
                                ),
                            },
                            on_interrupt: Some(
                                Ask,
                            ),
                            uses: PluginRef {
                                name: "opentofu",
                                major: 1,
                            },
                            with: Map(
                                [
                                    (
                                        "action",
                                        Literal(
                                            String("plan"),
                                        ),
                                    ),
                                    (
                                        "vars",
                                        Map(
                                            [
                                                (
                                                    "region",
                                                    Expr(
                                                        Expr("vars.region"),
                                                    ),
                                                ),
                                            ],
                                        ),
                                    ),
                                    (
                                        "n",
                                        Literal(
                                            Number(1),
                                        ),
                                    ),
                                    (
                                        "list",
                                        List(
                                            [
                                                Literal(
                                                    String("a"),
                                                ),
                                                Expr(
                                                    Expr("inputs.env"),
                                                ),
                                            ],
                                        ),
                                    ),
                                ],
                            ),
                        },
                    ],
                },
                Stage {
                    name: "configure",
                    steps: [
                        Step {
                            id: "web",
                            label: None,
                            when: Some(
                                Expr("steps.plan.outputs.changes > 0 and inputs.env == 'prod'"),
                            ),
                            timeout: 3600s,
                            retry: RetryPolicy {
                                attempts: 1,
                                delay: 5s,
                                backoff: Constant,
                                max_delay: 300s,
                                jitter: 0.0,
                                on: None,
                            },
                            on_interrupt: Some(
                                Retry,
                            ),
                            uses: PluginRef {
                                name: "ansible",
                                major: 1,
                            },
                            with: Literal(
                                Object {
                                    "playbook": String("site.yml"),
                                },
                            ),
                        },
                    ],
                },
            ],
        }
    "#]]
    .assert_debug_eq(&workflow);
}

#[test]
fn what_is_left_out_has_its_default() {
    let workflow = good(&with_top(""));
    assert_eq!(workflow.description, "");
    assert_eq!(workflow.timeout, limits::RUN_TIMEOUT);
    assert_eq!(workflow.project.as_str(), "default");
    assert_eq!(workflow.environment.as_str(), "default");
    assert_eq!(workflow.pool.as_str(), "default");
    let step = workflow.steps().next().unwrap();
    assert_eq!(step.timeout, limits::STEP_TIMEOUT);
    assert_eq!(step.retry, infraflow_core::retry::RetryPolicy::default());
    assert_eq!((step.on_interrupt, &step.label), (None, &None));
    assert!(matches!(&step.with, Template::Literal(with) if *with == serde_json::json!({})));
    assert!(step.when.is_none());
}

#[test]
fn triggers_have_short_forms() {
    for (on, expected) in [
        ("on: manual", "manual"),
        ("on: git.push", "git.push"),
        ("on: [git.push, git.tag, manual]", "git.push git.tag manual"),
        (
            "on: { git.push: { branches: main }, manual: {} }",
            "git.push manual",
        ),
        ("on:\n  - git.push:\n  - manual: {}", "git.push manual"),
        ("on: { event: shop.ready }", "event"),
        ("on:\n  - event: [a, b]", "event"),
    ] {
        let workflow = good(&with_on(on));
        let kinds: Vec<&str> = workflow.triggers.iter().map(|t| t.filter.key()).collect();
        assert_eq!(kinds.join(" "), expected, "{on}");
    }
}

#[test]
fn the_digest_is_that_of_the_text() {
    let text = with_top("");
    let digest = infraflow_core::id::Digest::of(text.as_bytes());
    assert_eq!(good(&text).digest, digest);
    let with_mark = format!("\u{feff}{text}");
    assert_ne!(good(&with_mark).digest, digest);
}

#[test]
fn line_ends_of_other_systems_change_nothing() {
    for ends in ["\r\n", "\r"] {
        let workflow = good(&FULL.replace('\n', ends));
        assert_eq!(workflow.steps().count(), 3);
    }
}

#[test]
fn a_long_retry_delay_is_not_cut_by_the_default() {
    let workflow = good(&with_step("retry: { attempts: 2, delay: 1h }"));
    let retry = &workflow.steps().next().unwrap().retry;
    assert_eq!(retry.max_delay, Duration::from_secs(3_600));
    assert_eq!(duration::display(retry.delay), "1h");
}

// ---- bad workflows, as a person sees them -------------------------------------

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
lock: shop
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
              | ^^^^ expected one of `infraflow`, `name`, `description`, `on`, `inputs`, `vars`, `timeout`, `project`, `environment`, `stages`
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

            error: `lock` is not supported yet
             --> w.yaml:7:1
              |
            7 | lock: shop
              | ^^^^

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
lock: x
concurrency: {}
runs_on: dmz
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
      - { id: four, wait: {} }
      - { id: five, emit: x }
      - { id: six, parallel: [] }
";
    bad_briefly(
        text,
        &expect![[r#"
        4:1 `outputs` is not supported yet
        5:1 `lock` is not supported yet
        6:1 `concurrency` is not supported yet
        7:1 `runs_on` is not supported yet
        8:1 `permissions` is not supported yet
        9:1 `on_success` is not supported yet
        10:1 `on_error` is not supported yet
        11:1 `finally` is not supported yet
        14:5 `vars` is not supported yet
        15:5 `when` is not supported yet
        16:5 `parallel` is not supported yet
        17:5 `max_parallel` is not supported yet
        18:5 `timeout` is not supported yet
        19:5 `on_success` is not supported yet
        20:5 `on_error` is not supported yet
        21:5 `finally` is not supported yet
        25:9 `needs` is not supported yet
        26:9 `vars` is not supported yet
        27:9 `continue_on_error` is not supported yet
        28:9 `permissions` is not supported yet
        29:9 `for_each` is not supported yet
        30:9 `max_parallel` is not supported yet
        31:9 `rollback` is not supported yet
        32:9 `on_success` is not supported yet
        33:9 `on_error` is not supported yet
        34:9 `inputs` is not supported yet
        35:20 `approve` is not supported yet
        36:22 `call` is not supported yet
        37:21 `wait` is not supported yet
        38:21 `emit` is not supported yet
        39:20 `parallel` is not supported yet
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
            11:8 `uses` is missing
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

#[test]
fn names_and_ranges() {
    bad_briefly(
        &with_step(
            "name: x\ntimeout: 40d\nretry:\n  attempts: 101\n  delay: 2d\n  max_delay: 1s\n  jitter: 1.5\n  backoff: expo\n  on: [failed, interrupted, succeeded, tmed_out]",
        ),
        &expect![[r#"
            12:18 `timeout` is the text `40d` | expected a duration from `1ms` to `30d`
            14:21 `attempts` is the number 101 | expected a whole number from 1 to 100
            15:18 `delay` is the text `2d` | expected a duration from `0s` to `1d`
            17:19 `jitter` is the number 1.5 | expected a number from 0 to 1
            18:20 `backoff` is the text `expo` | expected one of `constant`, `exponential`
            19:24 `retry` does not count interrupted attempts | `on_interrupt` says what happens after one
            19:37 an item of `on` is the text `succeeded` | expected one of `failed`, `signalled`, `timed_out`, `trapped`, `limit_exceeded`, `not_granted`, `could_not_start`
            19:48 an item of `on` is the text `tmed_out` | expected one of `failed`, `signalled`, `timed_out`, `trapped`, `limit_exceeded`, `not_granted`, `could_not_start` | did you mean `timed_out`?
        "#]],
    );
    bad_briefly(
        &with_step("retry: { attempts: 2, delay: 10s, max_delay: 5s }"),
        &expect![[r#"
        11:54 `max_delay` is shorter than `delay`
    "#]],
    );
    bad_briefly(
        &with_step("timeout: 0s\nretry: { delay: 1s }"),
        &expect![[r#"
        11:18 `timeout` is the text `0s` | expected a duration from `1ms` to `30d`
        12:16 `attempts` is missing
    "#]],
    );
    bad_briefly(
        &with_top("timeout: 30 minutes\n")
            .replace("id: one", "id: my-step")
            .replace("name: main", "name: my stage")
            .replace("name: a", "name: a.b"),
        &expect![[r#"
            2:7 `a.b` is not a valid workflow name | expected 1 to 63 letters, digits, `-` or `_`, starting with a letter or a digit
            4:10 `timeout` is the text `30 minutes` | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
            6:11 `my stage` is not a valid stage name | expected 1 to 63 letters, digits, `-` or `_`, starting with a letter or a digit
            8:13 `my-step` is not a valid step id | expected 1 to 63 letters, digits or `_`, starting with a letter or `_`
        "#]],
    );
}

#[test]
fn names_that_are_given_twice() {
    bad(
        "\
infraflow: v1
name: a
on: manual
stages:
  - name: main
    steps:
      - { id: one, uses: command@1 }
  - name: main
    steps:
      - { id: one, uses: command@1 }
",
        &expect![[r#"
            error: duplicate stage `main`
             --> w.yaml:8:11
              |
            8 |   - name: main
              |           ^^^^
              |
            note: a stage `main` stands here already
             --> w.yaml:5:11
              |
            5 |   - name: main
              |           ^^^^

            error: duplicate step `one`
              --> w.yaml:10:15
               |
            10 |       - { id: one, uses: command@1 }
               |               ^^^
               |
            note: a step `one` stands here already
              --> w.yaml:7:15
               |
             7 |       - { id: one, uses: command@1 }
               |               ^^^
        "#]],
    );
}

#[test]
fn triggers() {
    for (on, expected) in [
        (
            "on: { git.push: { branches: [refs/heads/main, \"[\", \"!\"] } }",
            expect![[r#"
            3:30 `refs/heads/main` is a full ref | expected a short name | write `main`
            3:47 `[` is not a pattern: unclosed character class; missing ']'
            3:52 `!` is not a pattern: the pattern is empty
        "#]],
        ),
        (
            "on: { git.push: { branches: [] } }",
            expect![[r#"
            3:29 `branches` is an empty list | expected at least one
        "#]],
        ),
        (
            "on:\n  - git.push:\n    branches: main",
            expect![[r#"
            5:5 unknown key `branches` | expected one of `git.push`, `git.tag`, `manual`, `event` | it belongs to the trigger: indent it further
        "#]],
        ),
        (
            "on: event",
            expect![[r#"
            3:5 this trigger would take every event | expected `type` or `subject` | say which: `event: shop.ready`, or with `type` or `subject`
        "#]],
        ),
        (
            "on: { event: {} }",
            expect![[r#"
            3:14 this trigger would take every event | expected `type` or `subject` | say which: `event: shop.ready`, or with `type` or `subject`
        "#]],
        ),
        (
            "on: [puhs, {}]",
            expect![[r#"
            3:6 an item of `on` is the text `puhs` | expected one of `git.push`, `git.tag`, `manual`, `event`
            3:12 an item of `on` is a map | expected a trigger: `git.push`, `git.tag`, `manual`, `event`
        "#]],
        ),
        (
            "on: { event: { subject: a b } }",
            expect![[r#"
            3:25 a token of the subject is empty or holds white space
        "#]],
        ),
        (
            "on: { event: { subject: shop.ready } }",
            expect![[r#"
            3:25 no event arrives on `shop.ready` | expected `infraflow.event.` and more
        "#]],
        ),
        (
            "on: { event: { subject: infraflow.trigger.a } }",
            expect![[r#"
            3:25 no event arrives on `infraflow.trigger.a` | expected `infraflow.event.` and more | a workflow that is started by name has the trigger `manual`
        "#]],
        ),
        (
            "on: { event: [a, infraflow.trigger] }",
            expect![[r#"
            3:18 `infraflow.trigger` events are for the workflow that they name | a workflow that is started by name has the trigger `manual`
        "#]],
        ),
        (
            "on: { event: { subject: [a, b] } }",
            expect![[r#"
            3:25 `subject` is a list | expected a text
        "#]],
        ),
        (
            "on: { manual: { inputs: { evn: x } } }",
            expect![[r#"
            3:27 `inputs.evn` does not exist | `inputs` has `env` | did you mean `env`?
        "#]],
        ),
        (
            "on: { manual: { inputs: x } }",
            expect![[r#"
            3:25 `inputs` is the text `x` | expected a map
        "#]],
        ),
        (
            "on: { push: {} }",
            expect![[r#"
            3:7 unknown key `push` | expected one of `git.push`, `git.tag`, `manual`, `event` | did you mean `git.push`?
        "#]],
        ),
    ] {
        bad_briefly(&with_on(on), &expected);
    }
    for on in [
        "on: { event: { subject: \">\" } }",
        "on: { event: { subject: infraflow.> } }",
        "on: { event: { subject: \"*.event.git.>\" } }",
    ] {
        good(&with_on(on));
    }
}

#[test]
fn a_trigger_gives_the_inputs_that_are_needed() {
    let text = "\
infraflow: v1
name: a
on:
  - git.push: { inputs: { env: x } }
  - git.push
  - manual
inputs:
  properties: { env: {}, count: { default: 1 } }
  required: [env, count]
stages:
  - { name: s, steps: [{ id: one, uses: command@1 }] }
";
    bad(
        text,
        &expect![[r#"
        error: this trigger does not give the input `env`
         --> w.yaml:5:5
          |
        5 |   - git.push
          |     ^^^^^^^^
          |
          = help: add `inputs: { env: ... }` to it, or a `default` to the input
    "#]],
    );
}

#[test]
fn schemas_of_inputs() {
    for (inputs, expected) in [
        (
            "inputs: { env: { type: string } }",
            expect![[r#"
            4:11 `env` is not a JSON Schema keyword | inputs stand under `properties`
        "#]],
        ),
        (
            "inputs: { type: string }",
            expect![[r#"
            4:17 `type` is the text `string` | expected `object`: inputs have names
        "#]],
        ),
        (
            "inputs: { properties: { a: { type: strng, defualt: 1 } } }",
            expect![[r#"
            4:36 `type` is the text `strng` | expected one of `string`, `integer`, `number`, `boolean`, `array`, `object`, `null` | did you mean `string`?
            4:43 `defualt` is not a JSON Schema keyword | did you mean `default`?
        "#]],
        ),
        (
            "inputs: { properties: { a: { type: integer, default: x } } }",
            expect![[r#"
            4:54 the default does not fit: "x" is not of type "integer"
        "#]],
        ),
        (
            "inputs: { properties: { a: { minimum: x } } }",
            expect![[r#"
            4:9 this is not a JSON Schema: "x" is not of type "number"
        "#]],
        ),
        (
            "inputs: { properties: { a: { type: array, items: { type: [string, nul] } } } }",
            expect![[r#"
            4:67 an item of `type` is the text `nul` | expected one of `string`, `integer`, `number`, `boolean`, `array`, `object`, `null` | did you mean `null`?
        "#]],
        ),
        (
            "inputs: { properties: [] }",
            expect![[r#"
            4:23 `properties` is a list | expected a map
        "#]],
        ),
        (
            "inputs: { $ref: \"https://example.com/x.json\" }",
            expect![[r#"
            4:17 `$ref` is the text `https://example.com/x.json` | expected a place in this document, such as `#/$defs/name`
        "#]],
        ),
    ] {
        bad_briefly(&with_top(&format!("{inputs}\n")), &expected);
    }
    good(&with_top(
        "inputs: { additionalProperties: true, x-note: y, properties: { a: true, b: { $ref: \"#/$defs/b\", default: 5 } }, $defs: { b: { type: integer } } }\n",
    ));
}

#[test]
fn expressions() {
    for (lines, expected) in [
        (
            "when: \"inputs.evn == 'x'\"",
            expect![[r#"
            11:16 `inputs.evn` does not exist | `inputs` has `env` | did you mean `env`?
        "#]],
        ),
        (
            "when: \"vars.regoin == 'x'\"",
            expect![[r#"
            11:16 `vars.regoin` does not exist | `vars` has `region` | did you mean `region`?
        "#]],
        ),
        (
            "when: steps.one.outputs.x",
            expect![[r#"
            11:15 step `one` refers to itself | expected an earlier step
        "#]],
        ),
        (
            "when: steps.two.outputs.x",
            expect![[r#"
            11:15 `steps.two` does not exist | no step runs before this one
        "#]],
        ),
        (
            "when: \"inptus.env is defined\"",
            expect![[r#"
            11:16 `inptus` does not exist | in a step there are `event`, `inputs`, `vars`, `steps`, `run`, `workflow`, `project`, `environment` | did you mean `inputs`?
        "#]],
        ),
        (
            "when: \"run.outcome == 'failed'\"",
            expect![[r#"
            11:16 `run.outcome` does not exist | `run` has `id`, `actor`, `created_at`
        "#]],
        ),
        (
            "when: \"event.dat.branch\"",
            expect![[r#"
            11:16 `event.dat` does not exist | `event` has `id`, `source`, `type`, `time`, `subject`, `actor`, `data` | did you mean `data`?
        "#]],
        ),
        (
            "when: workflow.version",
            expect![[r#"
            11:15 `workflow.version` does not exist | `workflow` has `name`, `description`, `digest`
        "#]],
        ),
        (
            "when: \"item > 1\"",
            expect![[r#"
            11:16 `item` is not supported yet | in a step there are `event`, `inputs`, `vars`, `steps`, `run`, `workflow`, `project`, `environment` | it belongs to `for_each`, which is not supported yet
        "#]],
        ),
        (
            "when: \"1 +\"",
            expect![[r#"
            11:15 this expression cannot be read: unexpected end of input, expected expression
        "#]],
        ),
        (
            "when: \"a && b\"",
            expect![[r#"
            11:15 this expression cannot be read: unexpected character
        "#]],
        ),
        (
            "when: \"\"",
            expect![[r#"
            11:15 this expression cannot be read: unexpected end of input, expected expression
        "#]],
        ),
        (
            "with: { a: \"{{ inputs.env\" }",
            expect![[r#"
            11:20 this expression cannot be read: unexpected end of input, expected end of variable block
        "#]],
        ),
        (
            "with: { a: \"{{ inputs.env | uper }} {{ inputs.env is definde }}\" }",
            expect![[r#"
                11:37 there is no filter `uper`
                11:62 there is no test `definde`
            "#]],
        ),
        (
            "with: { a: [1, { b: \"x {{ input.env }} y {{ vars.nope }}\" }] }",
            expect![[r#"
            11:35 `input` does not exist | in a step there are `event`, `inputs`, `vars`, `steps`, `run`, `workflow`, `project`, `environment` | did you mean `inputs`?
            11:53 `vars.nope` does not exist | `vars` has `region`
        "#]],
        ),
        (
            "with: { \"{{ inputs.env }}\": 1 }",
            expect![[r#"
            11:17 a key holds a template | keys are taken as they are; only values are computed
        "#]],
        ),
        (
            "with: { a: {{ inputs.env }} }",
            expect![[r#"
            11:21 a key is a map | expected a text as the key | a text with `{{ }}` needs quotes
        "#]],
        ),
        (
            "with: { a: \"\\u007b{ inputs.evn }}\" }",
            expect![[r#"
            11:29 `inputs.evn` does not exist | `inputs` has `env` | did you mean `env`?
        "#]],
        ),
        (
            "with: { a: \"{{ nope(inputs.env) }}\" }",
            expect![[r#"
            11:24 `nope` does not exist | in a step there are `event`, `inputs`, `vars`, `steps`, `run`, `workflow`, `project`, `environment`
        "#]],
        ),
    ] {
        bad_briefly(&with_step(lines), &expected);
    }
    for lines in [
        "when: true",
        "when: \"inputs.nope is defined\"",
        "when: \"inputs['env'] == 'x' and event.data.anything.at.all\"",
        "with: { a: \"{% for x in range(3) %}{{ loop.index }}{{ x }}{% endfor %}\" }",
        "with: { a: \"{{ inputs.nope | default('x') | upper }}\", b: \"{# no #}\", c: \"}}\" }",
        "with: { a: \"{{ run.id }} {{ run.actor }} {{ run.created_at }} {{ workflow.digest }} {{ project }} {{ environment }}\" }",
        "with: { a: \"{% raw %}{{ x | y }}{% endraw %}\" }",
    ] {
        good(&with_step(lines));
    }
}

#[test]
fn expressions_see_what_is_there_where_they_stand() {
    let step = "      - id: two
        uses: command@1
        with:
          a: \"{{ steps.one.outputs.x }} {{ steps.one.outcome }} {{ steps.one.attempts }}\"
";
    good(&format!("{}{step}", with_top("")));
    for (extra, expected) in [
        (
            "vars: { a: \"{{ vars.b }}\", b: \"{{ steps.one.outputs.x }}\" }\n",
            expect![[r#"
            4:16 `vars` is not known in `vars` | in `vars` there are `event`, `inputs`, `run`, `workflow`, `project`, `environment`
            4:35 `steps` is not known in `vars` | in `vars` there are `event`, `inputs`, `run`, `workflow`, `project`, `environment` | `vars` are computed before the first step: use it in the step's `with`
        "#]],
        ),
        (
            "vars: { a: \"{{ inputs.x }}\" }\n",
            expect![[r#"
            4:16 `inputs.x` does not exist | the workflow has no `inputs`
        "#]],
        ),
    ] {
        bad_briefly(&with_top(extra), &expected);
    }
    bad_briefly(
        &with_on(
            "on: { git.push: { inputs: { env: \"{{ inputs.env }} {{ steps.one.outcome }} {{ workflow.digest }} {{ event.nope }} {{ run.id }}\" } } }",
        ),
        &expect![[r#"
            3:38 `inputs` is not known in the `inputs` of a trigger | in the `inputs` of a trigger there are `event`, `workflow`, `project`, `environment`
            3:55 `steps` is not known in the `inputs` of a trigger | in the `inputs` of a trigger there are `event`, `workflow`, `project`, `environment`
            3:79 `workflow.digest` does not exist | `workflow` has `name`
            3:101 `event.nope` does not exist | `event` has `id`, `source`, `type`, `time`, `subject`, `actor`, `data`
            3:118 `run` is not known in the `inputs` of a trigger | in the `inputs` of a trigger there are `event`, `workflow`, `project`, `environment`
        "#]],
    );
    let typo = step
        .replace("one.outputs", "one.output")
        .replace("steps.one.outcome", "steps.onne.outcome");
    bad_briefly(
        &format!("{}{typo}", with_top("")),
        &expect![[r#"
        12:18 `steps.one.output` does not exist | `steps.one` has `outcome`, `outputs`, `attempts` | did you mean `outputs`?
        12:43 `steps.onne` does not exist | `steps` has `one` | did you mean `one`?
    "#]],
    );
}

#[test]
fn a_refused_part_causes_no_other_problems() {
    // The id is invalid, the schema is refused, `vars` is a text: what refers to
    // them is not blamed.
    bad_briefly(
        "\
infraflow: v1
name: a
on: manual
inputs: { properties: 5 }
vars: 5
stages:
  - name: s
    steps:
      - { id: my-step, uses: command@1 }
      - { id: two, uses: command@1, when: \"inputs.x and vars.y and steps.two.outcome\" }
      - { id: three, uses: command@1, timeout: x, with: { a: \"{{ steps.two.outcome }}{{ vars.z }}\" } }
",
        &expect![[r#"
            4:23 `properties` is the number 5 | expected a map
            5:7 `vars` is the number 5 | expected a map
            9:15 `my-step` is not a valid step id | expected 1 to 63 letters, digits or `_`, starting with a letter or `_`
            10:68 step `two` refers to itself | expected an earlier step
            11:48 `timeout` is the text `x` | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
        "#]],
    );
}

// ---- anything at all ----------------------------------------------------------

/// Whatever is done to a workflow's text, it is taken or refused with a report
/// that can be shown.
fn takes_or_refuses(text: &str) {
    if let Err(report) = parse_workflow("w.yaml", text) {
        assert!(!report.problems().is_empty());
        let _ = (report.to_string(), report.to_json());
    }
}

/// An edit of a text, as a hand or an editor does them.
#[derive(Debug, Clone)]
enum Edit {
    Remove { at: usize, length: usize },
    Insert { at: usize, text: String },
    Swap { at: usize, with: usize },
    Repeat { at: usize, length: usize },
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || 0..FULL.len();
    prop_oneof![
        (at(), 0..60_usize).prop_map(|(at, length)| Edit::Remove { at, length }),
        (at(), "[-a-z:{}\\[\\]|>&*!#%'\",. \n\t0-9é]{0,12}")
            .prop_map(|(at, text)| Edit::Insert { at, text }),
        (at(), at()).prop_map(|(at, with)| Edit::Swap { at, with }),
        (at(), 0..200_usize).prop_map(|(at, length)| Edit::Repeat { at, length }),
    ]
}

fn apply(text: &str, edit: &Edit) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let end = chars.len();
    let range = |at: usize, length: usize| at.min(end)..(at + length).min(end);
    match edit {
        Edit::Remove { at, length } => {
            chars.drain(range(*at, *length));
        }
        Edit::Insert { at, text } => {
            chars.splice(range(*at, 0), text.chars());
        }
        Edit::Swap { at, with } => {
            if *at < end && *with < end {
                chars.swap(*at, *with);
            }
        }
        Edit::Repeat { at, length } => {
            let part = chars[range(*at, *length)].to_vec();
            chars.splice(range(*at, 0), part);
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn edited_workflows_are_taken_or_refused(edits in proptest::collection::vec(edit(), 1..4)) {
        let text = edits.iter().fold(FULL.to_owned(), |text, edit| apply(&text, edit));
        takes_or_refuses(&text);
    }

    #[test]
    fn any_text_is_taken_or_refused(text in "\\PC{0,200}") {
        takes_or_refuses(&text);
        takes_or_refuses(&with_top(&text));
        takes_or_refuses(&with_step(&text));
        takes_or_refuses(&with_on(&format!("on: {text}")));
    }

    #[test]
    fn any_expression_is_taken_or_refused(text in "[-a-z.|{}%#'()\\[\\] 0-9+*=<>!~\\\\é]{0,40}") {
        takes_or_refuses(&with_step(&format!("when: '{}'", text.replace('\'', "''"))));
        takes_or_refuses(&with_step(&format!("with: {{ a: '{}' }}", text.replace('\'', "''"))));
    }
}

#[test]
fn every_head_of_a_workflow_is_taken_or_refused() {
    for (end, _) in FULL.char_indices() {
        takes_or_refuses(FULL.split_at(end).0);
    }
}

/// The names that the checks know are those that runs and triggers have.
#[test]
fn names_are_those_of_core() {
    use crate::names::{EVENT, Place, RUN, STEP, WORKFLOW, WORKFLOW_IN_TRIGGER};
    use infraflow_core::template::ROOTS;

    for place in [Place::Trigger, Place::Vars, Place::Step(0)] {
        assert!(place.roots().iter().all(|root| ROOTS.contains(root)));
    }
    let event = sample_event();
    let document = event.to_document();
    let mut known = EVENT.to_vec();
    known.sort_unstable();
    let names: Vec<&str> = document
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, known);

    let trigger = Place::Trigger.roots().join(" }} {{ ");
    let parts: Vec<String> = EVENT
        .iter()
        .map(|name| format!("event.{name}"))
        .chain(
            WORKFLOW_IN_TRIGGER
                .iter()
                .map(|name| format!("workflow.{name}")),
        )
        .collect();
    let input = format!("{{{{ {trigger} }}}} {{{{ {} }}}}", parts.join(" }} {{ "));
    let workflow = good(&with_on(&format!(
        "on: {{ git.push: {{ inputs: {{ env: \"{input}\" }} }} }}"
    )));
    let table = infraflow_core::route::RoutingTable::new(vec![std::sync::Arc::new(workflow)]);
    let matches = table.route(&event, "infraflow.event.git.push.forgejo.a.b");
    assert!(matches[0].inputs.is_ok(), "{:?}", matches[0].inputs);

    // A run's scope, after its first step has ended.
    let paths: Vec<String> = [
        ("run", &RUN[..]),
        ("workflow", &WORKFLOW),
        ("steps.one", &STEP),
    ]
    .iter()
    .flat_map(|(root, names)| names.iter().map(move |name| format!("{root}.{name}")))
    .chain(Place::Step(1).roots().iter().map(|root| (*root).to_owned()))
    .collect();
    let step = format!(
        "      - {{ id: two, uses: command@1, with: {{ a: \"{{{{ {} }}}}\" }} }}\n",
        paths.join(" }} {{ ")
    );
    let workflow = std::sync::Arc::new(good(&format!("{}{step}", with_top(""))));
    let run = sample_run(&workflow);
    let scope = run.scope().unwrap();
    let (step, _) = run.step(&"two".parse().unwrap()).unwrap();
    step.with.render(&scope).unwrap();
}

fn sample_event() -> infraflow_core::event::Event {
    use infraflow_core::event::{Actor, Event, EventData, GitPush, Person, Provider, Repository};

    let push = GitPush {
        provider: Provider::Forgejo,
        source: "shop-repo".into(),
        repository: Repository {
            full_name: "shop/infra".into(),
            owner: "shop".into(),
            name: "infra".into(),
            url: String::new(),
            default_branch: "main".into(),
        },
        git_ref: "refs/heads/main".into(),
        branch: "main".into(),
        before: "1".repeat(40),
        after: "2".repeat(40),
        commit: "2".repeat(40),
        created: false,
        deleted: false,
        forced: None,
        pusher: Person::default(),
        message: String::new(),
        commits: vec![],
        commits_total: 0,
        paths: vec![],
        paths_complete: true,
        compare_url: String::new(),
    };
    Event {
        id: infraflow_core::id::EventId::new("1").unwrap(),
        source: infraflow_core::id::EventSource::new("source:shop-repo").unwrap(),
        kind: infraflow_core::id::EventType::new("git.push").unwrap(),
        time: "2026-11-21T12:00:00Z".parse().unwrap(),
        subject: None,
        actor: Actor::Host,
        json: std::sync::Arc::new(push.to_document()),
        data: EventData::GitPush(Box::new(push)),
    }
}

/// A run of which the step `one` has ended.
fn sample_run(workflow: &std::sync::Arc<Workflow>) -> infraflow_core::run::Run {
    use infraflow_core::id::{HostName, Incarnation, RunId};
    use infraflow_core::ports::{Sequence, Trust};
    use infraflow_core::run::{Birth, BirthEvent, Claim, Entry, Run};

    let event = sample_event();
    let id = RunId::derive(&workflow.project, &event.source, &event.id, &workflow.name);
    let birth = Birth {
        workflow: workflow.name.clone(),
        workflow_digest: workflow.digest,
        workflow_revision: 1,
        plugins: std::collections::BTreeMap::new(),
        event: BirthEvent::new(&event, Sequence(1)),
        trigger: 0,
        inputs: infraflow_core::JsonMap::new(),
        trust: Trust::Trusted,
        project: workflow.project.clone(),
        environment: workflow.environment.clone(),
        pool: workflow.pool.clone(),
    };
    let mut run = Run::new(id, Box::new(birth), workflow.clone(), event.time);
    let claim = Claim {
        host: HostName::new("h").unwrap(),
        incarnation: Incarnation(1),
        epoch: 1,
    };
    run.fold(&Entry::Claimed(claim), event.time).unwrap();
    let skipped = Entry::StepSkipped {
        step: "one".parse().unwrap(),
    };
    run.fold(&skipped, event.time).unwrap();
    run
}
