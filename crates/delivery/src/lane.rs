//! Which record waits for which: a lane for each key, and only its head is under way.

use std::collections::HashMap;

use crate::{Key, Order};

/// Names a lane of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum LaneId {
    /// The lane of all records of the partition.
    Whole,
    /// The lane of a key.
    Key(Key),
}

impl LaneId {
    /// The lane of a record with this key; none if it waits for nothing, and nothing for it.
    pub(crate) fn of(order: Order, key: Option<&Key>) -> Option<Self> {
        match (order, key) {
            (Order::Key, Some(key)) => Some(Self::Key(key.clone())),
            (Order::Partition, _) => Some(Self::Whole),
            (Order::Key, None) | (Order::None, _) => None,
        }
    }
}

/// Where a record came to stand in its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is under way from now on.
    Head,
    /// It waits behind the record with this offset.
    Behind(i64),
    /// It is the first to wait behind a dead letter.
    Blocked,
}

#[derive(Debug)]
struct Lane {
    /// First and last record that are not final. The records between know their successors.
    ends: Option<(i64, i64)>,
    /// A dead letter that the head waits for.
    blocked: bool,
}

/// The lanes of a partition that have a record that is not final, or a dead letter in front.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// Keys come from outside, so that the hasher is a keyed one. It is never iterated over: no order of it can be seen.
    lanes: HashMap<LaneId, Lane>,
}

impl Lanes {
    /// Puts a record at the end of its lane.
    pub(crate) fn join(&mut self, id: LaneId, offset: i64) -> Place {
        let lane = self.lanes.entry(id).or_insert(Lane { ends: None, blocked: false });
        match &mut lane.ends {
            Some((_, last)) => Place::Behind(std::mem::replace(last, offset)),
            None => {
                lane.ends = Some((offset, offset));
                if lane.blocked { Place::Blocked } else { Place::Head }
            }
        }
    }

    /// Whether this record may be under way.
    pub(crate) fn is_head(&self, id: &LaneId, offset: i64) -> bool {
        self.lanes.get(id).is_some_and(|lane| !lane.blocked && lane.ends.is_some_and(|(head, _)| head == offset))
    }

    /// Takes the head out; its successor is the head now. With `block`, that one waits.
    pub(crate) fn leave(&mut self, id: &LaneId, successor: Option<i64>, block: bool) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        lane.ends = match (successor, lane.ends) {
            (Some(head), Some((_, last))) => Some((head, last)),
            (Some(_), None) | (None, _) => None,
        };
        lane.blocked = block;
        if lane.ends.is_none() && !block {
            self.lanes.remove(id);
        }
    }

    /// Has whatever comes into this lane wait for a dead letter before it.
    pub(crate) fn block(&mut self, id: LaneId) {
        self.lanes.entry(id).or_insert(Lane { ends: None, blocked: true }).blocked = true;
    }

    /// Puts a record before all others of a lane that waits; says which one is behind it.
    pub(crate) fn join_first(&mut self, id: LaneId, offset: i64) -> Option<i64> {
        let lane = self.lanes.entry(id).or_insert(Lane { ends: None, blocked: false });
        lane.blocked = false;
        let behind = lane.ends;
        lane.ends = Some((offset, behind.map_or(offset, |(_, last)| last)));
        behind.map(|(head, _)| head)
    }

    /// Takes a whole lane out: its records are elsewhere.
    pub(crate) fn remove(&mut self, id: &LaneId) {
        self.lanes.remove(id);
    }

    /// The record of this lane that is under way, or would be next.
    pub(crate) fn head(&self, id: &LaneId) -> Option<i64> {
        self.lanes.get(id)?.ends.map(|(head, _)| head)
    }

    /// Whether this lane has records.
    pub(crate) fn contains(&self, id: &LaneId) -> bool {
        self.lanes.contains_key(id)
    }

    /// Lets the lane go on behind its dead letter; says which record is under way by it.
    pub(crate) fn unblock(&mut self, id: &LaneId) -> Option<i64> {
        let lane = self.lanes.get_mut(id)?;
        lane.blocked = false;
        let Some((head, _)) = lane.ends else {
            self.lanes.remove(id);
            return None;
        };
        Some(head)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(key: &str) -> LaneId {
        LaneId::Key(key.as_bytes().into())
    }

    #[test]
    fn records_of_a_key_stand_one_behind_another() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.join(lane("a"), 0), Place::Head);
        assert_eq!(lanes.join(lane("b"), 1), Place::Head);
        assert_eq!(lanes.join(lane("a"), 2), Place::Behind(0));
        assert_eq!(lanes.join(lane("a"), 3), Place::Behind(2));

        lanes.leave(&lane("a"), Some(2), false);
        assert!(lanes.is_head(&lane("a"), 2) && !lanes.is_head(&lane("a"), 3));
        assert_eq!(lanes.join(lane("a"), 4), Place::Behind(3));
    }

    #[test]
    fn an_empty_lane_leaves_nothing_behind() {
        let mut lanes = Lanes::default();
        lanes.join(lane("a"), 0);
        lanes.leave(&lane("a"), None, false);
        assert_eq!(lanes.len(), 0);
    }

    #[test]
    fn a_lane_behind_a_dead_letter_waits_until_it_is_let_go() {
        let mut lanes = Lanes::default();
        lanes.join(lane("a"), 0);
        lanes.leave(&lane("a"), None, true);
        assert_eq!(lanes.join(lane("a"), 1), Place::Blocked);
        assert_eq!(lanes.join(lane("a"), 2), Place::Behind(1));
        assert!(!lanes.is_head(&lane("a"), 1));
        assert_eq!(lanes.unblock(&lane("a")), Some(1));
        assert!(lanes.is_head(&lane("a"), 1));
    }
}
