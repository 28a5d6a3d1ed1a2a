//! Whether one version of an event can follow another: Confluent's seven modes over the history of a subject, and behind
//! them Avro's own question, whether a reader's schema reads what was written with a writer's ([`incompatibilities`]).
//!
//! Source of the modes: Confluent's documentation, "Schema Evolution and Compatibility". The default is `BACKWARD`.

use std::fmt;

use apache_avro::Schema;

mod resolve;

pub use resolve::{Incompatibility, Problem, incompatibilities};

/// What a new version of a subject's schema has to be compatible with, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Who cannot read what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The new schema cannot read what was written with the earlier one.
    Backward,
    /// The earlier schema cannot read what is written with the new one.
    Forward,
}

/// What speaks against a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The earlier version that it conflicts with, by its place in the history, oldest first, from 0.
    pub earlier: usize,
    /// Who cannot read what.
    pub direction: Direction,
    /// Where and why.
    pub incompatibility: Incompatibility,
}

impl Mode {
    /// All, from the one that lets everything through.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// As registries write it: `BACKWARD_TRANSITIVE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// The mode of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Whether all earlier versions count, and not only the last.
    #[must_use]
    pub fn is_transitive(self) -> bool {
        match self {
            Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive => true,
            Self::None | Self::Backward | Self::Forward | Self::Full => false,
        }
    }

    /// Who has to be able to read what.
    #[must_use]
    pub fn directions(self) -> &'static [Direction] {
        match self {
            Self::None => &[],
            Self::Backward | Self::BackwardTransitive => &[Direction::Backward],
            Self::Forward | Self::ForwardTransitive => &[Direction::Forward],
            Self::Full | Self::FullTransitive => &[Direction::Backward, Direction::Forward],
        }
    }

    /// What speaks against `new` after `earlier` (oldest first), the newest of these first; empty where it is compatible.
    #[must_use]
    pub fn conflicts(self, new: &Schema, earlier: &[&Schema]) -> Vec<Conflict> {
        let counted = if self.is_transitive() { earlier.len() } else { 1 };
        let mut conflicts = Vec::new();
        for (at, old) in earlier.iter().enumerate().rev().take(counted) {
            for direction in self.directions() {
                let found = match direction {
                    Direction::Backward => incompatibilities(new, old),
                    Direction::Forward => incompatibilities(old, new),
                };
                let conflict = |incompatibility| Conflict { earlier: at, direction: *direction, incompatibility };
                conflicts.extend(found.into_iter().map(conflict));
            }
        }
        conflicts
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.direction {
            Direction::Backward => "the new schema cannot read what an earlier one wrote",
            Direction::Forward => "an earlier schema cannot read what the new one writes",
        };
        write!(f, "{who}: {}", self.incompatibility)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn record(fields: &str) -> Schema {
        Schema::parse_str(&format!(r#"{{"type":"record","name":"r","fields":[{fields}]}}"#)).unwrap()
    }

    #[test]
    fn each_mode_has_a_name_and_is_found_by_it() {
        assert_eq!(Mode::ALL.map(|mode| Mode::from_name(mode.name())), Mode::ALL.map(Some));
        assert_eq!(Mode::from_name("backward"), None);
    }

    #[test]
    fn each_mode_looks_in_its_direction_and_as_far_back_as_it_says() {
        let (a, b) = (r#"{"name":"a","type":"string"}"#, r#"{"name":"b","type":"int","default":0}"#);
        let (c, d) = (r#"{"name":"c","type":"string"}"#, r#"{"name":"c","type":"string","default":""}"#);
        let check = |mode: Mode, earlier: &[String], new: &str, compatible: bool| {
            let earlier: Vec<Schema> = earlier.iter().map(|fields| record(fields)).collect();
            let conflicts = mode.conflicts(&record(new), &earlier.iter().collect::<Vec<_>>());
            assert_eq!(conflicts.is_empty(), compatible, "{mode:?} {new}: {conflicts:?}");
        };
        let old = [format!("{a},{b}")];
        for (mode, added, added_with_default, removed_required) in [
            (Mode::None, true, true, true),
            (Mode::Backward, false, true, true),
            (Mode::BackwardTransitive, false, true, true),
            (Mode::Forward, true, true, false),
            (Mode::ForwardTransitive, true, true, false),
            (Mode::Full, false, true, false),
            (Mode::FullTransitive, false, true, false),
        ] {
            check(mode, &old, &format!("{a},{b},{c}"), added);
            check(mode, &old, &format!("{a},{b},{d}"), added_with_default);
            check(mode, &old, b, removed_required);
            check(mode, &[], a, true);
        }
        // First without it, then with a default, then without: only who looks at the first minds, and that backward.
        let history = [a.to_owned(), format!("{a},{d}")];
        for mode in Mode::ALL {
            let minds = mode.is_transitive() && mode.directions().contains(&Direction::Backward);
            check(mode, &history, &format!("{a},{c}"), !minds);
        }
        // The other way: required, then with a default, then gone.
        let history = [format!("{a},{c}"), format!("{a},{d}")];
        for mode in Mode::ALL {
            let minds = mode.is_transitive() && mode.directions().contains(&Direction::Forward);
            check(mode, &history, a, !minds);
        }
    }

    #[test]
    fn a_conflict_says_with_which_version_it_is_and_who_cannot_read() {
        let (one, two) = (record(""), record(r#"{"name":"a","type":"int"}"#));
        let three = record(r#"{"name":"a","type":"string"}"#);
        let conflicts = Mode::FullTransitive.conflicts(&three, &[&one, &two]);
        let told: Vec<_> = conflicts.iter().map(|c| (c.earlier, c.direction)).collect();
        assert_eq!(told, [(1, Direction::Backward), (1, Direction::Forward), (0, Direction::Backward)]);
        assert_eq!(
            conflicts[0].to_string(),
            "the new schema cannot read what an earlier one wrote: `/fields/0/type`: the writer has an int, and the \
             reader a string"
        );
    }
}
