//! What runs have met, by name: so that runs without faults do not pass for good ones.

use std::collections::BTreeMap;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen(BTreeMap<&'static str, u64>);

/// What the seeds of `make test` meet at least ten times each.
const MET: [&str; 43] = [
    "assigned after an eviction",
    "bad deployments",
    "batches of several",
    "batches of which nothing is known",
    "batches refused as a whole",
    "commits",
    "commits fenced",
    "commits made and reported failed",
    "commits refused",
    "commits refused while the state topics are unwritable",
    "commits while those of another partition are refused",
    "consumers paused",
    "crashes",
    "crashes after a call was applied",
    "crashes after a commit was made",
    "crashes before a commit was made",
    "dead",
    "dead with an effect",
    "discarded",
    "frozen",
    "frozen past the session",
    "given up",
    "holds inherited",
    "keys paused",
    "outages noticed",
    "parked",
    "parked records inherited",
    "parked records inherited that may have been tried",
    "rebalances",
    "recalled",
    "recalled late",
    "recalled twice",
    "redeployments",
    "redriven",
    "replayed",
    "replays overtaken",
    "replays passed over",
    "sent again after an unknown outcome",
    "stale inputs",
    "superseded",
    "throttled",
    "wall clocks jumped",
    "zombies",
];

impl Seen {
    pub fn note(&mut self, what: &'static str) {
        self.add_to(what, 1);
    }

    pub fn add_to(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }

    /// Keeps the greatest.
    pub fn note_most(&mut self, what: &'static str, amount: u64) {
        let most = self.0.entry(what).or_default();
        *most = amount.max(*most);
    }

    pub fn merge(&mut self, one: &Self) {
        for (what, times) in &one.0 {
            if what.starts_with("most ") {
                self.note_most(what, *times);
            } else {
                self.add_to(what, *times);
            }
        }
    }

    pub fn assert_every_fault_was_met(&self) {
        let rare: Vec<_> = MET.iter().filter(|what| self.0.get(**what).is_none_or(|times| *times < 10)).collect();
        assert!(rare.is_empty(), "{rare:?} are met too rarely in {self:#?}");
    }
}
