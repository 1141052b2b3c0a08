//! Documents that are not taken, as a person sees them, and the bounds.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::*;

#[track_caller]
fn bad(text: &str, expected: &Expect) {
    match Document::parse("d.yaml", text) {
        Ok(document) => panic!("it was taken: {}", document.root().to_json()),
        Err(report) => expected.assert_eq(&report.to_string()),
    }
}

fn parse(text: &str) -> Result<Json, Vec<String>> {
    Document::parse("d.yaml", text)
        .map(|document| document.root().to_json())
        .map_err(|report| {
            report
                .problems()
                .iter()
                .map(|p| p.message.clone())
                .collect()
        })
}

fn messages(text: &str) -> String {
    parse(text).expect_err("it was taken").join("; ")
}

#[test]
fn what_is_taken() {
    for (text, expected) in [
        ("", json!(null)),
        ("# only\n# comments\n", json!(null)),
        ("---\n...\n", json!(null)),
        ("a: 1", json!({ "a": 1 })),
        ("\u{feff}a: 1\n", json!({ "a": 1 })),
        ("a: 1\r\nb: 2\r\n", json!({ "a": 1, "b": 2 })),
        ("a: 1\rb: 2\r", json!({ "a": 1, "b": 2 })),
        ("---\na: no\n", json!({ "a": "no" })),
        ("on: yes\n", json!({ "on": "yes" })),
        (
            "a: 'x'\nb: \"\\u00e9\\t\"\n",
            json!({ "a": "x", "b": "é\t" }),
        ),
        ("a: |\n  x\n  \ty\n", json!({ "a": "x\n\ty\n" })),
        ("a: >-\n  x\n  y\n", json!({ "a": "x y" })),
        ("{\n\t\"a\": [1,\n\t\t2]\n}\n", json!({ "a": [1, 2] })),
        ("a: &x [1, 2]\nb: *x\n", json!({ "a": [1, 2], "b": [1, 2] })),
        (
            "a: &x 1\nb: &x 2\nc: *x\n",
            json!({ "a": 1, "b": 2, "c": 2 }),
        ),
        (
            "a:\nb:\n  -\n  - x\n",
            json!({ "a": null, "b": [null, "x"] }),
        ),
        ("\"5\": x\n\"<<\": y\n", json!({ "5": "x", "<<": "y" })),
        ("- - - x", json!([[["x"]]])),
        ("? a\n: b\n", json!({ "a": "b" })),
        ("[a: 1, b: 2]", json!([{ "a": 1 }, { "b": 2 }])),
        ("a: {}\nb: []\n", json!({ "a": {}, "b": [] })),
    ] {
        assert_eq!(parse(text), Ok(expected), "{text:?}");
    }
}

#[test]
fn not_yaml() {
    bad(
        "a:\n\tb: 1\n",
        &expect![[r#"
        error: a tab is used for indentation
         --> d.yaml:2:1
          |
        2 |     b: 1
          | ^
          |
          = help: YAML is indented with spaces
    "#]],
    );
    bad(
        "a:\n  - x\n  \t- y\n",
        &expect![[r#"
        error: a tab is used for indentation
         --> d.yaml:3:3
          |
        3 |       - y
          |   ^
          |
          = help: YAML is indented with spaces
    "#]],
    );
    bad(
        "a: [1, 2\nb: 3\n",
        &expect![[r#"
            error: a `:` cannot stand here
             --> d.yaml:2:2
              |
            2 | b: 3
              |  ^
              |
              = help: check the indentation and the brackets; a text with `: ` in it needs quotes
        "#]],
    );
    bad(
        "a: b: c\n",
        &expect![[r#"
            error: a `:` cannot stand here
             --> d.yaml:1:5
              |
            1 | a: b: c
              |     ^
              |
              = help: check the indentation and the brackets; a text with `: ` in it needs quotes
        "#]],
    );
    bad(
        "a: 1\n  b: 2\nc: \"x\n",
        &expect![[r#"
            error: a `:` cannot stand here
             --> d.yaml:2:4
              |
            2 |   b: 2
              |    ^
              |
              = help: check the indentation and the brackets; a text with `: ` in it needs quotes
        "#]],
    );
    bad(
        "a:\n  b: 1\n c: 2\n",
        &expect![[r#"
        error: this line fits no line above it
         --> d.yaml:3:2
          |
        3 |  c: 2
          |  ^
          |
          = help: lines of one map or list start in the same column
    "#]],
    );
    bad(
        "paths: [*.tf]\n",
        &expect![[r#"
        error: the alias `*.tf` has no anchor
         --> d.yaml:1:9
          |
        1 | paths: [*.tf]
          |         ^^^^
          |
          = help: a text that starts with `*` needs quotes
    "#]],
    );
    bad(
        "env: {{ inputs.env }}\n",
        &expect![[r#"
        error: a key is a map
         --> d.yaml:1:7
          |
        1 | env: {{ inputs.env }}
          |       ^^^^^^^^^^^^ expected a text as the key
          |
          = help: a text with `{{ }}` needs quotes
    "#]],
    );
    bad(
        "a: \"\\q\"\n",
        &expect![[r#"
        error: a text in double quotes holds an escape that does not exist
         --> d.yaml:1:4
          |
        1 | a: "\q"
          |    ^
          |
          = help: write `\\` for a backslash, or use single quotes
    "#]],
    );
    bad(
        "a: @x\n",
        &expect![[r#"
        error: a text cannot start with `@`
         --> d.yaml:1:4
          |
        1 | a: @x
          |    ^
          |
          = help: put it in quotes
    "#]],
    );
    bad(
        "a: 1\0\n",
        &expect![[r#"
        error: the character U+0000 cannot stand in a YAML file
         --> d.yaml:1:5
          |
        1 | a: 1␀
          |     ^
          |
          = help: in a text in double quotes it can be written as an escape, such as `\u0007`
    "#]],
    );
    bad(
        "a: 1\n--- b\n",
        &expect![[r#"
        error: a second document starts here
         --> d.yaml:2:1
          |
        2 | --- b
          | ^^^
          |
          = help: one file holds one document
    "#]],
    );
    bad(
        "é: 你好\nü: \"never closed\n",
        &expect![[r#"
        error: the quotes that open here are never closed
         --> d.yaml:2:4
          |
        2 | ü: "never closed
          |    ^
    "#]],
    );
}

#[test]
fn tabs_are_found_wherever_they_indent() {
    for text in [
        "a:\n\tb: 1\n",
        "a:\n\tb\n",
        "a:\n  b: 1\n\tc: 2\n",
        "\ta: 1\n",
        "a:\n  - x\n\t- y\n",
        "-\ta: 1\n",
        "- \ta: 1\n",
        "a:\n \tb: 1\n",
        "a:\n\t- x\n",
        "a:\n  b:\n\t\tc: 1\n",
        "a:\r\n\tb: 1\r\n",
        "a: |\n\tx\n",
    ] {
        assert_eq!(messages(text), "a tab is used for indentation", "{text:?}");
    }
    assert_eq!(messages("a:\tb\n"), "a tab follows the `:`");
    for text in ["a: x\ty\n", "a:  # c\td\n  b: 1\n", "- \tx\n"] {
        assert!(parse(text).is_ok(), "{text:?}");
    }
}

#[test]
fn refused_by_choice_and_all_at_once() {
    bad(
        "\
a: 1
b: !!str 2
c: !custom { x: 1 }
a: 3
<<: { d: 1 }
5: x
true: x
? [k]
: v
: empty
id: 1234567890123456789012345678901234567890
mode: 0644
n: .nan
",
        &expect![[r#"
            error: the tag `!!str` is not supported
             --> d.yaml:2:4
              |
            2 | b: !!str 2
              |    ^^^^^
              |
              = help: leave it out; a text needs quotes at most

            error: the tag `!custom` is not supported
             --> d.yaml:3:4
              |
            3 | c: !custom { x: 1 }
              |    ^^^^^^^
              |
              = help: leave it out; a text needs quotes at most

            error: duplicate key `a`
             --> d.yaml:4:1
              |
            4 | a: 3
              | ^
              |
            note: it stands here already
             --> d.yaml:1:1
              |
            1 | a: 1
              | ^

            error: merge keys (`<<`) are not supported
             --> d.yaml:5:1
              |
            5 | <<: { d: 1 }
              | ^^
              |
              = help: write the keys out

            error: a key is the number 5
             --> d.yaml:6:1
              |
            6 | 5: x
              | ^ expected a text as the key
              |
              = help: put it in quotes

            error: a key is `true`
             --> d.yaml:7:1
              |
            7 | true: x
              | ^^^^ expected a text as the key
              |
              = help: put it in quotes

            error: a key is a list
             --> d.yaml:8:3
              |
            8 | ? [k]
              |   ^^^ expected a text as the key

            error: a key is empty
              --> d.yaml:10:1
               |
            10 | : empty
               | ^ expected a text as the key

            error: the number 1234567890123456789012345678901234567890 does not fit 64 bits
              --> d.yaml:11:5
               |
            11 | id: 1234567890123456789012345678901234567890
               |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               |
               = help: if it is a text, such as a commit id, put it in quotes

            error: 0644 is a number with a leading zero
              --> d.yaml:12:7
               |
            12 | mode: 0644
               |       ^^^^ octal for some readers, decimal for others
               |
               = help: put it in quotes; an octal number is written `0o644`

            error: .nan is not a number that JSON has
              --> d.yaml:13:4
               |
            13 | n: .nan
               |    ^^^^
               |
               = help: if it is a text, put it in quotes
        "#]],
    );
    bad(
        "a: &x [*x]\n",
        &expect![[r#"
        error: the alias `*x` stands inside what it names
         --> d.yaml:1:8
          |
        1 | a: &x [*x]
          |        ^^
    "#]],
    );
}

#[test]
fn files_that_are_not_utf8() {
    let report = |bytes: &[u8]| text_of_file("f.yaml", bytes).unwrap_err().to_string();
    expect![[r#"
        error: the byte 0xff here is not UTF-8
         --> f.yaml:2:4
          |
        2 | b: ��
          |    ^
          |
          = help: save the file as UTF-8
    "#]]
    .assert_eq(&report(b"a: 1\nb: \xff\xfe\nc: 2\n"));
    expect![[r#"
        error: the file is UTF-16
         --> f.yaml:1:1
          |
        1 |
          | ^
          |
          = help: save it as UTF-8
    "#]]
    .assert_eq(&report(b"\xff\xfea\0:\0"));
    assert_eq!(text_of_file("f.yaml", b"a: \xc3\xa9").unwrap(), "a: é");
    let large = vec![b'#'; limits::DOCUMENT.to_usize() + 1];
    expect![[r#"
        error: the document has 1048577 bytes
         --> f.yaml:1:1
          |
        1 |
          | ^ expected at most 1 MiB
    "#]]
    .assert_eq(&report(&large));
}

// ---- bounds: at each, and one past it -----------------------------------------

#[test]
fn size() {
    let mut text = "a: 1\n#".to_owned();
    text.push_str(&"x".repeat(limits::DOCUMENT.to_usize() - text.len()));
    assert!(parse(&text).is_ok());
    text.push('x');
    assert_eq!(messages(&text), "the document has 1048577 bytes");
}

#[test]
fn depth() {
    let lists = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&lists(limits::DOCUMENT_DEPTH)).is_ok());
    assert_eq!(
        messages(&lists(limits::DOCUMENT_DEPTH + 1)),
        "the document is nested too deeply"
    );
    // An alias brings the depth of what it names.
    let with_alias = |outer: usize| {
        let inner = lists(32);
        format!(
            "a: &x {inner}\nb: {}*x{}\n",
            "[".repeat(outer),
            "]".repeat(outer)
        )
    };
    assert!(parse(&with_alias(31)).is_ok());
    assert_eq!(
        messages(&with_alias(32)),
        "the document is nested too deeply"
    );
}

#[test]
fn nodes() {
    // One list, and its items.
    let list = |items: usize| format!("[{}]", "1,".repeat(items));
    assert!(parse(&list(limits::DOCUMENT_NODES - 1)).is_ok());
    let expected = "the document has too many parts, aliases expanded";
    assert_eq!(messages(&list(limits::DOCUMENT_NODES)), expected);
}

#[test]
fn alias_bomb() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ["b", "c", "d", "e", "f", "g", "h"]
        .iter()
        .zip(["a", "b", "c", "d", "e", "f", "g"])
    {
        let aliases = vec![format!("*{before}"); 10].join(", ");
        writeln!(text, "{name}: &{name} [{aliases}]").unwrap();
    }
    bad(
        &text,
        &expect![[r#"
        error: the document has too many parts, aliases expanded
         --> d.yaml:6:8
          |
        6 | f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]
          |        ^^ expected at most 200000 keys, values and lists
    "#]],
    );
}

#[test]
fn text_bomb() {
    let long = "x".repeat(100_000);
    let aliases = |count: usize| format!("a: &a {long}\nb: [{}]\n", "*a,".repeat(count));
    assert!(parse(&aliases(40)).is_ok());
    let expected = "the document has too much text, aliases expanded";
    assert_eq!(messages(&aliases(42)), expected);
}

#[test]
fn problems() {
    let keys = |count: usize| "a: 1\n".repeat(count + 1);
    for (count, kept, more) in [(100, 100, 0), (101, 100, 1), (5_000, 100, 4_900)] {
        let report = Document::parse("d.yaml", &keys(count)).unwrap_err();
        assert_eq!((report.problems().len(), report.more()), (kept, more));
    }
    let text = Document::parse("d.yaml", &keys(150))
        .unwrap_err()
        .to_string();
    assert!(
        text.ends_with("\n\nerror: and 50 more problems in `d.yaml`\n"),
        "{text}"
    );
}

/// Large and hostile documents are refused or taken, each in about the time
/// that it takes to read them: a quadratic one would hit the test's deadline.
#[test]
fn hostile_documents_end() {
    let limit = limits::DOCUMENT.to_usize() / 4;
    let full = |part: &str| part.repeat(limit / part.len());
    let many_keys: String = (0..20_000).map(|n| format!("key{n}: 1\n")).collect();
    for text in [
        "[".repeat(10_000_000),
        full("["),
        full("{"),
        full("- "),
        full("-\n"),
        full("? "),
        full(": "),
        full("a: "),
        full("a: {"),
        full("&a "),
        full("*a "),
        full("!a "),
        full("!!"),
        full("\""),
        full("'"),
        full("x"),
        full("x "),
        full("x\n"),
        full(" "),
        full("\n"),
        full("\r"),
        full("\t"),
        full("\t\n"),
        full("#\n"),
        full("%a\n"),
        full("---\n"),
        full("...\n"),
        full("[a: "),
        full("a,"),
        full("|\n"),
        full(">\n \n"),
        full("0"),
        full("\u{1}"),
        full("é"),
        full("\u{feff}"),
        full("\u{feff}\n"),
        format!("[{}", full("a, ")),
        format!("[{}", full("[],")),
        format!("a: |\n{}", full(" x\n")),
        format!("\"{}", full("\\n")),
        format!("a: {}", full("&a *a ")),
        many_keys,
    ] {
        let _ = Document::parse("d.yaml", &text).map_err(|report| report.to_string());
    }
}

#[test]
fn many_keys() {
    let keys: String = (0..50_000).map(|n| format!("k{n}: 1\n")).collect();
    assert_eq!(parse(&keys).unwrap().as_object().unwrap().len(), 50_000);
    let keys: String = (0..100_000).map(|n| format!("{n:x}: 1\n")).collect();
    assert!(parse(&keys).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn never_panics_on_any_text(text in "\\PC{0,200}") {
        let _ = Document::parse("d", &text).map_err(|report| report.to_string());
    }

    #[test]
    fn never_panics_on_yaml_like_text(text in "[-a:{}\\[\\],&*!|>'\"%@`#?<~.0-9\n\r\t \\\\é\u{feff}]{0,120}") {
        if let Err(report) = Document::parse("d", &text) {
            prop_assert!(!report.problems().is_empty());
            let _ = (report.to_string(), report.to_json());
        }
    }

    /// What is taken means the same after a trip over JSON, which is YAML too.
    #[test]
    fn json_is_yaml(text in "[-a:{}\\[\\],&*|>'\"0-9\n ]{0,80}") {
        if let Ok(document) = Document::parse("d", &text) {
            let json = document.root().to_json();
            prop_assert_eq!(parse(&json.to_string()), Ok(json));
        }
    }

    #[test]
    fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = text_of_file("d", &bytes) {
            let _ = Document::parse("d", text);
        }
    }
}
