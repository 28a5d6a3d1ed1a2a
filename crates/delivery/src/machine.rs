//! The machine: takes what happened, and is asked what is to be done until there is nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use crate::breaker::Breaker;
use crate::commit::Commits;
use crate::concurrency::Concurrency;
use crate::partition::Assigned;
use crate::retry::Backoff;
use crate::turns::Turns;
use crate::window::Window;
use crate::{ByClass, Class, Input, Key, Output, ParkedState, Partition, RecordId, Replayed, Settings, Time};

/// One consumer in one process: all partitions that it owns, and all records under way.
///
/// It is told what happens by [`Machine::handle`], and after each such time asked by [`Machine::poll`], again and again,
/// until the answer is [`Output::Wait`]. It never calls out, has no clock and no dice of its own; the same inputs give
/// the same outputs.
///
/// ```
/// use std::time::Duration;
/// use tieline_delivery::{
///     Answer, AttemptLog, Epoch, Input, Machine, OnDeadLetter, Order, Output, Partition, Prepared, RecordId, Settings, Time,
/// };
///
/// let settings = Settings {
///     order: Order::Key,
///     on_dead_letter: OnDeadLetter::Hold,
///     in_flight_max: 64,
///     adapts: true,
///     repeats_max: 256,
///     window_records_max: 10_000,
///     window_bytes_max: 64 << 20,
///     patience: Duration::from_secs(30),
///     park_schedule: [60, 300, 1_800, 7_200, 21_600].map(Duration::from_secs).to_vec(),
///     give_up_after: Duration::from_secs(72 * 3_600),
///     parked_keys_max: 100_000,
///     parked_records_max: 1_000_000,
///     backoff_min: Duration::from_millis(100),
///     backoff_max: Duration::from_secs(10),
///     request_deadline: Duration::from_secs(10),
///     commit_every: Duration::from_millis(250),
///     retry_after_max: Duration::from_secs(3_600),
///     fingerprint: 0xC0FFEE,
///     seed: 7,
/// };
/// let mut now = Time::default();
/// let mut machine = Machine::new(settings, now);
///
/// let (epoch, partition) = (Epoch(1), Partition(0));
/// machine.handle(
///     now,
///     Input::Assigned {
///         epoch,
///         partition,
///         offset: 40,
///         metadata: String::new(),
///         partitions: 6,
///         parked: vec![],
///         held: vec![],
///     },
/// );
/// let id = RecordId { epoch, partition, offset: 40 };
/// machine.handle(now, Input::Fetched { id, key: Some(b"acme"[..].into()), bytes: 5, record: "a won deal" });
///
/// let mut committed = 40;
/// while committed < 41 {
///     match machine.poll(now) {
///         Output::Prepare { id, attempt, record, .. } => {
///             assert_eq!(record, "a won deal"); // decode, filter, look up, map, validate
///             machine.handle(now, Input::Prepared { id, attempt, outcome: Prepared::Call });
///         }
///         Output::Send { id, attempt, .. } => {
///             let log = AttemptLog { at_ms: 0, status: Some(201), excerpt: String::new() };
///             machine.handle(now, Input::Answered { id, attempt, answer: Answer::Applied, log });
///         }
///         Output::Commit(commit) => {
///             committed = commit.offsets[0].offset; // the finals, the offsets and their metadata, all or nothing
///             machine.handle(now, Input::Committed { commit: commit.id });
///         }
///         Output::Wait { until } => now = until.expect("a commit is due"),
///         Output::Recall { id } => unreachable!("{id:?}: nothing is parked"),
///         Output::Pause { .. } | Output::Resume { .. } | Output::Released { .. } | Output::Drained => {}
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Machine<R> {
    pub(crate) settings: Settings,
    pub(crate) now: Time,
    pub(crate) partitions: BTreeMap<Partition, Assigned<R>>,
    pub(crate) window: Window,
    pub(crate) backoff: Backoff,
    pub(crate) commits: Commits,
    /// Records that rest, by the time at which they go on.
    pub(crate) timers: BinaryHeap<Reverse<(Time, RecordId)>>,
    /// Partitions with something to prepare, by how much they have under way; with something to send, by how many calls.
    pub(crate) prepare_turns: Turns,
    pub(crate) send_turns: ByClass<Turns>,
    /// Nothing is prepared, nothing is sent before: a system named this time.
    pub(crate) prepare_from: Time,
    pub(crate) send_from: Time,
    /// The limits of the system have room for a call.
    pub(crate) has_room: bool,
    pub(crate) preparing: usize,
    /// Records that wait to be sent.
    pub(crate) prepared: ByClass<usize>,
    pub(crate) in_flight: usize,
    /// Records of the park that are asked for or under way, and when the next ones of a partition may be.
    pub(crate) recalled: usize,
    pub(crate) recalls: BTreeSet<(Time, Partition)>,
    /// As many records are parked as may be.
    pub(crate) park_full: bool,
    /// Replayed records that are under way.
    pub(crate) replayed: usize,
    pub(crate) breaker: Breaker,
    pub(crate) concurrency: Concurrency,
    /// What was paused by order of somebody: all, and by which order; keys.
    pub(crate) paused_by: Option<String>,
    pub(crate) paused_keys: BTreeSet<Key>,
    /// The number of the last call that was sent, and of the last one that was sent of those that worked. When that was heard
    /// of says little: it may have been sent before the system failed.
    pub(crate) calls: u64,
    pub(crate) worked_call: u64,
    /// Partitions whose reason to pause may have changed since the shell was told.
    pub(crate) pauses: BTreeSet<Partition>,
    pub(crate) leaving: BTreeSet<Partition>,
    /// Partitions that the group takes back, and that are not ours.
    pub(crate) released: VecDeque<Partition>,
    pub(crate) drain: Drain,
    pub(crate) stale_inputs: u64,
}

/// Whether the machine is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    No,
    Until(Time),
    Over,
}

impl<R: Clone> Machine<R> {
    /// Makes one that owns nothing.
    #[must_use]
    pub fn new(settings: Settings, now: Time) -> Self {
        Self {
            now,
            partitions: BTreeMap::new(),
            window: Window::new(settings.window_records_max, settings.window_bytes_max),
            backoff: Backoff::new(&settings),
            commits: Commits::new(now),
            timers: BinaryHeap::new(),
            prepare_turns: Turns::default(),
            send_turns: ByClass::default(),
            prepare_from: now,
            send_from: now,
            has_room: true,
            preparing: 0,
            prepared: ByClass::default(),
            in_flight: 0,
            recalled: 0,
            recalls: BTreeSet::new(),
            park_full: false,
            replayed: 0,
            breaker: Breaker::new(now),
            concurrency: Concurrency::new(settings.in_flight_max, settings.adapts, now),
            paused_by: None,
            paused_keys: BTreeSet::new(),
            calls: 0,
            worked_call: 0,
            pauses: BTreeSet::new(),
            leaving: BTreeSet::new(),
            released: VecDeque::new(),
            drain: Drain::No,
            stale_inputs: 0,
            settings,
        }
    }

    /// Takes in what happened. Time does not go back: an earlier `now` is taken for the latest one.
    pub fn handle(&mut self, now: Time, input: Input<R>) {
        self.now = self.now.max(now);
        if let Some(id) = record_of(&input)
            && !self.is_current(id)
        {
            // Of an assignment that is over: whatever it says, it counts no more.
            self.stale_inputs += 1;
            return;
        }
        match input {
            Input::Assigned { epoch, partition, offset, metadata, partitions, parked, held } => {
                self.assigned(epoch, partition, offset, &metadata, partitions);
                self.inherit_park(partition, epoch, &parked, held);
            }
            Input::Revoke { partition, deadline } => self.revoke(partition, deadline),
            Input::Lost { partition } => self.forget(partition),
            Input::Drain { deadline } => self.drain(deadline),
            Input::Fetched { id, key, bytes, record } => self.fetched(id, key, bytes, record),
            Input::Recalled { id, bytes, record, state, attempts, has_request } => {
                self.recalled(id, bytes, record, state, attempts, has_request);
            }
            Input::RecallFailed { id } => self.recall_failed(id),
            Input::Redrive { id, key, bytes, record, maybe_applied, attempts_total, attempts } => {
                let state = ParkedState { attempts_total, maybe_applied, ..ParkedState::default() };
                self.redrive(id, key, bytes, record, state, attempts);
            }
            Input::Replay(replayed) => self.replay(replayed),
            Input::WriteBeside { partition, epoch } => self.write_beside(partition, epoch),
            Input::PauseAll { by } => self.pause_all(Some(by)),
            Input::ResumeAll => self.pause_all(None),
            Input::PauseKey { key } => self.pause_key(&key),
            Input::ResumeKey { key } => self.resume_key(&key),
            Input::Bury { id } => self.bury_kept(id),
            Input::Discard { id, key } => self.discard(id, key),
            Input::Prepared { id, attempt, outcome } => self.prepared(id, attempt, outcome),
            Input::Answered { id, attempt, answer, log } => self.answered(id, attempt, answer, log),
            Input::Committed { commit } => self.committed(commit),
            Input::CommitFailed { commit, in_rebalance } => self.commit_failed(commit, in_rebalance),
            Input::Limits { room } => self.has_room = room,
            Input::Tick => {}
        }
        self.check_counts();
    }

    /// Says what is to be done next. To be asked until it answers [`Output::Wait`].
    pub fn poll(&mut self, now: Time) -> Output<R> {
        self.now = self.now.max(now);
        self.wake_rested();
        self.next_pause()
            .or_else(|| self.next_commit())
            .or_else(|| self.next_release())
            .or_else(|| self.next_send())
            .or_else(|| self.next_prepare())
            .or_else(|| self.next_recall())
            .unwrap_or_else(|| Output::Wait { until: self.next_time() })
    }

    fn is_current(&self, id: RecordId) -> bool {
        self.partitions.get(&id.partition).is_some_and(|assigned| assigned.epoch == id.epoch)
    }

    /// When there is something to do without an input.
    fn next_time(&self) -> Option<Time> {
        let rested = self.timers.peek().map(|Reverse((at, _))| *at);
        let allowed = [self.prepare_from, self.send_from].into_iter().filter(|from| *from > self.now).min();
        let deadline = self.leaving.iter().filter_map(|partition| self.partitions.get(partition)?.leaving);
        let deadline = deadline.map(|leaving| leaving.deadline).min();
        let probe = self.breaker.outage().map(|outage| outage.probe_at).filter(|at| *at > self.now);
        [rested, allowed, deadline, probe, self.recall_at(), self.commit_at()].into_iter().flatten().min()
    }

    fn next_pause(&mut self) -> Option<Output<R>> {
        while let Some(partition) = self.pauses.pop_first() {
            let Some(assigned) = self.partitions.get(&partition) else { continue };
            let reason = assigned.pause_reason(&self.around(partition));
            let Some(assigned) = self.partitions.get_mut(&partition) else { continue };
            if reason == assigned.told || assigned.leaving.is_some() {
                continue;
            }
            assigned.told.clone_from(&reason);
            return Some(match reason {
                Some(reason) => Output::Pause { partition, reason },
                None => Output::Resume { partition },
            });
        }
        None
    }

    /// What must hold after each input, as far as it can be seen at once.
    fn check_counts(&self) {
        debug_assert!(self.in_flight <= self.settings.in_flight_max.max(1), "more calls than may be are under way");
        debug_assert_eq!(self.in_flight, self.partitions.values().map(|assigned| assigned.in_flight).sum::<usize>());
        debug_assert_eq!(self.recalled, self.partitions.values().map(|assigned| assigned.recalled).sum::<usize>());
        debug_assert_eq!(
            self.replayed,
            self.partitions.values().map(|assigned| assigned.replayed.len()).sum::<usize>()
        );
        debug_assert_eq!(self.preparing, self.partitions.values().map(|assigned| assigned.preparing).sum::<usize>());
        for class in Class::ALL {
            let waiting = self.partitions.values().map(|assigned| assigned.to_send.of(class).len());
            debug_assert_eq!(*self.prepared.of(class), waiting.sum::<usize>());
        }
        debug_assert!(self.partitions.values().all(|assigned| assigned.committed <= assigned.frontier.lowest()));
        debug_assert!(self.partitions.values().all(|assigned| self.turns_agree(assigned)), "turns go by old counts");
    }
}

/// The record that an input is about, if it is about one.
fn record_of<R>(input: &Input<R>) -> Option<RecordId> {
    match input {
        Input::Fetched { id, .. }
        | Input::Recalled { id, .. }
        | Input::RecallFailed { id }
        | Input::Redrive { id, .. }
        | Input::Replay(Replayed { id, .. })
        | Input::Bury { id }
        | Input::Discard { id, .. }
        | Input::Prepared { id, .. }
        | Input::Answered { id, .. } => Some(*id),
        Input::Assigned { .. }
        | Input::Revoke { .. }
        | Input::Lost { .. }
        | Input::WriteBeside { .. }
        | Input::PauseAll { .. }
        | Input::ResumeAll
        | Input::PauseKey { .. }
        | Input::ResumeKey { .. }
        | Input::Committed { .. }
        | Input::CommitFailed { .. }
        | Input::Limits { .. }
        | Input::Drain { .. }
        | Input::Tick => None,
    }
}
