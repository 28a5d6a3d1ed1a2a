//! The way of a commit: asked for, taken or refused by the broker as a whole, and reported; each step can be the last.

use std::time::Duration;

use tieline_delivery::oracle::{CommitSample, End, Ended};
use tieline_delivery::{Came, Commit, Final, Order, Outcome};

use crate::plan::Weather;
use crate::process::Who;
use crate::state_topics::Row;
use crate::world::{Event, Message, World};

/// What becomes of a commit that the broker would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Made,
    Refused,
    /// It is made, and reported failed: ending the transaction took too long, and the shell cannot tell.
    MadeUnknown,
}

impl World {
    /// A machine asks for a commit. It goes out under the generation that the process has heard of.
    pub fn ask_commit(&mut self, process: usize, commit: Commit<usize>) {
        self.check_commit(process, &commit);
        let calm = self.healed || self.plan.weather != Weather::Foul;
        let fate = match self.dice.between(0, 1_000) {
            0..100 if !calm => Fate::Refused,
            100..150 if !calm => Fate::MadeUnknown,
            _ => Fate::Made,
        };
        let slow = !calm && self.dice.chance(30);
        let wait = self.dice.between(1, if slow { 2_500 } else { 150 });
        let shell = &mut self.processes[process];
        let applied = commit.finals.iter().filter(|end| shell.uncovered.contains(&end.record));
        let applied = applied.map(|end| end.record).collect();
        let other = shell.committing.replace((commit.id, applied));
        assert!(other.is_none(), "two commits at once: {other:?}");
        let (who, generation) = (shell.who, shell.generation);
        self.after(wait, Event::Commit { who, commit, generation, fate });
        self.maybe_crash(who, "crashes before a commit was made");
    }

    /// The commit reaches the broker: one transaction, refused as a whole under an old generation.
    pub fn commit(&mut self, who: Who, commit: Commit<usize>, generation: u64, fate: Fate) {
        let trouble = !self.healed && self.plan.unwritable_ms.contains(&self.now_ms);
        let has = |partition: i32| commit.offsets.iter().any(|at| at.partition.0 == partition);
        let unwritable = trouble && self.plan.unwritable.is_none_or(has);
        let made = if !self.group.takes(who, generation) {
            self.seen.note("commits fenced");
            false
        } else if unwritable {
            self.seen.note("commits refused while the state topics are unwritable");
            false
        } else if fate == Fate::Refused {
            self.seen.note("commits refused");
            false
        } else {
            true
        };
        let (id, said) = (commit.id, made && fate == Fate::Made);
        if made {
            self.seen.note("commits");
            if trouble {
                self.seen.note("commits while those of another partition are refused");
            }
            for offset in &commit.offsets {
                let owner = self.group.owner(offset.partition.0);
                assert!(owner == Some(who), "{who:?} commits {offset:?} of {owner:?}");
            }
            let again = (!said).then(|| commit.clone());
            self.make_durable(who, commit);
            if let Some(commit) = again {
                self.seen.note("commits made and reported failed");
                self.topics.expect_again(who.incarnation, &commit);
            }
        }
        let wait = self.dice.between(1, 20);
        self.after(wait, Event::To(who, Message::CommitEnds { id, made: said }));
        if made {
            self.maybe_crash(who, "crashes after a commit was made");
        }
    }

    fn make_durable(&mut self, who: Who, commit: Commit<usize>) {
        for end in commit.finals {
            if !self.topics.is_there_already(who.incarnation, &end) {
                self.end(who, end);
            }
        }
        for discarded in commit.discarded {
            let place = (discarded.id.partition.0, discarded.id.offset);
            if self.topics.dead.remove(&place).is_some() {
                self.seen.note(if discarded.superseded { "superseded" } else { "discarded" });
            }
            self.topics.drop_hold(place);
        }
        for offset in commit.offsets {
            let sample = CommitSample { at_ms: self.now_ms, partition: offset.partition.0, offset: offset.offset };
            self.evidence.commits.push(sample);
            self.topics.advance(offset.partition, offset.offset, offset.metadata);
        }
    }

    /// What became of a record is durable.
    fn end(&mut self, who: Who, end: Final<usize>) {
        let (event, place) = (end.record, (end.id.partition.0, end.id.offset));
        let before = self.topics.ledger.insert(event, end.outcome.clone());
        match (&before, end.came) {
            (None, Came::Fetched) => assert!(self.log.records[event].replay.is_none(), "e{event} is a replay"),
            (None, Came::Replayed) => self.seen.note("replayed"),
            (Some(Outcome::Parked { .. }), Came::Parked) => {
                assert!(self.topics.parked.remove(&place).is_some(), "e{event} comes from the park, and is not there");
            }
            (Some(Outcome::Dead { .. }), Came::Redriven) => {
                self.seen.note("redriven");
                assert!(self.topics.dead.remove(&place).is_some(), "e{event} is redriven, and is no dead letter");
                self.topics.drop_hold(place);
            }
            (before, came) => panic!("e{event} was {before:?}, and came {came:?}"),
        }
        self.check_end(who, &end);
        if end.came == Came::Redriven {
            self.failing.remove(&event);
        }
        let kind = match end.outcome {
            Outcome::Done => None,
            Outcome::Skipped => Some(End::Skipped),
            Outcome::Overtaken => {
                self.seen.note("replays overtaken");
                Some(End::Superseded)
            }
            Outcome::Dead { holds, effect, .. } => {
                self.topics.dead.insert(place, (event, effect));
                if holds {
                    let key = self.log.records[event].key.filter(|_| self.plan.settings.order == Order::Key);
                    let other = self.topics.holds.insert((place.0, key), place.1);
                    let alone = other.is_none_or(|other| other == place.1) || self.plan.supersedes();
                    assert!(alone, "{key:?} is held by {other:?} and by e{event}");
                }
                Some(End::Dead)
            }
            Outcome::Parked { retry_at, state, reason } => {
                self.seen.note("parked");
                if end.came == Came::Replayed {
                    self.seen.note("replays parked");
                }
                let writer = &self.processes[who.process];
                let due_ms = i64::try_from(writer.now_ms(retry_at)).unwrap() - i64::try_from(self.now_ms).unwrap();
                let wall_ms = writer.wall_ms(self.now_ms);
                let failing_ms = i64::try_from(state.failing_for.as_millis()).unwrap();
                let failing_since_ms = (state.failing_for > Duration::ZERO).then(|| wall_ms - failing_ms);
                let (retry_at_ms, code) = (wall_ms + due_ms, reason.code);
                let failed_ms = writer.failed.get(&event).map(|failed| failed.last_ms);
                let has_request = state.maybe_applied && writer.requests.contains(&event);
                let row = Row { event, retry_at_ms, failing_since_ms, state, has_request, code, failed_ms };
                self.topics.parked.insert(place, row);
                Some(End::Parked)
            }
        };
        if let Some(kind) = kind {
            self.evidence.ended.push(Ended { event_id: format!("e{event}"), end: kind, at_ms: Some(self.now_ms) });
        }
    }
}
