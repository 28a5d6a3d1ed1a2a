//! Whose turn is next: the partition that has the least already, and among equals the one that has waited longest.
//!
//! By turns alone, places would go by time: a partition whose calls take ten times as long would hold each place ten times
//! as long, and so come to hold most of them. Whoever has the least goes first, so that each has an equal part while all
//! have work; and since only those that have work stand here, one of them may have all places.

use std::collections::{BTreeMap, BTreeSet};

use crate::Partition;

/// The partitions that wait for a turn.
///
/// An ordered set: a change costs its logarithm, which is a few comparisons in one or two nodes for the few hundred
/// partitions that a process may own, where looking through them all would cost each call a few hundred.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    waiting: BTreeSet<(Place, Partition)>,
    places: BTreeMap<Partition, Place>,
    next: u64,
}

/// Where a partition stands: by how much it has, then by when it came or had its last turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    has: usize,
    since: u64,
}

impl Turns {
    /// Has a partition wait, behind all that have as much; if it does already, it keeps its place among those.
    pub(crate) fn wait(&mut self, partition: Partition, has: usize) {
        if self.places.contains_key(&partition) {
            self.note(partition, has);
        } else {
            self.put(partition, has);
        }
    }

    /// A partition has more or less than before, if it waits at all.
    pub(crate) fn note(&mut self, partition: Partition, has: usize) {
        if let Some(place) = self.places.get_mut(&partition).filter(|place| place.has != has) {
            self.waiting.remove(&(*place, partition));
            place.has = has;
            self.waiting.insert((*place, partition));
        }
    }

    /// Whose turn it is.
    pub(crate) fn first(&self) -> Option<Partition> {
        self.waiting.first().map(|(_, partition)| *partition)
    }

    /// A partition has had its turn, and waits for the next one.
    pub(crate) fn took(&mut self, partition: Partition, has: usize) {
        self.leave(partition);
        self.put(partition, has);
    }

    /// A partition waits no more.
    pub(crate) fn leave(&mut self, partition: Partition) {
        if let Some(place) = self.places.remove(&partition) {
            self.waiting.remove(&(place, partition));
        }
    }

    /// How much a partition has, as it is known here; none, if it does not wait.
    pub(crate) fn has(&self, partition: Partition) -> Option<usize> {
        self.places.get(&partition).map(|place| place.has)
    }

    fn put(&mut self, partition: Partition, has: usize) {
        let place = Place { has, since: self.next };
        self.next += 1;
        self.places.insert(partition, place);
        self.waiting.insert((place, partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [Partition; 3] = [Partition(0), Partition(1), Partition(2)];

    /// Has whoever's turn it is take one, so often.
    fn take(turns: &mut Turns, times: usize) -> Vec<i32> {
        let taken = (0..times).filter_map(|_| {
            let partition = turns.first()?;
            let has = turns.has(partition)?;
            turns.took(partition, has + 1);
            Some(partition.0)
        });
        taken.collect()
    }

    #[test]
    fn equals_take_turns() {
        let mut turns = Turns::default();
        P.into_iter().for_each(|partition| turns.wait(partition, 0));
        assert_eq!(take(&mut turns, 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn whoever_has_the_least_goes_first_until_all_have_as_much() {
        let mut turns = Turns::default();
        turns.wait(P[0], 3);
        turns.wait(P[1], 0);
        turns.wait(P[2], 1);
        assert_eq!(take(&mut turns, 6), [1, 2, 1, 2, 1, 0]);
    }

    #[test]
    fn one_that_is_alone_takes_all() {
        let mut turns = Turns::default();
        P.into_iter().for_each(|partition| turns.wait(partition, 0));
        turns.leave(P[0]);
        turns.leave(P[2]);
        assert_eq!(take(&mut turns, 3), [1, 1, 1]);
        turns.leave(P[1]);
        assert_eq!(turns.first(), None);
    }

    #[test]
    fn who_waits_already_keeps_its_place_and_who_does_not_is_not_noted() {
        let mut turns = Turns::default();
        turns.wait(P[0], 0);
        turns.wait(P[1], 0);
        turns.wait(P[0], 0);
        turns.note(P[2], 0);
        assert_eq!((take(&mut turns, 2), turns.has(P[2])), (vec![0, 1], None));
    }
}
