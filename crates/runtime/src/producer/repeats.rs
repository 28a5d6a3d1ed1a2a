//! Which deliveries came before: senders repeat them, and now and then under an id with another body.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Deliveries that are remembered: some hours of a busy sender, at about 100 bytes each.
const REMEMBERED_MAX: usize = 50_000;

/// What is known of a delivery's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is new here.
    New,
    /// It came before with the same body.
    Repeated,
    /// It came before with another body.
    RepeatedOtherwise,
}

/// The last deliveries of one producer. It only counts: a repeated delivery becomes the same event id, and what makes one
/// effect of it is the consumers' idempotency key.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bodies: HashMap<String, [u8; 32]>,
    order: VecDeque<String>,
}

impl Repeats {
    /// Looks at a delivery and remembers it.
    pub fn look(&self, id: &str, body: &[u8]) -> Seen {
        let digest: [u8; 32] = Sha256::digest(body).into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.bodies.insert(id.to_owned(), digest) {
            Some(before) if before == digest => Seen::Repeated,
            Some(_) => Seen::RepeatedOtherwise,
            None => {
                kept.order.push_back(id.to_owned());
                if kept.order.len() > REMEMBERED_MAX
                    && let Some(oldest) = kept.order.pop_front()
                {
                    kept.bodies.remove(&oldest);
                }
                Seen::New
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_delivery_is_told_from_one_with_another_body() {
        let repeats = Repeats::default();
        assert_eq!(repeats.look("msg_1", b"a"), Seen::New);
        assert_eq!(repeats.look("msg_1", b"a"), Seen::Repeated);
        assert_eq!(repeats.look("msg_1", b"b"), Seen::RepeatedOtherwise);
        assert_eq!(repeats.look("msg_2", b"a"), Seen::New);
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let repeats = Repeats::default();
        for n in 0..=REMEMBERED_MAX {
            assert_eq!(repeats.look(&format!("msg_{n}"), b"a"), Seen::New);
        }
        assert_eq!(repeats.look("msg_1", b"a"), Seen::Repeated);
        assert_eq!(repeats.look("msg_0", b"a"), Seen::New);
    }
}
