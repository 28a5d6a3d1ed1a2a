//! Up to where a partition is final, and what is unfinished beyond: what may be committed.
//!
//! Fetched offsets enter by [`Frontier::meet`] in rising order, with whatever gaps the log has, and leave by
//! [`Frontier::finish`] in any order. What an earlier owner had finished beyond its committed offset is known from its
//! [`Metadata`], and is met as [`Met::Final`]: it is not delivered again.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::metadata::{HEAD_BYTES_MAX, METADATA_BYTES_MAX, Mapped, Metadata};

/// Beyond this many bytes of metadata, in the worst case of all that is under way, no further record is begun.
///
/// The rest to [`METADATA_BYTES_MAX`] is for what was fetched already when the partition was paused: twice the span of
/// offsets costs at most a fifth of a byte for each number, and there are less than 1,500.
const METADATA_BYTES_BEGIN: usize = METADATA_BYTES_MAX - 400;

/// What a fetched offset turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// It has to be delivered.
    Unfinished,
    /// An earlier owner has finished it.
    Final,
    /// Offsets rise, and this one does not: the log is not what we took it for.
    Backwards,
}

/// Where a partition stands.
#[derive(Debug)]
pub(crate) struct Frontier {
    /// The next offset that can be fetched: one more than the last.
    next: i64,
    /// All below is met, or known from an earlier owner.
    horizon: i64,
    /// What an earlier owner left unfinished, and has not been fetched again yet. All at or above `next`.
    inherited: VecDeque<Range<i64>>,
    /// What was met and is unfinished; and whether it follows on another such, with nothing finished between.
    unfinished: BTreeMap<i64, bool>,
    /// How many of them do not: runs in the metadata.
    runs: usize,
}

impl Frontier {
    /// A partition of which nothing is known beyond its committed offset.
    pub(crate) fn fresh(committed: i64) -> Self {
        Self { next: committed, horizon: committed, inherited: VecDeque::new(), unfinished: BTreeMap::new(), runs: 0 }
    }

    /// A partition as an earlier owner left it.
    pub(crate) fn inherit(metadata: &Metadata) -> Self {
        Self {
            horizon: metadata.horizon,
            inherited: metadata.unfinished.iter().cloned().collect(),
            ..Self::fresh(metadata.base)
        }
    }

    /// Takes in the next offset of the log.
    pub(crate) fn meet(&mut self, offset: i64) -> Met {
        if offset < self.next {
            return Met::Backwards;
        }
        let follows = self.unfinished.last_key_value().is_some_and(|(last, _)| last + 1 == self.next);
        self.next = offset + 1;
        let was_unfinished = self.pass_inherited(offset);
        if offset < self.horizon && !was_unfinished {
            return Met::Final;
        }
        self.horizon = self.horizon.max(self.next);
        self.unfinished.insert(offset, follows);
        self.runs += usize::from(!follows);
        Met::Unfinished
    }

    /// Drops what is inherited up to this offset, and says whether it was unfinished. Those before it that were not
    /// fetched are no longer in the log.
    fn pass_inherited(&mut self, offset: i64) -> bool {
        while let Some(range) = self.inherited.front_mut() {
            if range.end <= offset {
                self.inherited.pop_front();
                continue;
            }
            let inside = range.start <= offset;
            if inside {
                range.start = offset + 1;
                if range.is_empty() {
                    self.inherited.pop_front();
                }
            }
            return inside;
        }
        false
    }

    /// Whether all that an earlier owner left unfinished up to this offset has been fetched again.
    pub(crate) fn has_met(&self, offset: i64) -> bool {
        self.inherited.front().is_none_or(|range| range.start > offset)
    }

    /// Notes that an offset is final.
    pub(crate) fn finish(&mut self, offset: i64) {
        let Some(follows) = self.unfinished.remove(&offset) else { return };
        self.runs -= usize::from(!follows);
        if let Some((_, next_follows)) = self.unfinished.range_mut(offset..).next()
            && std::mem::replace(next_follows, false)
        {
            self.runs += 1;
        }
    }

    /// The lowest offset that is not final: what may be committed.
    pub(crate) fn lowest(&self) -> i64 {
        let met = self.unfinished.first_key_value().map(|(offset, _)| *offset);
        met.or_else(|| self.inherited.front().map(|range| range.start)).unwrap_or(self.horizon)
    }

    /// The lowest offset that was fetched and is not final.
    pub(crate) fn oldest(&self) -> Option<i64> {
        self.unfinished.first_key_value().map(|(offset, _)| *offset)
    }

    /// One more than the last offset that was fetched.
    pub(crate) fn next(&self) -> i64 {
        self.next
    }

    /// What was fetched and is not final, ascending.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = i64> {
        self.unfinished.keys().copied()
    }

    /// Whether the metadata would still fit if each of these records that are under way, and one more, were to finish in
    /// the worst place. Finishing the lowest one costs nothing, so that there is always a way on.
    pub(crate) fn has_room(&self, under_way: usize) -> bool {
        // A finish in the middle of a run makes two of one; a fetch after a finish begins one.
        let runs = self.runs + self.inherited.len() + under_way + 2;
        let numbers = 2 * runs;
        let span = usize::try_from(self.horizon - self.lowest()).unwrap_or(usize::MAX);
        // The numbers sum up to the span, and their digits are at most `1 + log32(number + 1)` each, which is concave: so
        // that it is the most when all are alike.
        let bits = usize::BITS - (span / numbers + 2).leading_zeros();
        HEAD_BYTES_MAX + numbers + numbers * bits as usize / 5 < METADATA_BYTES_BEGIN
    }

    /// What is committed beside [`Frontier::lowest`], or none if it would not fit: a commit has to wait then.
    pub(crate) fn metadata(&self, partitions: u32, mapped: Mapped, ceiling: i64) -> Option<String> {
        let head = Metadata {
            partitions,
            mapped,
            base: self.lowest(),
            horizon: self.horizon,
            ceiling,
            unfinished: Vec::new(),
        };
        let text = head.encode_with(self.runs().chain(self.inherited.iter().cloned()));
        (text.len() <= METADATA_BYTES_MAX).then_some(text)
    }

    fn runs(&self) -> impl Iterator<Item = Range<i64>> {
        let mut offsets = self.unfinished.iter().peekable();
        std::iter::from_fn(move || {
            let (start, _) = offsets.next()?;
            let mut end = start + 1;
            while let Some((offset, _)) = offsets.next_if(|(_, follows)| **follows) {
                end = offset + 1;
            }
            Some(*start..end)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const MAPPED: Mapped = Mapped { fingerprint: 0, worked: false, otherwise_below: 0 };

    fn text(frontier: &Frontier) -> Metadata {
        Metadata::parse(&frontier.metadata(1, MAPPED, 0).unwrap()).unwrap()
    }

    #[test]
    fn the_frontier_passes_gaps_of_the_log() {
        let mut frontier = Frontier::fresh(10);
        assert_eq!(frontier.lowest(), 10);
        for offset in [12, 15, 90] {
            assert_eq!(frontier.meet(offset), Met::Unfinished);
        }
        assert_eq!(frontier.lowest(), 12);
        frontier.finish(15);
        assert_eq!(frontier.lowest(), 12);
        frontier.finish(12);
        assert_eq!(frontier.lowest(), 90);
        frontier.finish(90);
        assert_eq!(frontier.lowest(), 91);
    }

    #[test]
    fn what_was_finished_beyond_the_committed_offset_is_not_delivered_again() {
        let mut first = Frontier::fresh(0);
        for offset in 0..6 {
            first.meet(offset);
        }
        for offset in [1, 2, 4] {
            first.finish(offset);
        }
        let mut second = Frontier::inherit(&text(&first));
        let met: Vec<Met> = (0..8).map(|offset| second.meet(offset)).collect();
        let (again, over) = (Met::Unfinished, Met::Final);
        assert_eq!(met, [again, over, over, again, over, again, again, again]);
    }

    #[test]
    fn what_was_inherited_and_not_yet_fetched_stays_in_the_metadata() {
        let inherited = Metadata {
            partitions: 1,
            mapped: Mapped { otherwise_below: 5, ..MAPPED },
            base: 5,
            horizon: 50,
            ceiling: 5,
            unfinished: vec![5..6, 30..40],
        };
        let mut frontier = Frontier::inherit(&inherited);
        assert_eq!(text(&frontier), inherited);
        frontier.meet(5);
        frontier.finish(5);
        assert_eq!(frontier.lowest(), 30);
        assert_eq!(text(&frontier).unfinished, std::slice::from_ref(&(30..40)));
        assert_eq!(frontier.meet(35), Met::Unfinished); // 30 to 34 are no longer in the log
        assert_eq!(text(&frontier).unfinished, [35..36, 36..40]);
    }

    #[test]
    fn an_offset_that_does_not_rise_is_seen() {
        let mut frontier = Frontier::fresh(3);
        assert_eq!(frontier.meet(2), Met::Backwards);
        frontier.meet(3);
        assert_eq!(frontier.meet(3), Met::Backwards);
    }

    #[test]
    fn a_hung_record_costs_one_run_however_many_finish_behind_it() {
        let mut frontier = Frontier::fresh(0);
        frontier.meet(0);
        for offset in 1..100_000 {
            frontier.meet(offset);
            frontier.finish(offset);
        }
        assert!(frontier.has_room(64));
        assert_eq!(frontier.metadata(1, MAPPED, 0).unwrap(), "1.1.0000000000000000.0.100000.0.AA.");
    }

    #[test]
    fn it_says_that_it_is_full_before_it_is() {
        let mut frontier = Frontier::fresh(0);
        let mut offset = 0;
        while frontier.has_room(64) {
            frontier.meet(offset);
            frontier.meet(offset + 40);
            frontier.finish(offset + 40);
            offset += 80;
        }
        assert!(offset / 80 > 250, "only {} runs", offset / 80);
        for _ in 0..64 {
            frontier.meet(offset);
            frontier.meet(offset + 40);
            frontier.finish(offset + 40);
            offset += 80;
        }
        assert!(frontier.metadata(1, MAPPED, 0).is_some());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Meet {
            gap: i64,
        },
        Finish {
            nth: usize,
        },
        /// A new owner reads what the old one wrote, and begins again at the committed offset.
        Handover,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => prop_oneof![4 => Just(0_i64), 1 => 1_i64..50].prop_map(|gap| Step::Meet { gap }),
            5 => (0_usize..40).prop_map(|nth| Step::Finish { nth }),
            1 => Just(Step::Handover),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// The model: a set of offsets in the log, a set of those that are final.
        #[test]
        fn it_agrees_with_a_naive_model(steps in steps()) {
            let mut log: Vec<i64> = Vec::new();
            let mut done: BTreeSet<i64> = BTreeSet::new();
            let mut met: BTreeSet<i64> = BTreeSet::new();
            let mut frontier = Frontier::fresh(0);
            let mut position = 0;
            for step in steps {
                match step {
                    Step::Meet { gap } => {
                        let offset = match log.iter().find(|offset| **offset >= position) {
                            Some(again) => *again,
                            None => {
                                log.push(position + gap);
                                position + gap
                            }
                        };
                        position = offset + 1;
                        let expect = if done.contains(&offset) { Met::Final } else { Met::Unfinished };
                        prop_assert_eq!(frontier.meet(offset), expect);
                        met.insert(offset);
                    }
                    Step::Finish { nth } => {
                        let open: Vec<i64> = met.difference(&done).copied().collect();
                        if let Some(offset) = open.get(nth % open.len().max(1)) {
                            frontier.finish(*offset);
                            done.insert(*offset);
                        }
                    }
                    Step::Handover => {
                        let metadata = text(&frontier);
                        position = metadata.base;
                        met.clear();
                        frontier = Frontier::inherit(&metadata);
                    }
                }
                let lowest_open = log.iter().find(|offset| !done.contains(offset));
                let lowest = frontier.lowest();
                prop_assert!(lowest_open.is_none_or(|open| lowest <= *open), "{} passes {:?}", lowest, lowest_open);
                let met_all = log.last().is_none_or(|last| position > *last);
                if met_all {
                    prop_assert_eq!(lowest, lowest_open.copied().unwrap_or(log.last().map_or(0, |last| last + 1)));
                }
                let written = text(&frontier);
                for offset in &log {
                    let finished = (*offset < written.horizon)
                        && !written.unfinished.iter().any(|run| run.contains(offset));
                    prop_assert_eq!(finished, done.contains(offset), "{}", offset);
                }
            }
        }
    }
}
