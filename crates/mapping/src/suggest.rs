//! "Did you mean": the nearest of the names that would have been right.

/// The candidate nearest to `word`, where it is near enough to be a slip of the finger.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (distance(&word.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(d, _)| *d <= allowed)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// `did you mean …?`, or the names there are.
pub(crate) fn help<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(near) = nearest(word, candidates.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let names: Vec<&str> = candidates.into_iter().take(NAMES_SHOWN_MAX + 1).collect();
    match names.len() {
        0 => None,
        n if n > NAMES_SHOWN_MAX => Some(format!("it has {}, …", list(&names[..NAMES_SHOWN_MAX]))),
        _ => Some(format!("it has {}", list(&names))),
    }
}

/// Most names in a hint: more are not read.
const NAMES_SHOWN_MAX: usize = 12;

fn list(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

/// Edits between two words: a letter inserted, left out, changed, or two neighbours swapped.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("ammount", ["amount", "account"]), Some("amount"));
        assert_eq!(nearest("prioirty", ["priority", "name"]), Some("priority"));
        assert_eq!(nearest("Mail", ["email", "phone"]), Some("email"));
        assert_eq!(nearest("zebra", ["email", "phone"]), None);
        assert_eq!(help("zebra", ["email", "phone"]).as_deref(), Some("it has `email`, `phone`"));
    }
}
