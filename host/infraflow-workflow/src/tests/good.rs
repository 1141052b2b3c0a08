//! Good workflows: what they become.

use super::*;

#[test]
fn everything_that_is_built() {
    let workflow = good(FULL);
    expect![[r#"
        Workflow {
            name: "deploy-shop",
            digest: sha256:2b70bb08664c3ffff9e3868666d47a8776c5fd06bde0e800bebe2bc7dc36b7b9,
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
            pool: "dmz",
            locks: [
                Text(
                    Text {
                        source: "shop-{{ inputs.env }}",
                        paths: [
                            "inputs.env",
                        ],
                        tolerates_missing: false,
                    },
                ),
                Literal(
                    String("state"),
                ),
            ],
            concurrency: Concurrency {
                max: Some(
                    2,
                ),
                on_conflict: CancelRunning,
            },
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
                            action: Plugin {
                                uses: PluginRef {
                                    name: "checkout",
                                    major: 1,
                                },
                                with: Literal(
                                    Object {},
                                ),
                            },
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
                            action: Plugin {
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
                        },
                    ],
                },
                Stage {
                    name: "configure",
                    steps: [
                        Step {
                            id: "calm",
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
                            action: Wait(
                                For(
                                    600s,
                                ),
                            ),
                        },
                        Step {
                            id: "night",
                            label: Some(
                                "Until the night",
                            ),
                            when: Some(
                                Expr("inputs.env == 'prod'"),
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
                            on_interrupt: None,
                            action: Wait(
                                Until(
                                    Expr(
                                        Expr("event.data.until"),
                                    ),
                                ),
                            ),
                        },
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
                            action: Plugin {
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
    let Action::Plugin { with, .. } = &step.action else {
        panic!("it is no plugin");
    };
    assert!(matches!(with, Template::Literal(with) if *with == serde_json::json!({})));
    assert!(workflow.locks.is_empty());
    assert_eq!(workflow.concurrency, Concurrency::default());
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
        assert_eq!(workflow.steps().count(), 5);
    }
}

#[test]
fn a_long_retry_delay_is_not_cut_by_the_default() {
    let workflow = good(&with_step("retry: { attempts: 2, delay: 1h }"));
    let retry = &workflow.steps().next().unwrap().retry;
    assert_eq!(retry.max_delay, Duration::from_secs(3_600));
    assert_eq!(duration::display(retry.delay), "1h");
}
