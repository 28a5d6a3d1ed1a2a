//! What ails a stand-in.

use serde::{Deserialize, Serialize};

/// What ails a system; the default is nothing. The parts add up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Every request, also for a token, is answered with 503 and has no effect.
    pub outage: bool,
    /// This status, without an effect, to a `share` of the requests.
    pub status: Option<u16>,
    /// Of the requests, 0 to 1, for `status`. Default 1.
    pub share: Option<f64>,
    /// Time before each answer; an effect is made before it passes.
    pub latency_ms: u64,
    /// Of the effects, 0 to 1, those after which the connection is closed without an answer.
    pub drop_after_effect_share: f64,
    /// The `Retry-After`, in seconds, of the answers that `outage` and `status` make.
    pub retry_after: Option<u32>,
    /// Forgets all tokens that were given out, once, when this fault is set.
    pub expire_tokens: bool,
}

impl Fault {
    /// The status that it gives instead of an effect to a request with this lot, which is 0 to 1.
    pub(super) fn refusal(&self, lot: f64) -> Option<u16> {
        if self.outage {
            return Some(503);
        }
        self.status.filter(|_| lot < self.share.unwrap_or(1.0))
    }

    /// Why it cannot be set.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let share = |share: f64| (0.0..=1.0).contains(&share);
        if self.status.is_some_and(|status| !(400..=599).contains(&status)) {
            Some("`status` is 400 to 599")
        } else if !share(self.share.unwrap_or(1.0)) || !share(self.drop_after_effect_share) {
            Some("a share is 0 to 1")
        } else {
            None
        }
    }
}
