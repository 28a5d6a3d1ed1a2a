//! Which partitions are committed together.
//!
//! All that have something to say are: a commit costs much, and is made as a whole. So one partition whose records are
//! refused (by a topic of dead letters that takes none) would keep all others from being committed. Whose fault it is that
//! a commit failed is not known, and need not be: half of those that were in it are committed next, then the other half,
//! and so on, until the one at fault fails alone. That waits, longer each time, and the others go on.

use std::collections::{BTreeMap, BTreeSet};

use crate::retry::Backoff;
use crate::{Partition, Time};

/// After so many commits in a row that failed alone, a partition is taken for refused: nothing of it is sent any more. A
/// broker that hiccups is not worth that.
const REFUSED_AFTER: u32 = 3;

/// The partitions that were in a commit which failed, and not in one that was made since.
#[derive(Debug, Default)]
pub(crate) struct Together {
    suspects: BTreeMap<Partition, Suspect>,
    /// When those that are well were asked for last, counted in commits.
    asked: u64,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// Most partitions of the next commit that has this one.
    most: usize,
    /// How often in a row it has failed alone.
    alone: u32,
    /// Not before.
    from: Time,
    /// When it was asked for last, counted in commits.
    asked: u64,
}

impl Together {
    /// When one of these may be committed.
    pub(crate) fn due(&self, dirty: &BTreeSet<Partition>) -> Time {
        if self.suspects.is_empty() {
            return Time::default();
        }
        let from = |partition| self.suspects.get(partition).map(|suspect| suspect.from);
        dirty.iter().map(|partition| from(partition).unwrap_or_default()).min().unwrap_or_default()
    }

    /// Takes out of these the ones that are committed next: those that have waited for the longest, and whoever may be
    /// committed with them. True if others wait for no more than that.
    pub(crate) fn take(&mut self, dirty: &mut BTreeSet<Partition>, now: Time) -> (BTreeSet<Partition>, bool) {
        if self.suspects.is_empty() {
            return (std::mem::take(dirty), false);
        }
        let is_due = |partition: &&Partition| self.suspects.get(partition).is_none_or(|suspect| suspect.from <= now);
        let mut due: Vec<Partition> = dirty.iter().filter(is_due).copied().collect();
        due.sort_by_key(|partition| {
            (self.suspects.get(partition).map_or(self.asked, |suspect| suspect.asked), *partition)
        });
        let most = |partition: &Partition| self.suspects.get(partition).map_or(usize::MAX, |suspect| suspect.most);
        let company = due.first().map_or(usize::MAX, most);
        let taken: BTreeSet<Partition> =
            due.iter().filter(|partition| most(partition) == company).take(company).copied().collect();
        dirty.retain(|partition| !taken.contains(partition));
        self.next += 1;
        for partition in &taken {
            *self.suspects.get_mut(partition).map_or(&mut self.asked, |suspect| &mut suspect.asked) = self.next;
        }
        let others_wait = taken.len() < due.len();
        (taken, others_wait)
    }

    /// A commit of these was not made. True if that says nothing of one alone, so that all had better wait.
    pub(crate) fn failed(&mut self, members: &[Partition], now: Time, backoff: &mut Backoff) -> bool {
        let asked = self.next;
        for partition in members {
            let before = Suspect { most: usize::MAX, alone: 0, from: now, asked };
            let suspect = self.suspects.entry(*partition).or_insert(before);
            suspect.most = (members.len() / 2).max(1);
            if members.len() == 1 {
                suspect.alone = suspect.alone.saturating_add(1);
                suspect.from = now.after(backoff.after(suspect.alone));
            }
        }
        members.len() > 1
    }

    /// A commit with this one was made. True if it was taken for refused.
    pub(crate) fn made(&mut self, partition: Partition) -> bool {
        self.suspects.remove(&partition).is_some_and(|suspect| suspect.alone >= REFUSED_AFTER)
    }

    /// A partition is ours no more.
    pub(crate) fn forget(&mut self, partition: Partition) {
        self.suspects.remove(&partition);
    }

    /// Whether commits of this partition are refused: nothing of it is to begin.
    pub(crate) fn is_refused(&self, partition: Partition) -> bool {
        self.suspects.get(&partition).is_some_and(|suspect| suspect.alone >= REFUSED_AFTER)
    }

    /// The partitions whose commits are refused.
    pub(crate) fn refused(&self) -> impl Iterator<Item = Partition> {
        self.suspects.iter().filter(|(_, suspect)| suspect.alone >= REFUSED_AFTER).map(|(partition, _)| *partition)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(partitions: impl IntoIterator<Item = i32>) -> BTreeSet<Partition> {
        partitions.into_iter().map(Partition).collect()
    }

    fn backoff() -> Backoff {
        Backoff::between(Duration::from_millis(100), Duration::from_secs(10), 1)
    }

    /// Has commits made of 64 partitions, again and again, of which these are at fault; says how many commits it takes until
    /// all others are made.
    fn commits_until_all_others_are_made(faulty: &BTreeSet<Partition>) -> usize {
        let (mut together, mut backoff) = (Together::default(), backoff());
        let (mut dirty, mut made, now) = (of(0..64), BTreeSet::new(), Time::default());
        for commits in 1..=200 {
            let (taken, _) = together.take(&mut dirty, now);
            if taken.is_disjoint(faulty) {
                made.extend(taken.iter().copied());
                taken.iter().for_each(|partition| assert!(!together.made(*partition)));
            } else {
                together.failed(&taken.iter().copied().collect::<Vec<_>>(), now, &mut backoff);
                dirty.extend(taken);
            }
            if made.len() + faulty.len() == 64 {
                return commits;
            }
        }
        200
    }

    #[test]
    fn a_few_commits_find_who_of_64_is_at_fault() {
        assert_eq!(commits_until_all_others_are_made(&of([])), 1);
        assert!(commits_until_all_others_are_made(&of([37])) <= 1 + 2 * 6);
        assert!(commits_until_all_others_are_made(&of([0, 9, 37, 63])) <= 1 + 4 * 2 * 6);
    }

    #[test]
    fn those_that_are_well_are_not_committed_with_a_suspect_and_do_not_wait_for_it() {
        let (mut together, mut backoff, now) = (Together::default(), backoff(), Time::default());
        together.failed(&[Partition(3)], now, &mut backoff);
        let later = now.after(Duration::from_secs(1));
        let mut dirty = of(0..5);
        assert_eq!(together.due(&dirty), now);
        let (first, others_wait) = together.take(&mut dirty, later);
        let (second, _) = together.take(&mut dirty, later);
        assert_eq!((first, others_wait, second), (of([0, 1, 2, 4]), true, of([3])));
    }

    #[test]
    fn one_that_fails_alone_again_and_again_is_refused_and_comes_ever_later() {
        let (mut together, mut backoff, mut now) = (Together::default(), backoff(), Time::default());
        let mut tried = 0;
        while now < Time::default().after(Duration::from_secs(600)) {
            assert_eq!(together.is_refused(Partition(0)), tried >= 3);
            together.failed(&[Partition(0)], now, &mut backoff);
            tried += 1;
            now = together.due(&of([0]));
        }
        assert!((60..200).contains(&tried), "{tried} in ten minutes"); // up to 10 s apart
        assert!(together.made(Partition(0)) && !together.is_refused(Partition(0)));
    }
}
