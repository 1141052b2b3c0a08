//! The readers of single values.

use expect_test::{Expect, expect};

use super::*;

/// Reads the value under `v`, and shows it or the problems.
fn read<T: std::fmt::Debug>(text: &str, read: impl Fn(Value<'_>) -> Read<T>) -> String {
    const KEYS: Keys = Keys::new(&["v"]);
    let text = format!("v: {text}\n");
    let outcome = read_document("d", &text, |root| root.fields(&KEYS)?.required("v", &read));
    match outcome {
        Ok(value) => format!("{value:?}"),
        Err(report) => report
            .problems()
            .iter()
            .map(|problem| {
                let parts = [
                    Some(&problem.message),
                    problem.expected.as_ref(),
                    problem.hint.as_ref(),
                ];
                let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
                parts.join(" | ")
            })
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[track_caller]
fn check<T: std::fmt::Debug>(
    texts: &[&str],
    read_value: impl Fn(Value<'_>) -> Read<T>,
    expected: &Expect,
) {
    let lines: Vec<String> = texts
        .iter()
        .map(|text| format!("{text} => {}", read(text, &read_value)))
        .collect();
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn texts() {
    check(
        &["x", "'5'", "5", "1.10", "true", "", "[]", "{}"],
        |v| v.owned_text(),
        &expect![[r#"
        x => "x"
        '5' => "5"
        5 => `v` is the number 5 | expected a text | put it in quotes: `"5"`
        1.10 => `v` is the number 1.1 | expected a text | put it in quotes: `"1.10"`
        true => `v` is `true` | expected a text | put it in quotes: `"true"`
         => `v` is empty | expected a text
        [] => `v` is a list | expected a text
        {} => `v` is a map | expected a text
    "#]],
    );
}

#[test]
fn bools() {
    check(
        &["true", "FALSE", "yes", "Off", "x", "1", ""],
        |v| v.bool(),
        &expect![[r#"
        true => true
        FALSE => false
        yes => `v` is the text `yes` | expected `true` or `false` | write `true`
        Off => `v` is the text `Off` | expected `true` or `false` | write `false`
        x => `v` is the text `x` | expected `true` or `false`
        1 => `v` is the number 1 | expected `true` or `false`
         => `v` is empty | expected `true` or `false`
    "#]],
    );
}

#[test]
fn numbers() {
    check(
        &[
            "1",
            "10",
            "0",
            "11",
            "-1",
            "1.0",
            "1.5",
            "x",
            "300",
            "18446744073709551615",
        ],
        |v| v.whole(1_u8..=10),
        &expect![[r#"
        1 => 1
        10 => 10
        0 => `v` is the number 0 | expected a whole number from 1 to 10
        11 => `v` is the number 11 | expected a whole number from 1 to 10
        -1 => `v` is the number -1 | expected a whole number from 1 to 10
        1.0 => `v` is the number 1.0 | expected a whole number from 1 to 10
        1.5 => `v` is the number 1.5 | expected a whole number from 1 to 10
        x => `v` is the text `x` | expected a whole number from 1 to 10
        300 => `v` is the number 300 | expected a whole number from 1 to 10
        18446744073709551615 => `v` is the number 18446744073709551615 | expected a whole number from 1 to 10
    "#]],
    );
    check(
        &["0", "0.5", "1", "1.01", "-0.1", "x"],
        |v| v.decimal(0.0..=1.0),
        &expect![[r#"
        0 => 0.0
        0.5 => 0.5
        1 => 1.0
        1.01 => `v` is the number 1.01 | expected a number from 0 to 1
        -0.1 => `v` is the number -0.1 | expected a number from 0 to 1
        x => `v` is the text `x` | expected a number from 0 to 1
    "#]],
    );
}

#[test]
fn durations() {
    let range = Duration::from_secs(1)..=Duration::from_secs(60);
    check(
        &["1s", "1m", "999ms", "61s", "30", "1.5", "x", "5 s", "[]"],
        |v| v.duration(range.clone()),
        &expect![[r#"
            1s => 1s
            1m => 60s
            999ms => `v` is the text `999ms` | expected a duration from `1s` to `1m`
            61s => `v` is the text `61s` | expected a duration from `1s` to `1m`
            30 => `v` is the number 30 | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d` | give it a unit: `30s`, `30m` or `30h`
            1.5 => `v` is the number 1.5 | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d` | give it a unit and whole numbers: `1m30s`
            x => `v` is the text `x` | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
            5 s => `v` is the text `5 s` | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
            [] => `v` is a list | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
        "#]],
    );
}

#[test]
fn sizes() {
    let range = ByteCount(1)..=ByteCount::mib(64);
    check(
        &[
            "1 bytes",
            "1500bytes",
            "64 KiB",
            "64MiB",
            "65 MiB",
            "0 bytes",
            "1 GiB",
            "64 KB",
            "64",
            "64  KiB",
            "KiB",
            "99999999999999999999 KiB",
            "18446744073709551615 GiB",
        ],
        |v| v.bytes(range.clone()),
        &expect![[r#"
        1 bytes => ByteCount(1)
        1500bytes => ByteCount(1500)
        64 KiB => ByteCount(65536)
        64MiB => ByteCount(67108864)
        65 MiB => `v` is the text `65 MiB` | expected a size from 1 bytes to 64 MiB
        0 bytes => `v` is the text `0 bytes` | expected a size from 1 bytes to 64 MiB
        1 GiB => `v` is the text `1 GiB` | expected a size from 1 bytes to 64 MiB
        64 KB => `v` is the text `64 KB` | expected a size such as `64 KiB`, `25 MiB` or `1500 bytes`
        64 => `v` is the number 64 | expected a size such as `64 KiB`, `25 MiB` or `1500 bytes` | give it a unit: `64 bytes`, `64 KiB` or `64 MiB`
        64  KiB => `v` is the text `64  KiB` | expected a size such as `64 KiB`, `25 MiB` or `1500 bytes`
        KiB => `v` is the text `KiB` | expected a size such as `64 KiB`, `25 MiB` or `1500 bytes`
        99999999999999999999 KiB => `v` is the text `99999999999999999999 KiB` | expected a size such as `64 KiB`, `25 MiB` or `1500 bytes`
        18446744073709551615 GiB => `v` is the text `18446744073709551615 GiB` | expected a size such as `64 KiB`, `25 MiB` or `1500 bytes`
    "#]],
    );
}

#[test]
fn words_and_types() {
    check(
        &["constant", "expnential", "5", "[]"],
        |v| v.choice(&[("constant", 1), ("exponential", 2)]),
        &expect![[r#"
        constant => 1
        expnential => `v` is the text `expnential` | expected one of `constant`, `exponential` | did you mean `exponential`?
        5 => `v` is the number 5 | expected one of `constant`, `exponential` | put it in quotes: `"5"`
        [] => `v` is a list | expected one of `constant`, `exponential`
    "#]],
    );
    check(
        &["a@1", "a", "5"],
        |v| v.parse::<infraflow_core::plugin::PluginRef>(),
        &expect![[r#"
        a@1 => PluginRef { name: "a", major: 1 }
        a => `a` does not name a plugin | expected a name and a major version, like `ansible@1`
        5 => `v` is the number 5 | expected a text | put it in quotes: `"5"`
    "#]],
    );
    check(
        &["1"],
        |v| v.accept(Err::<(), _>("the port is taken")),
        &expect![[r#"
        1 => the port is taken
    "#]],
    );
}

#[test]
fn lists() {
    check(
        &["[a, b]", "[]", "a", "[1, [], b]", "{}", ""],
        |v| v.each(Value::owned_text),
        &expect![[r#"
        [a, b] => ["a", "b"]
        [] => []
        a => `v` is the text `a` | expected a list
        [1, [], b] => an item of `v` is the number 1 | expected a text | put it in quotes: `"1"`
        an item of `v` is a list | expected a text
        {} => `v` is a map | expected a list
         => `v` is empty | expected a list
    "#]],
    );
    check(
        &["[a, b]", "[]", "a", "{}", ""],
        |v| v.one_or_each(Value::owned_text),
        &expect![[r#"
        [a, b] => ["a", "b"]
        [] => []
        a => ["a"]
        {} => `v` is a map | expected a text
         => `v` is empty | expected one, or a list
    "#]],
    );
}

#[test]
fn maps() {
    let entry = |key: Value<'_>, value: Value<'_>| {
        let key = key.parse::<infraflow_core::id::SourceName>();
        let value = value.bool();
        Ok((key?, value?))
    };
    check(
        &["{ a: true, b: false }", "{ a b: 1, c: true }", "", "[]"],
        |v| v.entries(entry),
        &expect![[r#"
        { a: true, b: false } => [("a", true), ("b", false)]
        { a b: 1, c: true } => `a b` is not a valid source name | expected 1 to 63 letters, digits, `-` or `_`, starting with a letter or a digit
        `a b` is the number 1 | expected `true` or `false`
         => []
        [] => `v` is a list | expected a map
    "#]],
    );
}

#[test]
fn keys() {
    const INNER: Keys = Keys::new(&["name", "timeout"])
        .later(&["lock"])
        .hints(&[("steps", "under stages")]);
    let read = |v: Value<'_>| {
        let fields = v.fields(&INNER)?;
        let later = fields.refused_later(&["lock"]).is_some();
        let name = fields.required("name", Value::text);
        let timeout = fields.optional("timeout", Value::bool);
        Ok((name?.to_owned(), timeout?, later))
    };
    check(
        &[
            "{ name: x }",
            "{ name: x, timeout: true }",
            "{ name: x, lock: 1 }",
            "{ nam: x, steps: 1, zzz: 2 }",
            "{ name: 1, timeout: 2 }",
            "",
            "[]",
        ],
        read,
        &expect![[r#"
            { name: x } => ("x", None, false)
            { name: x, timeout: true } => ("x", Some(true), false)
            { name: x, lock: 1 } => `lock` is not supported yet
            { nam: x, steps: 1, zzz: 2 } => `name` is missing
            unknown key `nam` | expected one of `name`, `timeout` | did you mean `name`?
            unknown key `steps` | expected one of `name`, `timeout` | under stages
            unknown key `zzz` | expected one of `name`, `timeout`
            { name: 1, timeout: 2 } => `name` is the number 1 | expected a text | put it in quotes: `"1"`
            `timeout` is the number 2 | expected `true` or `false`
             => `name` is missing
            [] => `v` is a list | expected a map
        "#]],
    );
    assert_eq!(INNER.known(), ["name", "timeout"]);
    assert_eq!(INNER.not_supported_yet(), ["lock"]);
}

#[test]
fn secrets_are_read_and_not_shown() {
    const KEYS: Keys = Keys::new(&["secret", "n"]);
    let report = read_document("d", "{ secret: hunter2, n: x }", |root| {
        let fields = root.fields(&KEYS)?;
        let secret = fields.required("secret", |v| v.secret_text().map(str::to_owned));
        let n = fields.required("n", |v| v.whole(1..=5_u8));
        assert_eq!(secret.as_deref(), Ok("hunter2"));
        Ok((secret?, n?))
    })
    .unwrap_err();
    expect![[r#"
        error: `n` is the text `x`
         --> d:1:23
          |
        1 | { secret: *******, n: x }
          |                       ^ expected a whole number from 1 to 5
    "#]]
    .assert_eq(&report.to_string());
    assert!(!report.to_json().to_string().contains("hunter2"));
    check(
        &["[a]", "12345678", ""],
        |v| v.secret_text().map(str::to_owned),
        &expect![[r#"
        [a] => `v` is not a text | put it in quotes
        12345678 => `v` is not a text | put it in quotes
         => `v` is not a text | put it in quotes
    "#]],
    );
}

#[test]
fn problems_of_the_parse_and_of_the_reader_come_together() {
    const KEYS: Keys = Keys::new(&["a"]);
    let report = read_document("d", "a: x\na: y\nb: 1\n", |root| {
        root.fields(&KEYS)?.required("a", Value::bool)
    })
    .unwrap_err();
    let messages: Vec<&str> = report
        .problems()
        .iter()
        .map(|p| p.message.as_str())
        .collect();
    assert_eq!(
        messages,
        [
            "`a` is the text `x`",
            "duplicate key `a`",
            "unknown key `b`"
        ]
    );
}

#[test]
fn a_text_that_is_not_yaml_is_not_read() {
    let report = read_document("d", "a: [", |_| -> Read<()> { panic!("it was read") }).unwrap_err();
    assert_eq!(report.problems().len(), 1);
}

#[test]
fn something_inside_an_alias_is_shown_where_it_stands() {
    const KEYS: Keys = Keys::new(&["a", "b"]);
    let report = read_document("d", "a: &x { k: 1 }\nb: *x\n", |root| {
        let fields = root.fields(&KEYS)?;
        let b = fields.required("b", |b| {
            b.entries(|_, value| value.text().map(str::to_owned))
        });
        let whole = fields.required("b", Value::text);
        whole?;
        b
    })
    .unwrap_err();
    expect![[r#"
        error: `k` is the number 1
         --> d:1:12
          |
        1 | a: &x { k: 1 }
          |            ^ expected a text
          |
          = help: put it in quotes: `"1"`

        error: `b` is a map
         --> d:2:4
          |
        2 | b: *x
          |    ^^ expected a text
    "#]]
    .assert_eq(&report.to_string());
}
