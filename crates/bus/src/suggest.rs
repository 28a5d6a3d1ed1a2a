//! What somebody may have meant: the nearest of the names that there are.

/// Most names that a hint lists.
const LISTED_MAX: usize = 12;

/// "did you mean `purpose`?", or else the names that there are; empty where there are none.
pub(crate) fn one_of(word: &str, names: &[impl AsRef<str>]) -> String {
    match closest(word, names) {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => String::new(),
        None => format!("there is {}", list(names)),
    }
}

/// The nearest name, where it is near enough to have been meant.
pub(crate) fn closest<'n>(word: &str, names: &'n [impl AsRef<str>]) -> Option<&'n str> {
    let far = (word.chars().count() / 3).max(1);
    let near = |name: &'n str| {
        let distance = distance(&word.to_lowercase(), &name.to_lowercase());
        (distance <= far).then_some((distance, name))
    };
    names.iter().filter_map(|name| near(name.as_ref())).min().map(|(_, name)| name)
}

/// `a`, `b` and `c`.
pub(crate) fn list(names: &[impl AsRef<str>]) -> String {
    let mut quoted: Vec<String> = names.iter().take(LISTED_MAX).map(|n| format!("`{}`", n.as_ref())).collect();
    if names.len() > LISTED_MAX {
        quoted.push(format!("{} more", names.len() - LISTED_MAX));
    }
    match quoted.split_last() {
        None => String::new(),
        Some((one, [])) => one.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// How many characters have to be put in, left out, changed or swapped with their neighbour.
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
    fn what_is_near_is_suggested_and_what_is_not_is_listed() {
        let names = ["purpose", "owner", "base_url"];
        assert_eq!(one_of("purpsoe", &names), "did you mean `purpose`?");
        assert_eq!(one_of("base-url", &names), "did you mean `base_url`?");
        assert_eq!(one_of("Owner", &names), "did you mean `owner`?");
        assert_eq!(one_of("deadline", &names), "there is `purpose`, `owner` and `base_url`");
        assert_eq!(one_of("x", &[] as &[&str]), "");
    }

    #[test]
    fn a_swap_of_neighbours_is_one_step() {
        for (a, b, steps) in [
            ("", "", 0),
            ("", "abc", 3),
            ("ammount", "amount", 1),
            ("prioirty", "priority", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), steps, "{a} {b}");
            assert_eq!(distance(b, a), steps, "{b} {a}");
        }
    }
}
