//! What is parked of a partition: an index, since the records themselves lie in a topic.
//!
//! A lane is a key, or a record that waits alone. Its records come up in the order of their offsets, one after another, and
//! while one is under way or a dead letter holds the lane, none does.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Key, Order, ParkedAt, Time};

/// What is parked together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ParkLane {
    /// All records of a key.
    Key(Key),
    /// One record: of no key, or where records do not wait for each other.
    Alone(i64),
}

impl ParkLane {
    pub(crate) fn of(order: Order, key: Option<&Key>, offset: i64) -> Self {
        match (order, key) {
            (Order::Key | Order::Partition, Some(key)) => Self::Key(key.clone()),
            (Order::Key | Order::Partition, None) | (Order::None, _) => Self::Alone(offset),
        }
    }
}

/// The parked records of a lane.
#[derive(Debug, Default)]
struct Parked {
    /// Those that are not under way.
    offsets: BTreeSet<i64>,
    /// The one that was asked for, or is under way.
    recalled: Option<i64>,
    /// It is there, so that live records can wait behind it in memory.
    arrived: bool,
    /// The dead letter that holds the lane, or that the next record which is done makes moot.
    held: Option<i64>,
    /// The first one is not tried before.
    retry_at: Time,
    /// The last call that had been sent when the first one was parked; none, if that was not here.
    parked_at: u64,
    /// The last call that had worked when it counted for an outage.
    counted: Option<u64>,
    /// Its records, and dead letters before them, that are not durable yet as they stand here, and how often.
    unwritten: BTreeMap<i64, usize>,
    /// The dead letter that held the lane and was given up, which is not durable yet.
    let_go: Option<i64>,
    /// An earlier owner may have tried what is below this.
    unknown_below: i64,
    /// Somebody has paused its key.
    paused: bool,
    /// Live records of its key are under way: they are older, or it is none's turn yet.
    live: bool,
}

impl Parked {
    fn next(&self, supersedes: bool) -> Option<(Time, i64)> {
        let held = self.held.is_some() && !supersedes;
        let may = self.recalled.is_none() && !held && !self.live && !self.paused;
        let first = self.offsets.first().filter(|_| may)?;
        // What comes behind it is not waited for: a key with much traffic would never come up.
        let durable = self.unwritten.first_key_value().is_none_or(|(unwritten, _)| unwritten > first);
        durable.then_some((self.retry_at, *first))
    }

    fn is_over(&self) -> bool {
        self.offsets.is_empty()
            && self.recalled.is_none()
            && self.held.is_none()
            && self.unwritten.is_empty()
            && !self.paused
    }
}

/// All that is parked of a partition.
#[derive(Debug, Default)]
pub(crate) struct Park {
    /// A dead letter keeps nothing from coming up; a newer record makes it moot.
    pub(crate) supersedes: bool,
    lanes: BTreeMap<ParkLane, Parked>,
    /// The lanes with a record that may come up, by the time at which it may.
    due: BTreeSet<(Time, ParkLane)>,
    /// The lanes of the records that were asked for, or are under way.
    recalled: BTreeMap<i64, ParkLane>,
    records: usize,
    held: usize,
}

impl Park {
    /// Takes over a record that an earlier owner has parked. [`Park::inherited`] follows when all are there.
    pub(crate) fn inherit(&mut self, lane: ParkLane, parked: &ParkedAt, now: Time) {
        self.change(lane, |lane| {
            let first = lane.offsets.first().is_none_or(|first| parked.offset < *first);
            lane.offsets.insert(parked.offset);
            if first {
                lane.retry_at = now.after(parked.retry_after);
            }
            // What the first one says goes for the lane: those behind it come up when it is done, at no time of their own.
            if first {
                lane.unknown_below = match (parked.maybe_tried, parked.unknown_below) {
                    (true, _) => i64::MAX,
                    (false, below) => below.unwrap_or(i64::MIN),
                };
            }
        });
    }

    /// All that an earlier owner has parked is there: what it may have tried lies below this.
    pub(crate) fn inherited(&mut self) {
        for lane in self.lanes.values_mut() {
            let end = lane.offsets.last().map_or(i64::MIN, |last| last + 1);
            lane.unknown_below = lane.unknown_below.min(end);
        }
    }

    /// Holds a lane behind a dead letter.
    pub(crate) fn hold(&mut self, lane: ParkLane, dead: i64) {
        self.change(lane, |lane| lane.held = Some(dead));
    }

    /// The dead letter that a record of this lane, which is at its end, makes moot. It is no longer known here.
    pub(crate) fn supersede(&mut self, lane: &ParkLane, by: i64) -> Option<i64> {
        let moot = self.lanes.get(lane)?.held.filter(|dead| self.supersedes && *dead < by)?;
        self.change(lane.clone(), |lane| lane.held = None);
        Some(moot)
    }

    /// Lets a lane go that this dead letter holds. It goes on when [`Park::written`] says that this is durable.
    pub(crate) fn unhold(&mut self, lane: ParkLane, dead: i64, now: Time) {
        let goes_on = self.supersedes;
        self.change(lane, |lane| {
            if goes_on {
                lane.held = lane.held.filter(|held| *held != dead);
                return; // It goes on already: nothing waits for this.
            }
            *lane.unwritten.entry(dead).or_default() += 1;
            if lane.held == Some(dead) {
                lane.held = None;
                lane.let_go = Some(dead);
                lane.retry_at = now;
            }
        });
    }

    /// Parks a record. It counts from when [`Park::written`] says that it is durable.
    pub(crate) fn put(&mut self, lane: ParkLane, offset: i64, retry_at: Time, calls: u64) {
        self.recalled.remove(&offset);
        self.change(lane, |lane| {
            lane.held = lane.held.filter(|dead| *dead != offset);
            lane.recalled = lane.recalled.filter(|recalled| *recalled != offset);
            if lane.offsets.first().is_none_or(|first| offset < *first) {
                lane.retry_at = retry_at;
                lane.parked_at = calls;
            }
            lane.offsets.insert(offset);
            *lane.unwritten.entry(offset).or_default() += 1;
        });
    }

    /// A record that was put, or has ended, is durable so.
    pub(crate) fn written(&mut self, lane: ParkLane, offset: i64) {
        self.change(lane, |lane| {
            if let Some(times) = lane.unwritten.get_mut(&offset) {
                *times -= 1;
                if *times == 0 {
                    lane.unwritten.remove(&offset);
                    lane.let_go = lane.let_go.filter(|dead| *dead != offset);
                }
            }
        });
    }

    /// The first record that may come up by now is asked for.
    pub(crate) fn recall(&mut self, now: Time) -> Option<i64> {
        let (at, lane) = self.due.first()?.clone();
        if at > now {
            return None;
        }
        let mut recalled = None;
        self.change(lane.clone(), |lane| {
            recalled = lane.offsets.pop_first();
            lane.recalled = recalled;
            lane.arrived = false;
        });
        self.recalled.extend(recalled.map(|offset| (offset, lane)));
        recalled
    }

    /// A record that was asked for cannot be had before this.
    pub(crate) fn recall_failed(&mut self, lane: ParkLane, offset: i64, retry_at: Time) {
        self.recalled.remove(&offset);
        self.change(lane, |lane| {
            if lane.recalled == Some(offset) {
                lane.recalled = None;
                lane.offsets.insert(offset);
                lane.retry_at = retry_at;
            }
        });
    }

    /// A recalled record is final: the next one may come up; if that is to be `durable` first, when it is written.
    pub(crate) fn end(&mut self, lane: ParkLane, offset: i64, now: Time, durable: bool) {
        self.recalled.remove(&offset);
        self.change(lane, |lane| {
            if durable {
                *lane.unwritten.entry(offset).or_default() += 1;
            }
            if lane.recalled == Some(offset) {
                lane.recalled = None;
                lane.retry_at = now;
            }
        });
    }

    /// The record that was asked for is there.
    pub(crate) fn arrived(&mut self, lane: &ParkLane) {
        if let Some(parked) = self.lanes.get_mut(lane) {
            parked.arrived = true;
        }
    }

    /// Whether a live record of this lane has to be parked behind what is there. `live` says whether others are under way:
    /// behind those it waits, even if its key is paused.
    pub(crate) fn blocks(&self, lane: &ParkLane, live: bool) -> bool {
        self.lanes.get(lane).is_some_and(|parked| {
            let held = (parked.held.is_some() && !self.supersedes) || parked.let_go.is_some();
            let awaited = parked.recalled.is_some() && !parked.arrived;
            !parked.offsets.is_empty() || held || (parked.paused && !live) || awaited
        })
    }

    /// Keeps a lane from coming up, or lets it.
    pub(crate) fn pause(&mut self, lane: &ParkLane, paused: bool) {
        self.change(lane.clone(), |lane| lane.paused = paused);
    }

    /// Notes whether live records of this lane are under way.
    pub(crate) fn note_live(&mut self, lane: &ParkLane, live: bool) {
        if self.lanes.get(lane).is_some_and(|parked| parked.live != live) {
            self.change(lane.clone(), |parked| parked.live = live);
        }
    }

    /// Whether this record is parked, or under way from there.
    pub(crate) fn contains(&self, lane: &ParkLane, offset: i64) -> bool {
        self.lanes.get(lane).is_some_and(|parked| parked.offsets.contains(&offset) || parked.recalled == Some(offset))
    }

    /// Whether an earlier owner may have tried this record.
    pub(crate) fn is_unknown(&self, lane: &ParkLane, offset: i64) -> bool {
        self.lanes.get(lane).is_some_and(|parked| offset < parked.unknown_below)
    }

    /// Up to where an earlier owner may have tried the records of this lane, if it may have tried any behind this one.
    pub(crate) fn unknown_below(&self, lane: &ParkLane, offset: i64) -> Option<i64> {
        self.lanes.get(lane).map(|parked| parked.unknown_below).filter(|below| *below > offset)
    }

    /// The last call that had been sent when the first record of this lane was parked.
    pub(crate) fn parked_at(&self, lane: &ParkLane) -> u64 {
        self.lanes.get(lane).map_or(0, |parked| parked.parked_at)
    }

    /// Counts a failure of this lane for an outage. False if one was counted already since that worked.
    pub(crate) fn count_failure(&mut self, lane: &ParkLane, worked_call: u64) -> bool {
        let counted = self.lanes.get_mut(lane).and_then(|parked| parked.counted.replace(worked_call));
        counted != Some(worked_call)
    }

    /// The lane of a record that was asked for.
    pub(crate) fn lane_of_recalled(&self, offset: i64) -> Option<ParkLane> {
        self.recalled.get(&offset).cloned()
    }

    /// Whether this dead letter is the last one of its lane, and no newer record was done since.
    pub(crate) fn is_held_by(&self, lane: &ParkLane, dead: i64) -> bool {
        self.lanes.get(lane).is_some_and(|parked| parked.held == Some(dead))
    }

    /// Whether anything of this lane is parked or held.
    pub(crate) fn has(&self, lane: &ParkLane) -> bool {
        self.lanes.contains_key(lane)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// When the next record may come up.
    pub(crate) fn next_at(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Records that are parked, with those under way from there.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Lanes that a dead letter holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Changes a lane, and keeps what is counted and what is due true.
    fn change(&mut self, id: ParkLane, change: impl FnOnce(&mut Parked)) {
        let lane =
            self.lanes.entry(id.clone()).or_insert_with(|| Parked { unknown_below: i64::MIN, ..Parked::default() });
        let count = |lane: &Parked| lane.offsets.len() + usize::from(lane.recalled.is_some());
        let (due, records, held) = (lane.next(self.supersedes), count(lane), lane.held.is_some());
        change(lane);
        self.records = self.records - records + count(lane);
        self.held = self.held - usize::from(held) + usize::from(lane.held.is_some());
        let next = lane.next(self.supersedes);
        if lane.is_over() {
            self.lanes.remove(&id);
        }
        if let Some((at, _)) = due {
            self.due.remove(&(at, id.clone()));
        }
        if let Some((at, _)) = next {
            self.due.insert((at, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lane() -> ParkLane {
        ParkLane::Key(b"acme"[..].into())
    }

    fn at(secs: u64) -> Time {
        Time(Duration::from_secs(secs))
    }

    fn parked(offset: i64, secs: u64, maybe_tried: bool) -> ParkedAt {
        ParkedAt { offset, key: None, retry_after: Duration::from_secs(secs), maybe_tried, unknown_below: None }
    }

    #[test]
    fn records_come_up_in_order_when_the_one_before_is_durable() {
        let mut park = Park::default();
        park.put(lane(), 3, at(60), 0);
        park.put(lane(), 7, at(0), 0);
        assert_eq!(park.recall(at(100)), None); // not durable yet
        park.written(lane(), 3);
        park.written(lane(), 7);
        assert_eq!((park.recall(at(59)), park.recall(at(60)), park.recall(at(60))), (None, Some(3), None));
        assert!(park.blocks(&lane(), false));
        park.end(lane(), 3, at(61), false);
        assert_eq!(park.recall(at(61)), Some(7));
        assert!(park.blocks(&lane(), false)); // it is on its way
        park.arrived(&lane());
        assert!(!park.blocks(&lane(), false)); // what comes now waits for it in memory
        park.end(lane(), 7, at(62), false);
        assert_eq!((park.lanes(), park.records(), park.next_at()), (0, 0, None));
    }

    #[test]
    fn a_held_lane_waits_and_a_redriven_record_comes_first() {
        let mut park = Park::default();
        park.hold(lane(), 3);
        park.put(lane(), 7, at(0), 0);
        park.written(lane(), 7);
        assert_eq!(park.recall(at(100)), None);
        park.put(lane(), 3, at(0), 0);
        assert_eq!(park.recall(at(100)), None);
        park.written(lane(), 3);
        assert_eq!((park.recall(at(100)), park.held()), (Some(3), 0));
    }

    #[test]
    fn behind_a_dead_letter_that_was_discarded_the_lane_goes_on_when_that_is_durable() {
        let mut park = Park::default();
        park.hold(lane(), 3);
        park.put(lane(), 7, at(0), 0);
        park.written(lane(), 7);
        park.unhold(lane(), 3, at(1));
        assert_eq!(park.recall(at(100)), None);
        park.written(lane(), 3);
        assert_eq!(park.recall(at(100)), Some(7));
    }

    #[test]
    fn what_an_earlier_owner_may_have_tried_is_the_whole_lane_or_nothing_of_it() {
        for tried in [true, false] {
            for order in [[3, 7], [7, 3]] {
                let mut park = Park::default();
                for offset in order {
                    park.inherit(lane(), &parked(offset, 0, tried || offset == 7), at(0));
                }
                park.inherited();
                assert_eq!((park.is_unknown(&lane(), 3), park.is_unknown(&lane(), 7)), (tried, tried), "{order:?}");
                assert_eq!((park.is_unknown(&lane(), 8), park.unknown_below(&lane(), 3)), (false, tried.then_some(8)));
            }
        }
    }

    #[test]
    fn live_records_of_the_key_come_first() {
        let mut park = Park::default();
        park.put(lane(), 3, at(0), 0);
        park.written(lane(), 3);
        park.note_live(&lane(), true);
        assert_eq!(park.recall(at(1)), None);
        park.note_live(&lane(), false);
        assert_eq!(park.recall(at(1)), Some(3));
    }
}
