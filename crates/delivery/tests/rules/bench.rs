//! A machine on a bench: its inputs as short calls, its outputs as short lists. Records are prepared, and commits are
//! made durable at once, unless the test says otherwise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tieline_delivery::{
    Answer, AttemptLog, Class, Commit, CommitId, CommitOffset, Epoch, Held, Input, Machine, Metadata, OnDeadLetter,
    Order, Outcome, Output, ParkedAt, ParkedState, Partition, PauseReason, Prepared, Reason, RecordId, Settings, Time,
};

pub struct Bench {
    pub machine: Machine<i64>,
    pub now: Time,
    /// Whether commits are made durable by themselves.
    pub commits_by_itself: bool,
    /// Of those, a commit with one of these partitions in it is refused.
    pub refuses_commits_of: BTreeSet<i32>,
    /// Whether they fail since the group would not have them from us.
    pub in_rebalance: bool,
    epochs: BTreeMap<i32, u64>,
    next_epoch: u64,
    outcomes: BTreeMap<i64, VecDeque<Prepared>>,
    attempts: BTreeMap<(i32, i64), u32>,
    sent: Vec<(i32, i64)>,
    pub sends: Vec<(i64, u32, bool)>,
    /// What the calls and the preparing that were asked for last were for, by offset.
    pub classes: BTreeMap<i64, Class>,
    /// Of those, the ones that may have been sent by another mapping before.
    pub mapped_otherwise: Vec<i64>,
    pub prepared: Vec<i64>,
    pub commits: Vec<Commit<i64>>,
    pub finals: Vec<(i64, Outcome)>,
    committed: BTreeMap<i32, (i64, String)>,
    pub paused: BTreeMap<i32, PauseReason>,
    pub pauses_told: usize,
    pub released: Vec<i32>,
    pub drained: bool,
    /// What the next assignment finds parked and held.
    pub parked: Vec<ParkedAt>,
    pub holds: Vec<Held>,
    /// Parked records that were asked back since this was asked last; they are there at once unless the test says otherwise.
    pub recalls: Vec<i64>,
    pub recalls_by_itself: bool,
    /// What was written of parked records last, and when, by offset.
    pub states: BTreeMap<i64, (Time, ParkedState, Vec<AttemptLog>)>,
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn settings() -> Settings {
    Settings {
        order: Order::Key,
        on_dead_letter: OnDeadLetter::Continue,
        in_flight_max: 16,
        adapts: true,
        repeats_max: usize::MAX,
        window_records_max: 1_000,
        window_bytes_max: 1 << 20,
        patience: secs(30),
        park_schedule: vec![secs(60), secs(300), secs(1_800)],
        give_up_after: secs(10 * 3_600),
        parked_keys_max: 100,
        parked_records_max: 10_000,
        backoff_min: millis(100),
        backoff_max: secs(10),
        request_deadline: secs(5),
        commit_every: millis(200),
        retry_after_max: secs(3_600),
        fingerprint: 0xC0_FFEE,
        seed: 1,
    }
}

pub fn reason(code: &str) -> Reason {
    Reason { code: code.to_owned(), detail: "as the test has it".to_owned() }
}

/// What a system's status means where nobody says otherwise.
pub fn status(status: u16) -> Answer {
    let why = reason(&format!("http-{status}"));
    match status {
        200..=299 => Answer::Applied,
        409 => Answer::Conflict(why),
        404 => Answer::AbsentOrForbidden(why),
        401 => Answer::Credential(why),
        501 => Answer::Misconfigured(why),
        503 => Answer::NotApplied(why),
        500..=599 => Answer::Unknown(why),
        _ => Answer::Refused(why),
    }
}

impl Bench {
    /// Nothing is assigned yet.
    pub fn empty(settings: Settings) -> Self {
        Self {
            machine: Machine::new(settings, Time::default()),
            now: Time::default(),
            commits_by_itself: true,
            refuses_commits_of: BTreeSet::new(),
            in_rebalance: false,
            epochs: BTreeMap::new(),
            next_epoch: 1,
            outcomes: BTreeMap::new(),
            attempts: BTreeMap::new(),
            sent: Vec::new(),
            sends: Vec::new(),
            classes: BTreeMap::new(),
            mapped_otherwise: Vec::new(),
            prepared: Vec::new(),
            commits: Vec::new(),
            finals: Vec::new(),
            committed: BTreeMap::new(),
            paused: BTreeMap::new(),
            pauses_told: 0,
            released: Vec::new(),
            drained: false,
            parked: Vec::new(),
            holds: Vec::new(),
            recalls: Vec::new(),
            recalls_by_itself: true,
            states: BTreeMap::new(),
        }
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let mut bench = Self::empty(settings);
        bench.assign(0, 0, "");
        bench
    }

    pub fn one_partition() -> Self {
        Self::with(|_| {})
    }

    /// Has the operation worked before, in a partition of its own; nothing of that is left to see.
    pub fn proven(mut self) -> Self {
        self.assign(9, 0, "");
        self.fetch_from(9, 0, "proof");
        self.pump();
        self.answer_of(9, 0, status(201));
        self.advance(secs(1));
        self.sent.clear();
        self.sends.clear();
        self.prepared.clear();
        self.commits.clear();
        self.finals.clear();
        self
    }

    pub fn assign(&mut self, partition: i32, offset: i64, metadata: &str) {
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        self.epochs.insert(partition, epoch);
        self.committed.insert(partition, (offset, metadata.to_owned()));
        let (parked, held) = (std::mem::take(&mut self.parked), std::mem::take(&mut self.holds));
        self.input(Input::Assigned {
            epoch: Epoch(epoch),
            partition: Partition(partition),
            offset,
            metadata: metadata.to_owned(),
            partitions: 6,
            parked,
            held,
        });
    }

    pub fn id(&self, partition: i32, offset: i64) -> RecordId {
        RecordId { epoch: Epoch(self.epochs[&partition]), partition: Partition(partition), offset }
    }

    pub fn input(&mut self, input: Input<i64>) {
        self.machine.handle(self.now, input);
        self.pump();
    }

    pub fn fetch<const N: usize>(&mut self, records: [(i64, &str); N]) {
        for (offset, key) in records {
            self.fetch_from(0, offset, key);
        }
        self.pump();
    }

    /// An empty key is none. Outputs are not asked for before the next input.
    pub fn fetch_from(&mut self, partition: i32, offset: i64, key: &str) {
        let id = self.id(partition, offset);
        let key = (!key.is_empty()).then(|| key.as_bytes().into());
        self.machine.handle(self.now, Input::Fetched { id, key, bytes: 100, record: offset });
    }

    /// What comes of preparing a record, the next time.
    pub fn prepare_as(&mut self, offset: i64, outcome: Prepared) {
        self.outcomes.entry(offset).or_default().push_back(outcome);
    }

    pub fn answer(&mut self, offset: i64, answer: Answer) {
        self.answer_of(0, offset, answer);
    }

    pub fn answer_of(&mut self, partition: i32, offset: i64, answer: Answer) {
        let attempt = self.attempts[&(partition, offset)];
        let id = self.id(partition, offset);
        self.input(Input::Answered { id, attempt, answer, log: log() });
    }

    /// Answers whatever is sent by this, until nothing is sent any more.
    pub fn answer_all(&mut self, answer: &Answer) {
        loop {
            let sent = self.sent_of_all();
            if sent.is_empty() {
                return;
            }
            for (partition, offset) in sent {
                self.answer_of(partition, offset, answer.clone());
            }
        }
    }

    pub fn commit_is_made(&mut self, made: bool) {
        let commit = self.commits.last().expect("a commit was asked for");
        let id = commit.id;
        self.end_commit(id, made);
        self.pump();
    }

    fn end_commit(&mut self, commit: CommitId, made: bool) {
        if made {
            let asked = self.commits.iter().find(|asked| asked.id == commit).expect("it was asked for");
            for offset in &asked.offsets {
                self.committed.insert(offset.partition.0, (offset.offset, offset.metadata.clone()));
            }
            for end in &asked.finals {
                if let Outcome::Parked { state, .. } = &end.outcome {
                    self.states.insert(end.id.offset, (self.now, *state, end.attempts.clone()));
                }
            }
            self.finals.extend(asked.finals.iter().map(|end| (end.id.offset, end.outcome.clone())));
        }
        let input = if made {
            Input::Committed { commit }
        } else {
            Input::CommitFailed { commit, in_rebalance: self.in_rebalance }
        };
        self.machine.handle(self.now, input);
    }

    /// A parked record as it was written.
    pub fn recalled(&self, id: RecordId) -> Input<i64> {
        let (at, mut state, attempts) = self.states.get(&id.offset).cloned().unwrap_or_default();
        state.failing_for += self.now.since(at);
        let has_request = state.maybe_applied;
        Input::Recalled { id, bytes: 100, record: id.offset, state, attempts, has_request }
    }

    pub fn redrive(&mut self, offset: i64, key: &str) {
        let (id, key) = (self.id(0, offset), (!key.is_empty()).then(|| key.as_bytes().into()));
        self.input(Input::Redrive {
            id,
            key,
            bytes: 100,
            record: offset,
            maybe_applied: false,
            attempts_total: 1,
            attempts: vec![log()],
        });
    }

    pub fn discard(&mut self, offset: i64, key: &str) {
        let (id, key) = (self.id(0, offset), (!key.is_empty()).then(|| key.as_bytes().into()));
        self.input(Input::Discard { id, key });
    }

    /// Has another key succeed, at this offset, so that the operation is known to work.
    pub fn works_for_another(&mut self, offset: i64) {
        self.fetch_from(0, offset, &format!("other {offset}"));
        assert!(self.sent().contains(&offset));
        self.answer(offset, status(201));
    }

    /// What was parked, in the order of the commits.
    pub fn parked_offsets(&self) -> Vec<i64> {
        let parked = |(offset, outcome): &(i64, Outcome)| matches!(outcome, Outcome::Parked { .. }).then_some(*offset);
        self.finals.iter().filter_map(parked).collect()
    }

    /// Lets time pass, and has everything done that falls due meanwhile.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(until) = self.pump().filter(|until| *until <= end) {
            assert!(until > self.now, "it wants to be asked at {until:?}, which is over, and has nothing to say");
            self.now = until;
        }
        self.now = end;
        self.pump();
    }

    /// Asks until there is nothing; says until when.
    pub fn pump(&mut self) -> Option<Time> {
        for _ in 0..100_000 {
            match self.machine.poll(self.now) {
                Output::Prepare { id, class, attempt, record } => {
                    self.classes.insert(record, class);
                    assert_eq!(record, id.offset);
                    self.prepared.push(record);
                    let outcome = self.outcomes.get_mut(&record).and_then(VecDeque::pop_front);
                    let outcome = outcome.unwrap_or(Prepared::Call);
                    self.machine.handle(self.now, Input::Prepared { id, attempt, outcome });
                }
                Output::Send { id, class, attempt, maybe_applied, mapped_otherwise, record } => {
                    self.classes.insert(record, class);
                    self.attempts.insert((id.partition.0, record), attempt);
                    self.sent.push((id.partition.0, record));
                    self.sends.push((record, attempt, maybe_applied));
                    self.mapped_otherwise.extend(mapped_otherwise.then_some(record));
                }
                Output::Recall { id } => {
                    self.recalls.push(id.offset);
                    if self.recalls_by_itself {
                        self.machine.handle(self.now, self.recalled(id));
                    }
                }
                Output::Commit(commit) => {
                    let id = commit.id;
                    let refused = |at: &CommitOffset| self.refuses_commits_of.contains(&at.partition.0);
                    let made = !commit.offsets.iter().any(refused);
                    self.commits.push(commit);
                    if self.commits_by_itself {
                        self.end_commit(id, made);
                    }
                }
                Output::Pause { partition, reason } => {
                    self.pauses_told += 1;
                    self.paused.insert(partition.0, reason);
                }
                Output::Resume { partition } => {
                    assert!(self.paused.remove(&partition.0).is_some(), "it was not paused");
                }
                Output::Released { partition } => self.released.push(partition.0),
                Output::Drained => self.drained = true,
                Output::Wait { until } => return until,
            }
        }
        panic!("it has always something to do");
    }

    /// What was sent since this was asked last.
    pub fn sent(&mut self) -> Vec<i64> {
        self.sent_of_all().into_iter().map(|(_, offset)| offset).collect()
    }

    pub fn sent_of_all(&mut self) -> Vec<(i32, i64)> {
        self.pump();
        std::mem::take(&mut self.sent)
    }

    pub fn committed(&self) -> i64 {
        self.committed_of(0)
    }

    pub fn committed_of(&self, partition: i32) -> i64 {
        self.committed[&partition].0
    }

    pub fn metadata(&self) -> Metadata {
        Metadata::parse(&self.metadata_text()).expect("committed metadata can be read")
    }

    pub fn metadata_text(&self) -> String {
        self.committed[&0].1.clone()
    }

    pub fn paused_by(&self) -> Option<&PauseReason> {
        self.paused.get(&0)
    }

    pub fn revoke(&mut self, partition: i32, within: Duration) {
        let deadline = self.now.after(within);
        self.input(Input::Revoke { partition: Partition(partition), deadline });
    }

    pub fn drain(&mut self, within: Duration) {
        let deadline = self.now.after(within);
        self.input(Input::Drain { deadline });
    }
}

pub fn log() -> AttemptLog {
    AttemptLog { at_ms: 0, status: None, excerpt: String::new() }
}
