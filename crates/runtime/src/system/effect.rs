//! What this process knows of the effect of a record, and what that means for its next attempt. Pure: times are arguments.
//!
//! DESIGN.md, "One effect": past the system's memory an unknown outcome is looked up or dead, never blindly sent again; and
//! a new key is taken only after a *known* failure that the system keeps under the old one.
//!
//! What is parked takes this along ([`Sent`]). Else it lasts as long as the assignment: whoever takes a record over knows
//! only that an attempt may have been applied, and counts its age from when it heard of that.
//!
//! So a new round is never begun here: were it begun and applied, and the process killed, whoever comes next would begin
//! with the old key, which the system does not know or has a failure under, and make a second effect. What is parked, or
//! dead, takes [`Effect::next_round`] along; only from there, where it is durable, an attempt is made in it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_bus::{EffectLookUp, Means, Stores, System};
use tieline_delivery::Answer;

/// What is known of the effect of a record: kept beside its prepared request for as long as that is there.
#[derive(Debug, Default)]
pub struct Effect(Mutex<Sent>);

/// What the attempts of a record left behind, as it is stored with one that is parked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sent {
    /// Part of the idempotency key.
    pub round: u32,
    /// An attempt of this round failed, and the system may keep that under the key.
    failed: bool,
    /// When the first attempt began that may have been applied, and when the last such one ended; milliseconds since the
    /// Unix epoch.
    unknown: Option<(i64, i64)>,
    /// It was looked up and is not there: that an attempt may have been applied is said of earlier ones.
    ruled_out: bool,
    /// An earlier attempt was of another mapping: what would go out under its key now may be other bytes.
    other_bytes: bool,
}

impl Sent {
    /// Nothing is known but the round.
    #[must_use]
    pub fn in_round(round: u32) -> Self {
        Self { round, ..Self::default() }
    }
}

/// What to do before an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Send it.
    Send,
    /// An earlier attempt may have been applied, and nothing makes a second one harmless: look first.
    LookUp,
    /// The same, and there is nowhere to look.
    Forgotten,
}

impl Effect {
    /// What was known of a record when it was set aside.
    #[must_use]
    pub fn of(sent: Sent) -> Self {
        Self(Mutex::new(sent))
    }

    /// What has to be known of a record that is set aside. When it is delivered again, that is in the next round.
    #[must_use]
    pub fn set_aside(&self) -> Sent {
        Sent { round: self.next_round(), failed: false, ..*self.known() }
    }

    /// Part of the idempotency key.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.known().round
    }

    /// The round for whoever delivers the record again after it was set aside: the next one, where all attempts of this one
    /// are known to have failed, and the system may keep that under the key.
    #[must_use]
    pub fn next_round(&self) -> u32 {
        let known = self.known();
        known.round.saturating_add(u32::from(known.failed && known.unknown.is_none()))
    }

    /// An earlier attempt, which may have been applied, was of another mapping.
    pub fn mapped_otherwise(&self) {
        let mut known = self.known();
        known.other_bytes = !known.ruled_out;
    }

    /// Whether an earlier attempt was of another mapping.
    pub(super) fn is_of_other_bytes(&self) -> bool {
        self.known().other_bytes
    }

    fn known(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do before the next attempt. `maybe_applied` is what the core knows: it remembers it through a takeover, and
    /// does not hear that an effect was ruled out.
    pub(super) fn before(&self, system: &System, operation: &str, maybe_applied: bool, now_ms: i64) -> Before {
        let mut known = self.known();
        if known.unknown.is_none() && (!maybe_applied || known.ruled_out) {
            return Before::Send;
        }
        let (since, _) = *known.unknown.get_or_insert((now_ms, now_ms));
        let profile = &system.idempotency;
        let found = profile.look_ups.contains_key(operation);
        let harmless = match &profile.means {
            // What is sent now has to arrive while the key is remembered.
            // Where the system itself compares, nothing comes of other bytes.
            Means::Header(_) if known.other_bytes && !profile.tells_mismatch() => false,
            Means::Header(header) => age(since, now_ms) + system.deadline < header.remembers,
            Means::Upsert { .. } => true,
            // At least once, as `tieline check` says; or a second one is refused since the first exists.
            Means::None => !found,
        };
        match (harmless, found) {
            (true, _) => Before::Send,
            (false, true) => Before::LookUp,
            (false, false) => Before::Forgotten,
        }
    }

    /// An attempt that began at `begun_ms` was answered.
    pub(super) fn answered(
        &self,
        system: &System,
        answer: &Answer,
        status: Option<u16>,
        (begun_ms, now_ms): (i64, i64),
    ) {
        let mut known = self.known();
        match answer {
            Answer::Unknown(_) => {
                let (since, _) = known.unknown.unwrap_or((begun_ms, now_ms));
                known.unknown = Some((since, now_ms));
            }
            // Only what the system itself said can be kept there.
            Answer::Refused(_) | Answer::Conflict(_) | Answer::AbsentOrForbidden(_) | Answer::NotApplied(_)
                if status.is_some() && keeps_failures(system) =>
            {
                known.failed = true;
            }
            Answer::Applied
            | Answer::AppliedUnreadable(_)
            | Answer::Refused(_)
            | Answer::Conflict(_)
            | Answer::AbsentOrForbidden(_)
            | Answer::NotApplied(_)
            | Answer::Throttled { .. }
            | Answer::Credential(_)
            | Answer::Misconfigured(_) => {}
        }
    }

    /// The system says that an earlier attempt was there, of which nothing else is known.
    pub(super) fn meets_another(&self, now_ms: i64) {
        self.known().unknown.get_or_insert((now_ms, now_ms));
    }

    /// The effect was not found: whether that means that there is none, or that it may not be seen yet.
    pub(super) fn not_found(&self, look_up: &EffectLookUp, now_ms: i64) -> bool {
        let mut known = self.known();
        let until = known.unknown.map_or(now_ms, |(_, until)| until);
        let conclusive = age(until, now_ms) >= look_up.visible_after;
        if conclusive {
            known.unknown = None;
            known.ruled_out = true;
            known.other_bytes = false;
        }
        conclusive
    }
}

/// Whether the system keeps what failed under its key, so that only another key gets another answer.
fn keeps_failures(system: &System) -> bool {
    system.idempotency.header().is_some_and(|header| header.stores == Stores::Everything)
}

fn age(since_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms - since_ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Arc;

    use tieline_bus::{Credential, Idempotency, KeyHeader, Limits};
    use tieline_delivery::Reason;
    use tieline_schema::contract::Contract;

    use super::*;

    const HOUR: i64 = 3_600_000;

    /// A system that remembers keys for a day, and whose calls take 10 s at most.
    fn system() -> System {
        let header = KeyHeader {
            name: "Idempotency-Key".into(),
            quoted: false,
            remembers: Duration::from_secs(24 * 3_600),
            stores: Stores::Everything,
        };
        System {
            name: "erp".into(),
            purpose: String::new(),
            owner: String::new(),
            base_url: String::new(),
            contract: Arc::new(Contract { operations: vec![], document: Arc::default() }),
            credential: Credential::None,
            idempotency: Idempotency { means: Means::Header(header), ..Idempotency::default() },
            deadline: Duration::from_secs(10),
            response_bytes_max: 1_000,
            version: None,
            answers: std::collections::BTreeMap::default(),
            limits: Limits::default(),
        }
    }

    fn why() -> Reason {
        Reason { code: "http-500".into(), detail: String::new() }
    }

    #[test]
    fn an_unknown_outcome_is_sent_again_only_while_its_key_is_remembered() {
        let (system, effect) = (system(), Effect::default());
        let before = |maybe, at| effect.before(&system, "op", maybe, at);
        assert_eq!(before(false, 0), Before::Send);
        effect.answered(&system, &Answer::Unknown(why()), None, (0, 5_000));
        assert_eq!(before(true, 24 * HOUR - 10_001), Before::Send);
        // It would arrive when the key is forgotten, perhaps.
        assert_eq!(before(true, 24 * HOUR - 10_000), Before::Forgotten);
        assert_eq!(before(true, 900 * HOUR), Before::Forgotten);
        // A later attempt does not make the key younger.
        effect.answered(&system, &Answer::Unknown(why()), None, (23 * HOUR, 23 * HOUR));
        assert_eq!(before(true, 25 * HOUR), Before::Forgotten);
    }

    #[test]
    fn a_record_that_was_never_sent_is_never_too_old() {
        let (system, effect) = (system(), Effect::default());
        effect.answered(&system, &Answer::NotApplied(why()), None, (0, 0));
        assert_eq!(effect.before(&system, "op", false, 900 * HOUR), Before::Send);
    }

    #[test]
    fn what_was_taken_over_is_as_old_as_it_is_known() {
        let (system, effect) = (system(), Effect::default());
        assert_eq!(effect.before(&system, "op", true, 100 * HOUR), Before::Send);
        assert_eq!(effect.before(&system, "op", true, 123 * HOUR), Before::Send);
        assert_eq!(effect.before(&system, "op", true, 124 * HOUR), Before::Forgotten);
    }

    #[test]
    fn other_bytes_never_go_out_under_a_key_that_may_have_been_used() {
        let (system, effect) = (system(), Effect::default());
        effect.mapped_otherwise();
        assert_eq!(effect.before(&system, "op", true, 0), Before::Forgotten);
    }

    #[test]
    fn what_was_parked_is_as_old_as_it_was() {
        let (system, effect) = (system(), Effect::default());
        effect.answered(&system, &Answer::Unknown(why()), None, (HOUR, HOUR));
        let stored = serde_json::to_string(&effect.set_aside()).unwrap();
        let recalled = Effect::of(serde_json::from_str(&stored).unwrap());
        assert_eq!(recalled.before(&system, "op", true, 24 * HOUR), Before::Send);
        assert_eq!(recalled.before(&system, "op", true, 25 * HOUR), Before::Forgotten);
        assert_eq!(serde_json::from_str::<Sent>("{}").unwrap(), Sent::default(), "as earlier releases stored it");
    }

    #[test]
    fn the_next_round_is_for_what_the_system_itself_refused_and_never_for_an_unknown_outcome() {
        let system = system();
        let round = |answers: &[(Answer, Option<u16>)]| {
            let effect = Effect::default();
            answers.iter().for_each(|(answer, status)| effect.answered(&system, answer, *status, (0, 0)));
            (effect.round(), effect.next_round())
        };
        let (refused, unknown) = ((Answer::Refused(why()), Some(422)), (Answer::Unknown(why()), Some(500)));
        assert_eq!(round(&[refused.clone(), refused.clone()]), (0, 1), "one round, however many attempts");
        assert_eq!(round(&[unknown.clone(), refused.clone()]), (0, 0));
        assert_eq!(round(&[refused.clone(), unknown, refused]), (0, 0));
        assert_eq!(round(&[(Answer::NotApplied(why()), None)]), (0, 0), "nothing was sent");
        assert_eq!(round(&[(Answer::Credential(why()), Some(401))]), (0, 0), "it was never looked at");
        let wait = Answer::Throttled { retry_after: Duration::from_secs(1) };
        assert_eq!(round(&[(wait, Some(429))]), (0, 0));

        let effect = Effect::of(Sent { round: 3, ..Sent::default() });
        effect.answered(&system, &Answer::Refused(why()), Some(422), (0, 0));
        let redriven = Effect::of(effect.set_aside());
        assert_eq!((redriven.round(), redriven.next_round()), (4, 4));
    }
}
