//! What a seed chooses: the limits, the number of processes, how bad it gets.

use std::time::Duration;

use tieline_delivery::limits::{CostLimits, LimitsSettings};

use crate::dice::Dice;

/// No call is under way for longer.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// Most that one call costs, where cost is limited.
pub const COST_MAX: u64 = 200;

/// A midnight in Kiritimati (UTC+14) lies in each run: 10:00 UTC.
pub const MIDNIGHT_UNIX_MS: i64 = 1_795_514_400_000;
pub const ZONE: &str = "Pacific/Kiritimati";

pub struct Setup {
    pub processes: usize,
    pub limits: LimitsSettings,
    /// Neither pauses nor lost or very late records: then what is promised within a time is looked at throughout.
    pub calm: bool,
    /// Chances in a thousand.
    pub lost: u64,
    pub late: u64,
    pub throttles: u64,
    /// Whether one of the consumers has a thread that wakes late.
    pub tardy: bool,
    /// Of a call, at most, in microseconds, once all is healed.
    pub healed_call_us: u64,
    /// When midnight is, in microseconds of true time.
    pub midnight_us: u64,
}

impl Setup {
    pub fn new(dice: &mut Dice) -> Self {
        let calm = dice.chance(300);
        let limits = limits(dice);
        let mut one_of = |numbers: &[u64]| numbers[dice.index(numbers.len())];
        Self {
            processes: usize::try_from(one_of(&[1, 2, 3, 4, 6])).unwrap(),
            calm,
            lost: if calm { 0 } else { one_of(&[0, 20, 100]) },
            late: if calm { 0 } else { one_of(&[0, 20, 100]) },
            throttles: one_of(&[0, 0, 10, 50]),
            tardy: one_of(&[0, 1]) == 1,
            healed_call_us: if limits.per_second.is_some() { 20_000 } else { 200_000 },
            midnight_us: one_of(&[3, 7, 12, 16, 300]) * 1_000_000 + 123_456,
            limits,
        }
    }
}

fn limits(dice: &mut Dice) -> LimitsSettings {
    let per_second = [0.5, 2.0, 10.0, 25.0][dice.index(4)];
    let burst = [1, 2, 5, 40][dice.index(4)];
    let in_flight = [1, 2, 5, 16][dice.index(4)];
    let per_day = [20, 150, 1_000][dice.index(3)];
    let cost = CostLimits { per_second: 300.0, burst: 600, per_day: dice.chance(500).then_some(3_000) };
    let mut limits = LimitsSettings {
        per_second: dice.chance(850).then_some(per_second),
        burst: dice.chance(800).then_some(burst),
        in_flight: dice.chance(600).then_some(in_flight),
        per_day: dice.chance(300).then_some(per_day),
        zone: Some(jiff::tz::TimeZone::get(ZONE).unwrap()),
        cost: dice.chance(150).then_some(cost),
    };
    if limits.per_second.is_none() || limits.cost.is_some() {
        // Something has to bound the world, and what may be overspent is what is in flight.
        limits.in_flight = Some(in_flight.min(5));
    }
    limits
}
