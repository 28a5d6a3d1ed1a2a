//! What is measured.

use anyhow::Context as _;

/// A kind of work, by what is to be found out about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// What a record costs, beside the loop without guarantees.
    Cost(Records),
    /// What the ledger costs, by itself.
    Ledger,
    /// How many calls are made in a second, where the system takes its time, or something is wrong with it.
    Rate(Trouble),
    /// What it costs to look at a record again that was done before, beside a loop that decodes and maps it.
    Replay,
    /// What becomes of an outage, and of its end.
    Outage,
    /// How long an event takes to its system, beside the loop without guarantees.
    Latency,
    /// What a replay beside them does to that.
    BesideReplay,
    /// What a process costs that has nothing to do.
    Idle,
}

/// The records of a workload, the same for both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// The workload's name.
    pub name: &'static str,
    /// One record of so many is a deal that is won, and becomes a call; the others are passed by.
    pub one_won_of: usize,
    /// Whether an event follows from each call.
    pub follow_up: bool,
    /// One record of so many is of [`crate::events::BUSY_KEY`].
    pub one_busy_of: Option<usize>,
}

/// What is wrong with the system, which takes its time in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// The calls of one key take far longer.
    KeySlow,
    /// So do the calls of all keys of one partition.
    PartitionSlow,
    /// One call of a hundred is answered with 503.
    Flaky,
    /// One record of a hundred is refused with 422, whenever it comes.
    Poison,
}

/// Each record is a call.
pub const COST: Records = Records { name: "instant", one_won_of: 1, follow_up: false, one_busy_of: None };

/// All of them, in the order of the results.
pub const ALL: [Workload; 14] = [
    // Each record is a call to a system that answers at once: what a record costs, and nothing to wait for.
    Workload::Cost(COST),
    // The same, and the answer becomes an event.
    Workload::Cost(Records { name: "follow-up", follow_up: true, ..COST }),
    // A subscription to a busy topic: most records are decoded, looked at, and passed by.
    Workload::Cost(Records { name: "filtered", one_won_of: 10, ..COST }),
    // All of it was delivered before, and is looked at again: nothing is missing, and no call is made.
    Workload::Replay,
    Workload::Ledger,
    Workload::Rate(Trouble::None),
    Workload::Rate(Trouble::KeySlow),
    Workload::Rate(Trouble::PartitionSlow),
    Workload::Rate(Trouble::Flaky),
    Workload::Rate(Trouble::Poison),
    Workload::Outage,
    Workload::Latency,
    Workload::BesideReplay,
    Workload::Idle,
];

/// The records of all that is not about what a record costs: each a call, and one key with far more of them than others.
pub const TIMED: Records = Records { name: "timed", one_busy_of: Some(500), ..COST };

impl Workload {
    /// The one of this name.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        let known = || ALL.map(Self::name).join(", ");
        ALL.into_iter()
            .find(|w| w.name() == name)
            .with_context(|| format!("no workload `{name}`; there are {}", known()))
    }

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cost(records) => records.name,
            Self::Replay => "replay",
            Self::Ledger => "ledger",
            Self::Rate(Trouble::None) => "slow-20ms",
            Self::Rate(Trouble::KeySlow) => "one-key-slow",
            Self::Rate(Trouble::PartitionSlow) => "one-partition-slow",
            Self::Rate(Trouble::Flaky) => "flaky-1%",
            Self::Rate(Trouble::Poison) => "poison-1%",
            Self::Outage => "outage",
            Self::Latency => "latency",
            Self::BesideReplay => "latency-beside-replay",
            Self::Idle => "idle",
        }
    }
}

impl Records {
    /// How many of so many records become a call.
    pub fn calls(self, records: usize) -> usize {
        records.div_ceil(self.one_won_of)
    }
}
