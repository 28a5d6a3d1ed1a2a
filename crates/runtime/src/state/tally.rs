//! What became of the records of a replay.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// How many records of a replay came to which end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Their effect is confirmed.
    pub sent: u64,
    /// The consumer's own `when` passed them by.
    pub skipped: u64,
    /// A newer record of their key is done, or their key was parked or held: they were not sent.
    pub overtaken: u64,
    /// They are dead letters by it.
    pub dead: u64,
    /// They are parked by it, and go on from there.
    pub parked: u64,
    /// They were done already.
    pub done_before: u64,
    /// They are dead letters, parked or superseded already: those have ways of their own.
    pub set_aside: u64,
    /// The condition of the replay does not hold for them, or cannot be asked of them.
    pub not_meant: u64,
}

impl Tally {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { sent, skipped, overtaken, dead, parked, done_before, set_aside, not_meant } = self;
        sent + skipped + overtaken + dead + parked + done_before + set_aside + not_meant
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.skipped += other.skipped;
        self.overtaken += other.overtaken;
        self.dead += other.dead;
        self.parked += other.parked;
        self.done_before += other.done_before;
        self.set_aside += other.set_aside;
        self.not_meant += other.not_meant;
    }
}
