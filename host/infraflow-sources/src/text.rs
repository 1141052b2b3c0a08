//! Texts from outside, bounded and without control characters.

/// Longest name, address of a page or of a person, in bytes. Longer ones are
/// cut: no provider has them, and each is kept fifty times.
pub(crate) const SHORT: usize = 512;

/// A text of one line: at most `bytes_max` bytes, cut between characters; each
/// control character becomes `U+FFFD`.
pub(crate) fn line(text: &str, bytes_max: usize) -> String {
    bounded(text, bytes_max, |_| false)
}

/// As [`line`], but line breaks and tabs stay.
pub(crate) fn lines(text: &str, bytes_max: usize) -> String {
    bounded(text, bytes_max, |c| matches!(c, '\n' | '\t'))
}

fn bounded(text: &str, bytes_max: usize, keeps: impl Fn(char) -> bool) -> String {
    let cut = cut(text, bytes_max);
    if !cut.contains(|c: char| c.is_control() && !keeps(c)) {
        return cut.to_owned();
    }
    let mut bounded = String::with_capacity(cut.len());
    for c in cut.chars() {
        let c = if c.is_control() && !keeps(c) {
            '\u{fffd}'
        } else {
            c
        };
        if bounded.len() + c.len_utf8() > bytes_max {
            break;
        }
        bounded.push(c);
    }
    bounded
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_clean() {
        for (text, max, one, several) in [
            ("abc", 10, "abc", "abc"),
            ("abc", 2, "ab", "ab"),
            ("aé", 2, "a", "a"),
            ("a\nb\t\u{1b}", 10, "a\u{fffd}b\u{fffd}", "a\nb\t\u{fffd}"),
            ("\0\0", 4, "\u{fffd}", "\u{fffd}"),
            ("", 0, "", ""),
        ] {
            assert_eq!(line(text, max), one, "{text:?}");
            assert_eq!(lines(text, max), several, "{text:?}");
        }
    }
}
