//! "Did you mean": the known name that is closest to a misspelt one.

/// The candidate nearest to `text`, when it is near enough to be a slip of the
/// finger: at most a third of the letters differ.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (text.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let keys = ["stages", "steps", "timeout", "name"];
        assert_eq!(nearest("stpes", keys), Some("steps"));
        assert_eq!(nearest("time_out", keys), Some("timeout"));
        assert_eq!(nearest("nam", keys), Some("name"));
        assert_eq!(nearest("inventory", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
