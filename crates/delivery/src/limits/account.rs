//! What an allocator knows of one caller, and what it has to count as used by it.

use std::time::Duration;

use super::{Ask, Day, LEASE, PerMeter, Share, held};
use crate::Time;

/// One caller.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// The last ask, and when it was read.
    pub(crate) ask: Option<Ask>,
    pub(crate) asked_at: Time,
    /// What it was granted in this epoch, and may be using or may come to use.
    given: Vec<Given>,
    /// What earlier allocators granted, as far as it still counts.
    inherited: Option<Inherited>,
    /// What of the day's budget is its.
    pub(crate) allowance: Option<(Day, PerMeter<Option<u64>>)>,
    /// When it was last granted something that it had not just asked for.
    pub(crate) pushed_at: Option<Time>,
}

#[derive(Debug)]
struct Given {
    number: u64,
    /// Known when the grant has been read back.
    offset: Option<i64>,
    seq: u64,
    share: Share,
    until: Time,
    in_flight_until: Time,
}

#[derive(Debug)]
struct Inherited {
    in_flight: u64,
    until: Time,
    in_flight_until: Time,
}

impl Account {
    /// An ask came. Whether it is news: a log holds each once, but a writer may write one twice.
    pub(crate) fn asks(&mut self, now: Time, ask: &Ask, epoch: Option<i64>) -> bool {
        if self.ask.as_ref().is_some_and(|before| before.seq >= ask.seq) {
            return false;
        }
        if epoch.is_some_and(|epoch| ask.read_to >= epoch) {
            // It has read our claim, and dropped what it held; what is in flight it says itself.
            self.inherited = None;
        }
        let in_use = self.given.iter().filter(|given| given.offset.is_some_and(|offset| offset <= ask.read_to));
        let in_use = in_use.map(|given| given.number).max();
        self.given
            .retain(|given| given.offset.is_none_or(|offset| offset > ask.read_to) || Some(given.number) == in_use);
        if !ask.holds {
            self.given.retain(|given| given.seq >= ask.seq);
        }
        self.ask = Some(ask.clone());
        self.asked_at = now;
        true
    }

    /// An epoch begins: what was granted in an older one is in the topic, or is never taken.
    pub(crate) fn begin(&mut self) {
        self.given.clear();
        self.inherited = None;
        self.allowance = None;
        self.pushed_at = None;
    }

    /// Counts what earlier allocators granted, for the ask of this number at the latest.
    pub(crate) fn inherit(&mut self, now: Time, seq: u64, in_flight: u64, deadline: Duration) {
        let ask = self.ask.as_ref().filter(|ask| ask.seq >= seq);
        if ask.is_some_and(|ask| !ask.holds && ask.seq > seq) {
            // It has given that back, and what is in flight it has said.
            return;
        }
        // The ask was sent before we read it; one that compaction took, before now all the same.
        let since = ask.map_or(now, |_| self.asked_at);
        let (until, in_flight_until) = (since.after(held(LEASE)), since.after(held(LEASE + deadline)));
        self.inherited = Some(Inherited { in_flight, until, in_flight_until });
    }

    /// Whether an earlier allocator's grant may still be in use.
    pub(crate) fn may_use_what_is_older(&self, now: Time) -> bool {
        self.inherited.as_ref().is_some_and(|inherited| now < inherited.until)
    }

    pub(crate) fn inherits(&self) -> bool {
        self.inherited.is_some()
    }

    /// Grants a share for its last ask, for so long.
    pub(crate) fn give(&mut self, number: u64, seq: u64, share: Share, lease: Duration, deadline: Duration) {
        let (until, in_flight_until) = (self.asked_at.after(held(lease)), self.asked_at.after(held(lease + deadline)));
        self.given.push(Given { number, offset: None, seq, share, until, in_flight_until });
    }

    pub(crate) fn read_back(&mut self, number: u64, offset: i64) {
        for given in self.given.iter_mut().filter(|given| given.number == number) {
            given.offset = Some(offset);
        }
    }

    /// What it was granted last, if that is still valid.
    pub(crate) fn last_given(&self, now: Time) -> Option<Share> {
        self.given.last().filter(|given| now < given.until).map(|given| given.share)
    }

    /// The most that it may be using, by all that it was granted and has said.
    pub(crate) fn counted(&self, now: Time, nothing: Share, deadline: Duration) -> Share {
        let mut counted = nothing;
        for given in &self.given {
            if now < given.until {
                counted = counted.zip(given.share, u64::max);
            }
        }
        counted.in_flight = counted.in_flight.map(|_| self.counted_in_flight(now, deadline));
        counted
    }

    pub(crate) fn counted_in_flight(&self, now: Time, deadline: Duration) -> u64 {
        let given = self.given.iter().filter(|given| now < given.in_flight_until);
        let given = given.filter_map(|given| given.share.in_flight).max();
        let said = self.ask.as_ref().filter(|_| now < self.asked_at.after(held(deadline))).map(|ask| ask.in_flight);
        let inherited = self.inherited.as_ref().filter(|inherited| now < inherited.in_flight_until);
        given.max(said).max(inherited.map(|inherited| inherited.in_flight)).unwrap_or(0)
    }

    /// Forgets what counts no more; when the next of it will.
    pub(crate) fn lapse(&mut self, now: Time) {
        self.given.retain(|given| now < given.in_flight_until);
        if self.inherited.as_ref().is_some_and(|inherited| inherited.in_flight_until <= now) {
            self.inherited = None;
        }
    }

    /// When something of it will count no more.
    pub(crate) fn lapses_at(&self, now: Time, deadline: Duration) -> Option<Time> {
        let given = self.given.iter().flat_map(|given| [given.until, given.in_flight_until]);
        let inherited = self.inherited.iter().flat_map(|inherited| [inherited.until, inherited.in_flight_until]);
        let said =
            self.ask.iter().flat_map(|_| [self.asked_at.after(held(deadline)), self.asked_at.after(held(LEASE))]);
        given.chain(inherited).chain(said).filter(|at| *at > now).min()
    }

    /// Whether it is there and wants to call.
    pub(crate) fn is_active(&self, now: Time, epoch: i64) -> bool {
        self.ask.as_ref().is_some_and(|ask| {
            ask.holds && !ask.wants.is_empty() && ask.read_to >= epoch && now < self.asked_at.after(held(LEASE))
        })
    }

    /// Whether nothing has to be kept of it.
    pub(crate) fn is_over(&self, now: Time, deadline: Duration) -> bool {
        let silent = now >= self.asked_at.after(held(LEASE)) || self.ask.as_ref().is_none_or(|ask| !ask.holds);
        silent && self.given.is_empty() && self.inherited.is_none() && self.counted_in_flight(now, deadline) == 0
    }
}
