//! `lock`, `concurrency` and `runs_on`.

use super::*;

#[test]
fn locks_are_one_or_a_list() {
    for (top, expected) in [
        ("lock: shop", "shop"),
        ("lock: \"shop-{{ project }}\"", "shop-default"),
        (
            "lock: [\"{{ workflow.name }}\", \"{{ environment }}-{{ run.actor }}\"]",
            "a, default-git",
        ),
        ("vars: { region: eu }\nlock: \"{{ vars.region }}\"", "eu"),
        ("lock: \"{{ event.data.branch | upper }}\"", "MAIN"),
        (
            "inputs: { properties: { env: { type: string } } }\nlock: \"{{ inputs.env }}\"",
            "prod",
        ),
    ] {
        let workflow = good(&with_top(&format!("{top}\n")));
        let roots = serde_json::json!({
            "project": "default",
            "environment": "default",
            "workflow": { "name": "a" },
            "run": { "actor": "git" },
            "vars": { "region": "eu" },
            "inputs": { "env": "prod" },
            "event": { "data": { "branch": "main" } },
        });
        let serde_json::Value::Object(roots) = roots else {
            panic!("it is a map");
        };
        let scope = infraflow_core::template::Scope::new(roots);
        let names: Vec<String> = workflow
            .locks
            .iter()
            .map(|lock| lock.render(&scope).unwrap().as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names.join(", "), expected, "{top}");
    }
}

#[test]
fn concurrency_and_pools() {
    for (top, max, on_conflict) in [
        ("concurrency: { max: 1 }", Some(1), OnConflict::Queue),
        (
            "concurrency: { max: 1000, on_conflict: skip }",
            Some(limits::CONCURRENCY),
            OnConflict::Skip,
        ),
        (
            "lock: shop\nconcurrency: { on_conflict: cancel_running }",
            None,
            OnConflict::CancelRunning,
        ),
        (
            "lock: shop\nconcurrency: { on_conflict: queue }",
            None,
            OnConflict::Queue,
        ),
    ] {
        let found = good(&with_top(&format!("{top}\n"))).concurrency;
        let expected = Concurrency {
            max: max.and_then(std::num::NonZeroU32::new),
            on_conflict,
        };
        assert_eq!(found, expected, "{top}");
    }
    assert_eq!(good(&with_top("runs_on: dmz\n")).pool.as_str(), "dmz");
}

#[test]
fn wrong_locks() {
    bad_briefly(
        &with_top(
            r#"lock:
  - ""
  - "a\tb"
  - 5
  - []
  - "{{ steps.one.outputs.x }}"
  - "{{ item }}"
  - "{{ vars.region }}"
  - "{{ inputs.evn | lowre }}"
  - "{{ nothing"
  - shop
  - shop
  - workflow:deploy
  - "workflow:{{ project }}"
inputs: { properties: { env: { type: string } } }
"#,
        ),
        &expect![[r#"
            5:5 `` is not a valid lock name | expected 1 to 200 bytes without control characters
            6:5 `a	b` is not a valid lock name | expected 1 to 200 bytes without control characters
            7:5 an item of `lock` is the number 5 | expected a text | put it in quotes: `"5"`
            8:5 an item of `lock` is a list | expected a text
            9:9 `steps` is not known in `lock` | in `lock` there are `event`, `inputs`, `vars`, `run`, `workflow`, `project`, `environment` | locks are taken before the first step: name them by what the run begins with
            10:9 `item` is not known in `lock` | in `lock` there are `event`, `inputs`, `vars`, `run`, `workflow`, `project`, `environment` | locks are taken before the first step: name them by what the run begins with
            11:9 `vars.region` does not exist | the workflow has no `vars`
            12:9 `inputs.evn` does not exist | `inputs` has `env` | did you mean `env`?
            12:22 there is no filter `lowre`
            13:5 this expression cannot be read: unexpected end of input, expected end of variable block
            15:5 duplicate lock `shop`
            16:5 a lock's name does not begin with `workflow:` | such names are those of `concurrency`
            17:5 a lock's name does not begin with `workflow:` | such names are those of `concurrency`
        "#]],
    );
    bad(
        &with_top("lock: \"deploy-{{ steps.one.outcome }}\"\n"),
        &expect![[r#"
            error: `steps` is not known in `lock`
             --> w.yaml:4:18
              |
            4 | lock: "deploy-{{ steps.one.outcome }}"
              |                  ^^^^^^^^^^^^^^^^^ in `lock` there are `event`, `inputs`, `vars`, `run`, `workflow`, `project`, `environment`
              |
              = help: locks are taken before the first step: name them by what the run begins with
        "#]],
    );
    bad_briefly(
        &with_top("lock: []\nconcurrency: { max: 1, on_conflict: skip }\n"),
        &expect![[r#"
            4:7 `lock` is an empty list | expected at least one
        "#]],
    );
    bad_briefly(
        &with_top("lock:\nruns_on: a b\n"),
        &expect![[r#"
            4:5 `lock` is empty | expected one, or a list
            5:10 `a b` is not a valid pool name | expected 1 to 63 letters, digits, `-` or `_`, starting with a letter or a digit
        "#]],
    );
    bad_briefly(
        &with_top("lock: { name: x }\nruns_on: [a, b]\n"),
        &expect![[r#"
        4:7 `lock` is a map | expected a text
        5:10 `runs_on` is a list | expected a text
    "#]],
    );
}

/// As long as a name may be, and longer.
#[test]
fn lengths_of_names() {
    good(&with_top(&format!("lock: {}\n", "x".repeat(200))));
    let text = with_top(&format!("lock: {}\n", "x".repeat(201)));
    let report = parse_workflow("w.yaml", &text).unwrap_err();
    assert!(report.to_string().contains("1 to 200 bytes"), "{report}");
}

/// As many locks as there may be, and one more.
#[test]
fn lock_count() {
    let top = |count: usize, more: &str| {
        let names: Vec<String> = (0..count).map(|n| format!("l{n}")).collect();
        with_top(&format!("lock: [{}]\n{more}", names.join(", ")))
    };
    let max = "concurrency: { max: 1 }\n";
    good(&top(limits::LOCKS, ""));
    good(&top(limits::LOCKS, "concurrency: { on_conflict: skip }\n"));
    good(&top(limits::LOCKS - 1, max));
    bad_briefly(
        &top(limits::LOCKS + 1, ""),
        &expect![[r#"
        4:7 the workflow has 17 locks | expected at most 16
    "#]],
    );
    bad_briefly(
        &top(limits::LOCKS, max),
        &expect![[r#"
        4:7 the workflow has 16 locks | expected at most 15, beside that of `concurrency`
    "#]],
    );
}

#[test]
fn wrong_concurrency() {
    for (top, expected) in [
        (
            "concurrency: {}",
            expect![[r#"
            4:14 `concurrency` says nothing | expected `max`, `on_conflict` or both | `concurrency: { max: 1 }` is one run of the workflow at a time
        "#]],
        ),
        (
            "concurrency:",
            expect![[r#"
            4:12 `concurrency` says nothing | expected `max`, `on_conflict` or both | `concurrency: { max: 1 }` is one run of the workflow at a time
        "#]],
        ),
        (
            "concurrency: 1",
            expect![[r#"
            4:14 `concurrency` is the number 1 | expected a map
        "#]],
        ),
        (
            "concurrency: { max: 0, on_conflict: cancel }",
            expect![[r#"
            4:21 `max` is the number 0 | expected a whole number from 1 to 1000
            4:37 `on_conflict` is the text `cancel` | expected one of `queue`, `skip`, `cancel_running`
        "#]],
        ),
        (
            "concurrency: { max: 1001 }",
            expect![[r#"
            4:21 `max` is the number 1001 | expected a whole number from 1 to 1000
        "#]],
        ),
        (
            "concurrency: { max: }",
            expect![[r#"
            4:19 `max` is empty | expected a whole number from 1 to 1000
        "#]],
        ),
        (
            "concurrency: { max: , on_conflict: skip }",
            expect![[r#"
            4:19 `max` is empty | expected a whole number from 1 to 1000
        "#]],
        ),
        (
            "concurrency: { on_conflict: skp }",
            expect![[r#"
            4:29 `on_conflict` is the text `skp` | expected one of `queue`, `skip`, `cancel_running` | did you mean `skip`?
        "#]],
        ),
        (
            "concurrency: { maximum: 1, on_conflict: [] }",
            expect![[r#"
            4:16 unknown key `maximum` | expected one of `max`, `on_conflict`
            4:41 `on_conflict` is a list | expected one of `queue`, `skip`, `cancel_running`
        "#]],
        ),
        (
            "concurrency: { limit: 1 }\nmax: 1\nlocks: a\npool: dmz",
            expect![[r#"
            4:14 `concurrency` says nothing | expected `max`, `on_conflict` or both | `concurrency: { max: 1 }` is one run of the workflow at a time
            4:16 unknown key `limit` | expected one of `max`, `on_conflict`
            5:1 unknown key `max` | expected one of `infraflow`, `name`, `description`, `on`, `inputs`, `vars`, `lock`, `concurrency`, `timeout`, `runs_on`, `project`, `environment`, `stages` | it stands under `concurrency`
            6:1 unknown key `locks` | expected one of `infraflow`, `name`, `description`, `on`, `inputs`, `vars`, `lock`, `concurrency`, `timeout`, `runs_on`, `project`, `environment`, `stages` | did you mean `lock`?
            7:1 unknown key `pool` | expected one of `infraflow`, `name`, `description`, `on`, `inputs`, `vars`, `lock`, `concurrency`, `timeout`, `runs_on`, `project`, `environment`, `stages` | did you mean `runs_on`?
        "#]],
        ),
        // The lock was refused: what `on_conflict` is about is not known.
        (
            "lock: 5\nconcurrency: { on_conflict: skip }",
            expect![[r#"
            4:7 `lock` is the number 5 | expected a text | put it in quotes: `"5"`
        "#]],
        ),
    ] {
        bad_briefly(&with_top(&format!("{top}\n")), &expected);
    }
    bad(
        &with_top("concurrency: { on_conflict: skip }\n"),
        &expect![[r#"
            error: there is no lock that `on_conflict` could be about
             --> w.yaml:4:29
              |
            4 | concurrency: { on_conflict: skip }
              |                             ^^^^
              |
              = help: add `max: 1` for one run of the workflow at a time, or name a `lock`
        "#]],
    );
}
