//! What a call has to do with the limits of its system: how long it waits where none is left, and what its answer says.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tieline_delivery::limits::{Flow, NotYet};

use super::advertised::advertised;
use crate::http::Response;
use crate::limits::{Gate, Ticket};

/// How long to wait before asking again where nobody knows when a call may go: a new share comes within that.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Whoever asks for itself alone.
pub(super) fn nobody() -> Arc<Flow> {
    static NOBODY: LazyLock<Arc<Flow>> = LazyLock::new(|| Arc::new(Flow { consumer: String::new(), replay: false }));
    Arc::clone(&NOBODY)
}

/// How long to wait before asking again. Never longer than a while, since what there is of limits changes.
pub(crate) fn wait_of(gate: &Gate, not_yet: NotYet) -> Duration {
    let left = not_yet.until.map(|until| gate.instant(until).saturating_duration_since(tokio::time::Instant::now()));
    left.unwrap_or(ASK_AGAIN).clamp(Duration::from_millis(1), Duration::from_secs(1))
}

/// Learns from an answer what it says of limits and of the call's cost.
pub(super) fn heard(gate: &Gate, ticket: Option<&mut Ticket>, response: &Response) {
    if let Some(advertised) = advertised(&response.headers, SystemTime::now()) {
        gate.advertised(advertised);
    }
    if let (Some(ticket), Some(at)) = (ticket, gate.cost_at()) {
        // Of one that says nothing the cost is nothing: what was expected is given back.
        ticket.costs(cost(at, response.body.bytes()).unwrap_or(0));
    }
}

/// The number at this place of a body, rounded up.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cost is positive, and casts saturate")]
fn cost(at: &str, body: &[u8]) -> Option<u64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let number = body.pointer(at)?;
    number.as_u64().or_else(|| number.as_f64().filter(|cost| *cost >= 0.0).map(|cost| cost.ceil() as u64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_cost_is_the_number_at_its_place() {
        for (body, expect) in [
            (r#"{"usage":{"total_tokens":412}}"#, Some(412)),
            (r#"{"usage":{"total_tokens":1.2}}"#, Some(2)),
            (r#"{"usage":{"total_tokens":-1}}"#, None),
            (r#"{"usage":{"total_tokens":"412"}}"#, None),
            (r#"{"usage":{}}"#, None),
            ("not JSON", None),
        ] {
            assert_eq!(cost("/usage/total_tokens", body.as_bytes()), expect, "{body}");
        }
    }
}
