//! What all that a consumer has kept says about one record. Plain reasoning, without I/O.

use crate::state::{Attempt, Effect, Outcome};

use super::kept::{Entry, Kept, Parked, Stand};
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
            if self.holds && letter.key.is_some() {
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

    fn parked(&self, sighting: &Sighting, parked: &Parked) -> Whereabouts {
        let held_by = sighting.key.as_ref().and_then(|key| self.holds_of_keys.get(key));
        let (state, why, at_ms) = match held_by.filter(|dead| **dead != sighting.origin()) {
            Some(dead) => (State::Held, format!("its key is held behind the dead letter {dead}"), None),
            None => {
                let why = format!("{}: {}; tried again at the time given", parked.reason, parked.detail);
                (State::Parked, self.unless_paused(sighting, why), Some(parked.retry_at_ms))
            }
        };
        let attempts = Some(parked.attempts_total);
        Whereabouts { at_ms, attempts, tried: parked.attempts.clone(), ..self.says(state, why) }
    }

    fn ended(&self, sighting: &Sighting, Entry { entry, at_ms }: &Entry) -> Whereabouts {
        let tried: Vec<Attempt<'static>> = entry.tried.clone();
        let (state, why) = match entry.outcome {
            Outcome::Done => (State::Done, String::new()),
            Outcome::Skipped => (State::Skipped, "the consumer's `when` or its event does not ask for it".to_owned()),
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
        let before = |letter: &&crate::state::DeadLetter<'_>| {
            letter.origin.partition == sighting.partition
                && letter.origin.offset < sighting.offset
                && letter.key.as_deref() == Some(key.as_bytes())
        };
        self.dead.values().find(before).map(|letter| letter.origin.to_string())
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
