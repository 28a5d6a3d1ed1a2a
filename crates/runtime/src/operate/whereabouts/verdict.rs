//! What all that a consumer has kept says about one record. Plain reasoning, without I/O.

use crate::state::{Attempt, DeadLetter, Effect, Hold, Outcome, ParkedRecord};

use super::kept::{Entry, Kept, Stand};
use super::sighting::Sighting;
use super::{State, Whereabouts};

impl Kept {
    /// Where a record is. What is kept of it by name goes before what an offset says of all records below it.
    pub(super) fn verdict(&self, sighting: &Sighting) -> Whereabouts {
        let origin = sighting.origin();
        if let Some(letter) = self.dead.get(&origin) {
            let mut why = format!("{}: {}", letter.reason, letter.detail);
            if letter.effect == Effect::Exists {
                why += "; the effect exists all the same";
            }
            if self.holds && letter.original.key.is_some() {
                why += "; later records of its key wait until it is redriven or discarded";
            }
            let (at_ms, attempts) = (Some(letter.died_at_ms), Some(letter.attempts_total));
            return Whereabouts { at_ms, attempts, tried: letter.attempts.clone(), ..self.says(State::Dead, why) };
        }
        if let Some(parked) = self.parked.get(&origin) {
            return self.parked(sighting, parked);
        }
        match self.ledger.get(&(sighting.partition, sighting.offset)) {
            Some(entry) => self.ended(sighting, entry),
            None => self.by_offset(sighting),
        }
    }

    fn says(&self, state: State, why: String) -> Whereabouts {
        Whereabouts { consumer: self.consumer.clone(), state, at_ms: None, attempts: None, why, tried: Vec::new() }
    }

    fn parked(&self, sighting: &Sighting, parked: &ParkedRecord<'static>) -> Whereabouts {
        let hold = Hold::record_key(sighting.key.as_deref().map(str::as_bytes));
        let held_by = self.holds_of_keys.get(&hold).filter(|dead| **dead != sighting.origin());
        let (state, why, at_ms) = match held_by {
            Some(dead) => (State::Held, format!("its key is held behind the dead letter {dead}"), None),
            // It is tried when the head of its key is done: its own time says nothing.
            None if parked.failing_since_ms.is_none() => (State::Parked, parked.detail.to_string(), None),
            None => {
                let why = format!("{}: {}", parked.reason, parked.detail);
                (State::Parked, why, Some(parked.retry_at_ms))
            }
        };
        let (why, attempts) = (self.unless_paused(sighting, why), Some(parked.attempts_total));
        Whereabouts { at_ms, attempts, tried: parked.attempts.clone(), ..self.says(state, why) }
    }

    fn ended(&self, sighting: &Sighting, Entry { entry, at_ms }: &Entry) -> Whereabouts {
        let tried: Vec<Attempt<'static>> = entry.tried.clone();
        let (state, why) = match entry.outcome {
            Outcome::Done => (State::Done, String::new()),
            Outcome::Skipped => (State::Skipped, "the consumer's `when` or its event does not ask for it".to_owned()),
            // Of what became of it before, the ledger no longer tells.
            Outcome::Overtaken => {
                (State::Unknown, "a replay passed it over: a newer record of its key is done".to_owned())
            }
            Outcome::Superseded => (State::Superseded, "a newer record of its key made it moot".to_owned()),
            // Its dead letter is gone: it was redriven or discarded, and a redrive's outcome would stand here.
            Outcome::Dead => (State::Dead, "its dead letter was discarded, or is being redriven".to_owned()),
            Outcome::Parked => {
                (State::UnderWay, self.unless_paused(sighting, "it was parked, and is tried".to_owned()))
            }
        };
        Whereabouts { at_ms: Some(*at_ms), attempts: Some(entry.attempts), tried, ..self.says(state, why) }
    }

    /// Nothing is kept of the record itself: where its partition stands says whether it was reached.
    fn by_offset(&self, sighting: &Sighting) -> Whereabouts {
        let none = Stand { committed: None, metadata: None };
        let stand = self.positions.get(&sighting.partition).unwrap_or(&none);
        let offset = sighting.offset;
        let Some(committed) = stand.committed else {
            let why = "the consumer has no first offset yet: run `tieline apply`".to_owned();
            return self.says(State::Unknown, why);
        };
        let known = stand.metadata.as_ref().filter(|metadata| metadata.base == committed);
        let finished = offset < committed
            || known.is_some_and(|m| offset < m.horizon && !m.unfinished.iter().any(|run| run.contains(&offset)));
        if finished {
            let why = "it was passed: the consumer began after it, or the ledger no longer reaches so far back";
            return self.says(State::Unknown, why.to_owned());
        }
        if let Some(dead) = self.held_by(sighting) {
            return self.says(State::Held, format!("its key is held behind the dead letter {dead}"));
        }
        let ahead = offset - committed;
        if known.is_some_and(|metadata| offset < metadata.horizon) {
            let why = format!(
                "a replica has it and has not finished it; `/stuck` of the replica says why, {ahead} records from the committed one"
            );
            return self.says(State::UnderWay, self.unless_paused(sighting, why));
        }
        let why = format!("at most {ahead} records of its partition are before it");
        self.says(State::Waiting, self.unless_paused(sighting, why))
    }

    /// The live dead letter of its key before it, in a consumer that holds keys.
    fn held_by(&self, sighting: &Sighting) -> Option<String> {
        let key = sighting.key.as_ref().filter(|_| self.holds)?;
        let before = |letter: &&DeadLetter<'_>| {
            letter.original.origin.partition == sighting.partition
                && letter.original.origin.offset < sighting.offset
                && letter.original.key.as_deref() == Some(key.as_bytes())
        };
        self.dead.values().find(before).map(|letter| letter.original.origin.to_string())
    }

    fn unless_paused(&self, sighting: &Sighting, why: String) -> String {
        let by_consumer = self.pauses.of_consumer(&self.consumer, &self.system);
        let of_key = || sighting.key.as_ref().and_then(|key| self.pauses.of_key(&self.consumer, key));
        match by_consumer.or_else(of_key).and_then(|id| self.commands.get(id)) {
            Some(command) => format!("paused by {}: {}", command.by, command.reason),
            None => why,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeMap;

    use tieline_delivery::{Mapped, Metadata};

    use super::*;
    use crate::state::Original;
    use crate::state::{Act, Command, LedgerEntry, Origin, Pauses, Target};

    /// A consumer that stands at 100, has finished 102, and has fetched up to 105.
    fn kept() -> Kept {
        let metadata = Metadata {
            partitions: 6,
            mapped: Mapped { fingerprint: 1, worked: true, otherwise_below: 100 },
            base: 100,
            horizon: 105,
            ceiling: 120,
            unfinished: vec![100..102, 103..105],
        };
        Kept {
            consumer: "erp-project".to_owned(),
            system: "erp".to_owned(),
            holds: true,
            positions: BTreeMap::from([(0, Stand { committed: Some(100), metadata: Some(metadata) })]),
            ledger: BTreeMap::new(),
            dead: BTreeMap::new(),
            parked: BTreeMap::new(),
            holds_of_keys: BTreeMap::new(),
            pauses: Pauses::default(),
            commands: BTreeMap::new(),
        }
    }

    fn origin(offset: i64) -> Origin {
        Origin { topic: "crm.deals".to_owned(), partition: 0, offset }
    }

    fn sighting(offset: i64) -> Sighting {
        Sighting { topic: "crm.deals".to_owned(), offset, key: Some("acme".to_owned()), ..Sighting::default() }
    }

    fn letter(offset: i64) -> DeadLetter<'static> {
        DeadLetter {
            original: Original {
                origin: origin(offset),
                timestamp_ms: None,
                key: Some(b"acme".as_slice().into()),
                value: None,
                headers: Vec::new(),
                event_id: None,
            },
            reason: "http-422".into(),
            detail: "no".into(),
            effect: Effect::Exists,
            sent: crate::system::Sent::default(),
            redriven: 0,
            replay: None,
            attempts_total: 4,
            attempts: Vec::new(),
            died_at_ms: 9,
        }
    }

    /// As it was written: what a later release adds to it does not matter here.
    fn parked(offset: i64, failing_since_ms: Option<i64>) -> ParkedRecord<'static> {
        let written = serde_json::json!({
            "version": 1, "topic": "crm.deals", "partition": 0, "offset": offset, "timestamp_ms": null, "key": "YWNtZQ==",
            "value": null, "headers": [], "event_id": null, "reason": "http-503", "detail": "busy",
            "failing_since_ms": failing_since_ms, "steps": 1, "maybe_applied": false, "attempts_total": 7, "attempts": [],
            "retry_at_ms": 60_000,
        });
        ParkedRecord::decode(written.to_string().as_bytes()).unwrap()
    }

    fn entry(offset: i64, outcome: Outcome) -> Entry {
        let entry =
            LedgerEntry { offset, event_id: None, key: None, outcome, attempts: 2, replay: None, tried: Vec::new() };
        Entry { entry, at_ms: 5 }
    }

    #[test]
    fn where_nothing_is_kept_by_name_the_offsets_speak() {
        for (offset, state) in [
            (99, State::Unknown),
            (100, State::UnderWay),
            (102, State::Unknown),
            (104, State::UnderWay),
            (105, State::Waiting),
        ] {
            assert_eq!(kept().verdict(&sighting(offset)).state, state, "offset {offset}");
        }
        assert!(kept().verdict(&sighting(105)).why.contains("at most 5 records"));
        let nobody = Kept { positions: BTreeMap::new(), ..kept() };
        assert!(nobody.verdict(&sighting(0)).why.contains("tieline apply"));
    }

    #[test]
    fn what_is_kept_by_name_goes_before_the_offsets() {
        let mut kept = kept();
        for (offset, outcome) in [(90, Outcome::Done), (91, Outcome::Skipped), (102, Outcome::Dead)] {
            kept.ledger.insert((0, offset), entry(offset, outcome));
        }
        kept.ledger.insert((0, 92), entry(92, Outcome::Dead));
        kept.dead.insert(origin(92), letter(92));
        let state = |offset| kept.verdict(&sighting(offset)).state;
        assert_eq!((state(90), state(91)), (State::Done, State::Skipped));
        let dead = kept.verdict(&sighting(92));
        assert_eq!((dead.state, dead.attempts, dead.at_ms), (State::Dead, Some(4), Some(9)));
        assert!(dead.why.contains("the effect exists all the same") && dead.why.contains("later records"), "{dead:?}");
        assert!(kept.verdict(&sighting(102)).why.contains("discarded, or is being redriven"));
    }

    #[test]
    fn a_key_is_held_by_its_own_dead_letter_before_it_and_no_other() {
        let mut kept = kept();
        kept.dead.insert(origin(103), letter(103));
        assert_eq!(kept.verdict(&sighting(104)).state, State::Held);
        assert_eq!(kept.verdict(&sighting(100)).state, State::UnderWay);
        let other = Sighting { key: Some("globex".to_owned()), ..sighting(104) };
        assert_eq!(kept.verdict(&other).state, State::UnderWay);
        kept.holds = false;
        assert_eq!(kept.verdict(&sighting(104)).state, State::UnderWay);
    }

    #[test]
    fn a_parked_record_waits_for_its_time_for_its_head_or_for_a_dead_letter() {
        let mut kept = kept();
        kept.parked.insert(origin(90), parked(90, Some(1)));
        kept.parked.insert(origin(95), parked(95, None));
        let (head, behind) = (kept.verdict(&sighting(90)), kept.verdict(&sighting(95)));
        assert_eq!((head.state, head.at_ms, head.attempts), (State::Parked, Some(60_000), Some(7)));
        assert_eq!((behind.state, behind.at_ms), (State::Parked, None));
        kept.holds_of_keys.insert(Hold::record_key(Some(b"acme")), origin(90));
        assert_eq!(kept.verdict(&sighting(95)).state, State::Held);
        assert_eq!(kept.verdict(&sighting(90)).state, State::Parked); // the letter itself, when it is redriven
    }

    #[test]
    fn what_is_paused_says_by_whom_and_why() {
        let mut kept = kept();
        let act = Act::Pause { target: Target::System { name: "erp".to_owned() } };
        let (by, reason) = ("ann".to_owned(), "they migrate".to_owned());
        let command = Command { id: "c1".to_owned(), by, reason, at_ms: 1, act };
        kept.pauses.take(&command);
        kept.commands.insert(command.id.clone(), command);
        assert_eq!(kept.verdict(&sighting(105)).why, "paused by ann: they migrate");
        kept.ledger.insert((0, 90), entry(90, Outcome::Done));
        assert_eq!(kept.verdict(&sighting(90)).why, "");
    }
}
