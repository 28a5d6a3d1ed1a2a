//! What a world is like, drawn from its seed before anything happens.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use tieline_delivery::{OnDeadLetter, Order, Settings};

use crate::dice::Dice;

/// When the last fault happens, and how long the world may take afterwards to finish all, in milliseconds.
pub const HEALS_AT_MS: u64 = 20_000;
pub const FINISHES_WITHIN_MS: u64 = 40_000;
/// How long a call may take.
pub const REQUEST_DEADLINE_MS: u64 = 2_000;

/// How many records a batch has at most, and how long it waits for them.
const BATCHES: [(usize, u64); 4] = [(2, 10), (5, 5), (8, 20), (100, 30)];

/// How partitions change hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Everybody gives everything back; then all is dealt out at once, under a new generation.
    Eager,
    /// What moves is given back first; then it is dealt out at once, under a new generation for all.
    Cooperative,
    /// KIP-848: each member hears at its own heartbeats, and says so at the next that it has given something back.
    Server,
}

/// What faults there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything.
    Foul,
    /// Everything but crashes, zombies, pauses and failing commits: then nothing may come twice.
    Calm,
    /// The system fails for everybody for a while, and nothing is wrong with any record: then nothing is parked or buried.
    Outages,
}

pub struct Plan {
    pub settings: Settings,
    pub protocol: Protocol,
    pub weather: Weather,
    pub partitions: i32,
    pub records: usize,
    pub processes: usize,
    /// Faults in a thousand calls.
    pub faults: u64,
    /// Keys that the system fails for, until then.
    pub sick: BTreeMap<u64, (u64, Sickness)>,
    /// When it fails for all.
    pub outages_ms: Vec<Range<u64>>,
    /// When the state topics take nothing.
    pub unwritable_ms: Range<u64>,
    /// Only this partition of them, if so.
    pub unwritable: Option<i32>,
    /// When a mapping is deployed of which everything is refused.
    pub bad_mapping_ms: Range<u64>,
    /// How many records go in one call at most, and how long the first waits for others; none if each goes alone.
    pub batch: Option<(usize, u64)>,
    /// How far a process's wall clock may be off, either way; an hour is 20 s here.
    pub clock_spread_ms: u64,
    /// How far two owners' clocks are taken to be apart at most.
    pub clock_margin_ms: u64,
}

/// In which way the system fails for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sickness {
    NotApplied,
    Unknown,
    Absent,
    Conflict,
    /// By turns.
    Mixed,
}

impl Plan {
    pub fn of(dice: &mut Dice, seed: u64) -> Self {
        let weather = match dice.between(0, 10) {
            0 | 1 => Weather::Calm,
            2 => Weather::Outages,
            _ => Weather::Foul,
        };
        let settings = settings(dice, seed);
        let foul = weather == Weather::Foul;
        let mut sick = BTreeMap::new();
        for key in 0..6 {
            if weather != Weather::Outages && dice.chance(250) {
                let way = [
                    Sickness::NotApplied,
                    Sickness::Unknown,
                    Sickness::Absent,
                    Sickness::Conflict,
                    Sickness::Mixed,
                    Sickness::Mixed,
                ][dice.index(6)];
                sick.insert(key, (dice.between(3_000, HEALS_AT_MS), way));
            }
        }
        let outages = if weather == Weather::Outages { 1 } else { dice.index(3) };
        let outages_ms = (0..outages).map(|_| span(dice, 8_000)).collect();
        let (clock_spread_ms, clock_margin_ms) = [(0, 0), (0, 0), (150, 300), (20_000, 300)][dice.index(4)];
        Self {
            settings,
            protocol: [Protocol::Eager, Protocol::Cooperative, Protocol::Server][dice.index(3)],
            weather,
            partitions: i32::try_from(dice.between(1, 5)).unwrap(),
            records: dice.index(150) + 30,
            processes: dice.index(3) + 1,
            faults: if weather == Weather::Outages { 0 } else { dice.between(0, 500) },
            sick,
            outages_ms,
            unwritable_ms: if foul && dice.chance(300) { span(dice, 6_000) } else { 0..0 },
            unwritable: [None, Some(0), Some(1)][usize::try_from(seed % 3).unwrap()],
            bad_mapping_ms: if foul && dice.chance(150) { span(dice, 5_000) } else { 0..0 },
            batch: seed.is_multiple_of(3).then(|| BATCHES[usize::try_from(seed / 3 % 4).unwrap()]),
            clock_spread_ms,
            clock_margin_ms,
        }
    }

    /// Whether clocks are off by more than anybody can provide for: then an owner cannot tell by the time that it reads
    /// what an earlier one has tried, and calls come again under the key that the system remembers.
    pub fn clocks_are_wild(&self) -> bool {
        2 * self.clock_spread_ms > self.clock_margin_ms
    }

    pub fn supersedes(&self) -> bool {
        self.settings.on_dead_letter == OnDeadLetter::Supersede
    }

    pub fn clocks_are_true(&self) -> bool {
        self.clock_spread_ms == 0
    }
}

fn span(dice: &mut Dice, long: u64) -> Range<u64> {
    let from = dice.between(0, 14_000);
    from..from + dice.between(300, long)
}

fn settings(dice: &mut Dice, seed: u64) -> Settings {
    Settings {
        order: [Order::Key, Order::Key, Order::Key, Order::Partition, Order::None][dice.index(5)],
        on_dead_letter: [OnDeadLetter::Continue, OnDeadLetter::Hold, OnDeadLetter::Hold, OnDeadLetter::Supersede]
            [dice.index(4)],
        in_flight_max: dice.index(12) + 1,
        adapts: !seed.is_multiple_of(4),
        repeats_max: dice.index(30) + 1,
        window_records_max: dice.index(60) + 4,
        window_bytes_max: 2_000,
        patience: Duration::from_millis(dice.between(500, 5_000)),
        park_schedule: [200, 500, 1_000][..dice.index(4)].iter().map(|ms| Duration::from_millis(*ms)).collect(),
        give_up_after: Duration::from_millis(dice.between(3_000, 60_000)),
        parked_keys_max: dice.index(20) + 1,
        parked_records_max: [usize::MAX, 3, 12][usize::try_from(seed / 2 % 3).unwrap()],
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(dice.between(200, 2_000)),
        request_deadline: Duration::from_millis(REQUEST_DEADLINE_MS),
        commit_every: Duration::from_millis(dice.between(20, 500)),
        retry_after_max: Duration::from_millis(1_500),
        fingerprint: 0,
        seed,
    }
}
