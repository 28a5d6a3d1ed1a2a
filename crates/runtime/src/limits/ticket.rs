//! The right to make one call, for as long as the call is under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tieline_delivery::limits::{Flow, Permit};

use super::gate::Gate;

/// How long a call may be put off after its permit was taken. What is put off longer would be counted in one window and
/// arrive in another.
const FRESH_FOR: Duration = Duration::from_millis(50);

/// The right to make one call. It is given back when it is dropped, so that none can be lost.
#[derive(Debug)]
pub struct Ticket(Box<Taken>);

#[derive(Debug)]
struct Taken {
    gate: Arc<Gate>,
    flow: Arc<Flow>,
    permit: Option<Permit>,
    cost: Option<u64>,
    at: Instant,
}

impl Ticket {
    pub(super) fn new(gate: Arc<Gate>, flow: Arc<Flow>, permit: Permit) -> Self {
        Self(Box::new(Taken { gate, flow, permit: Some(permit), cost: None, at: Instant::now() }))
    }

    /// Whether the call has been put off for too long.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.at.elapsed() > FRESH_FOR
    }

    /// For whom it is.
    #[must_use]
    pub fn flow(&self) -> &Arc<Flow> {
        &self.0.flow
    }

    /// Says what the call cost.
    pub fn costs(&mut self, cost: u64) {
        self.0.cost = Some(cost);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.gate.ended(permit, self.cost);
        }
    }
}
