//! Whether the system fails for everybody: then nothing is parked or buried, and one call at a time finds out when it is
//! over.
//!
//! It opens when most of the last outcomes were failures, when a credential or an address is wrong, and when a flood of
//! refusals shows that the mapping is at fault rather than the records. The first call that works closes it; from then on the
//! number of calls under way climbs instead of jumping (`concurrency`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::{Reason, Time};

/// Outcomes that are looked at: enough to tell an outage from a bad minute of a few keys.
const OUTCOMES: usize = 32;

/// Fewer failures than this are not an outage, however few calls there were. A record counts once, however often it fails.
const FAILURES_MIN: usize = 8;

/// Refusals of an operation that has never worked under this mapping before the consumer takes itself for wrong.
const REFUSALS_AT_FIRST: usize = 3;

/// Of so many records that came to an answer …
const ANSWERS: usize = 100;

/// … this many refused are a flood: not the records' fault any more.
const REFUSALS_MAX: usize = 20;

/// Longest time between two probes: what an outage costs after its end.
pub(crate) const PROBE_EVERY_MAX: Duration = Duration::from_secs(5);

/// The state of a system as one consumer sees it.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// Whether each of the last calls worked, the latest last.
    outcomes: VecDeque<bool>,
    /// Whether each of the last answers was a refusal.
    refusals: VecDeque<bool>,
    /// An effect was confirmed under this mapping.
    worked_ever: bool,
    refused_at_first: usize,
    open: Option<Open>,
    /// When it was closed last.
    closed_at: Time,
}

/// An outage.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) reason: Reason,
    pub(crate) since: Time,
    pub(crate) probe_at: Time,
    pub(crate) probes: u32,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The record is at fault.
    Buried,
    /// It cannot be told yet: the operation has never worked.
    Kept,
    /// Everything is refused.
    Flood,
}

impl Breaker {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            outcomes: VecDeque::with_capacity(OUTCOMES),
            refusals: VecDeque::with_capacity(ANSWERS),
            worked_ever: false,
            refused_at_first: 0,
            open: None,
            closed_at: now,
        }
    }

    /// An earlier owner had an effect confirmed under this mapping.
    pub(crate) fn has_worked_before(&mut self) {
        self.worked_ever = true;
    }

    /// Whether an effect was confirmed under this mapping.
    pub(crate) fn has_worked(&self) -> bool {
        self.worked_ever
    }

    /// The outage, if there is one.
    pub(crate) fn outage(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// When the last outage ended: nobody's patience began before.
    pub(crate) fn closed_at(&self) -> Time {
        self.closed_at
    }

    /// An effect was confirmed. True if an outage is over by it, or it shows whose fault earlier refusals were.
    pub(crate) fn worked(&mut self, now: Time) -> bool {
        let kept = !std::mem::replace(&mut self.worked_ever, true) && self.refused_at_first > 0;
        push(&mut self.outcomes, OUTCOMES, true);
        push(&mut self.refusals, ANSWERS, false);
        self.close(now) || kept
    }

    /// The system answered, though not with an effect: it is there. True if an outage is over by it.
    pub(crate) fn answered(&mut self, now: Time) -> bool {
        push(&mut self.outcomes, OUTCOMES, true);
        self.close(now)
    }

    /// A call failed that may work later; `first` if that record had not failed before. True if most do.
    pub(crate) fn failed(&mut self, first: bool) -> bool {
        if first {
            push(&mut self.outcomes, OUTCOMES, false);
        }
        let failures = self.outcomes.iter().filter(|worked| !**worked).count();
        self.open.is_none() && failures >= FAILURES_MIN && failures * 2 > self.outcomes.len()
    }

    /// A record was refused; `first` if it had not been before.
    pub(crate) fn refused(&mut self, first: bool) -> Refusal {
        if !self.worked_ever {
            self.refused_at_first += usize::from(first);
            return if self.refused_at_first >= REFUSALS_AT_FIRST { Refusal::Flood } else { Refusal::Kept };
        }
        if first {
            push(&mut self.refusals, ANSWERS, true);
        }
        let refused = self.refusals.iter().filter(|refused| **refused).count();
        if refused >= REFUSALS_MAX { Refusal::Flood } else { Refusal::Buried }
    }

    /// Takes note of an outage, or that it goes on: the next probe is at this time.
    pub(crate) fn open(&mut self, now: Time, reason: Reason, probe_at: Time) {
        match &mut self.open {
            Some(open) => {
                open.reason = reason;
                open.probe_at = probe_at;
                open.probes = open.probes.saturating_add(1);
            }
            None => self.open = Some(Open { reason, since: now, probe_at, probes: 1 }),
        }
    }

    fn close(&mut self, now: Time) -> bool {
        if self.open.take().is_none() {
            return false;
        }
        self.outcomes.clear();
        self.refusals.clear();
        self.refused_at_first = 0;
        self.closed_at = now;
        true
    }
}

fn push(last: &mut VecDeque<bool>, most: usize, one: bool) {
    if last.len() == most {
        last.pop_front();
    }
    last.push_back(one);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason() -> Reason {
        Reason { code: "http-503".to_owned(), detail: String::new() }
    }

    fn at(secs: u64) -> Time {
        Time(Duration::from_secs(secs))
    }

    #[test]
    fn most_of_the_last_calls_have_to_fail() {
        let mut breaker = Breaker::new(at(0));
        for _ in 0..20 {
            breaker.worked(at(0));
        }
        assert!((0..16).all(|_| !breaker.failed(true)));
        assert!(breaker.failed(true));
    }

    #[test]
    fn a_record_that_fails_again_and_again_is_no_outage() {
        let mut breaker = Breaker::new(at(0));
        assert!(!breaker.failed(true));
        assert!((0..1_000).all(|_| !breaker.failed(false)));
    }

    #[test]
    fn a_call_that_works_ends_an_outage() {
        let mut breaker = Breaker::new(at(0));
        breaker.open(at(1), reason(), at(3));
        assert!(breaker.outage().is_some() && breaker.worked(at(3)));
        assert!(breaker.outage().is_none() && !breaker.worked(at(4)));
    }

    #[test]
    fn refusals_before_the_first_effect_are_the_mappings() {
        let mut breaker = Breaker::new(at(0));
        let refusals = [true, false, true, true].map(|first| breaker.refused(first));
        assert_eq!(refusals, [Refusal::Kept, Refusal::Kept, Refusal::Kept, Refusal::Flood]);
        breaker.worked(at(0));
        assert_eq!(breaker.refused(true), Refusal::Buried);
    }

    #[test]
    fn a_fifth_of_the_last_hundred_is_a_flood() {
        let mut breaker = Breaker::new(at(0));
        breaker.worked(at(0));
        assert!((0..19).all(|_| breaker.refused(true) == Refusal::Buried));
        assert_eq!(breaker.refused(true), Refusal::Flood);
        assert!((0..99).all(|_| !breaker.worked(at(0))));
        assert_eq!(breaker.refused(true), Refusal::Buried);
    }
}
