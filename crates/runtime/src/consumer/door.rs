//! The consumer's way to its system's gate: the core hands out a call only where the limits have room for one, so that what
//! waits for them is in order, occupies nothing, and is no failure.

use std::sync::Arc;
use std::time::Duration;

use tieline_delivery::limits::{Flow, NotYet, Why};
use tieline_delivery::{ByClass, Class};
use tokio::sync::watch;
use tokio::time::Instant;

use super::status::LimitStatus;
use crate::limits::{Gate, LimitWait, Ticket};

/// How long no call goes at all before that is told as something that is stuck: longer than a share takes to come to who
/// asks for one, also where another process begins to divide.
const STUCK_AFTER: Duration = Duration::from_secs(15);

/// Where the calls of one consumer go out.
#[derive(Debug)]
pub(super) struct Door {
    gate: Arc<Gate>,
    flows: ByClass<Arc<Flow>>,
    /// Whether calls are put together first: then a ticket is taken when they are.
    batches: bool,
    /// For the next call, and what that was to be for.
    ticket: Option<(Class, Ticket)>,
    /// How many calls the gate was last told of.
    queued: ByClass<u64>,
    /// Why no call may go now, and since when that is so.
    shut: Option<(NotYet, Instant)>,
    /// What it was asked for last in this turn of the loop, if it said no.
    refused: Option<Class>,
}

impl Door {
    pub fn new(gate: Arc<Gate>, flows: ByClass<Arc<Flow>>, batches: bool) -> Self {
        Self { gate, flows, batches, ticket: None, queued: ByClass::default(), shut: None, refused: None }
    }

    /// Tells when it is worth to ask again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.gate.changes()
    }

    /// A turn of the loop begins.
    pub fn begin(&mut self) {
        self.refused = None;
    }

    /// Whether a call may be handed out, of so many that could be. It has its ticket then, unless calls are put together.
    ///
    /// The core hands out a live one first. So that is what the gate is asked for, if there is one; and where that may not
    /// go, a replayed one may not either, since it goes behind all that is live.
    pub fn has_room(&mut self, sendable: ByClass<usize>) -> bool {
        let class = if sendable.live > 0 { Class::Live } else { Class::Replayed };
        let queued = ByClass { live: count(sendable.live), replayed: count(sendable.replayed) };
        for told in Class::ALL {
            // Of the one that is asked for, asking tells.
            if (told != class || sendable.total() == 0) && self.queued.of(told) != queued.of(told) {
                self.gate.queued(self.flows.of(told), *queued.of(told));
            }
        }
        self.queued = queued;
        if sendable.total() == 0 {
            self.shut = None;
            return true;
        }
        if self.ticket.as_ref().is_some_and(|(of, _)| *of == class) {
            return true;
        }
        self.ticket = None;
        if self.refused.is_some_and(|refused| refused == Class::Live || refused == class) {
            return false;
        }
        self.ask(class)
    }

    fn ask(&mut self, class: Class) -> bool {
        let (flow, queued) = (self.flows.of(class), *self.queued.of(class));
        let taken = if self.batches {
            self.gate.may_take(flow, queued).map(|()| None)
        } else {
            self.gate.try_take(flow, queued)
        };
        match taken {
            Ok(ticket) => {
                self.ticket = ticket.map(|ticket| (class, ticket));
                self.shut = None;
                true
            }
            Err(not_yet) => {
                let since = self.shut.map_or_else(Instant::now, |(_, since)| since);
                self.shut = Some((not_yet, since));
                self.refused = Some(class);
                false
            }
        }
    }

    /// The ticket of the call that goes out.
    pub fn ticket(&mut self) -> Option<Ticket> {
        self.ticket.take().map(|(_, ticket)| ticket)
    }

    /// The ticket of calls of this class that were put together, of which some more may wait. Nothing where calls need none.
    pub fn ticket_now(&mut self, class: Class) -> Result<Option<Ticket>, NotYet> {
        self.gate.try_take(self.flows.of(class), (*self.queued.of(class)).max(1))
    }

    /// How long what is turned away waits before it comes again.
    pub fn wait_of(&self, not_yet: NotYet) -> Duration {
        crate::system::wait_of(&self.gate, not_yet)
    }

    /// The loop has nothing to do: what it took and did not use goes back. When to ask again, where that is known.
    pub fn rest(&mut self) -> Option<Instant> {
        self.ticket = None;
        self.shut.and_then(|(not_yet, _)| Some(self.gate.instant(not_yet.until?)))
    }

    /// What its calls wait for, for people.
    pub fn status(&self) -> Option<LimitStatus> {
        let (not_yet, since) = self.shut?;
        let lasting = since.elapsed();
        let keeps_up = match not_yet.why {
            Why::Rate | Why::Cost | Why::InFlight | Why::Turn => true,
            Why::NotBefore | Why::Grant | Why::Day => false,
        };
        Some(LimitStatus {
            waits: text(self.gate.system(), &self.gate.wait(not_yet)),
            lasting_s: lasting.as_secs(),
            is_stuck: !keeps_up && lasting >= STUCK_AFTER,
        })
    }
}

fn count(calls: usize) -> u64 {
    u64::try_from(calls).unwrap_or(u64::MAX)
}

/// A wait as a person reads it.
pub(super) fn text(system: &str, wait: &LimitWait) -> String {
    let what = match wait.why {
        Why::NotBefore => "it wants nobody to call it",
        Why::Grant => "a share of its limits is asked for, and not there yet",
        Why::InFlight => "as many calls are under way as it allows",
        Why::Day => "its budget for the day is used up, or being asked for",
        Why::Rate => "its rate of calls",
        Why::Cost => "its rate of what calls cost",
        Why::Turn => "others go first at its limits: another consumer's turn, or live work before a replay",
    };
    let until = wait.until_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match until {
        Some(until) => format!("waits for the limit of {system} until {until:.0}: {what}"),
        None => format!("waits for the limit of {system}: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_says_whose_limit_and_until_when() {
        let wait = LimitWait { why: Why::Day, until_ms: None };
        assert_eq!(
            text("erp", &wait),
            "waits for the limit of erp: its budget for the day is used up, or being asked for"
        );
        let wait = LimitWait { why: Why::NotBefore, until_ms: Some(1_795_000_000_000) };
        let expect = "waits for the limit of erp until 2026-11-18T11:06:40Z: it wants nobody to call it";
        assert_eq!(text("erp", &wait), expect);
    }
}
