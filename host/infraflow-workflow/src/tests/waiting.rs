//! Steps that wait.

use super::*;

fn wait_of(step: &str) -> Wait {
    let workflow = good(&with_steps(&format!("- {{ id: one, {step} }}")));
    match workflow.steps().next().map(|step| step.action.clone()) {
        Some(Action::Wait(wait)) => wait,
        other => panic!("it is {other:?}"),
    }
}

#[test]
fn waits() {
    for (step, expected) in [
        ("wait: { for: 1ms }", "for 1ms"),
        ("wait: { for: 1h30m }", "for 1h30m"),
        ("wait: { for: 366d }", "for 366d"),
        (
            "wait: { until: 2027-03-01T08:00:00Z }",
            "until 2027-03-01T08:00:00Z",
        ),
        (
            "wait: { until: \"2027-03-01T08:00:00.5+01:00\" }",
            "until 2027-03-01T08:00:00.5+01:00",
        ),
        ("wait: { until: \"{{ event.time }}\" }", "until a template"),
        (
            "wait: { until: \"{{ event.data.day }}T20:00:00Z\" }",
            "until a template",
        ),
    ] {
        let found = match wait_of(step) {
            Wait::For(time) => format!("for {}", duration::display(time)),
            Wait::Until(until) => format!("until {}", until.literal_text().unwrap_or("a template")),
        };
        assert_eq!(found, expected, "{step}");
    }
}

#[test]
fn a_step_that_waits_has_a_name_and_a_condition() {
    let workflow = good(&with_steps(
        "- { id: one, wait: { for: 1s } }\n- { id: two, name: Wait, when: steps.one.outcome == 'succeeded', wait: { until: \"{{ steps.one.outputs.at }}\" } }",
    ));
    let step = workflow.steps().nth(1).unwrap();
    assert_eq!(step.label.as_deref(), Some("Wait"));
    assert!(step.when.is_some());
    assert_eq!(step.action.label(), "wait");
    assert!(workflow.plugins().is_empty());
}

#[test]
fn wrong_waits() {
    for (step, expected) in [
        (
            "wait: {}",
            expect![[r#"
            7:26 the `wait` does not say how long | expected `for` or `until` | for example `wait: { for: 10m }`
        "#]],
        ),
        (
            "wait:",
            expect![[r#"
            7:24 the `wait` does not say how long | expected `for` or `until` | for example `wait: { for: 10m }`
        "#]],
        ),
        (
            "wait: 10m",
            expect![[r#"
            7:26 `wait` is the text `10m` | expected a map with `for` or `until` | write `wait: { for: ... }`
        "#]],
        ),
        (
            "wait: 2027-03-01T08:00:00Z",
            expect![[r#"
            7:26 `wait` is the text `2027-03-01T08:00:00Z` | expected a map with `for` or `until` | write `wait: { until: ... }`
        "#]],
        ),
        (
            "wait: 10",
            expect![[r#"
                7:26 `wait` is the number 10 | expected a map with `for` or `until` | write `wait: { for: ... }`
            "#]],
        ),
        (
            "wait: { for: 10 }",
            expect![[r#"
            7:33 `for` is the number 10 | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d` | give it a unit: `10s`, `10m` or `10h`
        "#]],
        ),
        (
            "wait: { for: 0s }",
            expect![[r#"
            7:33 `for` is the text `0s` | expected a duration from `1ms` to `366d`
        "#]],
        ),
        (
            "wait: { for: 366d1ms }",
            expect![[r#"
            7:33 `for` is the text `366d1ms` | expected a duration from `1ms` to `366d`
        "#]],
        ),
        (
            "wait: { for: \"{{ inputs.time }}\" }",
            expect![[r#"
            7:33 `for` is the text `{{ inputs.time }}` | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
        "#]],
        ),
        (
            "wait: { for: 1m, until: 2027-03-01T08:00:00Z }",
            expect![[r#"
            7:26 the `wait` has `for` and `until` | expected one of them
        "#]],
        ),
        (
            "wait: { for: x, until: tomorrow }",
            expect![[r#"
                7:26 the `wait` has `for` and `until` | expected one of them
                7:33 `for` is the text `x` | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
            "#]],
        ),
        (
            "wait: { until: 2027-03-01 }",
            expect![[r#"
            7:35 `2027-03-01` is not a moment | expected RFC 3339, like `2027-03-01T08:00:00Z` or `2027-03-01T08:00:00+01:00`
        "#]],
        ),
        (
            "wait: { until: 2027-02-30T08:00:00Z }",
            expect![[r#"
            7:35 `2027-02-30T08:00:00Z` is not a moment | expected RFC 3339, like `2027-03-01T08:00:00Z` or `2027-03-01T08:00:00+01:00`
        "#]],
        ),
        (
            "wait: { until: 5 }",
            expect![[r#"
            7:35 `until` is the number 5 | expected a text | put it in quotes: `"5"`
        "#]],
        ),
        (
            "wait: { until: \"{{ steps.one.outputs.at }}\" }",
            expect![[r#"
            7:39 step `one` refers to itself | expected an earlier step
        "#]],
        ),
        (
            "wait: { until: \"{{ evnt.time }}\" }",
            expect![[r#"
            7:39 `evnt` does not exist | in a step there are `event`, `inputs`, `vars`, `steps`, `run`, `workflow`, `project`, `environment` | did you mean `event`?
        "#]],
        ),
        (
            "wait: { event: shop.ready }",
            expect![[r#"
            7:28 `event` is not supported yet
        "#]],
        ),
        (
            "wait: { event: shop.ready, for: 1h }",
            expect![[r#"
            7:28 `event` is not supported yet
        "#]],
        ),
        (
            "wait: { fro: 1h }",
            expect![[r#"
            7:26 the `wait` does not say how long | expected `for` or `until` | for example `wait: { for: 10m }`
            7:28 unknown key `fro` | expected one of `for`, `until` | did you mean `for`?
        "#]],
        ),
        (
            "for: 1h",
            expect![[r#"
            7:9 `uses` is missing | say what the step does: `uses` calls a plugin, `wait` waits
            7:20 unknown key `for` | expected one of `id`, `name`, `uses`, `with`, `wait`, `when`, `timeout`, `retry`, `on_interrupt` | it stands under `wait`
        "#]],
        ),
        (
            "sleep: 1h",
            expect![[r#"
            7:9 `uses` is missing | say what the step does: `uses` calls a plugin, `wait` waits
            7:20 unknown key `sleep` | expected one of `id`, `name`, `uses`, `with`, `wait`, `when`, `timeout`, `retry`, `on_interrupt` | did you mean `wait`?
        "#]],
        ),
        (
            "uses: command@1, wait: { for: 1h }",
            expect![[r#"
            7:43 the step has `uses` and `wait` | expected one of them | make two steps of it
        "#]],
        ),
        (
            "uses: command, wait: { for: 1h }",
            expect![[r#"
            7:26 `command` does not name a plugin | expected a name and a major version, like `ansible@1`
            7:41 the step has `uses` and `wait` | expected one of them | make two steps of it
        "#]],
        ),
    ] {
        bad_briefly(&with_steps(&format!("- {{ id: one, {step} }}")), &expected);
    }
    good(&with_steps("- { id: one, wait: { for: 366d } }"));
}

#[test]
fn keys_that_a_wait_does_not_have() {
    bad(
        &with_steps(
            "- id: one
  wait: { for: 1m }
  with: { a: b }
  timeout: 5m
  retry: { attempts: 0 }
  on_interrupt: fail",
        ),
        &expect![[r#"
            error: a `wait` has no `with`
             --> w.yaml:9:15
              |
            9 |         with: { a: b }
              |               ^^^^^^
              |
              = help: `with` is the input of a plugin

            error: a `wait` has no `timeout`
              --> w.yaml:10:18
               |
            10 |         timeout: 5m
               |                  ^^
               |
               = help: it ends when its time has come, and the run's `timeout` stands still meanwhile

            error: a `wait` has no `retry`
              --> w.yaml:11:16
               |
            11 |         retry: { attempts: 0 }
               |                ^^^^^^^^^^^^^
               |
               = help: nothing runs that could fail and be tried again

            error: a `wait` has no `on_interrupt`
              --> w.yaml:12:23
               |
            12 |         on_interrupt: fail
               |                       ^^^^
               |
               = help: no host runs it, so none can interrupt it
        "#]],
    );
}
