//! "Did you mean": the nearest of the names that would have been right.

/// The name nearest to `word`, where it is near enough to be a slip of the finger.
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let allowed = (word.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|c| (distance(&word.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(d, _)| *d <= allowed)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// `did you mean …?`, or the names that there are; nothing where there are none.
pub fn help<'n>(word: &str, names: impl IntoIterator<Item = &'n str> + Clone) -> Option<String> {
    match nearest(word, names.clone()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => Some(list(names)).filter(|list| !list.is_empty()).map(|list| format!("there is {list}")),
    }
}

/// Most names in a hint: more are not read.
const LISTED_MAX: usize = 12;

/// `a`, `b` and `c`, each as code.
#[must_use]
pub fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let mut quoted: Vec<String> = names.iter().take(LISTED_MAX).map(|n| format!("`{n}`")).collect();
    if names.len() > LISTED_MAX {
        quoted.push(format!("{} more", names.len() - LISTED_MAX));
    }
    match quoted.split_last() {
        None => String::new(),
        Some((one, [])) => one.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
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
    }

    #[test]
    fn what_is_near_is_suggested_and_what_is_not_is_listed() {
        let check = |word: &str, names: &[&'static str], expect: Option<&str>| {
            assert_eq!(help(word, names.iter().copied()).as_deref(), expect, "{word}");
        };
        let names = ["purpose", "owner", "base_url"];
        check("purpsoe", &names, Some("did you mean `purpose`?"));
        check("base-url", &names, Some("did you mean `base_url`?"));
        check("deadline", &names, Some("there is `purpose`, `owner` and `base_url`"));
        check("x", &[], None);
        check("zebra", &["a"; 14], Some(&format!("there is {} and 2 more", ["`a`"; 12].join(", "))));
    }

    #[test]
    fn a_swap_of_neighbours_is_one_step() {
        for (a, b, steps) in [("", "", 0), ("", "abc", 3), ("prioirty", "priority", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a, b), steps, "{a} {b}");
            assert_eq!(distance(b, a), steps, "{b} {a}");
        }
    }
}
