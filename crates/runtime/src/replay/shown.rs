//! What a consumer's ledger shows of a stretch of a partition: which records are done, and how new the newest of each key is.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher as _;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::kafka::{ReadError, TopicReader};
use crate::state::{LedgerEntry, LedgerRecord, Outcome, Range, StateError, Tally};

/// Most offsets of a stretch: at two bits for each, 4 MiB while it is under way.
pub const RANGE_MAX: i64 = 1 << 24;

/// Most keys of which it is kept how new the newest record is: at some 30 bytes, 30 MB.
const KEYS_MAX: usize = 1_000_000;

/// How far in the future a record may be dated: what brokers allow by default (`message.timestamp.after.max.ms`). One that
/// is, was perhaps delivered so long before its time.
const DATED_AHEAD_MAX: Duration = Duration::from_secs(3_600);

/// Why it cannot be said what was done.
#[derive(Debug, thiserror::Error)]
pub enum ShownError {
    /// A topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What lies in the ledger is none of ours.
    #[error("the ledger's record at {place} cannot be read")]
    Unreadable {
        /// Topic, partition and offset.
        place: String,
        /// What is wrong with it.
        #[source]
        cause: StateError,
    },
    /// More keys than are kept.
    #[error(
        "more than {KEYS_MAX} keys of the partition have newer records: take a shorter stretch, or `--overtake`, which asks \
         for none of them"
    )]
    TooManyKeys,
}

/// What has become of a record, as far as a replay goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Was {
    /// Nothing, or the consumer's `when` passed it by.
    Missing,
    /// Its effect is confirmed.
    Done,
    /// It is a dead letter, parked, or was made moot.
    SetAside,
}

/// What the ledger shows of a stretch.
#[derive(Debug)]
pub struct Shown {
    range: Range,
    /// Two bits for each offset.
    was: Vec<u8>,
    /// What this order has brought to an end already.
    ended: BTreeMap<i64, Tally>,
    /// The newest record of each key that had its effect, or may have had.
    pub newest: Newest,
}

/// How new the newest record of each key is that had its effect, or may have had. Keys are known by a hash of 64 bits: that
/// two of a million are taken for one happens once in 30 million times, and then one record is passed over.
#[derive(Debug, Clone, Default)]
pub struct Newest {
    hasher: RandomState,
    by_key: HashMap<u64, i64>,
}

impl Newest {
    /// Nothing is known yet; hashes as this one does, so that the two can be put together.
    #[must_use]
    pub fn like(&self) -> Self {
        Self { hasher: self.hasher.clone(), by_key: HashMap::new() }
    }

    /// A record of this key had its effect, or may have had. The ledger has keys as text.
    pub fn note(&mut self, key: &str, offset: i64) {
        let newest = self.by_key.entry(self.hasher.hash_one(key)).or_insert(offset);
        *newest = offset.max(*newest);
    }

    /// What another one knows, too.
    pub fn add(&mut self, other: &Self) {
        #[expect(clippy::iter_over_hash_type, reason = "the greater of two is the same in any order")]
        for (key, offset) in &other.by_key {
            let newest = self.by_key.entry(*key).or_insert(*offset);
            *newest = (*offset).max(*newest);
        }
    }

    /// The newest record of a key.
    #[must_use]
    pub fn of(&self, key: &[u8]) -> Option<i64> {
        self.by_key.get(&self.hasher.hash_one(String::from_utf8_lossy(key).as_ref())).copied()
    }

    /// Whether more keys are known than may be.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.by_key.len() > KEYS_MAX
    }
}

impl Shown {
    /// Reads the ledger to its end. `newest` says whether the newest records of keys are asked for, and how they are hashed;
    /// `order` whose ends count as this replay's own.
    ///
    /// # Errors
    /// When the ledger cannot be read, or more keys are in it than can be kept.
    pub fn read(
        reader: &mut TopicReader,
        (ledger, topic): (&str, &str),
        range: Range,
        order: Option<&str>,
        newest: Option<Newest>,
    ) -> Result<Self, ShownError> {
        let offsets = usize::try_from(range.to.saturating_sub(range.from).clamp(0, RANGE_MAX)).unwrap_or(0);
        let keys = newest.is_some();
        let newest = newest.unwrap_or_default();
        let mut shown = Self { range, was: vec![0; offsets.div_ceil(4)], ended: BTreeMap::new(), newest };
        let span = reader.span(ledger, range.partition)?;
        reader.read_all(ledger, &[span], |record| match record.value.as_deref().map(LedgerRecord::decode) {
            Some(Ok(written)) if written.topic == topic => {
                written.entries.iter().for_each(|entry| shown.take(entry, order, keys));
                if shown.newest.is_full() { Err(ShownError::TooManyKeys) } else { Ok(()) }
            }
            Some(Ok(_)) | None => Ok(()),
            Some(Err(cause)) => {
                let place = format!("{ledger}-{} at {}", record.partition, record.offset);
                Err(ShownError::Unreadable { place, cause })
            }
        })?;
        Ok(shown)
    }

    /// Takes the next entry. The last one of a record is what has become of it.
    fn take(&mut self, entry: &LedgerEntry<'_>, order: Option<&str>, keys: bool) {
        let offset = entry.offset;
        if let (true, Some(key)) = (keys && offset > self.range.from && may_have_effect(entry.outcome), &entry.key) {
            self.newest.note(key, offset);
        }
        if !(self.range.from..self.range.to).contains(&offset) {
            return;
        }
        if order.is_some() && entry.replay.as_deref() == order {
            // What becomes of one that it has parked is not this replay's any more.
            self.ended.entry(offset).or_insert_with(|| end(entry.outcome));
        }
        match entry.outcome {
            Outcome::Done => self.mark(offset, Was::Done),
            Outcome::Skipped => self.mark(offset, Was::Missing),
            Outcome::Dead | Outcome::Parked | Outcome::Superseded => self.mark(offset, Was::SetAside),
            Outcome::Overtaken => {} // What it was before stands.
        }
    }

    fn place(&self, offset: i64) -> Option<(usize, usize)> {
        let n = usize::try_from(offset - self.range.from).ok()?;
        (n / 4 < self.was.len()).then_some((n / 4, n % 4 * 2))
    }

    fn mark(&mut self, offset: i64, was: Was) {
        let bits = match was {
            Was::Missing => 0,
            Was::Done => 1,
            Was::SetAside => 2,
        };
        if let Some((n, shift)) = self.place(offset) {
            self.was[n] = self.was[n] & !(3 << shift) | bits << shift;
        }
    }

    /// What has become of a record.
    #[must_use]
    pub fn was(&self, offset: i64) -> Was {
        match self.place(offset).map(|(n, shift)| self.was[n] >> shift & 3) {
            Some(1) => Was::Done,
            Some(2) => Was::SetAside,
            Some(_) | None => Was::Missing,
        }
    }

    /// How this order has brought a record to its end already, if it has.
    pub(super) fn ended(&self, offset: i64) -> Option<Tally> {
        self.ended.get(&offset).copied()
    }
}

fn may_have_effect(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Done | Outcome::Dead | Outcome::Superseded => true,
        Outcome::Skipped | Outcome::Parked | Outcome::Overtaken => false,
    }
}

fn end(outcome: Outcome) -> Tally {
    let none = Tally::default();
    match outcome {
        Outcome::Done => Tally { sent: 1, ..none },
        Outcome::Skipped => Tally { skipped: 1, ..none },
        Outcome::Dead => Tally { dead: 1, ..none },
        Outcome::Parked => Tally { parked: 1, ..none },
        Outcome::Superseded => Tally { set_aside: 1, ..none },
        Outcome::Overtaken => Tally { overtaken: 1, ..none },
    }
}

/// The first offset of a partition of which the ledger tells all that has become of it and of those after it: where something
/// was deleted from it, those that were made when what is there still was written. Before that, nothing says that a record
/// is missing.
///
/// # Errors
/// When a topic cannot be read.
pub fn reach(reader: &mut TopicReader, ledger: &str, topic: &str, partition: i32) -> Result<i64, ShownError> {
    let (span, source) = (reader.span(ledger, partition)?, reader.span(topic, partition)?);
    if span.from == 0 {
        return Ok(0);
    }
    let mut first = None;
    reader.read(ledger, &[span], |record| {
        first = record.value.as_deref().map(|value| {
            let place = format!("{ledger}-{partition} at {}", record.offset);
            LedgerRecord::decode(value).map_err(|cause| ShownError::Unreadable { place, cause })
        });
        ControlFlow::Break(())
    })?;
    let Some(first) = first.transpose()? else { return Ok(source.to) };
    let ahead = i64::try_from(DATED_AHEAD_MAX.as_millis()).unwrap_or(i64::MAX);
    let since = reader.since(topic, &[source], first.committed_at_ms.saturating_add(ahead))?;
    Ok(since.first().map_or(source.to, |span| span.from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(from: i64, to: i64) -> Shown {
        let was = vec![0; usize::try_from(to - from).unwrap_or(0).div_ceil(4)];
        let range = Range { partition: 0, from, to };
        Shown { range, was, ended: BTreeMap::new(), newest: Newest::default() }
    }

    fn entry(offset: i64, outcome: Outcome, replay: Option<&str>) -> LedgerEntry<'_> {
        let (event_id, key, replay) = (None, Some("acme".into()), replay.map(Into::into));
        LedgerEntry { offset, event_id, key, outcome, attempts: 1, replay, tried: Vec::new() }
    }

    #[test]
    fn the_last_entry_of_a_record_is_what_has_become_of_it() {
        let mut shown = shown(10, 20);
        for (offset, outcome) in [
            (9, Outcome::Done),
            (10, Outcome::Parked),
            (10, Outcome::Done),
            (10, Outcome::Overtaken),
            (11, Outcome::Done),
            (12, Outcome::Dead),
            (13, Outcome::Skipped),
            (19, Outcome::Superseded),
            (20, Outcome::Done),
        ] {
            shown.take(&entry(offset, outcome, None), None, true);
        }
        let was: Vec<Was> = (10..20).map(|offset| shown.was(offset)).collect();
        let (done, missing, aside) = (Was::Done, Was::Missing, Was::SetAside);
        assert_eq!(was, [done, done, aside, missing, missing, missing, missing, missing, missing, aside]);
        assert_eq!((shown.newest.of(b"acme"), shown.newest.of(b"globex")), (Some(20), None));
    }

    #[test]
    fn what_this_order_has_ended_counts_as_it_ended_first() {
        let mut shown = shown(0, 9);
        for (offset, outcome, replay) in [
            (1, Outcome::Parked, "r1"),
            (1, Outcome::Done, "r1"),
            (2, Outcome::Done, "r2"),
            (3, Outcome::Overtaken, "r1"),
        ] {
            shown.take(&entry(offset, outcome, Some(replay)), Some("r1"), false);
        }
        let ended: Vec<Tally> = [1, 2, 3].into_iter().filter_map(|offset| shown.ended(offset)).collect();
        assert_eq!(ended, [Tally { parked: 1, ..Tally::default() }, Tally { overtaken: 1, ..Tally::default() }]);
    }
}
