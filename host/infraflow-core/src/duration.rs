//! Durations as people write them: `500ms`, `5s`, `10m`, `1h30m`, `2d`.
//!
//! One notation for workflows, the configuration and the command line.

use std::time::Duration;

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` is not a duration: expected numbers with units such as `500ms`, `5s`, `10m`, `1h30m` or `2d`"
)]
pub struct InvalidDuration {
    /// The text, cut to 80 characters.
    pub value: String,
}

const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("ms", 1),
    ("m", 60_000),
    ("s", 1_000),
    ("w", 604_800_000),
];

/// Reads a duration. Units are `w`, `d`, `h`, `m`, `s` and `ms`, each at most
/// once and from large to small; numbers are whole.
///
/// # Errors
/// [`InvalidDuration`] for anything else, an empty text and sums that do not
/// fit 64 bits of milliseconds.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    parse_millis(text)
        .map(Duration::from_millis)
        .ok_or_else(|| InvalidDuration {
            value: text.chars().take(80).collect(),
        })
}

fn parse_millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.len()
            - tail
                .trim_start_matches(|c: char| c.is_ascii_lowercase())
                .len();
        let (unit, tail) = tail.split_at_checked(letters)?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if *millis >= last_unit {
            return None;
        }
        last_unit = *millis;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        rest = tail;
    }
    (last_unit != u64::MAX).then_some(total)
}

/// Writes a duration the way [`parse`] reads it, rounded down to milliseconds.
pub fn display(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, millis) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ] {
        let count = rest / millis;
        rest %= millis;
        if count > 0 {
            text.push_str(&format!("{count}{name}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("5s", 5_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1w1d", 691_200_000),
            ("1m5ms", 60_005),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5h",
            "5s5s",
            "5s1h",
            "5x",
            "5S",
            "５s",
            "99999999999999999999s",
            "18446744073709551615d",
            "1h ",
            "é",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(millis in 0_u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&display(duration)), Ok(duration));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
