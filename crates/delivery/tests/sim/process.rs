//! A process of the consumer: a machine, and what its shell knows.

use std::collections::{BTreeMap, BTreeSet};

use tieline_delivery::{Machine, PauseReason, Settings, Time};

pub struct Process {
    pub machine: Machine<usize>,
    /// Tells it from those that ran here before.
    pub incarnation: u64,
    pub alive: bool,
    pub next_epoch: u64,
    /// What it believes to own: epoch, and the next place in the log to fetch.
    pub owned: BTreeMap<i32, (u64, usize)>,
    pub paused: BTreeMap<i32, PauseReason>,
    pub leaving: BTreeSet<i32>,
    /// Prepared requests, and calls under way by key.
    pub requests: BTreeSet<usize>,
    pub calling: BTreeSet<(i32, u64)>,
    /// Nothing is called before, as a system has told it.
    pub calls_from: Time,
    pub drained: bool,
    pub in_outage: bool,
}

impl Process {
    pub fn new(settings: Settings, now: Time, incarnation: u64) -> Self {
        Self {
            machine: Machine::new(settings, now),
            incarnation,
            alive: true,
            next_epoch: 1,
            owned: BTreeMap::new(),
            paused: BTreeMap::new(),
            leaving: BTreeSet::new(),
            requests: BTreeSet::new(),
            calling: BTreeSet::new(),
            calls_from: Time::default(),
            drained: false,
            in_outage: false,
        }
    }

    pub fn own(&mut self, partition: i32, place: usize) -> u64 {
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        self.owned.insert(partition, (epoch, place));
        self.paused.remove(&partition);
        self.leaving.remove(&partition);
        self.calling.retain(|(other, _)| *other != partition);
        epoch
    }

    pub fn disown(&mut self, partition: i32) {
        self.owned.remove(&partition);
        self.paused.remove(&partition);
        self.leaving.remove(&partition);
        self.calling.retain(|(other, _)| *other != partition);
    }
}
