//! What stands in the topic: claims, asks, grants, and times before which nobody calls. Keyed for compaction, JSON inside.
//!
//! | key | value | ends |
//! | --- | --- | --- |
//! | `SYSTEM/claim` | who grants from here on; its offset is the epoch | the next claim, or a tombstone when that one stops |
//! | `SYSTEM/ask/CALLER` | what a caller wants and has | a tombstone, when the caller is gone |
//! | `SYSTEM/grant/EPOCH/CALLER` | what a caller may use | a tombstone, when nothing of it can be in use |
//! | `SYSTEM/not-before/CALLER/N` | how long nobody calls | a tombstone, when it has passed |
//!
//! The epoch stands in the key of a grant, so that what an allocator of the past still writes does not replace what counts.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Advertised, Day, PerMeter, Share};

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// Most bytes of a value that is read: far more than an ask of as many consumers as a process may have.
const VALUE_BYTES_MAX: usize = 256 << 10;

/// A record of the topic, to be written or as it was read; without a value it is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// Names a caller: one process, from its start to its end. Another run of it has another name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(String);

impl CallerId {
    /// Of a text that nobody else has, such as a UUID. A slash, which divides keys, becomes a dash.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.replace('/', "-"))
    }
}

impl fmt::Display for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a record is about. Keys of one system alone: [`system_of`] says whose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The allocator.
    Claim,
    /// What a caller wants and has.
    Ask(CallerId),
    /// What a caller may use, by an allocator.
    Grant(i64, CallerId),
    /// A time that a caller was told; the number tells it from the others of that caller.
    NotBefore(CallerId, u64),
}

/// An allocator begins. The offset of this record is its epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The caller of the process that grants: no other run of a process has its name.
    pub by: String,
}

/// What a caller wants, and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Rises with each ask of the caller.
    pub seq: u64,
    /// The last offset that the caller had read. Of the grants up to there only the last can be in use.
    pub read_to: i64,
    /// False: it has given back what it held, and takes no grant that answers an earlier ask.
    pub holds: bool,
    /// Calls under way now.
    pub in_flight: u64,
    /// Calls that could be sent at once if the limits let them.
    pub waiting: u64,
    /// How many of these two are of replays, which go behind all that is live.
    #[serde(default)]
    pub replayed: u64,
    /// Who wants to call.
    pub wants: Vec<Want>,
    /// How much of the day's budget it has used and may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<DaySpent>,
    /// What the system has said of its limits since the last ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertised: Option<Advertised>,
}

/// What one consumer wants in one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Its name. In however many processes it runs, it counts once.
    pub consumer: String,
    /// Whether it is for a replay, which goes behind all that is live.
    #[serde(default)]
    pub replay: bool,
    /// How its part compares to that of others.
    pub weight: u32,
    /// Calls a second, in millionths.
    pub rate_micros: u64,
}

/// A caller's part of the day's budget. Nothing for a budget that the system does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaySpent {
    /// Of which day.
    pub day: Day,
    /// Used by this caller so far.
    pub spent: PerMeter<u64>,
    /// What it may have used on that day in all.
    pub allowance: PerMeter<Option<u64>>,
}

/// What a caller may use, until [`Self::lease_ms`] after it sent the ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Rises with each grant of an epoch.
    pub number: u64,
    /// The ask that it answers.
    pub seq: u64,
    /// How long it is valid; never longer than [`super::LEASE`].
    pub lease_ms: u64,
    /// What of the limits.
    pub share: Share,
    /// What the allocator counts as in flight with this caller: for the next one, if compaction took earlier grants.
    pub counted_in_flight: u64,
    /// What of the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<DayGrant>,
}

/// A caller's part of the day's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayGrant {
    /// Of which day.
    pub day: Day,
    /// What the caller may have used on that day in all.
    pub allowance: PerMeter<Option<u64>>,
    /// What all callers together may have used.
    pub total: PerMeter<u64>,
}

/// Nobody calls before this has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotBefore {
    /// From when it was written. Who reads it counts from when it reads, which is later.
    pub for_ms: u64,
    /// For those who start later: when it is over by the writer's wall clock, milliseconds since the Unix epoch.
    pub until_unix_ms: i64,
}

/// A record that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// See [`Claim`].
    Claim(Claim),
    /// See [`Ask`].
    Ask(CallerId, Ask),
    /// See [`Grant`]; the number is its epoch.
    Grant(i64, CallerId, Grant),
    /// See [`NotBefore`].
    NotBefore(CallerId, u64, NotBefore),
    /// A tombstone.
    Gone(Key),
}

/// Why a record says nothing to us. It is counted and passed over: a later version may write what this one cannot read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not a key of this topic.
    #[error("the key is none of this version's")]
    Key,
    /// Another version wrote it.
    #[error("version {0} is not {VERSION}, which is read here")]
    Version(u32),
    /// Too long to be one.
    #[error("a value of {0} bytes is longer than {VALUE_BYTES_MAX}")]
    TooLong(usize),
    /// Not what its version says.
    #[error("the value is not that of its key")]
    Value(#[source] serde_json::Error),
}

/// The system that a record of the topic is about.
#[must_use]
pub fn system_of(key: &str) -> Option<&str> {
    key.split_once('/').map(|(system, _)| system)
}

impl Key {
    /// As it stands in the topic.
    #[must_use]
    pub fn of(&self, system: &str) -> String {
        match self {
            Self::Claim => format!("{system}/claim"),
            Self::Ask(caller) => format!("{system}/ask/{caller}"),
            Self::Grant(epoch, caller) => format!("{system}/grant/{epoch}/{caller}"),
            Self::NotBefore(caller, number) => format!("{system}/not-before/{caller}/{number}"),
        }
    }

    /// From the topic; nothing if it is of another system.
    ///
    /// # Errors
    /// [`Unreadable::Key`] if it is of this system, and not one that we know.
    pub fn parse(system: &str, text: &str) -> Result<Option<Self>, Unreadable> {
        let mut parts = text.split('/');
        if parts.next() != Some(system) {
            return Ok(None);
        }
        let parts: Vec<&str> = parts.collect();
        let key = match parts.as_slice() {
            ["claim"] => Some(Self::Claim),
            ["ask", caller] => Some(Self::Ask(CallerId::new(caller))),
            ["grant", epoch, caller] => epoch.parse().ok().map(|epoch| Self::Grant(epoch, CallerId::new(caller))),
            ["not-before", caller, number] => number.parse().ok().map(|n| Self::NotBefore(CallerId::new(caller), n)),
            _ => None,
        };
        key.map(Some).ok_or(Unreadable::Key)
    }
}

impl Message {
    /// As it is written.
    #[must_use]
    pub fn encode(&self, system: &str) -> Record {
        let (key, value) = match self {
            Self::Claim(claim) => (Key::Claim, value(claim)),
            Self::Ask(caller, ask) => (Key::Ask(caller.clone()), value(ask)),
            Self::Grant(epoch, caller, grant) => (Key::Grant(*epoch, caller.clone()), value(grant)),
            Self::NotBefore(caller, number, not_before) => (Key::NotBefore(caller.clone(), *number), value(not_before)),
            Self::Gone(key) => (key.clone(), None),
        };
        Record { key: key.of(system), value }
    }

    /// As it was read.
    ///
    /// # Errors
    /// [`Unreadable`] if it is not what this version writes.
    pub fn decode(key: Key, value: Option<&[u8]>) -> Result<Self, Unreadable> {
        let Some(value) = value else { return Ok(Self::Gone(key)) };
        if value.len() > VALUE_BYTES_MAX {
            return Err(Unreadable::TooLong(value.len()));
        }
        let Versioned { v } = parse(value)?;
        if v != VERSION {
            return Err(Unreadable::Version(v));
        }
        Ok(match key {
            Key::Claim => Self::Claim(parse(value)?),
            Key::Ask(caller) => Self::Ask(caller, parse(value)?),
            Key::Grant(epoch, caller) => Self::Grant(epoch, caller, parse(value)?),
            Key::NotBefore(caller, number) => Self::NotBefore(caller, number, parse(value)?),
        })
    }
}

#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(value).map_err(Unreadable::Value)
}

fn value<T: Serialize>(body: &T) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        v: u32,
        #[serde(flatten)]
        body: &'a T,
    }
    // Structs of numbers and texts always have a JSON text.
    serde_json::to_vec(&Envelope { v: VERSION, body }).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn check(message: &Message, key: &str, json: Option<&str>) {
        let record = message.encode("erp");
        assert_eq!(record.key, key);
        assert_eq!(record.value.as_deref().map(|value| std::str::from_utf8(value).unwrap()), json);
        let read = Key::parse("erp", &record.key).unwrap().unwrap();
        assert_eq!(&Message::decode(read, record.value.as_deref()).unwrap(), message);
        assert_eq!(system_of(&record.key), Some("erp"));
        assert!(Key::parse("crm", &record.key).unwrap().is_none());
    }

    #[test]
    fn what_is_written_is_read() {
        let caller = CallerId::new("a/b");
        let day = Day("2026-11-24".parse().unwrap());
        check(&Message::Claim(Claim { by: "p1".to_owned() }), "erp/claim", Some(r#"{"v":1,"by":"p1"}"#));
        check(&Message::Gone(Key::Ask(caller.clone())), "erp/ask/a-b", None);
        check(
            &Message::NotBefore(caller.clone(), 7, NotBefore { for_ms: 1_500, until_unix_ms: 1_795_000_000_000 }),
            "erp/not-before/a-b/7",
            Some(r#"{"v":1,"for_ms":1500,"until_unix_ms":1795000000000}"#),
        );
        let share =
            Share { rate: Some(20_000_000), burst: Some(40_000_000), in_flight: Some(16), ..Default::default() };
        let allowance = PerMeter { calls: Some(500), cost: None };
        let grant = Grant {
            number: 3,
            seq: 9,
            lease_ms: 2_000,
            share,
            counted_in_flight: 16,
            day: Some(DayGrant { day, allowance, total: PerMeter { calls: 700, cost: 0 } }),
        };
        check(
            &Message::Grant(41, caller.clone(), grant),
            "erp/grant/41/a-b",
            Some(
                r#"{"v":1,"number":3,"seq":9,"lease_ms":2000,"share":{"rate_micros":20000000,"burst_micros":40000000,"in_flight":16},"counted_in_flight":16,"day":{"day":"2026-11-24","allowance":{"calls":500,"cost":null},"total":{"calls":700,"cost":0}}}"#,
            ),
        );
        let want = Want { consumer: "erp-project".to_owned(), replay: false, weight: 1, rate_micros: 5_000_000 };
        let spent = DaySpent { day, spent: PerMeter { calls: 20, cost: 0 }, allowance };
        let ask = Ask {
            seq: 9,
            read_to: 44,
            holds: true,
            in_flight: 2,
            waiting: 5,
            replayed: 3,
            wants: vec![want],
            day: Some(spent),
            advertised: None,
        };
        check(
            &Message::Ask(caller, ask),
            "erp/ask/a-b",
            Some(
                r#"{"v":1,"seq":9,"read_to":44,"holds":true,"in_flight":2,"waiting":5,"replayed":3,"wants":[{"consumer":"erp-project","replay":false,"weight":1,"rate_micros":5000000}],"day":{"day":"2026-11-24","spent":{"calls":20,"cost":0},"allowance":{"calls":500,"cost":null}}}"#,
            ),
        );
    }

    #[test]
    fn another_version_and_what_is_broken_are_told_apart() {
        let read = |value: &[u8]| Message::decode(Key::Claim, Some(value)).unwrap_err();
        assert!(matches!(read(br#"{"v":2,"who":"p1"}"#), Unreadable::Version(2)));
        assert!(matches!(read(br#"{"v":1}"#), Unreadable::Value(_)));
        assert!(matches!(read(b"\xff"), Unreadable::Value(_)));
        assert!(matches!(read(&vec![b' '; VALUE_BYTES_MAX + 1]), Unreadable::TooLong(_)));
        for key in ["erp", "erp/", "erp/grant/x/a", "erp/ask", "erp/ask/a/b", "erp/new/a"] {
            assert!(matches!(Key::parse("erp", key), Err(Unreadable::Key)), "{key}");
        }
    }
}
