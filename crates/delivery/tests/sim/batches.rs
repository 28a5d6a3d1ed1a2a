//! Batches: what the machine hands out waits for others and goes in one request, each answered by itself.
//!
//! As in service, the machine knows nothing of it. What waits when its process dies was never sent, and what waits when its
//! partition is lost is not sent any more.

use crate::process::{Waiting, Who};
use crate::world::{Call, Event, World};

/// What becomes of a request as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// Each record of it is answered by itself.
    Answered,
    /// It is refused, and nobody knows for which record: each goes again.
    Refused,
    /// Its answer is lost, whatever of it was applied.
    Cut,
}

impl World {
    /// A record waits for others, unless they are enough.
    pub fn collect(&mut self, process: usize, waiting: Waiting, max: usize, linger_ms: u64) {
        let shell = &mut self.processes[process];
        shell.waiting.push(waiting);
        let (who, batch) = (shell.who, shell.batches);
        if shell.waiting.len() >= max {
            self.send_waiting(process);
        } else if shell.waiting.len() == 1 {
            self.after(linger_ms, Event::BatchDue(who, batch));
        }
    }

    pub fn batch_due(&mut self, who: Who, batch: u64) {
        let shell = &self.processes[who.process];
        if shell.who != who || !shell.alive || shell.batches != batch {
            return;
        }
        if shell.frozen {
            self.after(10, Event::BatchDue(who, batch));
        } else {
            self.send_waiting(who.process);
        }
    }

    /// Sends what waits.
    pub fn send_waiting(&mut self, process: usize) {
        let shell = &mut self.processes[process];
        shell.batches += 1;
        let calls = std::mem::take(&mut shell.waiting);
        if calls.is_empty() || !shell.alive {
            return;
        }
        if calls.len() > 1 {
            self.seen.note("batches of several");
        }
        self.send_together(process, calls);
    }

    /// What becomes of a request that reaches the system. One of a single record is a call.
    pub fn fate_of(&mut self, calls: &[Call]) -> Whole {
        if calls.len() == 1 || self.healed || self.system.faults == 0 {
            return Whole::Answered;
        }
        match self.dice.between(0, 10) {
            0 => {
                self.seen.note("batches of which nothing is known");
                Whole::Cut
            }
            1 => {
                self.seen.note("batches refused as a whole");
                Whole::Refused
            }
            _ => Whole::Answered,
        }
    }
}
