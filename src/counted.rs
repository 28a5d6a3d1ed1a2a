//! A number and what it counts, as people say it: `1 system`, `2 systems`.

/// `1 case`, `3 cases`; nouns whose plural ends with an `s`.
pub fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_has_no_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "system")), ["0 systems", "1 system", "2 systems"]);
    }
}
