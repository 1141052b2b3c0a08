//! Whole workflows: good ones as what they become, bad ones as the report that
//! a person sees.

mod anything;
mod docs;
mod good;
mod locks;
mod problems;
mod values;
mod waiting;

use std::time::Duration;

use expect_test::{Expect, expect};
use infraflow_core::template::Template;
use infraflow_core::workflow::{Action, Concurrency, OnConflict, Wait, Workflow};
use infraflow_core::{duration, limits};

use proptest::prelude::*;

use crate::diagnostic::Style;
use crate::parse_workflow;

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
lock: ["shop-{{ inputs.env }}", state]
concurrency: { max: 2, on_conflict: cancel_running }
timeout: 1h
runs_on: dmz
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
      - { id: calm, wait: { for: 10m } }
      - { id: night, name: Until the night, when: inputs.env == 'prod', wait: { until: "{{ event.data.until }}" } }
      - id: web
        when: "steps.plan.outputs.changes > 0 and inputs.env == 'prod'"
        uses: ansible@1
        with: { playbook: site.yml }
        on_interrupt: retry
"#;

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

/// A workflow with these steps, each line one of a list.
fn with_steps(steps: &str) -> String {
    let mut text =
        "infraflow: v1\nname: a\non: manual\nstages:\n  - name: main\n    steps:\n".to_owned();
    for line in steps.lines() {
        text.push_str(&format!("      {line}\n"));
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
