//! A process of the consumer: a machine, and what its shell knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tieline_delivery::{CommitId, Machine, PauseReason, RecordId, Settings, Time};

use crate::world::Message;

/// Which process, and which of those that ran in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    pub process: usize,
    pub incarnation: u64,
}

/// A partition that a process believes to own.
#[derive(Debug, Clone, Copy)]
pub struct Owned {
    pub epoch: u64,
    /// The next place in the log to fetch, and where the log ended when it came.
    pub place: usize,
    pub end: i64,
    /// The group's number for it.
    pub assignment: u64,
}

/// A record that waits to be sent with others.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    pub id: RecordId,
    pub attempt: u32,
    pub event: usize,
    /// Whether its process owned the partition when the machine handed it out.
    pub by_owner: bool,
}

/// How an event has failed in this assignment, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Failed {
    pub first_ms: u64,
    pub last_ms: u64,
}

pub struct Process {
    pub who: Who,
    pub machine: Machine<usize>,
    pub fingerprint: u64,
    pub alive: bool,
    /// Nothing of it runs: what comes for it lies in the kernel.
    pub frozen: bool,
    pub backlog: VecDeque<Message>,
    /// Its monotonic clock began then, and its wall clock is off by so much.
    pub born_ms: u64,
    pub skew_ms: i64,
    pub next_epoch: u64,
    pub owned: BTreeMap<i32, Owned>,
    pub paused: BTreeMap<i32, PauseReason>,
    pub leaving: BTreeSet<i32>,
    /// The generation, or member epoch, that it has heard of; and when the group's last word reaches it.
    pub generation: u64,
    pub hears_at_ms: u64,
    /// When the last record that was fetched comes out of the channel.
    pub fetched_at_ms: u64,
    /// The commit that is under way, and what the group is told when that has ended.
    pub committing: Option<(CommitId, Vec<usize>)>,
    pub released: Vec<(i32, u64)>,
    /// Prepared requests, and calls under way by key.
    pub requests: BTreeSet<usize>,
    pub calling: BTreeSet<(i32, u64)>,
    /// What waits to be sent with others, and how many batches there were before.
    pub waiting: Vec<Waiting>,
    pub batches: u64,
    /// What has worked or was skipped in this assignment, and what of it no durable commit covers yet.
    pub settled: BTreeSet<usize>,
    pub uncovered: BTreeSet<usize>,
    pub failed: BTreeMap<usize, Failed>,
    /// What the machine was given to deliver again, in this assignment.
    pub replayed: BTreeSet<usize>,
    /// When a call worked last, and since when nobody may call.
    pub worked_ms: Option<u64>,
    pub calls_from_ms: u64,
    /// What somebody has stopped.
    pub paused_keys: BTreeSet<u64>,
    pub paused_all: bool,
    pub drained: bool,
    pub in_outage: bool,
}

impl Process {
    pub fn new(settings: Settings, now_ms: u64, who: Who, skew_ms: i64) -> Self {
        Self {
            who,
            fingerprint: settings.fingerprint,
            machine: Machine::new(settings, Time::default()),
            alive: true,
            frozen: false,
            backlog: VecDeque::new(),
            born_ms: now_ms,
            skew_ms,
            next_epoch: 1,
            owned: BTreeMap::new(),
            paused: BTreeMap::new(),
            leaving: BTreeSet::new(),
            generation: 0,
            hears_at_ms: 0,
            fetched_at_ms: 0,
            committing: None,
            released: Vec::new(),
            requests: BTreeSet::new(),
            calling: BTreeSet::new(),
            waiting: Vec::new(),
            batches: 0,
            settled: BTreeSet::new(),
            uncovered: BTreeSet::new(),
            failed: BTreeMap::new(),
            replayed: BTreeSet::new(),
            worked_ms: None,
            calls_from_ms: 0,
            paused_keys: BTreeSet::new(),
            paused_all: false,
            drained: false,
            in_outage: false,
        }
    }

    /// Its monotonic time.
    pub fn time(&self, now_ms: u64) -> Time {
        Time(Duration::from_millis(now_ms - self.born_ms))
    }

    /// When its monotonic clock says this; up to a whole millisecond, so that nothing comes early.
    pub fn now_ms(&self, time: Time) -> u64 {
        self.born_ms + u64::try_from(time.0.as_nanos().div_ceil(1_000_000)).unwrap()
    }

    /// Its wall clock.
    pub fn wall_ms(&self, now_ms: u64) -> i64 {
        1_000_000 + i64::try_from(now_ms).unwrap() + self.skew_ms
    }

    pub fn own(&mut self, partition: i32, (place, end): (usize, i64), assignment: u64, events: &[usize]) -> u64 {
        self.disown(partition, events);
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        self.owned.insert(partition, Owned { epoch, place, end, assignment });
        epoch
    }

    /// It owns this partition, with these events, no more.
    pub fn disown(&mut self, partition: i32, events: &[usize]) {
        self.owned.remove(&partition);
        self.paused.remove(&partition);
        self.leaving.remove(&partition);
        self.calling.retain(|(other, _)| *other != partition);
        self.waiting.retain(|waiting| waiting.id.partition.0 != partition);
        for event in events {
            self.settled.remove(event);
            self.uncovered.remove(event);
            self.replayed.remove(event);
            self.failed.remove(event);
        }
    }
}
