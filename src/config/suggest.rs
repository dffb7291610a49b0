//! "Did you mean": the nearest known word.

/// The known word nearest to `word`, if it is near enough to be a slip: at most one edit in three characters.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// The end of a message about an unknown word: the nearest one, else all of them; empty when there are none.
pub(super) fn hint<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    all: &str,
) -> String {
    if let Some(near) = nearest(word, known.clone()) {
        return format!("; did you mean {near:?}?");
    }
    let names: Vec<&str> = known.into_iter().collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("; {all} {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slips_are_suggested() {
        assert_eq!(nearest("polcy", ["policy", "pool"]), Some("policy"));
        assert_eq!(
            nearest("Least_Request", ["least_request"]),
            Some("least_request")
        );
        assert_eq!(nearest("sticky", ["policy", "split"]), None);
        assert_eq!(hint("zzz", ["a", "b"], "known are"), "; known are a, b");
        assert_eq!(hint("zzz", [], "known are"), "");
    }
}
