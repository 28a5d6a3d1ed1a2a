//! Confluent's seven modes of compatibility, over apache-avro's check of one schema against another.

use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use serde::{Deserialize, Serialize};

/// What a new version of a subject's schema has to be compatible with, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// Anything goes.
    None,
    /// Readers of the new one can read what was written with the last one. The default.
    Backward,
    /// Readers of the new one can read all that was ever written.
    BackwardTransitive,
    /// Readers of the last one can read what is written with the new one.
    Forward,
    /// Readers of all earlier ones can read what is written with the new one.
    ForwardTransitive,
    /// Both ways with the last one.
    Full,
    /// Both ways with all.
    FullTransitive,
}

impl Mode {
    /// What speaks against `new` after `earlier` (oldest first); empty where it is compatible.
    #[must_use]
    pub fn problems(self, new: &Schema, earlier: &[&Schema]) -> Vec<String> {
        let last = earlier.len().saturating_sub(1)..;
        match self {
            Self::None => Vec::new(),
            Self::Backward => backward(new, &earlier[last]),
            Self::BackwardTransitive => backward(new, earlier),
            Self::Forward => forward(new, &earlier[last]),
            Self::ForwardTransitive => forward(new, earlier),
            Self::Full => [backward(new, &earlier[last.clone()]), forward(new, &earlier[last])].concat(),
            Self::FullTransitive => [backward(new, earlier), forward(new, earlier)].concat(),
        }
    }
}

fn backward(new: &Schema, earlier: &[&Schema]) -> Vec<String> {
    earlier
        .iter()
        .filter_map(|old| unreadable(old, new, "the new schema cannot read what an earlier one wrote"))
        .collect()
}

fn forward(new: &Schema, earlier: &[&Schema]) -> Vec<String> {
    earlier
        .iter()
        .filter_map(|old| unreadable(new, old, "an earlier schema cannot read what the new one writes"))
        .collect()
}

fn unreadable(writer: &Schema, reader: &Schema, what: &str) -> Option<String> {
    match SchemaCompatibility::can_read(writer, reader) {
        Ok(Compatibility::Full) => None,
        // Some values can be read and some cannot, as where a symbol is gone: Java's check refuses that too.
        Ok(Compatibility::Partial) => {
            Some(format!("{what}: some values of an enum or a union have no place in the reader"))
        }
        Err(error) => Some(format!("{what}: {}", told(&error))),
    }
}

/// An error with its causes in one line, without the dumps of schemas that some of them hold.
fn told(error: &dyn std::error::Error) -> String {
    let first = error.to_string();
    let first = if first.len() > 300 { "the types differ".to_owned() } else { first };
    match error.source() {
        Some(cause) => format!("{first}: {}", told(cause)),
        None => first,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const OLD: &str =
        r#"{"type":"record","name":"r","fields":[{"name":"a","type":"string"},{"name":"b","type":"int","default":0}]}"#;

    fn check(mode: Mode, new: &str, compatible: bool) {
        let (old, new) = (Schema::parse_str(OLD).unwrap(), Schema::parse_str(new).unwrap());
        assert_eq!(mode.problems(&new, &[&old]).is_empty(), compatible, "{mode:?}");
    }

    #[test]
    fn each_mode_looks_in_its_direction() {
        let added_without_default = r#"{"type":"record","name":"r","fields":[{"name":"a","type":"string"},{"name":"b","type":"int","default":0},{"name":"c","type":"string"}]}"#;
        check(Mode::Backward, added_without_default, false);
        check(Mode::Forward, added_without_default, true);
        check(Mode::Full, added_without_default, false);
        check(Mode::None, added_without_default, true);
        let removed_required = r#"{"type":"record","name":"r","fields":[{"name":"b","type":"int","default":0}]}"#;
        check(Mode::Backward, removed_required, true);
        check(Mode::Forward, removed_required, false);
        check(Mode::FullTransitive, removed_required, false);
        check(Mode::FullTransitive, OLD, true);
    }

    #[test]
    fn transitive_modes_look_at_all_that_came_before() {
        let first = Schema::parse_str(r#"{"type":"record","name":"r","fields":[]}"#).unwrap();
        let second =
            Schema::parse_str(r#"{"type":"record","name":"r","fields":[{"name":"a","type":"int","default":1}]}"#)
                .unwrap();
        let third = Schema::parse_str(r#"{"type":"record","name":"r","fields":[{"name":"a","type":"int"}]}"#).unwrap();
        assert!(Mode::Backward.problems(&third, &[&first, &second]).is_empty());
        assert_eq!(Mode::BackwardTransitive.problems(&third, &[&first, &second]).len(), 1);
    }

    #[test]
    fn a_symbol_that_is_gone_is_no_small_matter() {
        let writer = Schema::parse_str(r#"{"type":"enum","name":"e","symbols":["A","B"]}"#).unwrap();
        let reader = Schema::parse_str(r#"{"type":"enum","name":"e","symbols":["A"]}"#).unwrap();
        assert_eq!(Mode::Backward.problems(&reader, &[&writer]).len(), 1);
    }
}
