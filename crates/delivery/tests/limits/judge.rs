//! Judges what was sent: against the limits at each call, and against what is promised once all is healed.

use std::collections::BTreeMap;

use tieline_delivery::limits::LimitsSettings;

use crate::setup::{COST_MAX, Setup};

/// What a run has met, so that a run without faults does not pass for a good one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub calls: u64,
    pub crashes: u64,
    pub pauses: u64,
    pub mutes: u64,
    pub stops: u64,
    /// Grants of one that divides no more, and does not know it.
    pub zombies: u64,
    pub takeovers: u64,
    pub orphaned: u64,
    pub lost: u64,
    pub throttled: u64,
    pub midnights: u64,
    pub exhausted_days: u64,
    pub used: u64,
    pub lent: u64,
    pub fair: u64,
    pub tardy: u64,
    pub full_bursts: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.calls, other.calls),
            (&mut self.crashes, other.crashes),
            (&mut self.pauses, other.pauses),
            (&mut self.mutes, other.mutes),
            (&mut self.stops, other.stops),
            (&mut self.zombies, other.zombies),
            (&mut self.takeovers, other.takeovers),
            (&mut self.orphaned, other.orphaned),
            (&mut self.lost, other.lost),
            (&mut self.throttled, other.throttled),
            (&mut self.midnights, other.midnights),
            (&mut self.exhausted_days, other.exhausted_days),
            (&mut self.used, other.used),
            (&mut self.lent, other.lent),
            (&mut self.fair, other.fair),
            (&mut self.tardy, other.tardy),
            (&mut self.full_bursts, other.full_bursts),
        ];
        for (sum, one) in pairs {
            *sum += one;
        }
    }

    pub fn assert_every_fault_was_met(&self) {
        let all = [
            self.calls,
            self.crashes,
            self.pauses,
            self.mutes,
            self.stops,
            self.zombies,
            self.takeovers,
            self.orphaned,
            self.lost,
            self.throttled,
            self.midnights,
            self.exhausted_days,
            self.used,
            self.lent,
            self.fair,
            self.tardy,
            self.full_bursts,
        ];
        assert!(all.iter().all(|met| *met > 50), "hardly met: {self:?}");
    }
}

/// The system's own books, in true time.
pub struct Judge {
    rate: Option<(f64, f64)>,
    cost_rate: Option<(f64, f64)>,
    in_flight_max: Option<u64>,
    per_day: Option<u64>,
    cost_per_day: Option<u64>,
    level: f64,
    cost_level: f64,
    at_us: u64,
    cost_at_us: u64,
    midnight_us: u64,
    in_flight: u64,
    /// Calls whose cost nobody got to know: their process was gone.
    pub unsettled: u64,
    /// How many there have been.
    pub callers: u64,
    pub days: BTreeMap<bool, (u64, u64)>,
    pub sent_us: Vec<u64>,
    pub full_bursts: u64,
}

impl Judge {
    pub fn new(setup: &Setup) -> Self {
        let LimitsSettings { per_second, burst, in_flight, per_day, zone: _, cost } = &setup.limits;
        let rate = per_second.map(|rate| (rate, burst.map_or(rate.max(1.0), f64::from)));
        Self {
            rate,
            #[allow(clippy::cast_precision_loss)]
            cost_rate: cost.map(|cost| (cost.per_second, cost.burst as f64)),
            in_flight_max: in_flight.map(u64::from),
            per_day: *per_day,
            cost_per_day: cost.and_then(|cost| cost.per_day),
            level: 0.0,
            cost_level: 0.0,
            at_us: 0,
            cost_at_us: 0,
            midnight_us: setup.midnight_us,
            in_flight: 0,
            unsettled: 0,
            callers: 0,
            days: BTreeMap::new(),
            sent_us: Vec::new(),
            full_bursts: 0,
        }
    }

    /// A call is sent. The level of a leaking bucket is, at each call, the most by which any window that ends here is
    /// above `rate · w`.
    pub fn sent(&mut self, now_us: u64) {
        self.sent_us.push(now_us);
        if let Some((rate, burst)) = self.rate {
            self.level = (self.level - rate * seconds(now_us - self.at_us)).max(0.0) + 1.0;
            self.at_us = now_us;
            self.full_bursts += u64::from(self.level > burst - 0.5);
            assert!(
                self.level <= burst + 1e-6,
                "{} calls more than {rate} a second and {burst} at once",
                self.level - burst
            );
        }
        self.in_flight += 1;
        if let Some(most) = self.in_flight_max {
            assert!(self.in_flight <= most, "{} calls in flight of {most}", self.in_flight);
        }
        let day = self.days.entry(now_us >= self.midnight_us).or_default();
        day.0 += 1;
        if let Some(most) = self.per_day {
            assert!(day.0 <= most, "{} calls in a day of {most}", day.0);
        }
        // Each caller pays its debts before its next call, but those of calls under way, and what a crash has forgiven.
        let debts = debts(self.in_flight_max.unwrap_or(0) * self.callers + self.unsettled);
        if let Some((_, burst)) = self.cost_rate {
            assert!(self.cost_level <= burst + debts, "cost is {} above what there is", self.cost_level - burst);
        }
        if let Some(most) = self.cost_per_day {
            #[allow(clippy::cast_precision_loss)]
            let over = day.1.saturating_sub(most) as f64;
            assert!(over <= debts, "{} of cost in a day of {most}", day.1);
        }
    }

    pub fn over(&mut self) {
        self.in_flight -= 1;
    }

    /// What a call has cost, as its answer says, when its process may know.
    pub fn costs(&mut self, now_us: u64, cost: u64) {
        if let Some((rate, _)) = self.cost_rate {
            #[allow(clippy::cast_precision_loss)]
            let cost = cost as f64;
            self.cost_level = (self.cost_level - rate * seconds(now_us - self.cost_at_us)).max(0.0) + cost;
            self.cost_at_us = now_us;
        }
        self.days.entry(now_us >= self.midnight_us).or_default().1 += cost;
    }

    /// The longest time from one to another in which no call was sent.
    pub fn longest_silence_us(&self, from_us: u64, to_us: u64) -> u64 {
        let sent = self.sent_us.iter().copied().filter(|at| (from_us..to_us).contains(at));
        let (mut last, mut longest) = (from_us, 0);
        for at in sent.chain([to_us]) {
            longest = longest.max(at - last);
            last = at;
        }
        longest
    }

    /// How many calls were sent from a time to another.
    pub fn sent_between(&self, from_us: u64, to_us: u64) -> u64 {
        u64::try_from(self.sent_us.iter().filter(|at| (from_us..to_us).contains(*at)).count()).unwrap()
    }
}

fn debts(calls: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let debts = ((calls + 1) * COST_MAX) as f64;
    debts
}

pub fn seconds(us: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let seconds = us as f64 / 1e6;
    seconds
}
