//! A process: a caller, an allocator that divides or stands by, a clock of its own, and what it has to do.

use std::collections::BTreeMap;
use std::time::Duration;

use tieline_delivery::Time;
use tieline_delivery::limits::{Allocator, Caller, Flow};

use crate::dice::Dice;

/// Runs fast or slow by up to 1 %, from an origin of its own. True time is in microseconds.
#[derive(Clone, Copy)]
pub struct Clock {
    origin_ns: u64,
    ppm: i64,
    /// How far its wall clock is off, in milliseconds.
    pub wall_off_ms: i64,
}

impl Clock {
    pub fn new(dice: &mut Dice) -> Self {
        let ppm = [-10_000, 10_000, 0, i64::try_from(dice.between(0, 20_000)).unwrap() - 10_000][dice.index(4)];
        let wall_off_ms = i64::try_from(dice.between(0, 2_000)).unwrap() - 1_000;
        Self { origin_ns: dice.between(0, 1 << 50), ppm, wall_off_ms }
    }

    pub fn local(&self, true_us: u64) -> Time {
        let ns = i128::from(true_us) * 1_000 * i128::from(1_000_000 + self.ppm) / 1_000_000;
        Time(Duration::from_nanos(self.origin_ns + u64::try_from(ns).unwrap()))
    }

    /// The first microsecond at which it shows at least this.
    pub fn true_us(&self, local: Time) -> u64 {
        let ns = i128::try_from(local.0.as_nanos()).unwrap() - i128::from(self.origin_ns);
        let ns = (ns.max(0) * 1_000_000).div_euclid(i128::from(1_000_000 + self.ppm)) + 1;
        u64::try_from(ns / 1_000 + 1).unwrap()
    }
}

pub struct Load {
    pub weight: u32,
    pub waiting: u64,
    /// There is always more.
    pub endless: bool,
    pub sent: u64,
    /// Its thread sleeps until then.
    pub sleeps_us: u64,
}

pub struct Process {
    pub clock: Clock,
    pub incarnation: u64,
    pub alive: bool,
    pub paused_until_us: u64,
    /// What it writes is lost.
    pub mute_until_us: u64,
    pub caller: Caller,
    pub caught_up: bool,
    pub allocator: Allocator,
    /// They have read up to here by themselves.
    pub read_from: i64,
    /// Its next record comes to the log, and the next record comes to it, not before these.
    pub written_us: u64,
    pub read_us: u64,
    pub load: BTreeMap<Flow, Load>,
    pub wakes_us: u64,
}
