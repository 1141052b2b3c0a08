//! How reports look, whatever the document.

use expect_test::expect;

use super::*;

fn report(source: &str, problems: impl IntoIterator<Item = Problem>) -> Report {
    let mut all = Problems::default();
    problems.into_iter().for_each(|problem| all.push(problem));
    all.report("w.yaml", source, &[])
}

fn at(source: &str, text: &str, message: &str) -> Problem {
    let start = source.find(text).expect("the text is in the source");
    Problem::new(
        ProblemKind::Invalid,
        Span::new(start, start + text.len()),
        message,
    )
}

#[test]
fn a_problem_with_everything() {
    let source = "name: a\nstages:\n  - name: main\n    name: main\n";
    let problem = at(source, "main\n    name: main", "twice")
        .expected("expected another name")
        .hint("did you mean `b`?\nor `c`?")
        .related(Span::new(0, 4), "first here");
    expect![[r#"
        error: twice
         --> w.yaml:3:11
          |
        3 |   - name: main
          |           ^^^^ expected another name
          |
          = help: did you mean `b`?
                  or `c`?
        note: first here
         --> w.yaml:1:1
          |
        1 | name: a
          | ^^^^
    "#]]
    .assert_eq(&report(source, [problem]).to_string());
}

#[test]
fn problems_come_in_the_order_of_the_document() {
    let source = "a: 1\nb: 2\nc: 3\n";
    let problems = ["c", "a", "b"].map(|key| at(source, key, key));
    let report = report(source, problems);
    let order: Vec<&str> = report
        .problems()
        .iter()
        .map(|p| p.message.as_str())
        .collect();
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn long_lines_are_cut() {
    for length in [300, 4_000, 5_000, 1_000_000] {
        let line = format!("{}é BAD ü{}", "x".repeat(length), "y".repeat(length));
        let text = report(&line, [at(&line, "BAD", "bad").expected("expected good")]).to_string();
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest < Some(200), "{length}: {longest:?}");
        assert!(text.contains("é BAD ü"), "{text}");
        let column = length + 3;
        assert!(text.contains(&format!("w.yaml:1:{column}")), "{text}");
    }
    let line = format!("a: {}\n", "x".repeat(5_000));
    let whole = report(&line, [at(&line, &"x".repeat(5_000), "too long")]);
    expect![[r#"
        error: too long
         --> w.yaml:1:4
          |
         ::: 
        1 | …a: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
          |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#]].assert_eq(&whole.to_string());
}

#[test]
fn columns_count_characters_and_carets_cover_them() {
    let source = "ключ: 你好 # ok\n\tx: y\n";
    expect![[r#"
        error: wide
         --> w.yaml:1:7
          |
        1 | ключ: 你好 # ok
          |       ^^^^

        error: after a tab
         --> w.yaml:2:2
          |
        2 |     x: y
          |     ^
    "#]]
    .assert_eq(
        &report(
            source,
            [at(source, "你好", "wide"), at(source, "x", "after a tab")],
        )
        .to_string(),
    );
}

#[test]
fn positions() {
    let source = "a\r\nbé\rc\n\nd";
    let report = report(source, []);
    for (offset, expected) in [
        (0, "1:1"),
        (1, "1:2"),
        (3, "2:1"),
        (4, "2:2"),
        (6, "2:3"),
        (7, "3:1"),
        (9, "4:1"),
        (10, "5:1"),
        (11, "5:2"),
        (99, "5:2"),
    ] {
        assert_eq!(report.position(offset).to_string(), expected, "{offset}");
    }
    let report = tests::report("a: 1\n\n", []);
    assert_eq!(report.position(6).to_string(), "1:5");
}

#[test]
fn control_characters_do_not_reach_a_terminal() {
    let source = "a: 1\n";
    let problem = at(source, "1", "unknown `\u{1b}[31m`")
        .hint("\u{7}ring")
        .expected("x\u{9b}y");
    let mut problems = Problems::default();
    problems.push(problem);
    let report = problems.report("w\u{1b}]0;.yaml", source, &[]);
    let text = report.to_string();
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{text:?}"
    );
    expect![[r#"
        error: unknown `\u{1b}[31m`
         --> w\u{1b}]0;.yaml:1:4
          |
        1 | a: 1
          |    ^ x\u{9b}y
          |
          = help: \u{7}ring
    "#]]
    .assert_eq(&text);
}

#[test]
fn colours_are_for_terminals() {
    let report = report("a: 1\n", [at("a: 1\n", "1", "bad")]);
    assert!(report.render(Style::Colour).contains("\u{1b}["));
    assert!(!report.render(Style::Plain).contains('\u{1b}'));
}

#[test]
fn json() {
    let source = "a: 1\na: 2\n";
    let problem = Problem::new(ProblemKind::Duplicate, Span::new(5, 6), "duplicate key `a`")
        .hint("remove one")
        .related(Span::new(0, 1), "it stands here already");
    let json = report(source, [problem]).to_json();
    expect![[r#"
        {
          "file": "w.yaml",
          "more": 0,
          "problems": [
            {
              "column": 1,
              "end_column": 2,
              "end_line": 2,
              "expected": null,
              "hint": "remove one",
              "kind": "duplicate",
              "line": 2,
              "message": "duplicate key `a`",
              "related": [
                {
                  "column": 1,
                  "end_column": 2,
                  "end_line": 1,
                  "line": 1,
                  "message": "it stands here already",
                  "text": "a"
                }
              ],
              "text": "a"
            }
          ]
        }"#]]
    .assert_eq(&format!("{json:#}"));
}

#[test]
fn secrets_are_blackened() {
    let source = "secret: hünter2 # x\n";
    let mut problems = Problems::default();
    problems.push(at(source, "secret", "bad"));
    let report = problems.report("w.yaml", source, &[Span::new(8, 16)]);
    expect![[r#"
        error: bad
         --> w.yaml:1:1
          |
        1 | secret: ******** # x
          | ^^^^^^
    "#]]
    .assert_eq(&report.to_string());
    assert_eq!(report.position(19).to_string(), "1:20");
}

#[test]
fn kinds_have_different_names() {
    let mut names: Vec<&str> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ProblemKind::ALL.len());
}

proptest::proptest! {
    #[test]
    fn never_panics(source in "\\PC{0,60}[\r\n]{0,3}\\PC{0,60}", start in 0_usize..300, length in 0_usize..300) {
        let problem = Problem::new(ProblemKind::Invalid, Span::new(start, start + length), "x").expected("y");
        let report = report(&source, [problem]);
        let _ = (report.to_string(), report.to_json());
    }
}
