//! The day's budget: how much of it has been given out, and to whom how much more.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::account::Account;
use super::day::day_at;
use super::{Ask, Day, DayGrant, LimitsSettings, PerMeter};
use crate::Time;

/// A chunk is this part of what is left, so that who vanishes takes no more along.
const CHUNK_PART: u64 = 100;

/// How old a reading of the wall clock may be: our own clock carries it on, and may be 1 % off.
const WALL_FOR: Duration = Duration::from_secs(60);

/// The budget of a system, as its allocator keeps it.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: PerMeter<Option<u64>>,
    zone: TimeZone,
    wall: Option<(Time, i64)>,
    /// The day that is given from, and what of it is given.
    given: Option<(Day, PerMeter<u64>)>,
}

impl Budget {
    pub(crate) fn new(limits: &LimitsSettings) -> Self {
        Self { limits: limits.days(), zone: limits.zone(), wall: None, given: None }
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.limits != PerMeter::default()
    }

    pub(crate) fn wall(&mut self, now: Time, unix_ms: i64) {
        self.wall = Some((now, unix_ms));
    }

    /// A valid grant says what was given when it was written; the last one in the log knows all.
    pub(crate) fn read(&mut self, day: &DayGrant) {
        if self.given.is_none_or(|(given, _)| given <= day.day) {
            self.given = Some((day.day, day.total));
        }
    }

    /// The day to give from, and how much longer.
    pub(crate) fn today(&self, now: Time) -> Option<(Day, Duration)> {
        let (at, unix_ms) = self.wall.filter(|(at, _)| now.since(*at) <= WALL_FOR)?;
        let since = i64::try_from(now.since(at).as_millis()).unwrap_or(i64::MAX);
        let (day, left) = day_at(unix_ms.saturating_add(since), &self.zone)?;
        // A day that somebody has begun is not left again, also if our wall clock is behind theirs.
        Some((self.given.map_or(day, |(given, _)| given.max(day)), left))
    }

    /// A caller says what it has used, and maybe gives back what it has not.
    pub(crate) fn settle(&mut self, account: &mut Account, ask: &Ask) {
        let (Some(spent), Some((day, total))) = (&ask.day, &mut self.given) else { return };
        if spent.day != *day {
            return;
        }
        let known = account.allowance.filter(|(known, _)| known == day).map(|(_, allowance)| allowance);
        let meters = [
            (known.and_then(|known| known.calls), spent.allowance.calls, spent.spent.calls, &mut total.calls),
            (known.and_then(|known| known.cost), spent.allowance.cost, spent.spent.cost, &mut total.cost),
        ];
        let [calls, cost] = meters.map(|(known, says, spent, total)| {
            // What we gave may not have come to it yet.
            let allowance = if ask.holds { known.max(says) } else { known.or(says) }?;
            *total = total.saturating_add(spent.saturating_sub(allowance));
            if ask.holds {
                return Some(allowance.max(spent));
            }
            *total = total.saturating_sub(allowance.saturating_sub(spent));
            Some(spent)
        });
        account.allowance = Some((*day, PerMeter { calls, cost }));
    }

    /// Gives a caller so much that a chunk lies ahead of what it has used, as far as there is any.
    pub(crate) fn top_up(&mut self, today: Day, account: &mut Account) -> DayGrant {
        let (day, mut total) = self.given.filter(|(day, _)| *day == today).unwrap_or((today, PerMeter::default()));
        let of_today =
            account.allowance.filter(|(of, _)| *of == day).map(|(_, allowance)| allowance).unwrap_or_default();
        let spent = account.ask.as_ref().and_then(|ask| ask.day).filter(|spent| spent.day == day);
        let spent = spent.map(|spent| spent.spent).unwrap_or_default();
        let allowance = PerMeter {
            calls: topped_up(self.limits.calls, of_today.calls, spent.calls, &mut total.calls),
            cost: topped_up(self.limits.cost, of_today.cost, spent.cost, &mut total.cost),
        };
        account.allowance = Some((day, allowance));
        self.given = Some((day, total));
        DayGrant { day, allowance, total }
    }
}

fn topped_up(limit: Option<u64>, allowance: Option<u64>, spent: u64, total: &mut u64) -> Option<u64> {
    let allowance = allowance.unwrap_or(0);
    let left = limit?.saturating_sub(*total);
    let chunk = (left / CHUNK_PART).max(1);
    let more = spent.saturating_add(chunk).saturating_sub(allowance).min(left);
    *total += more;
    Some(allowance + more)
}
