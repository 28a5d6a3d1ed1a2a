//! What is paused by order of somebody: what the commands of the control topic come to, one after another.

use std::collections::BTreeMap;

use super::control::{Act, Command, Target};

/// All pauses that stand, each with the command that asked for it. Give it every command, in the topic's order.
///
/// A pause of a key in all consumers and one in a single consumer stand beside each other: each is ended by its own resume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses {
    standing: BTreeMap<Target, String>,
}

impl Pauses {
    /// Takes the next command; what neither pauses nor resumes changes nothing.
    pub fn take(&mut self, command: &Command) {
        match &command.act {
            Act::Pause { target } => {
                self.standing.insert(target.clone(), command.id.clone());
            }
            Act::Resume { target } => {
                self.standing.remove(target);
            }
            Act::Cancel { command } => {
                self.standing.remove(&Target::Replay { command: command.clone() });
            }
            Act::Discard { .. } | Act::Redrive { .. } | Act::Bury { .. } | Act::Edit { .. } | Act::Replay(_) => {}
        }
    }

    /// The command that pauses this consumer, or the system that it calls.
    #[must_use]
    pub fn of_consumer(&self, consumer: &str, system: &str) -> Option<&str> {
        let name = |name: &str| name.to_owned();
        let found = self.standing.get(&Target::Consumer { name: name(consumer) });
        found.or_else(|| self.standing.get(&Target::System { name: name(system) })).map(String::as_str)
    }

    /// The command that pauses this key in this consumer.
    #[must_use]
    pub fn of_key(&self, consumer: &str, key: &str) -> Option<&str> {
        let of = |consumer| self.standing.get(&Target::Key { key: key.to_owned(), consumer });
        of(None).or_else(|| of(Some(consumer.to_owned()))).map(String::as_str)
    }

    /// Whether this replay is paused.
    #[must_use]
    pub fn is_of_replay(&self, command: &str) -> bool {
        self.standing.contains_key(&Target::Replay { command: command.to_owned() })
    }

    /// All that stand.
    pub fn iter(&self) -> impl Iterator<Item = (&Target, &str)> {
        self.standing.iter().map(|(target, command)| (target, command.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_stands_until_its_own_resume() {
        let mut pauses = Pauses::default();
        let mut n = 0;
        let mut take = |pauses: &mut Pauses, act| {
            n += 1;
            pauses.take(&Command { id: format!("c{n}"), by: String::new(), reason: String::new(), at_ms: 0, act });
        };
        let erp = || Target::System { name: "erp".to_owned() };
        let key = |consumer: Option<&str>| Target::Key { key: "k".to_owned(), consumer: consumer.map(str::to_owned) };
        take(&mut pauses, Act::Pause { target: erp() });
        take(&mut pauses, Act::Pause { target: key(None) });
        take(&mut pauses, Act::Pause { target: key(Some("a")) });
        assert_eq!(pauses.of_consumer("a", "erp"), Some("c1"));
        assert_eq!(pauses.of_consumer("a", "crm"), None);
        assert_eq!((pauses.of_key("a", "k"), pauses.of_key("b", "k")), (Some("c2"), Some("c2")));
        take(&mut pauses, Act::Resume { target: key(None) });
        assert_eq!((pauses.of_key("a", "k"), pauses.of_key("b", "k")), (Some("c3"), None));
        take(&mut pauses, Act::Resume { target: erp() });
        assert_eq!(pauses.of_consumer("a", "erp"), None);
        assert_eq!(pauses.iter().count(), 1);
    }
}
