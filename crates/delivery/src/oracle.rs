//! The oracle: judges what a consumer did, by what was acknowledged to its producers and what arrived at its system.
//!
//! It shares no code with the machine, so that a mistake of the one is not the other's. It judges the simulation, the end
//! to end tests on real Kafka, and the demo, each after healing and draining, by the same definitions.
//!
//! ```
//! use tieline_delivery::oracle::{Arrival, Evidence, Produced};
//!
//! let mut evidence = Evidence { system_remembers_keys: true, ..Evidence::default() };
//! evidence.produced.push(Produced {
//!     partition: 0,
//!     offset: 0,
//!     key: Some("acme".to_owned()),
//!     sequence: 1,
//!     event_id: "deal-1".to_owned(),
//!     acknowledged: true,
//! });
//! evidence.arrivals.push(Arrival {
//!     at_ms: 12,
//!     event_id: "deal-1".to_owned(),
//!     idempotency_key: "6f9619ff".to_owned(),
//!     body_hash: 7,
//!     attempt: 1,
//!     status: Some(201),
//!     applied: true,
//! });
//! let verdict = evidence.judge();
//! assert!(verdict.holds(), "{verdict}");
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most examples that a verdict names for each kind of breach: enough to look into, few enough to read.
const EXAMPLES_MAX: usize = 5;

/// What was seen of one consumer.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// What was produced to its topic.
    pub produced: Vec<Produced>,
    /// What arrived at its system, in order of arrival.
    pub arrivals: Vec<Arrival>,
    /// What ended, or waits for good, without an accepted call.
    pub ended: Vec<Ended>,
    /// Committed offsets of its group, as they were sampled.
    pub commits: Vec<CommitSample>,
    /// Whether the system has one effect for each idempotency key.
    pub system_remembers_keys: bool,
    /// How many calls may come again after they were accepted: for each crash as many as may be in flight, none on a clean
    /// stop or a planned rebalance. None: any number.
    pub duplicates_max: Option<usize>,
}

/// A record that a producer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    /// Its partition.
    pub partition: i32,
    /// Its offset; of no account where it was not acknowledged.
    pub offset: i64,
    /// Its key.
    pub key: Option<String>,
    /// Rises within a key.
    pub sequence: u64,
    /// The event.
    pub event_id: String,
    /// Whether the broker acknowledged it. One that was not may be there or not.
    pub acknowledged: bool,
}

/// A call that reached the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When, by the system's clock.
    pub at_ms: u64,
    /// The event that it is for.
    pub event_id: String,
    /// The idempotency key that it carried.
    pub idempotency_key: String,
    /// A hash of its body.
    pub body_hash: u64,
    /// The attempt that it said it was.
    pub attempt: u32,
    /// How it was answered; none where the connection was dropped.
    pub status: Option<u16>,
    /// Whether it had an effect, whatever was answered.
    pub applied: bool,
}

/// A record that ended, or waits for good, without an accepted call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The event.
    pub event_id: String,
    /// In which way.
    pub end: End,
    /// Since when it is durable, by the clock of the commit samples; none if that is not known.
    pub at_ms: Option<u64>,
}

/// A way to end, or to wait for good, without an accepted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A dead letter.
    Dead,
    /// Passed by, as the consumer's definition says.
    Skipped,
    /// Made moot by a newer record.
    Superseded,
    /// Listed as parked.
    Parked,
    /// Listed as held.
    Held,
}

/// A committed offset that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitSample {
    /// When, by the system's clock.
    pub at_ms: u64,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// What came of judging. [`Verdict::holds`] says whether all promises were kept; its text says which were not, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Records that were acknowledged.
    pub acknowledged: usize,
    /// Events that had an effect.
    pub effects: usize,
    /// Acknowledged, and neither accepted nor ended.
    pub lost: usize,
    /// Effects of events that were never sent.
    pub invented: usize,
    /// Events whose first effect came after that of a later one of their key.
    pub reordered: usize,
    /// Calls that came again after they were accepted.
    pub duplicates: usize,
    /// Calls that came again with another idempotency key, or after an effect with another body: the system could not tell.
    pub unrecognisable: usize,
    /// Effects beyond the first of an event.
    pub repeated_effects: usize,
    /// Commits that passed a record that was not final.
    pub early_commits: usize,
    /// A few breaches, in words.
    pub examples: Vec<String>,
    system_remembers_keys: bool,
    duplicates_max: Option<usize>,
}

impl Evidence {
    /// Judges it.
    #[must_use]
    pub fn judge(&self) -> Verdict {
        let mut verdict = Verdict {
            acknowledged: self.produced.iter().filter(|record| record.acknowledged).count(),
            system_remembers_keys: self.system_remembers_keys,
            duplicates_max: self.duplicates_max,
            ..Verdict::default()
        };
        let calls = Calls::of(&self.arrivals);
        verdict.effects = calls.0.values().filter(|event| event.effects > 0).count();
        self.judge_losses(&calls, &mut verdict);
        self.judge_inventions(&calls, &mut verdict);
        self.judge_order(&calls, &mut verdict);
        judge_repetitions(&calls, &mut verdict);
        self.judge_commits(&calls, &mut verdict);
        verdict
    }

    fn judge_losses(&self, calls: &Calls<'_>, verdict: &mut Verdict) {
        let ended: BTreeSet<&str> = self.ended.iter().map(|end| end.event_id.as_str()).collect();
        let lost = self.produced.iter().filter(|record| {
            let event = record.event_id.as_str();
            record.acknowledged && !ended.contains(event) && calls.accepted_at(event).is_none()
        });
        let examples = lost.map(|record| {
            let tried = calls.0.get(record.event_id.as_str()).map_or(0, |event| event.calls);
            format!("lost: {} at {}/{}, after {tried} calls", record.event_id, record.partition, record.offset)
        });
        verdict.lost = verdict.note(examples);
    }

    fn judge_inventions(&self, calls: &Calls<'_>, verdict: &mut Verdict) {
        let sent: BTreeSet<&str> = self.produced.iter().map(|record| record.event_id.as_str()).collect();
        let invented = calls.0.iter().filter(|(id, event)| event.effects > 0 && !sent.contains(*id));
        verdict.invented = verdict.note(invented.map(|(id, _)| format!("invented: {id} was never sent")));
    }

    fn judge_order(&self, calls: &Calls<'_>, verdict: &mut Verdict) {
        let mut keys: BTreeMap<&str, Vec<(usize, u64, &str)>> = BTreeMap::new();
        for record in &self.produced {
            let first = calls.0.get(record.event_id.as_str()).and_then(|event| event.first_taken);
            if let (Some(key), Some(place)) = (&record.key, first) {
                keys.entry(key).or_default().push((place, record.sequence, &record.event_id));
            }
        }
        let mut inversions = Vec::new();
        for (key, mut taken) in keys {
            taken.sort_unstable();
            let mut highest: Option<(u64, &str)> = None;
            for (_, sequence, event) in taken {
                match highest {
                    Some((above, after)) if above >= sequence => inversions
                        .push(format!("reordered: key {key}, {event} ({sequence}) came after {after} ({above})")),
                    Some(_) | None => highest = Some((sequence, event)),
                }
            }
        }
        verdict.reordered = verdict.note(inversions.into_iter());
    }

    fn judge_commits(&self, calls: &Calls<'_>, verdict: &mut Verdict) {
        let mut ended: BTreeMap<&str, u64> = BTreeMap::new();
        for end in &self.ended {
            let since = ended.entry(&end.event_id).or_insert(u64::MAX);
            *since = (*since).min(end.at_ms.unwrap_or(0));
        }
        let mut partitions: BTreeMap<i32, Vec<(i64, u64, &str)>> = BTreeMap::new();
        for record in self.produced.iter().filter(|record| record.acknowledged) {
            let event = record.event_id.as_str();
            let accepted = calls.accepted_at(event).unwrap_or(u64::MAX);
            let since = accepted.min(ended.get(event).copied().unwrap_or(u64::MAX));
            partitions.entry(record.partition).or_default().push((record.offset, since, event));
        }
        // Beside each record, the record below or at it that was final last: a commit is early if that one is younger.
        let mut latest: BTreeMap<i32, Vec<(i64, u64, &str)>> = BTreeMap::new();
        for (partition, mut records) in partitions {
            records.sort_unstable();
            let mut last = (0, "");
            let running = records.into_iter().map(|(offset, since, event)| {
                last = last.max((since, event));
                (offset, last.0, last.1)
            });
            latest.insert(partition, running.collect());
        }
        let early = self.commits.iter().filter_map(|commit| {
            let records = latest.get(&commit.partition)?;
            let below = records.partition_point(|(offset, ..)| *offset < commit.offset);
            let (_, since, event) = records.get(below.checked_sub(1)?)?;
            (*since > commit.at_ms).then(|| {
                format!(
                    "early commit: {}/{} at {} ms, and {event} was not final",
                    commit.partition, commit.offset, commit.at_ms
                )
            })
        });
        verdict.early_commits = verdict.note(early);
    }
}

fn judge_repetitions(calls: &Calls<'_>, verdict: &mut Verdict) {
    verdict.duplicates = calls.0.values().map(|event| event.after_accepted).sum();
    let strange = calls.0.iter().filter(|(_, event)| event.unrecognisable > 0);
    verdict.note(strange.map(|(id, event)| {
        format!("unrecognisable: {id} came {} times with another idempotency key or body", event.unrecognisable)
    }));
    verdict.unrecognisable = calls.0.values().map(|event| event.unrecognisable).sum();
    let repeated = calls.0.iter().filter(|(_, event)| event.effects > 1);
    verdict.note(repeated.map(|(id, event)| format!("repeated effect: {id} had {} effects", event.effects)));
    verdict.repeated_effects = calls.0.values().map(|event| event.effects.saturating_sub(1)).sum();
}

/// What arrived, by event.
struct Calls<'a>(BTreeMap<&'a str, Event<'a>>);

struct Event<'a> {
    calls: usize,
    effects: usize,
    /// The place, among all arrivals, of the first that had an effect or was accepted.
    first_taken: Option<usize>,
    accepted_at: Option<u64>,
    after_accepted: usize,
    idempotency_key: &'a str,
    /// The body that had the effect.
    body: Option<u64>,
    unrecognisable: usize,
}

impl<'a> Calls<'a> {
    fn of(arrivals: &'a [Arrival]) -> Self {
        let mut events: BTreeMap<&str, Event<'_>> = BTreeMap::new();
        for (place, arrival) in arrivals.iter().enumerate() {
            let event = events.entry(&arrival.event_id).or_insert_with(|| Event {
                calls: 0,
                effects: 0,
                first_taken: None,
                accepted_at: None,
                after_accepted: 0,
                idempotency_key: &arrival.idempotency_key,
                body: None,
                unrecognisable: 0,
            });
            let accepted = arrival.status.is_some_and(|status| (200..300).contains(&status));
            let strange = event.idempotency_key != arrival.idempotency_key
                || event.body.is_some_and(|body| body != arrival.body_hash);
            event.calls += 1;
            event.effects += usize::from(arrival.applied);
            event.after_accepted += usize::from(event.accepted_at.is_some());
            event.unrecognisable += usize::from(strange);
            if accepted {
                event.accepted_at = event.accepted_at.or(Some(arrival.at_ms));
            }
            if accepted || arrival.applied {
                event.first_taken = event.first_taken.or(Some(place));
                event.body = event.body.or(Some(arrival.body_hash));
            }
        }
        Self(events)
    }

    fn accepted_at(&self, event: &str) -> Option<u64> {
        self.0.get(event)?.accepted_at
    }
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost == 0
            && self.invented == 0
            && self.reordered == 0
            && self.unrecognisable == 0
            && self.early_commits == 0
            && (self.repeated_effects == 0 || !self.system_remembers_keys)
            && self.duplicates_max.is_none_or(|max| self.duplicates <= max)
    }

    /// Counts breaches, and keeps a few as examples.
    fn note(&mut self, breaches: impl Iterator<Item = String>) -> usize {
        let mut count = 0;
        for breach in breaches {
            if count < EXAMPLES_MAX {
                self.examples.push(breach);
            }
            count += 1;
        }
        count
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.holds() { "holds" } else { "BROKEN" };
        writeln!(f, "{word}: {} events acknowledged, {} with an effect", self.acknowledged, self.effects)?;
        write!(f, "lost {}, invented {}, reordered {}", self.lost, self.invented, self.reordered)?;
        write!(f, ", repeated effects {}", self.repeated_effects)?;
        writeln!(f, ", unrecognisable {}, early commits {}", self.unrecognisable, self.early_commits)?;
        match self.duplicates_max {
            Some(max) => write!(f, "duplicates {} (at most {max})", self.duplicates)?,
            None => write!(f, "duplicates {}", self.duplicates)?,
        }
        self.examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn produced(sequence: u64, key: &str) -> Produced {
        Produced {
            partition: 0,
            offset: i64::try_from(sequence).unwrap_or_default(),
            key: Some(key.to_owned()),
            sequence,
            event_id: format!("e{sequence}"),
            acknowledged: true,
        }
    }

    fn arrival(at_ms: u64, sequence: u64, status: u16, applied: bool) -> Arrival {
        Arrival {
            at_ms,
            event_id: format!("e{sequence}"),
            idempotency_key: format!("k{sequence}"),
            body_hash: sequence,
            attempt: 1,
            status: Some(status),
            applied,
        }
    }

    fn evidence(arrivals: Vec<Arrival>) -> Evidence {
        Evidence {
            produced: vec![produced(0, "acme"), produced(1, "acme")],
            arrivals,
            system_remembers_keys: true,
            duplicates_max: Some(0),
            ..Evidence::default()
        }
    }

    fn good() -> Evidence {
        evidence(vec![arrival(1, 0, 503, false), arrival(2, 0, 201, true), arrival(3, 1, 201, true)])
    }

    #[test]
    fn retries_in_order_hold() {
        assert_eq!(
            good().judge().to_string(),
            "holds: 2 events acknowledged, 2 with an effect\nlost 0, invented 0, reordered 0, repeated effects 0, \
             unrecognisable 0, early commits 0\nduplicates 0 (at most 0)"
        );
    }

    #[test]
    fn what_was_neither_accepted_nor_ended_is_lost() {
        let mut seen = evidence(vec![arrival(1, 0, 201, true), arrival(2, 1, 503, false)]);
        let verdict = seen.judge();
        assert!(!verdict.holds() && verdict.lost == 1, "{verdict}");
        assert_eq!(verdict.examples, ["lost: e1 at 0/1, after 1 calls"]);
        seen.ended.push(Ended { event_id: "e1".to_owned(), end: End::Dead, at_ms: None });
        assert!(seen.judge().holds());
    }

    #[test]
    fn what_was_not_acknowledged_is_neither_lost_nor_invented() {
        let mut seen = good();
        seen.produced[1].acknowledged = false;
        assert!(seen.judge().holds());
        seen.arrivals.pop();
        assert!(seen.judge().holds());
    }

    #[test]
    fn an_effect_of_nothing_is_invented() {
        let mut seen = good();
        seen.arrivals.push(arrival(9, 7, 201, true));
        assert_eq!(seen.judge().examples, ["invented: e7 was never sent"]);
    }

    #[test]
    fn a_later_one_first_is_reordered_in_one_key_and_not_between_two() {
        let mut seen = evidence(vec![arrival(1, 1, 201, true), arrival(2, 0, 201, true)]);
        assert_eq!(seen.judge().examples, ["reordered: key acme, e0 (0) came after e1 (1)"]);
        seen.produced[1].key = Some("globex".to_owned());
        assert!(seen.judge().holds());
    }

    #[test]
    fn an_effect_counts_for_the_order_whatever_was_answered() {
        let seen = evidence(vec![arrival(1, 1, 500, true), arrival(2, 0, 201, true), arrival(3, 1, 201, false)]);
        assert_eq!(seen.judge().reordered, 1);
    }

    #[test]
    fn a_call_after_an_accepted_one_is_a_duplicate() {
        let mut seen = good();
        seen.arrivals.push(arrival(9, 1, 200, false));
        assert!(!seen.judge().holds());
        seen.duplicates_max = Some(1);
        assert!(seen.judge().holds());
    }

    #[test]
    fn a_second_effect_breaks_only_where_the_system_could_have_told() {
        let mut seen = good();
        seen.duplicates_max = None;
        seen.arrivals.push(arrival(9, 1, 201, true));
        assert_eq!(seen.judge().examples, ["repeated effect: e1 had 2 effects"]);
        assert!(!seen.judge().holds());
        seen.system_remembers_keys = false;
        assert!(seen.judge().holds());
    }

    #[test]
    fn another_body_after_an_effect_is_unrecognisable_and_before_it_is_not() {
        let mut seen = evidence(vec![
            Arrival { body_hash: 77, ..arrival(1, 0, 503, false) },
            arrival(2, 0, 201, true),
            arrival(3, 1, 500, true),
            Arrival { body_hash: 77, ..arrival(4, 1, 200, false) },
        ]);
        assert_eq!(seen.judge().unrecognisable, 1);
        seen.arrivals[3].body_hash = 1;
        assert!(seen.judge().holds());
        seen.arrivals[3].idempotency_key = "other".to_owned();
        assert_eq!(seen.judge().unrecognisable, 1);
    }

    #[test]
    fn a_commit_that_passes_what_is_not_final_is_early() {
        let mut seen = good();
        seen.commits.push(CommitSample { at_ms: 2, partition: 0, offset: 1 });
        seen.commits.push(CommitSample { at_ms: 3, partition: 0, offset: 2 });
        assert!(seen.judge().holds());
        seen.commits.push(CommitSample { at_ms: 2, partition: 0, offset: 2 });
        assert_eq!(seen.judge().examples, ["early commit: 0/2 at 2 ms, and e1 was not final"]);
    }
}
