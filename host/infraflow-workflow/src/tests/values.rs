//! Names, ranges, triggers, schemas and expressions that are refused.

use super::*;

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
