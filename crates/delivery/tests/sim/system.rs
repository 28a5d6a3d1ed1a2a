//! The system that is called: it remembers idempotency keys, has faults until it is healed, and records what arrives.

use std::collections::BTreeSet;

use tieline_delivery::oracle::Arrival;

use crate::dice::Dice;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Status(u16),
    /// With so many milliseconds to wait.
    Throttled(u64),
    /// The connection breaks before the answer.
    Dropped,
}

#[derive(Default)]
pub struct System {
    pub remembered: BTreeSet<usize>,
    pub arrivals: Vec<Arrival>,
    /// Faults in a thousand calls; none once it is healed.
    pub faults: u64,
    pub healed: bool,
}

impl System {
    /// A call arrives. `poison` are refused for good; while it is `down`, nothing works.
    pub fn call(&mut self, dice: &mut Dice, at_ms: u64, event: usize, attempt: u32, poison: bool, down: bool) -> Reply {
        let faulty = !self.healed && dice.chance(self.faults);
        let (applies, reply) = match (poison, faulty) {
            _ if down => {
                [(false, Reply::Status(503)), (false, Reply::Status(500)), (false, Reply::Dropped)][dice.index(3)]
            }
            (true, _) => (false, Reply::Status(400)),
            (false, false) => (true, Reply::Status(201)),
            (false, true) => match dice.between(0, 8) {
                0 | 1 => (false, Reply::Status(503)),
                2 => (true, Reply::Status(500)),
                3 => (false, Reply::Status(500)),
                4 => (true, Reply::Dropped),
                5 => (false, Reply::Dropped),
                6 => (false, Reply::Status(401)),
                _ => (false, Reply::Throttled(dice.between(1, 2_000))),
            },
        };
        let applied = applies && self.remembered.insert(event);
        let status = match reply {
            Reply::Status(status) => Some(status),
            Reply::Throttled(_) => Some(429),
            Reply::Dropped => None,
        };
        self.arrivals.push(Arrival {
            at_ms,
            event_id: format!("e{event}"),
            idempotency_key: format!("k{event}"),
            body_hash: event as u64,
            attempt,
            status,
            applied,
        });
        reply
    }
}
