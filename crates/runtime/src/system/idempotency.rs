//! The idempotency key: the name under which a system remembers the effect of an event.
//!
//! It is made from what does not change between attempts, restarts, redeployments, redrives and replays, and from
//! nothing else. **Frozen**: another encoding would give every event that is under way a new key, and so a second effect.
//! A new one needs a new [`NAMESPACE`] and a way over.

use uuid::Uuid;

/// The namespace of our keys (RFC 9562, section 5.5), drawn once at random.
pub const NAMESPACE: Uuid = Uuid::from_u128(0xf378_d33e_5b11_4ec6_9f6d_c798_716e_e5e6);

/// What an effect comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause<'a> {
    /// The bus's name.
    pub bus: &'a str,
    /// The consumer's name.
    pub consumer: &'a str,
    /// Which of the consumer's calls.
    pub call: &'a str,
    /// CloudEvents' `source`.
    pub source: &'a str,
    /// CloudEvents' `id`.
    pub id: &'a str,
    /// Rises only after a *known* failure that the system keeps under its key, after an edit, or on demand.
    pub round: u32,
}

impl Cause<'_> {
    /// The key: UUID version 5 over each text in the order of the fields, as its length in bytes (four bytes, big-endian)
    /// and its UTF-8, then the round (four bytes, big-endian). The lengths keep `("ab", "c")` and `("a", "bc")` apart.
    ///
    /// ```
    /// use tieline_runtime::system::idempotency::Cause;
    /// let cause = Cause {
    ///     bus: "acme", consumer: "erp-project", call: "call", source: "/crm", id: "evt_1", round: 0,
    /// };
    /// assert_eq!(cause.key().to_string(), "a2becbb5-728f-59d7-beec-793fb4bd19c5");
    /// ```
    #[must_use]
    pub fn key(&self) -> Uuid {
        let mut name = Vec::new();
        for text in [self.bus, self.consumer, self.call, self.source, self.id] {
            // Kafka's records, which these texts come from, are below 2 GiB.
            name.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            name.extend_from_slice(text.as_bytes());
        }
        name.extend_from_slice(&self.round.to_be_bytes());
        Uuid::new_v5(&NAMESPACE, &name)
    }
}

/// The key of a request that carries several effects: UUID version 5 over the key of each, in the order of the items (16
/// bytes), and how often a request was answered in which it was and was not done (four bytes, big-endian).
///
/// The same items make the same key, so that a request that was lost and is made again as it was is recognised. Those that
/// are left of a batch make another: under the old key a system would repeat its old answer.
#[must_use]
pub fn key_of_batch(items: impl IntoIterator<Item = (Uuid, u32)>) -> Uuid {
    let mut name = Vec::new();
    for (key, answered) in items {
        name.extend_from_slice(key.as_bytes());
        name.extend_from_slice(&answered.to_be_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSE: Cause<'_> =
        Cause { bus: "acme", consumer: "erp-project", call: "call", source: "/crm", id: "evt_1", round: 0 };

    /// Made by Python's `hashlib.sha1` from the sentence in the documentation of [`Cause::key`].
    #[test]
    fn the_keys_are_those_of_an_independent_implementation() {
        let vectors = [
            (CAUSE, "a2becbb5-728f-59d7-beec-793fb4bd19c5"),
            (Cause { round: 1, ..CAUSE }, "3046af88-f496-57be-b090-8f5fd159906a"),
            (Cause { source: "", id: "", ..CAUSE }, "ed6d1512-88fb-5f3b-86f9-595b0fae829d"),
            (
                Cause { bus: "büs", consumer: "c", call: "call", source: "urn:x", id: "漢\u{0}字", round: u32::MAX },
                "1df41c79-135a-5866-a738-0a8bcf66a515",
            ),
        ];
        for (cause, key) in vectors {
            assert_eq!(cause.key().to_string(), key, "{cause:?}");
        }
    }

    #[test]
    fn a_batch_has_one_key_until_it_has_other_items_or_an_answer() {
        let (a, b) = (CAUSE.key(), Cause { id: "evt_2", ..CAUSE }.key());
        let both = key_of_batch([(a, 0), (b, 0)]);
        assert_eq!(both, key_of_batch([(a, 0), (b, 0)]));
        assert_ne!(both, key_of_batch([(b, 0), (a, 0)]));
        assert_ne!(both, key_of_batch([(b, 0)]));
        assert_ne!(key_of_batch([(b, 0)]), key_of_batch([(b, 1)]), "its old answer would come again");
        assert_ne!(key_of_batch([(a, 0)]), a);
    }

    #[test]
    fn texts_that_join_to_the_same_have_different_keys() {
        let moved = Cause { bus: "acmee", consumer: "rp-project", ..CAUSE };
        assert_ne!(moved.key(), CAUSE.key());
        let moved = Cause { source: "/crmevt_1", id: "", ..CAUSE };
        assert_ne!(moved.key(), CAUSE.key());
    }
}
