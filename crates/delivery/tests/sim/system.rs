//! The system that is called: it remembers idempotency keys, has faults until it is healed, and records what arrives.

use std::collections::BTreeSet;

use tieline_delivery::oracle::Arrival;

use crate::dice::Dice;
use crate::log::Poison;
use crate::plan::Sickness;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Status(u16),
    /// 2xx, with a body that breaks its contract.
    Unreadable,
    /// With so many milliseconds to wait.
    Throttled(u64),
    /// The connection breaks before the answer.
    Dropped,
}

/// How a call finds the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Up,
    /// It fails for everybody.
    Down,
    /// It fails for this key.
    Sick(Sickness),
    /// The mapping is wrong: it refuses everything.
    Misfed,
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
    /// A call arrives.
    pub fn call(
        &mut self,
        dice: &mut Dice,
        at_ms: u64,
        event: usize,
        attempt: u32,
        poison: Poison,
        health: Health,
    ) -> Reply {
        let (applies, reply) = self.answer(dice, event, poison, health);
        let applied = applies && self.remembered.insert(event);
        let status = match reply {
            Reply::Status(status) => Some(status),
            Reply::Unreadable => Some(200),
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

    /// Nobody hears of the answer to the call that arrived last.
    pub fn lose_answer(&mut self) -> Reply {
        if let Some(arrival) = self.arrivals.last_mut() {
            arrival.status = None;
        }
        Reply::Dropped
    }

    /// Whether it has an effect, and what is said. Of "not applied" it never lies: DESIGN.md, "What an answer means".
    fn answer(&self, dice: &mut Dice, event: usize, poison: Poison, health: Health) -> (bool, Reply) {
        let refused = match poison {
            Poison::No | Poison::Unreadable => false,
            Poison::UntilHealed => !self.healed,
            Poison::Always => true,
        };
        match health {
            Health::Misfed => return (false, Reply::Status(400)),
            Health::Down => {
                let status = [503, 503, 503, 500, 500, 404, 401, 501, 0][dice.index(9)];
                return (false, if status == 0 { Reply::Dropped } else { Reply::Status(status) });
            }
            Health::Sick(sickness) if !refused => return (false, sick(dice, sickness)),
            Health::Sick(_) | Health::Up => {}
        }
        if refused {
            return (false, Reply::Status(400));
        }
        if self.healed || !dice.chance(self.faults) {
            let unreadable = poison == Poison::Unreadable && !self.remembered.contains(&event);
            return (true, if unreadable { Reply::Unreadable } else { Reply::Status(201) });
        }
        match dice.between(0, 9) {
            0 | 1 => (false, Reply::Status(503)),
            2 => (true, Reply::Status(500)),
            3 => (false, Reply::Status(500)),
            4 => (true, Reply::Dropped),
            5 => (false, Reply::Dropped),
            6 => (false, Reply::Status(401)),
            7 => (false, Reply::Status(409)),
            _ => (false, Reply::Throttled(dice.between(1, 2_000))),
        }
    }
}

fn sick(dice: &mut Dice, sickness: Sickness) -> Reply {
    let statuses = [503, 500, 404, 409];
    Reply::Status(match sickness {
        Sickness::NotApplied => 503,
        Sickness::Unknown => 500,
        Sickness::Absent => 404,
        Sickness::Conflict => 409,
        Sickness::Mixed => statuses[dice.index(4)],
    })
}
