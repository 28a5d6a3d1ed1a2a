//! A partition that is assigned to us: its records, lanes and queues, what is committed of it, why it is not fetched.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::entry::{Entry, Stage};
use crate::frontier::Frontier;
use crate::lane::{LaneId, Lanes, Place};
use crate::park::{Park, ParkLane};
use crate::{
    ByClass, Came, Discarded, Epoch, Final, Key, Mapped, Metadata, Order, Partition, PauseReason, Reason, RecordId,
    Time,
};

/// How much room the metadata must have again, in records under way, before a partition without room is fetched again.
const ROOM_AGAIN: usize = 64;

/// A partition of ours.
#[derive(Debug)]
pub(crate) struct Assigned<R> {
    pub(crate) partition: Partition,
    pub(crate) epoch: Epoch,
    /// Of the topic: goes into the metadata.
    pub(crate) partitions: u32,
    /// How what was sent before us was mapped; none if nothing was.
    pub(crate) mapped_before: Option<Mapped>,

    /// What is under way, by offset. Never iterated over.
    pub(crate) entries: HashMap<i64, Entry<R>>,
    pub(crate) frontier: Frontier,
    pub(crate) lanes: Lanes,
    pub(crate) park: Park,
    /// The last record that an earlier owner parked. One before it may be unfinished, of the same key, and not fetched yet:
    /// nothing is recalled before all of those are met.
    pub(crate) parked_before: Option<i64>,
    /// How many records of the park are asked for, or under way.
    pub(crate) recalled: usize,
    /// Replayed records that are under way.
    pub(crate) replayed: BTreeSet<i64>,
    /// The newest record of each key that has ended with what may be an effect, and perhaps not durably so: known from the
    /// first replayed record on.
    pub(crate) newest: Option<HashMap<Key, i64>>,
    /// How many records have no lane.
    pub(crate) laneless: usize,
    /// Heads of lanes that wait for their turn.
    pub(crate) to_prepare: BTreeSet<i64>,
    pub(crate) to_send: ByClass<VecDeque<i64>>,
    /// Heads of lanes that wait until a commit is made.
    pub(crate) at_commit: VecDeque<i64>,
    pub(crate) preparing: usize,
    pub(crate) in_flight: usize,
    /// How many records were prepared at least once.
    pub(crate) begun: usize,
    /// Of the entries, in the window.
    pub(crate) bytes: usize,

    /// What an earlier owner may have sent may still be under way until then.
    pub(crate) unknown_until: Time,
    /// What is not final below this may have been sent by an earlier owner.
    pub(crate) inherited_ceiling: i64,
    /// The send ceiling that a commit of ours made durable: nothing at or above it is sent. Before the first commit that is
    /// nothing: only a commit shows that the group takes us for the owner.
    pub(crate) ceiling: i64,
    /// A commit of ours was made.
    pub(crate) confirmed: bool,
    /// The durable committed offset.
    pub(crate) committed: i64,
    /// What is final, and not in a commit yet.
    pub(crate) finals: Vec<Final<R>>,
    pub(crate) finals_bytes: usize,
    /// Dead letters that were given up, and are not in a commit yet.
    pub(crate) discarded: Vec<Discarded>,
    pub(crate) committing: Option<Committing<R>>,

    /// Failing records that people are shown, and those of them that keep it from being fetched.
    pub(crate) stuck: BTreeSet<i64>,
    pub(crate) unparkable: BTreeSet<i64>,
    /// The dead letter that holds it, where records wait for each other.
    pub(crate) held: Option<i64>,
    /// The dead letter that held it when it came to us.
    pub(crate) held_before: Option<i64>,
    /// The metadata has no room.
    pub(crate) cramped: bool,
    /// It has more than its part of the window.
    pub(crate) greedy: bool,
    /// It does nothing any more, for this reason.
    pub(crate) halted: Option<PauseReason>,
    /// What the shell was told last.
    pub(crate) told: Option<PauseReason>,
    pub(crate) leaving: Option<Leaving>,
}

/// What was asked to be made durable of a partition.
#[derive(Debug)]
pub(crate) struct Committing<R> {
    pub(crate) offset: i64,
    pub(crate) ceiling: i64,
    pub(crate) finals: Vec<Final<R>>,
    pub(crate) finals_bytes: usize,
    pub(crate) discarded: Vec<Discarded>,
    /// It is the last one of a partition that leaves.
    pub(crate) closing: bool,
}

/// How a partition leaves us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaving {
    pub(crate) deadline: Time,
    /// All that could be committed is.
    pub(crate) closed: bool,
    /// The group waits to be told.
    pub(crate) revoked: bool,
}

/// What keeps a partition from being fetched that is not its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) window_full: bool,
    pub(crate) park_full: bool,
    pub(crate) commits_refused: bool,
    pub(crate) outage: Option<&'a Reason>,
    pub(crate) by: Option<&'a str>,
}

impl<R> Assigned<R> {
    pub(crate) fn new(partition: Partition, epoch: Epoch, partitions: u32, committed: i64) -> Self {
        Self {
            partition,
            epoch,
            partitions,
            mapped_before: None,
            entries: HashMap::new(),
            frontier: Frontier::fresh(committed),
            lanes: Lanes::default(),
            park: Park::default(),
            parked_before: None,
            recalled: 0,
            replayed: BTreeSet::new(),
            newest: None,
            laneless: 0,
            to_prepare: BTreeSet::new(),
            to_send: ByClass::default(),
            at_commit: VecDeque::new(),
            preparing: 0,
            in_flight: 0,
            begun: 0,
            bytes: 0,
            unknown_until: Time::default(),
            inherited_ceiling: committed,
            ceiling: committed,
            confirmed: false,
            committed,
            finals: Vec::new(),
            finals_bytes: 0,
            discarded: Vec::new(),
            committing: None,
            stuck: BTreeSet::new(),
            unparkable: BTreeSet::new(),
            held: None,
            held_before: None,
            cramped: false,
            greedy: false,
            halted: None,
            told: None,
            leaving: None,
        }
    }

    /// Takes over what an earlier owner committed, or halts where that cannot be taken over.
    pub(crate) fn inherit(&mut self, metadata: &str, unknown_until: Time) {
        let metadata = match Metadata::parse(metadata) {
            Ok(metadata) if metadata.base == self.committed => metadata,
            Ok(metadata) => {
                let what =
                    format!("it was written beside offset {}, and stands beside {}", metadata.base, self.committed);
                self.halted = Some(PauseReason::MetadataUnreadable { what });
                return;
            }
            Err(error) => {
                self.halted = Some(PauseReason::MetadataUnreadable { what: error.to_string() });
                return;
            }
        };
        if metadata.partitions != self.partitions {
            self.halted = Some(PauseReason::PartitionsChanged { was: metadata.partitions, is: self.partitions });
        }
        self.mapped_before = Some(metadata.mapped);
        self.frontier = Frontier::inherit(&metadata);
        self.inherited_ceiling = metadata.ceiling;
        self.unknown_until = unknown_until;
    }

    /// What earlier owners sent may have been mapped otherwise than by this, below this offset.
    pub(crate) fn otherwise_below(&self, fingerprint: u64) -> i64 {
        self.mapped_before.map_or(0, |before| {
            if before.fingerprint == fingerprint { before.otherwise_below } else { self.inherited_ceiling }
        })
    }

    /// Takes a record in, at the end of its lane; says where it stands there.
    pub(crate) fn take_in(&mut self, order: Order, offset: i64, entry: Entry<R>) -> Place {
        let place = match LaneId::of(order, entry.key.as_ref()) {
            Some(lane) => self.lanes.join(lane, offset),
            None => {
                self.laneless += 1;
                Place::Head
            }
        };
        self.bytes += entry.bytes;
        self.entries.insert(offset, entry);
        place
    }

    /// Whether a record that was fetched has to be parked behind others of its key.
    pub(crate) fn is_blocked(&self, key: Option<&Key>, offset: i64) -> bool {
        if self.park.is_empty() {
            return false;
        }
        let live = LaneId::of(Order::Key, key).is_some_and(|lane| self.lanes.contains(&lane));
        self.park.blocks(&ParkLane::of(Order::Key, key, offset), live)
    }

    /// Whether a dead letter is under way again, or something has become of it that is not durable yet: who asks does not
    /// know that.
    pub(crate) fn is_dealt_with(&self, lane: &ParkLane, offset: i64) -> bool {
        let committing = self.committing.iter().flat_map(|committing| &committing.discarded);
        let discarded = self.discarded.iter().chain(committing).any(|discarded| discarded.id.offset == offset);
        let committing = self.committing.iter().flat_map(|committing| &committing.finals);
        let ended = self.finals.iter().chain(committing).any(|ended| ended.id.offset == offset);
        discarded || ended || self.park.contains(lane, offset) || self.entries.contains_key(&offset)
    }

    pub(crate) fn id(&self, offset: i64) -> RecordId {
        RecordId { epoch: self.epoch, partition: self.partition, offset }
    }

    /// Whether it takes records in, and prepares and sends them.
    pub(crate) fn is_working(&self) -> bool {
        self.halted.is_none() && self.leaving.is_none()
    }

    /// How many records of it the shell has, or has made ready to be sent.
    pub(crate) fn under_way(&self) -> usize {
        self.preparing + self.to_send.live.len() + self.to_send.replayed.len() + self.in_flight
    }

    /// The next record to prepare: the lowest that waits, so that what is final has few holes and the metadata room. Where
    /// it has none for more under way, only the lowest one of all may be, whose end makes room.
    ///
    /// During an outage one that has not failed goes first: it may be of a key that works.
    pub(crate) fn next_to_prepare(&mut self, probing: bool) -> Option<i64> {
        let mut waiting = self.to_prepare.iter().copied();
        let next = if !self.frontier.has_room(self.begun) {
            self.frontier.oldest().filter(|oldest| self.to_prepare.contains(oldest))
        } else if probing {
            let is_untried = |offset: &i64| self.entries.get(offset).is_some_and(|entry| entry.failing.is_none());
            waiting.clone().find(is_untried).or_else(|| waiting.next())
        } else {
            waiting.next()
        };
        next.filter(|next| self.to_prepare.remove(next))
    }

    /// What it has in the window: records, and their bytes.
    pub(crate) fn in_window(&self) -> (usize, usize) {
        let committing = self.committing.as_ref().map_or((0, 0), |asked| (asked.finals.len(), asked.finals_bytes));
        let records = self.entries.len() + self.finals.len() + committing.0;
        (records, self.bytes + self.finals_bytes + committing.1)
    }

    /// Looks whether the metadata has room for more. True if that has changed.
    pub(crate) fn measure_room(&mut self) -> bool {
        let cramped = !self.frontier.has_room(self.begun + if self.cramped { ROOM_AGAIN } else { 0 });
        std::mem::replace(&mut self.cramped, cramped) != cramped
    }

    /// Why nothing is fetched from it, the gravest reason first.
    ///
    /// An outage by itself is none: fetching goes on until as much is under way as may be, so that a key that works is not
    /// kept from showing it by others that do not.
    pub(crate) fn pause_reason(&self, around: &Around<'_>) -> Option<PauseReason> {
        if let Some(reason) = &self.halted {
            return Some(reason.clone());
        }
        if around.commits_refused {
            return Some(PauseReason::NotCommitted);
        }
        if let Some(by) = around.by {
            return Some(PauseReason::ByOrder { by: by.to_owned() });
        }
        if let Some(dead) = self.held {
            return Some(PauseReason::Held { id: self.id(dead) });
        }
        if let Some((offset, failing)) = self.unparkable.first().and_then(|offset| {
            let failing = self.entries.get(offset)?.failing.as_ref()?;
            Some((*offset, failing))
        }) {
            return Some(PauseReason::OutOfPatience { id: self.id(offset), reason: failing.reason.clone() });
        }
        // What is parked may wait for older records to be fetched: then those come first.
        if around.park_full && !self.park.is_empty() && self.parked_before.is_none() {
            return Some(PauseReason::ParkFull);
        }
        let full = around.window_full || self.cramped || self.greedy;
        full.then(|| around.outage.map_or(PauseReason::Window, |reason| PauseReason::Outage { reason: reason.clone() }))
    }

    /// Whether a record may be sent, as far as commits go: then whoever comes after us knows that it may have been.
    ///
    /// What does not come from the log itself is known by other marks, that are durable before it comes. But an owner that
    /// was put out of the group, and has not heard so, reads them as the next owner wrote them, and would send beside that
    /// one: so nothing is sent before a commit was made.
    pub(crate) fn is_covered(&self, offset: i64, came: Came) -> bool {
        match came {
            Came::Fetched => offset < self.ceiling,
            Came::Parked | Came::Redriven | Came::Replayed => self.confirmed,
        }
    }

    /// Has a record wait until a commit is made.
    pub(crate) fn wait_at_commit(&mut self, offset: i64) {
        let Some(entry) = self.entries.get_mut(&offset) else { return };
        entry.stage = Stage::AtCommit;
        self.at_commit.push_back(offset);
    }

    /// The ceiling beside the committed offset: ours, or that of the owner before us.
    pub(crate) fn ceiling_that_stands(&self) -> i64 {
        if self.confirmed { self.ceiling } else { self.inherited_ceiling }
    }

    /// Up to where we may send, or have asked to.
    pub(crate) fn ceiling_asked(&self) -> i64 {
        self.committing.as_ref().map_or(self.ceiling, |committing| committing.ceiling)
    }

    /// The lowest ceiling that tells the truth once nothing more is sent: the next owner has to wait for nothing else.
    pub(crate) fn ceiling_at_close(&self) -> i64 {
        if self.frontier.next() < self.inherited_ceiling {
            return self.inherited_ceiling;
        }
        let unknown = |offset: &i64| self.entries.get(offset).is_some_and(|entry| entry.maybe_applied);
        let highest = self.frontier.unfinished().filter(unknown).last();
        highest.map_or(self.frontier.lowest(), |offset| offset + 1)
    }
}
