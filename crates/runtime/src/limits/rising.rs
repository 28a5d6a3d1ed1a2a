//! Records of the topic as the machines take them: read once each, in the order of their offsets.

use std::collections::BTreeMap;

use rdkafka::message::{BorrowedMessage, Message as _};
use tieline_delivery::limits::Record;

/// Passes over what was read before. A client that has to begin anew at what is there reads it a second time, and an
/// allocator that read its own claim again would forget what it granted since.
#[derive(Debug, Default)]
pub(super) struct Rising(BTreeMap<i32, i64>);

impl Rising {
    /// Whether this one is new.
    pub fn passes(&mut self, partition: i32, offset: i64) -> bool {
        let last = self.0.entry(partition).or_insert(-1);
        let passes = offset > *last;
        *last = (*last).max(offset);
        passes
    }
}

/// A record with its place; nothing of one that has no text for a key, since none of ours is so.
pub(super) fn record_of(message: &BorrowedMessage<'_>) -> Option<(i32, i64, Record)> {
    let key = std::str::from_utf8(message.key()?).ok()?.to_owned();
    let value = message.payload().map(<[u8]>::to_vec);
    Some((message.partition(), message.offset(), Record { key, value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_not_read_again() {
        let mut rising = Rising::default();
        let passed: Vec<i64> = [0, 3, 1, 3, 4].into_iter().filter(|offset| rising.passes(0, *offset)).collect();
        assert_eq!(passed, [0, 3, 4]);
        assert!(rising.passes(1, 0));
    }
}
