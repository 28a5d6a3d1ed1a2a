//! How a system makes one effect of several attempts: its idempotency profile, as `idempotency:` declares it.
//!
//! A profile answers three questions. *What makes a second attempt harmless?* ([`Means`]): a key in a header, a call that
//! sets the whole state, or nothing. *What does it say of an attempt that meets an earlier one?* ([`Conflict`]): systems use
//! 409, 422 and even 400 for quite different things, and some tell them apart only in the body. *How is an effect found
//! whose answer was lost?* ([`EffectLookUp`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tieline_mapping::{Expression, Filter, Layout};
use tieline_schema::contract::Operation;
use tieline_schema::types::Type;

mod look_up;
mod read;

pub(super) use look_up::read as read_look_ups;

/// How a system makes one effect of several attempts. The default is: not at all.
#[derive(Debug, Clone, Default)]
pub struct Idempotency {
    /// What makes a second attempt harmless.
    pub means: Means,
    /// What it says, by status, of an attempt that meets an earlier one.
    pub conflicts: BTreeMap<u16, Conflict>,
    /// How the effect of an operation is found, by the operation that makes it.
    pub look_ups: BTreeMap<String, Arc<EffectLookUp>>,
}

/// What makes a second attempt harmless.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Means {
    /// A key in a header: the first effect is remembered under it.
    Header(KeyHeader),
    /// Each call sets the whole state, so that a second one changes nothing.
    Upsert {
        /// The call is made on the condition that nobody has changed the thing since we asked for its version (`If-Match`,
        /// RFC 9110, section 13.1.1): an attempt that arrives late, after later calls, then changes nothing.
        if_match: bool,
    },
    /// Nothing: a call whose outcome is unknown may happen twice, unless its effect can be looked up.
    #[default]
    None,
}

/// A header with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHeader {
    /// The header's name.
    pub name: String,
    /// Whether the value is a quoted string (RFC 8941), as the IETF's draft has it, or bare.
    pub quoted: bool,
    /// How long a key is remembered. Past it, a second attempt may be a second effect.
    pub remembers: Duration,
    /// Which answers are kept under the key.
    pub stores: Stores,
}

/// Which answers a system keeps under an idempotency key, and gives again to whoever comes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stores {
    /// Those of what was done. A failed attempt can be repeated under the same key.
    Success,
    /// Failures too (Stripe: "regardless of whether it succeeds or fails"): after one that is *known*, only a new key gets
    /// another answer.
    Everything,
}

/// What a system means by a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// Always the same.
    Always(Meaning),
    /// It depends on what stands in the body: by JSON pointer (RFC 6901), then value. Where none is there, the status means
    /// what it means elsewhere.
    ByField(BTreeMap<String, BTreeMap<String, Meaning>>),
}

/// What a system says of an attempt that meets an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The effect is there already: done.
    Exists,
    /// An earlier attempt is still under way: wait, however long it takes.
    InProgress,
    /// The key came with another request before: nothing will be done under it.
    Mismatch,
}

/// How an effect is found whose answer was lost: a question to the same system, by a reference of ours.
#[derive(Debug)]
pub struct EffectLookUp {
    /// What is asked; a safe method.
    pub operation: Arc<Operation>,
    /// What the expressions read of the call's body.
    pub layout: Layout,
    /// Its parameters. Read the body of the call as `.`, its parameters as `$NAME`.
    pub with: BTreeMap<String, Expression>,
    /// Where in the answer the effect is, or the list in which it is; a JSON pointer, empty for the whole.
    pub found_at: String,
    /// Whether what stands there is a list, which is empty where there is no effect. Else a 404 says that there is none.
    pub in_list: bool,
    /// What makes it the effect of this call. Reads what the parameters read, and `$found`. All that is found, without one.
    pub found_when: Option<Filter>,
    /// The type of an effect that is found: `$found`, and `$response` of the follow-up event.
    pub found: Type,
    /// How long after an attempt it may take until its effect is seen: only after that, not finding it means something.
    pub visible_after: Duration,
}

impl Idempotency {
    /// The header, where it is one that makes a second attempt harmless.
    #[must_use]
    pub fn header(&self) -> Option<&KeyHeader> {
        match &self.means {
            Means::Header(header) => Some(header),
            Means::Upsert { .. } | Means::None => None,
        }
    }

    /// Whether a second attempt of this operation is recognised, one way or another.
    #[must_use]
    pub fn recognises(&self, operation: &str) -> bool {
        self.means != Means::None || self.look_ups.contains_key(operation) || self.says_exists()
    }

    /// A system that refuses what exists already, such as a second thing of the same reference, needs no key.
    fn says_exists(&self) -> bool {
        self.says(Meaning::Exists)
    }

    /// Whether the system says so where a key comes again with another request, so that none of it is done.
    #[must_use]
    pub fn tells_mismatch(&self) -> bool {
        self.says(Meaning::Mismatch)
    }

    fn says(&self, meaning: Meaning) -> bool {
        self.conflicts.values().any(|conflict| match conflict {
            Conflict::Always(one) => *one == meaning,
            Conflict::ByField(fields) => fields.values().flat_map(BTreeMap::values).any(|one| *one == meaning),
        })
    }

    /// What an answer says of an attempt that meets an earlier one; `None` where it says nothing of the kind.
    #[must_use]
    pub fn meaning(&self, status: u16, body: &[u8]) -> Option<Meaning> {
        match self.conflicts.get(&status)? {
            Conflict::Always(meaning) => Some(*meaning),
            Conflict::ByField(fields) => {
                let body: Value = serde_json::from_slice(body).ok()?;
                fields.iter().find_map(|(pointer, meanings)| meanings.get(&text(body.pointer(pointer)?)).copied())
            }
        }
    }
}

/// A scalar as a definition writes it: codes are texts at one vendor, numbers at the next.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn by_field(status: u16, pointer: &str, meanings: &[(&str, Meaning)]) -> Idempotency {
        let meanings = meanings.iter().map(|(value, meaning)| ((*value).to_owned(), *meaning)).collect();
        let conflict = Conflict::ByField(BTreeMap::from([(pointer.to_owned(), meanings)]));
        Idempotency { conflicts: BTreeMap::from([(status, conflict)]), ..Idempotency::default() }
    }

    /// The bodies are those of the vendors' documentation, shortened.
    #[test]
    fn what_vendors_say_in_their_bodies_is_told_apart() {
        let stripe = by_field(400, "/error/type", &[("idempotency_error", Meaning::Mismatch)]);
        let paypal = by_field(
            422,
            "/details/0/issue",
            &[("PREVIOUS_REQUEST_IN_PROGRESS", Meaning::InProgress), ("DUPLICATE_INVOICE_ID", Meaning::Exists)],
        );
        let adyen = by_field(422, "/errorCode", &[("704", Meaning::InProgress)]);
        for (profile, status, body, meaning) in [
            (&stripe, 400, r#"{"error":{"type":"idempotency_error"}}"#, Some(Meaning::Mismatch)),
            (&stripe, 400, r#"{"error":{"type":"invalid_request_error"}}"#, None),
            (&stripe, 409, r#"{"error":{"type":"idempotency_error"}}"#, None),
            (&paypal, 422, r#"{"details":[{"issue":"DUPLICATE_INVOICE_ID"}]}"#, Some(Meaning::Exists)),
            (&paypal, 422, r#"{"details":[]}"#, None),
            (&adyen, 422, r#"{"errorCode":"704"}"#, Some(Meaning::InProgress)),
            (&adyen, 422, r#"{"errorCode":704}"#, Some(Meaning::InProgress)),
            (&adyen, 422, "<html>", None),
        ] {
            assert_eq!(profile.meaning(status, body.as_bytes()), meaning, "{status} {body}");
        }
    }

    #[test]
    fn a_call_is_recognised_by_a_key_a_look_up_or_a_refusal_of_what_exists() {
        assert!(!Idempotency::default().recognises("createTicket"));
        let upsert = Idempotency { means: Means::Upsert { if_match: false }, ..Idempotency::default() };
        assert!(upsert.recognises("createTicket"));
        assert!(by_field(409, "/code", &[("taken", Meaning::Exists)]).recognises("createTicket"));
        assert!(!by_field(409, "/code", &[("busy", Meaning::InProgress)]).recognises("createTicket"));
    }
}
