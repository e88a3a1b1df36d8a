//! "Did you mean": the known words nearest to one that is not known.

/// Longest word that is compared, octets; the cost grows with the square.
const MAX_WORD_OCTETS: usize = 64;
/// Most words that are compared: names of sites are as many as the file likes.
const MAX_WORDS: usize = 100;

/// `did you mean "x"?`, when some known word is near.
pub(super) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    if lower.len() > MAX_WORD_OCTETS {
        return None;
    }
    // A third of the letters may be wrong; more is another word.
    let tolerated = (lower.len() / 3).max(usize::from(lower.len() > 1));
    let near = known.into_iter().filter(|known| known.len().abs_diff(lower.len()) <= tolerated);
    let (distance, best) = near
        .take(MAX_WORDS)
        .map(|known| (distance(lower.as_bytes(), known.to_ascii_lowercase().as_bytes()), known))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= tolerated).then(|| format!("did you mean \"{best}\"?"))
}

/// `"a", "b" or "c"`.
pub(super) fn any_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// How many letters to insert, delete or replace (Levenshtein), one row at a time.
pub(super) fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (cell, y) in row.iter_mut().skip(1).zip(b) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            *cell = replaced.min(left + 1).min(diagonal + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, expected) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ttl", "ttl", 0),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["public-zone", "private-zone", "ttl"];
        assert_eq!(
            did_you_mean("public_zone", known),
            Some("did you mean \"public-zone\"?".into())
        );
        assert_eq!(did_you_mean("tll", known), Some("did you mean \"ttl\"?".into()));
        assert_eq!(did_you_mean("probe", known), None);
        assert_eq!(did_you_mean(&"t".repeat(100), known), None);
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(any_of(["a"]), "\"a\"");
        assert_eq!(any_of(["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
    }
}
