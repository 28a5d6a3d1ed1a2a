//! What is measured.

use anyhow::Context as _;

/// A kind of work, the same for both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Its name in the results.
    pub name: &'static str,
    /// One record of so many is a deal that is won, and becomes a call; the others are passed by.
    pub one_won_of: usize,
    /// Whether an event follows from each call.
    pub follow_up: bool,
}

/// All of them, in the order of the results.
pub const ALL: [Workload; 3] = [
    // Each record is a call to a system that answers at once: what a record costs, and nothing to wait for.
    Workload { name: "instant", one_won_of: 1, follow_up: false },
    // The same, and the answer becomes an event.
    Workload { name: "follow-up", one_won_of: 1, follow_up: true },
    // A subscription to a busy topic: most records are decoded, looked at, and passed by.
    Workload { name: "filtered", one_won_of: 10, follow_up: false },
];

impl Workload {
    /// The one of this name.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        let known = || ALL.map(|w| w.name).join(", ");
        ALL.into_iter().find(|w| w.name == name).with_context(|| format!("no workload `{name}`; there are {}", known()))
    }

    /// How many of so many records become a call.
    pub fn calls(self, records: usize) -> usize {
        records.div_ceil(self.one_won_of)
    }
}
