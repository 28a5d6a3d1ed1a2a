//! What people ask of a running bus, and what its owners make of it: `BUS.tieline.control`.
//!
//! Whoever is on call writes a [`Command`]; the owner of each partition that it concerns acts, and writes its [`Progress`]
//! under a key of its own. All lies in one partition, so that a resume comes after its pause for everybody. Commands are
//! never deleted: who asked for what, when and why can be read for as long as the topic is.
//!
//! Which dead letters are meant is settled before a command is written, not when it is carried out: what a dry run has
//! shown is what is done, and what dies meanwhile is not swept along.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Origin, StateError, Tally, bytes, encode};
use crate::kafka::state_topic;

/// Most dead letters of one command: with offsets of 19 digits and their commas 2 MB, which the topic takes.
pub const LETTERS_MAX: usize = 100_000;

/// Something that somebody asked for. Its key is its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Its id, unique.
    pub id: String,
    /// Who asked: `user@host`, or as they said.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What.
    pub act: Act,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Act {
    /// Begin no further delivery of this; what is under way ends.
    Pause {
        /// Of what.
        target: Target,
    },
    /// Go on.
    Resume {
        /// With what.
        target: Target,
    },
    /// Give these dead letters up: a tombstone for each, and keys that they hold go on.
    Discard {
        /// Whose they are.
        consumer: String,
        /// Which ones.
        lots: Vec<Lot>,
    },
    /// Deliver these dead letters again, before later records of their keys and under the same idempotency keys.
    Redrive {
        /// Whose they are.
        consumer: String,
        /// Which ones, in the order in which they are delivered.
        lots: Vec<Lot>,
        /// Most of them that are set going in a second, over all partitions of a replica; as many as there is room for
        /// without one.
        per_second: Option<u32>,
        /// One that was redriven this often already is passed over, so that a loop ends.
        rounds_max: u32,
    },
    /// Make dead letters of these records, which fail and are kept, since somebody says that they are at fault.
    Bury {
        /// Whose they are.
        consumer: String,
        /// Which ones.
        lots: Vec<Lot>,
    },
    /// Deliver this dead letter again with another payload, under the idempotency key of the next round.
    Edit {
        /// Whose it is.
        consumer: String,
        /// Which one.
        origin: Origin,
        /// The value that takes the place of its own, in Confluent's wire format (version 0). A header of the original
        /// that names its schema is left out with it.
        #[serde(with = "bytes")]
        value: Option<Cow<'static, [u8]>>,
    },
    /// Deliver stretches of the consumer's topic again, behind live work.
    Replay(Replay),
    /// End a replay where it stands.
    Cancel {
        /// The command that ordered it.
        command: String,
    },
}

/// Stretches of a topic that are delivered again. Where they end was settled when it was ordered, so that it has an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The consumer.
    pub consumer: String,
    /// Its topic.
    pub topic: String,
    /// The stretches, one for each partition at most.
    pub ranges: Vec<Range>,
    /// What the ledger shows as done is sent too, with an effect of its own: under the idempotency key of another round.
    pub again: bool,
    /// It is sent even if a newer record of its key is done.
    pub overtake: bool,
    /// Only events for which this holds, in the mapping language.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Most of them that are sent in a second, by each replica; as many as live work leaves room for without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
}

/// A stretch of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

/// What is paused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Target {
    /// All deliveries of a consumer.
    Consumer {
        /// Its name.
        name: String,
    },
    /// All calls of a system, by whichever consumer.
    System {
        /// Its name.
        name: String,
    },
    /// One key; in one consumer, or in all.
    Key {
        /// The key, as text.
        key: String,
        /// The consumer.
        consumer: Option<String>,
    },
    /// A replay.
    Replay {
        /// The command that ordered it.
        command: String,
    },
}

/// Dead letters of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// The topic of the original records.
    pub topic: String,
    /// Their partition.
    pub partition: i32,
    /// Their offsets, ascending.
    pub offsets: Vec<i64>,
}

/// How far an owner is with a command, in one partition. A later one takes the place of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The command.
    pub command: String,
    /// The consumer that it concerns.
    pub consumer: String,
    /// The partition of its topic.
    pub partition: i32,
    /// The replica that says so.
    pub by: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// How far it is.
    pub stage: Stage,
}

/// How far a command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Stage {
    /// The owner has read it.
    Accepted,
    /// So many are done.
    UnderWay {
        /// How many.
        done: u64,
        /// Of how many.
        of: u64,
    },
    /// Nothing is left to do.
    Done {
        /// How many were done.
        done: u64,
        /// How many were passed over: gone already, redriven too often, or final by themselves.
        passed: u64,
    },
    /// A replay is so far. Written in the transaction of the consumer that covers what it says.
    Replaying {
        /// All before this offset has ended, as the tally says.
        at: i64,
        /// Nothing at or above this offset was sent.
        ceiling: i64,
        /// By which mapping its owner sends: a fingerprint.
        mapped: u64,
        /// What was sent below this offset may have been under another mapping: an owner before this one had another.
        otherwise_below: i64,
        /// The offset after the last.
        to: i64,
        /// How many records of it are looked at in a second, as it goes now.
        per_second: u64,
        /// What became of those before `at`.
        #[serde(flatten)]
        tally: Tally,
    },
    /// A replay has come to its end, or was ended.
    Replayed {
        /// What became of its records.
        #[serde(flatten)]
        tally: Tally,
        /// Somebody has ended it before.
        cancelled: bool,
    },
    /// It cannot be done.
    Failed {
        /// Why, and what to do.
        why: String,
    },
}

/// A record of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRecord {
    /// Somebody asks for something.
    Command(Command),
    /// An owner says how far it is.
    Progress(Progress),
}

/// The topic, of one partition.
#[must_use]
pub fn control_topic(bus: &str) -> String {
    state_topic(bus, "tieline", "control")
}

impl ControlRecord {
    /// Reads a record of the topic by its key.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, StateError> {
        if key.contains(&b'/') {
            super::decode("progress of a command", value).map(Self::Progress)
        } else {
            super::decode("command", value).map(Self::Command)
        }
    }
}

impl Command {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        self.id.clone().into_bytes()
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it is too large for the topic.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        encode("command", self)
    }
}

impl Progress {
    /// Its key: `COMMAND/CONSUMER/PARTITION`.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        format!("{}/{}/{}", self.command, self.consumer, self.partition).into_bytes()
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it is too large for the topic.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        encode("progress of a command", self)
    }
}

impl Act {
    /// How many dead letters, or records that are to become some, it concerns.
    #[must_use]
    pub fn letters(&self) -> usize {
        match self {
            Self::Pause { .. } | Self::Resume { .. } | Self::Replay(_) | Self::Cancel { .. } => 0,
            Self::Discard { lots, .. } | Self::Redrive { lots, .. } | Self::Bury { lots, .. } => {
                lots.iter().map(|lot| lot.offsets.len()).sum()
            }
            Self::Edit { .. } => 1,
        }
    }
}

impl Lot {
    /// Puts places in order, a lot for each partition.
    #[must_use]
    pub fn of<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> Vec<Self> {
        let mut sorted: Vec<&Origin> = origins.into_iter().collect();
        sorted.sort();
        let mut lots: Vec<Self> = Vec::new();
        for Origin { topic, partition, offset } in sorted {
            match lots.last_mut() {
                Some(lot) if lot.topic == *topic && lot.partition == *partition => lot.offsets.push(*offset),
                _ => lots.push(Self { topic: topic.clone(), partition: *partition, offsets: vec![*offset] }),
            }
        }
        lots
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn command(act: Act) -> Command {
        Command { id: "c1".into(), by: "ann@desk".into(), reason: "billing is fixed".into(), at_ms: 5, act }
    }

    fn origin(partition: i32, offset: i64) -> Origin {
        Origin { topic: "crm.deals".to_owned(), partition, offset }
    }

    #[test]
    fn every_act_is_read_as_it_was_written() {
        let consumer = || "erp-project".to_owned();
        let lots = || Lot::of([&origin(1, 9), &origin(0, 4), &origin(1, 2)]);
        for act in [
            Act::Pause { target: Target::Consumer { name: consumer() } },
            Act::Resume { target: Target::System { name: "erp".to_owned() } },
            Act::Pause { target: Target::Key { key: "deal-1".to_owned(), consumer: None } },
            Act::Discard { consumer: consumer(), lots: lots() },
            Act::Redrive { consumer: consumer(), lots: lots(), per_second: Some(5), rounds_max: 3 },
            Act::Bury { consumer: consumer(), lots: lots() },
            Act::Edit { consumer: consumer(), origin: origin(0, 4), value: Some(vec![0, 0, 255].into()) },
            Act::Replay(Replay {
                consumer: consumer(),
                topic: "crm.deals".to_owned(),
                ranges: vec![Range { partition: 0, from: 3, to: 9 }],
                again: true,
                overtake: false,
                condition: Some(".deal.amount > 1000".to_owned()),
                per_second: Some(50),
            }),
            Act::Cancel { command: "c0".to_owned() },
            Act::Resume { target: Target::Replay { command: "c0".to_owned() } },
        ] {
            let command = command(act);
            let read = ControlRecord::decode(&command.key(), &command.encode().unwrap()).unwrap();
            assert_eq!(read, ControlRecord::Command(command));
        }
    }

    #[test]
    fn an_owner_has_a_record_of_its_own_for_each_partition() {
        for stage in [
            Stage::Accepted,
            Stage::UnderWay { done: 1, of: 2 },
            Stage::Done { done: 2, passed: 0 },
            Stage::Failed { why: "no such consumer".to_owned() },
            Stage::Replaying {
                at: 5,
                ceiling: 9,
                mapped: u64::MAX,
                otherwise_below: 7,
                to: 9,
                per_second: 7,
                tally: Tally { sent: 2, ..Tally::default() },
            },
            Stage::Replayed { tally: Tally { overtaken: 1, ..Tally::default() }, cancelled: true },
        ] {
            let (command, consumer, by) = ("c1".to_owned(), "erp-project".to_owned(), "host-1".to_owned());
            let progress = Progress { command, consumer, partition: 3, by, at_ms: 5, stage };
            assert_eq!(progress.key(), b"c1/erp-project/3");
            let read = ControlRecord::decode(&progress.key(), &progress.encode().unwrap()).unwrap();
            assert_eq!(read, ControlRecord::Progress(progress));
        }
    }

    #[test]
    fn a_command_of_as_many_letters_as_may_be_goes_into_the_topic() {
        let origins: Vec<Origin> = (0..LETTERS_MAX as i64).map(|n| origin((n % 6) as i32, i64::MAX - n)).collect();
        let command = command(Act::Discard { consumer: "c".to_owned(), lots: Lot::of(&origins) });
        assert_eq!(command.act.letters(), LETTERS_MAX);
        assert!(command.encode().unwrap().len() > 1_900_000);
    }
}
