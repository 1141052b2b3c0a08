//! `docs/workflows.md` says what the language is: every example in it is
//! parsed, and its tables have the keys that there are.

use std::collections::BTreeSet;

use infraflow_core::outcome::RunOutcome;
use infraflow_core::workflow::OnConflict;

use super::{good, with_on, with_step, with_steps, with_top};
use crate::keys;
use crate::parse_workflow;
use crate::read::Keys;

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/workflows.md");
    std::fs::read_to_string(path).unwrap()
}

/// The fenced YAML blocks of the page: what stands after `yaml`, and the text.
fn examples(page: &str) -> Vec<(&str, &str)> {
    page.split("```yaml")
        .skip(1)
        .map(|rest| {
            let (block, _) = rest.split_once("```").unwrap();
            let (word, text) = block.split_once('\n').unwrap();
            (word.trim(), text)
        })
        .collect()
}

#[test]
fn every_example_is_what_it_says() {
    let page = page();
    let examples = examples(&page);
    assert!(examples.len() > 10);
    for (word, text) in examples {
        match word {
            "" => drop(good(text)),
            "on" => drop(good(&with_on(text))),
            "top" => drop(good(&with_top(text))),
            "step" => drop(good(&with_step(text))),
            "steps" => drop(good(&with_steps(text))),
            "wrong" => {
                let report = parse_workflow("wrong.yaml", text).unwrap_err();
                assert_eq!(report.problems().len(), 3, "{report}");
            }
            other => panic!("`yaml {other}` is no word of this test"),
        }
    }
}

/// The part of the page under a heading, up to the next one.
fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let start = page.find(&format!("\n{heading}\n")).expect(heading);
    let (_, rest) = page.split_at(start + heading.len() + 2);
    rest.split("\n#").next().unwrap()
}

/// The names in backticks in a column of a section's tables; `after` skips to
/// the table behind that text.
fn column(section: &str, after: &str, column: usize) -> BTreeSet<String> {
    let (_, rest) = section.split_once(after).expect(after);
    rest.lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| {
            line.split('|')
                .nth(column + 1)
                .unwrap_or_default()
                .split('`')
                .skip(1)
                .step_by(2)
        })
        .map(str::to_owned)
        .collect()
}

fn names(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[test]
fn tables_have_the_keys_that_there_are() {
    let page = page();
    for (heading, after, keys) in [
        ("## Workflow", "", keys::WORKFLOW),
        ("### git.push", "", keys::GIT_PUSH),
        ("### git.tag", "", keys::GIT_TAG),
        ("### manual", "", keys::MANUAL),
        ("### event", "", keys::EVENT),
        ("## Stages and steps", "A stage:", keys::STAGE),
        ("## Stages and steps", "A step:", keys::STEP),
        ("## Locks and concurrency", "", keys::CONCURRENCY),
        ("### Retry", "", keys::RETRY),
        ("### Waiting", "", keys::WAIT),
    ] {
        let documented = column(section(&page, heading), after, 0);
        assert_eq!(documented, names(keys.known()), "{heading} {after}");
    }
    for kind in keys::TRIGGER.known() {
        section(&page, &format!("### {kind}"));
    }
}

#[test]
fn what_is_not_supported_is_listed() {
    let page = page();
    let list = section(&page, "## Not supported yet");
    for (place, keys) in [
        ("workflow", keys::WORKFLOW),
        ("`on`", keys::TRIGGER),
        ("every trigger", keys::GIT_PUSH),
        ("stage", keys::STAGE),
        ("step", keys::STEP),
        ("`wait`", keys::WAIT),
    ] {
        let row = list
            .lines()
            .find(|line| line.starts_with(&format!("| {place} |")));
        let row = row.expect(place).split('|').nth(2).unwrap();
        let listed: BTreeSet<String> = row
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        assert_eq!(listed, names(keys.not_supported_yet()), "{place}");
    }
    let same =
        |keys: Keys| names(keys.not_supported_yet()) == names(keys::GIT_PUSH.not_supported_yet());
    assert!(same(keys::GIT_TAG) && same(keys::MANUAL) && same(keys::EVENT));
}

#[test]
fn every_policy_of_locks_is_described() {
    let page = page();
    let locks = section(&page, "## Locks and concurrency");
    let documented = column(locks, "counts as the newest", 0);
    let mut policies = names(&OnConflict::ALL.map(OnConflict::name));
    policies.insert("on_conflict".to_owned());
    assert_eq!(documented, policies);
}

#[test]
fn every_outcome_of_a_run_is_described() {
    let page = page();
    let outcomes = section(&page, "### Outcomes");
    let (_, ends) = outcomes.split_once("A run ends ").unwrap();
    for outcome in RunOutcome::ALL {
        assert!(
            ends.contains(&format!("`{}`", outcome.name())),
            "{outcome:?}"
        );
    }
}

#[test]
fn every_outcome_is_described() {
    let page = page();
    let mut documented = column(section(&page, "### Outcomes"), "", 0);
    assert!(documented.remove("skipped"));
    documented.remove("timeout");
    assert_eq!(
        documented,
        names(&infraflow_core::outcome::ATTEMPT_OUTCOMES)
    );
}
