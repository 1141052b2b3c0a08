//! Plain scalars by the YAML 1.2 core schema.

use serde_json::Number;

use super::Content;

/// Why a plain scalar is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadScalar {
    /// A whole number beyond 64 bits: JSON readers round those.
    TooLarge,
    /// `.inf` or `.nan`: JSON has none.
    NotFinite,
    /// `0644`: octal for YAML 1.1, decimal for 1.2.
    LeadingZero,
}

/// What an unquoted text stands for.
pub(super) fn plain(text: &str) -> Result<Content, BadScalar> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Content::Null),
        "true" | "True" | "TRUE" => return Ok(Content::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Content::Bool(false)),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Ok(Content::Text(text.into()));
    }
    number(text).unwrap_or_else(|| Ok(Content::Text(text.into())))
}

/// The number that a text is, `None` when it is not one.
fn number(text: &str) -> Option<Result<Content, BadScalar>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if is_digits(unsigned, |b| b.is_ascii_digit()) {
        return Some(decimal(text, unsigned));
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && is_digits(digits, |b| char::from(b).is_digit(radix))
        {
            let number = u64::from_str_radix(digits, radix).map_err(|_| BadScalar::TooLarge);
            return Some(number.map(|number| Content::Number(number.into())));
        }
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Err(BadScalar::NotFinite));
    }
    is_float(unsigned).then(|| float(text))
}

fn is_digits(text: &str, is_digit: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is_digit)
}

fn decimal(text: &str, unsigned: &str) -> Result<Content, BadScalar> {
    if unsigned.len() > 1 && unsigned.starts_with('0') {
        return Err(BadScalar::LeadingZero);
    }
    let number = match text.strip_prefix('-') {
        Some(_) => text.parse::<i64>().map(Number::from),
        None => unsigned.parse::<u64>().map(Number::from),
    };
    number.map(Content::Number).map_err(|_| BadScalar::TooLarge)
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`,
/// without the sign.
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        is_digits(digits, |b| b.is_ascii_digit())
    });
    let digits_or_none = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => is_digits(fraction, |b| b.is_ascii_digit()),
        Some((whole, fraction)) => {
            is_digits(whole, |b| b.is_ascii_digit()) && digits_or_none(fraction)
        }
        None => is_digits(mantissa, |b| b.is_ascii_digit()),
    };
    exponent_fits && mantissa_fits
}

fn float(text: &str) -> Result<Content, BadScalar> {
    text.parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map(Content::Number)
        .ok_or(BadScalar::NotFinite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_schema() {
        for (text, json) in [
            ("", "null"),
            ("~", "null"),
            ("null", "null"),
            ("nUll", "\"nUll\""),
            ("true", "true"),
            ("FALSE", "false"),
            ("no", "\"no\""),
            ("yes", "\"yes\""),
            ("on", "\"on\""),
            ("off", "\"off\""),
            ("y", "\"y\""),
            ("0", "0"),
            ("-0", "0"),
            ("+12", "12"),
            ("-12", "-12"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("0o644", "420"),
            ("0xFf", "255"),
            ("0o9", "\"0o9\""),
            ("1.5", "1.5"),
            ("1.", "1.0"),
            (".5", "0.5"),
            ("-1e3", "-1000.0"),
            ("1.10", "1.1"),
            ("0.5", "0.5"),
            ("00.5", "0.5"),
            ("1e", "\"1e\""),
            ("1.2.3", "\"1.2.3\""),
            ("1_000", "\"1_000\""),
            ("1:30", "\"1:30\""),
            (".", "\".\""),
            ("-", "\"-\""),
            ("+", "\"+\""),
            ("2026-11-21", "\"2026-11-21\""),
            ("-.inf.", "\"-.inf.\""),
            ("5m", "\"5m\""),
            ("٣", "\"٣\""),
        ] {
            let content = plain(text).unwrap();
            let node = crate::document::Node::new(crate::diagnostic::Span::default(), content);
            assert_eq!(node.to_json().to_string(), json, "{text}");
        }
    }

    #[test]
    fn what_would_change_its_meaning_is_refused() {
        for (text, expected) in [
            ("18446744073709551616", BadScalar::TooLarge),
            ("-9223372036854775809", BadScalar::TooLarge),
            ("0xffffffffffffffff1", BadScalar::TooLarge),
            (".inf", BadScalar::NotFinite),
            ("-.INF", BadScalar::NotFinite),
            (".nan", BadScalar::NotFinite),
            ("1e999", BadScalar::NotFinite),
            ("0644", BadScalar::LeadingZero),
            ("-007", BadScalar::LeadingZero),
            ("00", BadScalar::LeadingZero),
        ] {
            assert_eq!(plain(text).unwrap_err(), expected, "{text}");
        }
    }
}
