//! The world: a topic, a group, up to three processes, a system, and what happens to them.

use std::collections::BTreeMap;
use std::time::Duration;

use tieline_delivery::oracle::{CommitSample, End, Ended, Evidence, Produced};
use tieline_delivery::{
    Answer, AttemptLog, Came, Commit, CommitId, Discarded, Effect, Epoch, Final, Held, Input, Key, OnDeadLetter, Order,
    Outcome, Output, ParkedAt, ParkedState, Partition, Prepared, Reason, RecordId, Settings, Time,
};

use crate::dice::Dice;
use crate::process::Process;
use crate::system::{Reply, System};

/// When the last fault happens, in milliseconds; and how long the world may take afterwards to finish all.
const HEALS_AT_MS: u64 = 20_000;
const FINISHES_WITHIN_MS: u64 = 60_000;
const REQUEST_DEADLINE_MS: u64 = 2_000;
/// What was fetched lies in a channel for so long: an assignment may be over when it comes out.
const FETCHED_AFTER_MS: u64 = 5;
const REVOKE_WITHIN_MS: u64 = 3_000;

struct Record {
    partition: i32,
    offset: i64,
    key: Option<u64>,
    poison: Poison,
    skipped: bool,
}

/// Whether the system refuses a record for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poison {
    No,
    UntilHealed,
    Always,
}

/// A record in the topic of parked ones.
struct Row {
    event: usize,
    /// When it is to be tried again, and when it was written.
    retry_at_ms: u64,
    written_at_ms: u64,
    state: ParkedState,
}

enum Event {
    Produce,
    Fetch(usize),
    Fetched {
        process: usize,
        incarnation: u64,
        input: Input<usize>,
    },
    Wake(usize),
    Recalled {
        process: usize,
        incarnation: u64,
        id: RecordId,
    },
    /// Somebody looks at the dead letters that hold a key.
    Operate,
    Prepared {
        process: usize,
        incarnation: u64,
        id: RecordId,
        attempt: u32,
        outcome: Prepared,
    },
    Arrive {
        process: usize,
        incarnation: u64,
        id: RecordId,
        attempt: u32,
        event: usize,
        sent_ms: u64,
    },
    Answer {
        process: usize,
        incarnation: u64,
        id: RecordId,
        attempt: u32,
        event: usize,
        answer: Answer,
    },
    Commit {
        process: usize,
        incarnation: u64,
        commit: Commit<usize>,
        /// Of its partitions, as the sender owned them then: a commit does not outlive its generation.
        epochs: Vec<Option<u64>>,
        fails: bool,
    },
    CommitEnds {
        process: usize,
        incarnation: u64,
        id: CommitId,
        made: bool,
    },
    Trouble,
    /// The group notices that an owner is gone.
    Evict {
        partition: i32,
        owner: (usize, u64),
    },
    Settle,
    Lost {
        process: usize,
        incarnation: u64,
        partition: i32,
        epoch: u64,
    },
    Restart(usize),
    Heal,
}

/// What a run has met, so that a run without faults does not pass for a good one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub records: usize,
    pub calls: usize,
    pub crashes: usize,
    pub zombies: usize,
    pub rebalances: usize,
    pub commits: usize,
    pub fenced: usize,
    pub failed_commits: usize,
    pub unknown_resent: usize,
    pub dead: usize,
    pub parked: usize,
    pub recalled: usize,
    pub redriven: usize,
    pub discarded: usize,
    pub inherited_parked: usize,
    pub inherited_holds: usize,
    pub outages: usize,
    pub stale: u64,
}

impl Seen {
    pub fn add(&mut self, one: &Self) {
        self.records += one.records;
        self.calls += one.calls;
        self.crashes += one.crashes;
        self.zombies += one.zombies;
        self.rebalances += one.rebalances;
        self.commits += one.commits;
        self.fenced += one.fenced;
        self.failed_commits += one.failed_commits;
        self.unknown_resent += one.unknown_resent;
        self.dead += one.dead;
        self.parked += one.parked;
        self.recalled += one.recalled;
        self.redriven += one.redriven;
        self.discarded += one.discarded;
        self.inherited_parked += one.inherited_parked;
        self.inherited_holds += one.inherited_holds;
        self.outages += one.outages;
        self.stale += one.stale;
    }

    pub fn assert_every_fault_was_met(&self) {
        let met = [self.crashes, self.zombies, self.rebalances, self.fenced, self.failed_commits, self.unknown_resent];
        let parking = [self.parked, self.recalled, self.redriven, self.discarded, self.inherited_parked];
        assert!(met.iter().chain(&parking).all(|times| *times > 100), "{self:?}");
        assert!(self.dead > 100 && self.stale > 100 && self.inherited_holds > 100 && self.outages > 100, "{self:?}");
    }
}

pub struct World {
    dice: Dice,
    now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    next_incarnation: u64,
    settings: Settings,
    partitions: i32,
    to_produce: usize,
    records: Vec<Record>,
    log: BTreeMap<i32, Vec<usize>>,
    ends: BTreeMap<i32, i64>,
    system: System,
    processes: Vec<Process>,
    /// The broker's view: who owns a partition, who shall, and what is committed.
    owners: BTreeMap<i32, (usize, u64)>,
    shall: BTreeMap<i32, usize>,
    /// Since when the owner owns it.
    since_ms: BTreeMap<i32, u64>,
    /// Calls on their way to the system: event, and when each was sent.
    on_the_way: BTreeMap<usize, Vec<u64>>,
    committed: BTreeMap<i32, (i64, String)>,
    ledger: BTreeMap<usize, Outcome>,
    /// The topics of parked records, holds and dead letters.
    parked: BTreeMap<(i32, i64), Row>,
    holds: BTreeMap<(i32, Option<u64>), i64>,
    dead: BTreeMap<(i32, i64), (usize, Effect)>,
    /// Keys that the system fails for until then, and when it fails for all.
    sick: BTreeMap<u64, u64>,
    outage_ms: std::ops::Range<u64>,
    evidence: Evidence,
    /// No crashes, zombies or failing commits: then nothing may come twice.
    calm: bool,
    healed: bool,
    seen: Seen,
    /// Prints what goes in and out of every machine.
    trace: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let settings = Settings {
            order: [Order::Key, Order::Key, Order::Key, Order::Partition, Order::None][dice.index(5)],
            on_dead_letter: [OnDeadLetter::Continue, OnDeadLetter::Hold][dice.index(2)],
            in_flight_max: dice.index(12) + 1,
            repeats_max: dice.index(30) + 1,
            window_records_max: dice.index(60) + 4,
            window_bytes_max: 2_000,
            patience: Duration::from_millis(dice.between(500, 5_000)),
            park_schedule: [200, 500, 1_000][..dice.index(4)].iter().map(|ms| Duration::from_millis(*ms)).collect(),
            give_up_after: Duration::from_millis(dice.between(3_000, 60_000)),
            parked_keys_max: dice.index(20) + 1,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(dice.between(200, 2_000)),
            request_deadline: Duration::from_millis(REQUEST_DEADLINE_MS),
            commit_every: Duration::from_millis(dice.between(20, 500)),
            retry_after_max: Duration::from_millis(1_500),
            fingerprint: seed,
            seed,
        };
        let partitions = i32::try_from(dice.between(1, 5)).unwrap();
        let mut sick = BTreeMap::new();
        for key in 0..6 {
            if dice.chance(200) {
                sick.insert(key, dice.between(3_000, HEALS_AT_MS));
            }
        }
        let outage_from = dice.between(1_000, 15_000);
        let outage_ms = outage_from..outage_from + if dice.chance(400) { dice.between(500, 8_000) } else { 0 };
        let mut world = Self {
            now_ms: 0,
            events: BTreeMap::new(),
            next_event: 0,
            next_incarnation: 0,
            partitions,
            to_produce: dice.index(150) + 30,
            records: Vec::new(),
            log: (0..partitions).map(|partition| (partition, Vec::new())).collect(),
            ends: (0..partitions).map(|partition| (partition, 0)).collect(),
            system: System { faults: dice.between(0, 500), ..System::default() },
            processes: Vec::new(),
            owners: BTreeMap::new(),
            shall: BTreeMap::new(),
            since_ms: BTreeMap::new(),
            on_the_way: BTreeMap::new(),
            committed: (0..partitions).map(|partition| (partition, (0, String::new()))).collect(),
            ledger: BTreeMap::new(),
            parked: BTreeMap::new(),
            holds: BTreeMap::new(),
            dead: BTreeMap::new(),
            sick,
            outage_ms,
            evidence: Evidence { system_remembers_keys: true, ..Evidence::default() },
            calm: dice.chance(200),
            healed: false,
            seen: Seen::default(),
            trace: std::env::var_os("TRACE").is_some(),
            settings,
            dice,
        };
        for process in 0..world.dice.index(3) + 1 {
            let fresh = world.process();
            world.processes.push(fresh);
            world.after(0, Event::Fetch(process));
        }
        world.after(0, Event::Produce);
        world.after(HEALS_AT_MS, Event::Heal);
        world.after(500, Event::Trouble);
        world.after(700, Event::Operate);
        world.reassign();
        world
    }

    /// Runs to the end, and has it judged.
    pub fn run(mut self) -> Seen {
        let limit = HEALS_AT_MS + FINISHES_WITHIN_MS;
        while !(self.healed && self.is_finished()) {
            let ((at, _), event) = self.events.pop_first().expect("something happens always");
            assert!(at < limit, "{} s after healing it is not finished:\n{}", FINISHES_WITHIN_MS / 1_000, self.state());
            self.now_ms = at;
            self.happen(event);
        }
        self.drain();
        self.judge()
    }

    fn is_finished(&self) -> bool {
        self.records.len() == self.to_produce
            && self.ends.iter().all(|(partition, end)| self.committed[partition].0 == *end)
            && self.parked.is_empty()
            && self.holds.is_empty()
    }

    fn drain(&mut self) {
        let end = self.now_ms + 2 * REQUEST_DEADLINE_MS;
        let deadline = at(end);
        for process in 0..self.processes.len() {
            self.input(process, Input::Drain { deadline });
        }
        while !self.processes.iter().all(|process| process.drained) {
            let ((at, _), event) = self.events.pop_first().expect("a drain ends");
            assert!(at <= end + 1, "not drained at the deadline:\n{}", self.state());
            self.now_ms = at;
            self.happen(event);
        }
    }

    fn judge(mut self) -> Seen {
        let by_key = self.settings.order != Order::None;
        for (event, record) in self.records.iter().enumerate() {
            self.evidence.produced.push(Produced {
                partition: record.partition,
                offset: record.offset,
                key: record.key.filter(|_| by_key).map(|key| format!("{}/{key}", record.partition)),
                sequence: event as u64,
                event_id: format!("e{event}"),
                acknowledged: true,
            });
        }
        self.evidence.arrivals = std::mem::take(&mut self.system.arrivals);
        self.evidence.duplicates_max = self.calm.then_some(0);
        let verdict = self.evidence.judge();
        assert!(verdict.holds(), "{verdict}");
        assert_eq!(self.ledger.len(), self.records.len(), "the ledger misses what was committed");
        for (event, outcome) in &self.ledger {
            let record = &self.records[*event];
            match outcome {
                Outcome::Done => assert!(self.system.remembered.contains(event), "e{event} is done and has no effect"),
                Outcome::Skipped => assert!(record.skipped, "e{event} is skipped"),
                Outcome::Dead { .. } => {}
                Outcome::Parked { .. } => panic!("e{event} was parked last, and is parked no more"),
            }
        }
        self.seen.records = self.records.len();
        self.seen.calls = self.evidence.arrivals.len();
        self.seen.stale += self.processes.iter().map(|process| process.machine.stale_inputs()).sum::<u64>();
        self.seen
    }

    fn state(&self) -> String {
        let views = self.processes.iter().map(|process| {
            let views: Vec<_> = process.machine.partitions().collect();
            format!("alive {}, {:?}\n{views:#?}", process.alive, process.machine.load())
        });
        format!(
            "owners {:?}, shall {:?}, ends {:?}, parked {:?}, holds {:?}\n",
            self.owners,
            self.shall,
            self.ends,
            self.parked.keys(),
            self.holds
        ) + &views.collect::<Vec<_>>().join("\n")
    }

    fn after(&mut self, wait_ms: u64, event: Event) {
        self.events.insert((self.now_ms + wait_ms, self.next_event), event);
        self.next_event += 1;
    }

    fn process(&mut self) -> Process {
        self.next_incarnation += 1;
        Process::new(self.settings.clone(), at(self.now_ms), self.next_incarnation)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Produce => self.produce(),
            Event::Fetch(process) => self.fetch(process),
            Event::Fetched { process, incarnation, input } => self.input_of(process, incarnation, input),
            Event::Wake(process) => self.pump(process),
            Event::Recalled { process, incarnation, id } => self.recalled(process, incarnation, id),
            Event::Operate => self.operate(),
            Event::Prepared { process, incarnation, id, attempt, outcome } => {
                self.input_of(process, incarnation, Input::Prepared { id, attempt, outcome });
            }
            Event::Arrive { process, incarnation, id, attempt, event, sent_ms } => {
                self.arrive(process, incarnation, id, attempt, event, sent_ms);
            }
            Event::Answer { process, incarnation, id, attempt, event, answer } => {
                self.answer(process, incarnation, id, attempt, event, answer);
            }
            Event::Commit { process, incarnation, commit, epochs, fails } => {
                self.commit(process, incarnation, commit, &epochs, fails);
            }
            Event::CommitEnds { process, incarnation, id, made } => {
                let input = if made { Input::Committed { commit: id } } else { Input::CommitFailed { commit: id } };
                self.input_of(process, incarnation, input);
            }
            Event::Trouble => self.trouble(),
            Event::Evict { partition, owner } => {
                if self.owners.get(&partition) == Some(&owner) {
                    self.owners.remove(&partition);
                }
                self.settle_group();
            }
            Event::Settle => self.settle_group(),
            Event::Lost { process, incarnation, partition, epoch } => {
                let owned = self.processes[process].owned.get(&partition);
                if self.processes[process].incarnation == incarnation && owned.is_some_and(|(now, _)| *now == epoch) {
                    self.processes[process].disown(partition);
                    self.input(process, Input::Lost { partition: Partition(partition) });
                    self.settle_group();
                }
            }
            Event::Restart(process) => self.restart(process),
            Event::Heal => self.heal(),
        }
    }

    fn produce(&mut self) {
        if self.records.len() == self.to_produce {
            return;
        }
        let partition = i32::try_from(self.dice.index(usize::try_from(self.partitions).unwrap())).unwrap();
        let end = self.ends.get_mut(&partition).unwrap();
        let offset = *end + if self.dice.chance(150) { i64::try_from(self.dice.between(1, 6)).unwrap() } else { 0 };
        *end = offset + 1;
        let key = (!self.dice.chance(100)).then(|| self.dice.between(0, 6));
        let poison = match self.dice.between(0, 50) {
            0 => Poison::Always,
            1 => Poison::UntilHealed,
            _ => Poison::No,
        };
        let skipped = self.dice.chance(40);
        self.log.get_mut(&partition).unwrap().push(self.records.len());
        self.records.push(Record { partition, offset, key, poison, skipped });
        let wait = self.dice.between(1, HEALS_AT_MS / self.to_produce as u64);
        self.after(wait, Event::Produce);
    }

    fn fetch(&mut self, process: usize) {
        let wait = self.dice.between(1, 60);
        self.after(wait, Event::Fetch(process));
        let owned: Vec<i32> = self.processes[process].owned.keys().copied().collect();
        for partition in owned {
            let shell = &self.processes[process];
            if !shell.alive || shell.paused.contains_key(&partition) || shell.leaving.contains(&partition) {
                continue;
            }
            for _ in 0..self.dice.between(1, 12) {
                let shell = self.processes.get_mut(process).unwrap();
                let Some((epoch, place)) = shell.owned.get_mut(&partition) else { break };
                let Some(event) = self.log[&partition].get(*place).copied() else { break };
                *place += 1;
                let record = &self.records[event];
                let id = RecordId { epoch: Epoch(*epoch), partition: Partition(partition), offset: record.offset };
                let key = key_of(record);
                let (incarnation, input) = (shell.incarnation, Input::Fetched { id, key, bytes: 50, record: event });
                self.after(FETCHED_AFTER_MS, Event::Fetched { process, incarnation, input });
            }
        }
    }

    fn input_of(&mut self, process: usize, incarnation: u64, input: Input<usize>) {
        if self.processes[process].incarnation == incarnation {
            self.input(process, input);
        }
    }

    fn input(&mut self, process: usize, input: Input<usize>) {
        if self.processes[process].alive {
            if self.trace && !matches!(input, Input::Tick) {
                eprintln!("{} ms, process {process} <- {input:?}", self.now_ms);
            }
            self.processes[process].machine.handle(at(self.now_ms), input);
            let shell = &mut self.processes[process];
            let before = std::mem::replace(&mut shell.in_outage, shell.machine.outage().is_some());
            self.seen.outages += usize::from(shell.in_outage && !before);
            self.pump(process);
        }
    }

    /// Does what the machine asks for.
    fn pump(&mut self, process: usize) {
        if !self.processes[process].alive {
            return;
        }
        for _ in 0..10_000 {
            let incarnation = self.processes[process].incarnation;
            let output = self.processes[process].machine.poll(at(self.now_ms));
            if self.trace && !matches!(output, Output::Wait { .. }) {
                eprintln!("{} ms, process {process} -> {output:?}", self.now_ms);
            }
            match output {
                Output::Prepare { id, attempt, record } => self.prepare(process, incarnation, id, attempt, record),
                Output::Send { id, attempt, maybe_applied, record, .. } => {
                    self.seen.unknown_resent += usize::from(maybe_applied);
                    self.check_known(process, incarnation, maybe_applied, record);
                    self.send(process, incarnation, id, attempt, record);
                }
                Output::Recall { id } => {
                    let wait = self.dice.between(1, 20);
                    self.after(wait, Event::Recalled { process, incarnation, id });
                }
                Output::Commit(commit) => {
                    let fails = !self.healed && !self.calm && self.dice.chance(100);
                    let wait = self.dice.between(1, 150);
                    let epochs = self.epochs(process, &commit);
                    self.after(wait, Event::Commit { process, incarnation, commit, epochs, fails });
                }
                Output::Pause { partition, reason } => {
                    self.processes[process].paused.insert(partition.0, reason);
                }
                Output::Resume { partition } => {
                    self.processes[process].paused.remove(&partition.0);
                }
                Output::Released { partition } => {
                    self.processes[process].disown(partition.0);
                    if self.owners.get(&partition.0) == Some(&(process, incarnation)) {
                        self.owners.remove(&partition.0);
                    }
                    self.after(1, Event::Settle);
                }
                Output::Drained => self.processes[process].drained = true,
                Output::Wait { until } => {
                    if let Some(until) = until {
                        // Up to a whole millisecond: never early.
                        let due = u64::try_from(until.0.as_nanos().div_ceil(1_000_000)).unwrap();
                        assert!(until > at(self.now_ms), "it wants to be asked at {until:?}, which is over");
                        self.after(due - self.now_ms, Event::Wake(process));
                    }
                    return;
                }
            }
        }
        panic!("the machine has always something to do:\n{}", self.state());
    }

    fn recalled(&mut self, process: usize, incarnation: u64, id: RecordId) {
        let fails = !self.healed && self.dice.chance(50);
        let row = self.parked.get(&(id.partition.0, id.offset)).filter(|_| !fails);
        let input = match row {
            Some(row) => {
                let mut state = row.state;
                if !state.failing_for.is_zero() {
                    state.failing_for += Duration::from_millis(self.now_ms - row.written_at_ms);
                }
                self.seen.recalled += 1;
                // The request lies with it, if an attempt may have been applied.
                let (has_request, record) = (state.maybe_applied, row.event);
                if has_request && self.processes[process].incarnation == incarnation {
                    self.processes[process].requests.insert(record);
                }
                Input::Recalled { id, bytes: 50, record, state, attempts: Vec::new(), has_request }
            }
            // A zombie may ask for what is there no more.
            None => Input::RecallFailed { id },
        };
        self.input_of(process, incarnation, input);
    }

    /// Redrives what may be cured, and discards what cannot be; what the owner of that moment loses is done again.
    fn operate(&mut self) {
        let wait = self.dice.between(100, if self.healed { 500 } else { 3_000 });
        self.after(wait, Event::Operate);
        if self.healed {
            self.bury_what_is_kept();
        }
        let holds: Vec<(i32, i64)> = self.holds.iter().map(|((partition, _), dead)| (*partition, *dead)).collect();
        for (partition, offset) in holds {
            if !self.healed && self.dice.chance(700) {
                continue;
            }
            let Some((process, incarnation)) = self.owners.get(&partition).copied() else { continue };
            let shell = &self.processes[process];
            let epoch =
                shell.owned.get(&partition).filter(|_| shell.incarnation == incarnation).map(|(epoch, _)| *epoch);
            let (Some(epoch), Some(&(event, effect))) = (epoch, self.dead.get(&(partition, offset))) else { continue };
            let id = RecordId { epoch: Epoch(epoch), partition: Partition(partition), offset };
            let key = key_of(&self.records[event]);
            let redrive = match self.records[event].poison {
                Poison::Always => !self.healed && self.dice.chance(200),
                Poison::UntilHealed | Poison::No => true,
            };
            let input = if redrive {
                let maybe_applied = effect != Effect::None;
                Input::Redrive { id, key, bytes: 50, record: event, maybe_applied, attempts_total: 1, attempts: vec![] }
            } else {
                Input::Discard { id, key }
            };
            self.input(process, input);
        }
    }

    /// Where nothing has ever worked, only a person can say that the records are at fault.
    fn bury_what_is_kept(&mut self) {
        for process in 0..self.processes.len() {
            let stuck = self.processes[process].machine.stuck();
            for id in stuck.into_iter().map(|stuck| stuck.id) {
                let at = (id.partition.0, id.offset);
                let poison =
                    |record: &Record| (record.partition, record.offset) == at && record.poison == Poison::Always;
                if self.records.iter().any(poison) {
                    self.input(process, Input::Bury { id });
                }
            }
        }
    }

    fn prepare(&mut self, process: usize, incarnation: u64, id: RecordId, attempt: u32, event: usize) {
        let record = &self.records[event];
        assert_eq!((record.partition, record.offset), (id.partition.0, id.offset));
        let outcome = match (record.skipped, !self.healed && self.dice.chance(20)) {
            (true, _) => Prepared::Skip,
            (false, true) => Prepared::NotNow(Answer::Unknown(reason("look-up")), log()),
            (false, false) => Prepared::Call,
        };
        if outcome == Prepared::Call {
            self.processes[process].requests.insert(event);
        }
        let wait = self.dice.between(0, 5);
        self.after(wait, Event::Prepared { process, incarnation, id, attempt, outcome });
    }

    /// An owner knows which effects there may be, and waits for the calls of the owners before it. (A zombie cannot.)
    fn check_known(&self, process: usize, incarnation: u64, maybe_applied: bool, event: usize) {
        let partition = self.records[event].partition;
        if self.owners.get(&partition) != Some(&(process, incarnation)) {
            return;
        }
        let since_ms = self.since_ms[&partition];
        let on_the_way = self.on_the_way.get(&event).map(Vec::as_slice).unwrap_or_default();
        assert!(
            on_the_way.iter().all(|sent_ms| *sent_ms > since_ms),
            "e{event} is sent, and an older owner's call may still arrive"
        );
        let unknown = self.system.remembered.contains(&event) || !on_the_way.is_empty();
        assert!(maybe_applied || !unknown, "e{event} is sent as never applied, and it is, or may be yet");
    }

    fn send(&mut self, process: usize, incarnation: u64, id: RecordId, attempt: u32, event: usize) {
        let record = &self.records[event];
        let shell = &mut self.processes[process];
        assert!(shell.requests.contains(&event), "e{event} is sent unprepared");
        assert!(at(self.now_ms) >= shell.calls_from, "e{event} is sent before the time that the system named");
        if let (Order::Key, Some(key)) = (self.settings.order, record.key) {
            assert!(shell.calling.insert((record.partition, key)), "two calls of key {key} at once: e{event}");
        }
        assert!(shell.machine.load().in_flight <= self.settings.in_flight_max);
        let wait =
            if self.dice.chance(50) { self.dice.between(1, REQUEST_DEADLINE_MS) } else { self.dice.between(1, 40) };
        let sent_ms = self.now_ms;
        self.on_the_way.entry(event).or_default().push(sent_ms);
        self.after(wait, Event::Arrive { process, incarnation, id, attempt, event, sent_ms });
    }

    fn arrive(&mut self, process: usize, incarnation: u64, id: RecordId, attempt: u32, event: usize, sent_ms: u64) {
        let on_the_way = self.on_the_way.get_mut(&event).unwrap();
        on_the_way.remove(on_the_way.iter().position(|sent| *sent == sent_ms).unwrap());
        let poison = match self.records[event].poison {
            Poison::No => false,
            Poison::UntilHealed => !self.healed,
            Poison::Always => true,
        };
        let until = self.records[event].key.and_then(|key| self.sick.get(&key)).copied().unwrap_or_default();
        let down = !self.healed && (self.now_ms < until || self.outage_ms.contains(&self.now_ms));
        let reply = self.system.call(&mut self.dice, self.now_ms, event, attempt, poison, down);
        let timeout = sent_ms + REQUEST_DEADLINE_MS - self.now_ms;
        let wait = self.dice.between(1, 30).min(timeout);
        let (wait, answer) = match reply {
            Reply::Status(200..=299) => (wait, Answer::Applied),
            Reply::Status(400) => (wait, Answer::Refused(reason("http-400"))),
            Reply::Status(401) => (wait, Answer::Credential(reason("http-401"))),
            Reply::Status(503) => (wait, Answer::NotApplied(reason("http-503"))),
            Reply::Status(_) => (wait, Answer::Unknown(reason("http-500"))),
            Reply::Throttled(ms) => (wait, Answer::Throttled { retry_after: Duration::from_millis(ms) }),
            Reply::Dropped => (timeout, Answer::Unknown(reason("timeout"))),
        };
        self.after(wait, Event::Answer { process, incarnation, id, attempt, event, answer });
    }

    fn answer(&mut self, process: usize, incarnation: u64, id: RecordId, attempt: u32, event: usize, answer: Answer) {
        let now = at(self.now_ms);
        let shell = &mut self.processes[process];
        if shell.incarnation != incarnation {
            return;
        }
        let partition = self.records[event].partition;
        let current = shell.owned.get(&partition).is_some_and(|(epoch, _)| *epoch == id.epoch.0);
        if let (true, Some(key)) = (current, self.records[event].key) {
            shell.calling.remove(&(partition, key));
        }
        if let (true, Answer::Throttled { retry_after }) = (current, &answer) {
            shell.calls_from = shell.calls_from.max(now.after(*retry_after));
        }
        self.input(process, Input::Answered { id, attempt, answer, log: log() });
    }

    /// The commit reaches the broker: one transaction, refused as a whole where one partition is not the sender's.
    fn commit(&mut self, process: usize, incarnation: u64, commit: Commit<usize>, epochs: &[Option<u64>], fails: bool) {
        let ours = |partition: i32| self.owners.get(&partition) == Some(&(process, incarnation));
        let fenced =
            !commit.offsets.iter().all(|offset| ours(offset.partition.0)) || self.epochs(process, &commit) != epochs;
        self.seen.fenced += usize::from(fenced);
        self.seen.failed_commits += usize::from(fails);
        let made = !fenced && !fails;
        let id = commit.id;
        if made {
            self.seen.commits += 1;
            self.make_durable(commit);
        }
        let wait = self.dice.between(1, 20);
        self.after(wait, Event::CommitEnds { process, incarnation, id, made });
    }

    fn epochs(&self, process: usize, commit: &Commit<usize>) -> Vec<Option<u64>> {
        let owned = &self.processes[process].owned;
        commit.offsets.iter().map(|offset| owned.get(&offset.partition.0).map(|(epoch, _)| *epoch)).collect()
    }

    fn make_durable(&mut self, commit: Commit<usize>) {
        for end in commit.finals {
            self.end(end);
        }
        for Discarded { id, .. } in commit.discarded {
            self.seen.discarded += 1;
            self.dead.remove(&(id.partition.0, id.offset));
            self.holds.retain(|(partition, _), dead| (*partition, *dead) != (id.partition.0, id.offset));
        }
        for offset in commit.offsets {
            let partition = offset.partition.0;
            self.evidence.commits.push(CommitSample { at_ms: self.now_ms, partition, offset: offset.offset });
            let before = self.committed.insert(partition, (offset.offset, offset.metadata)).unwrap();
            assert!(before.0 <= offset.offset, "the committed offset of {partition} goes back from {}", before.0);
        }
    }

    /// What became of a record is durable.
    fn end(&mut self, end: Final<usize>) {
        let (event, place) = (end.record, (end.id.partition.0, end.id.offset));
        let before = self.ledger.insert(event, end.outcome.clone());
        match (&before, end.came) {
            (None, Came::Fetched) => {}
            (Some(Outcome::Parked { .. }), Came::Parked) => {
                assert!(self.parked.remove(&place).is_some(), "e{event} comes from the park, and is not there");
            }
            (Some(Outcome::Dead { .. }), Came::Redriven) => {
                self.seen.redriven += 1;
                assert!(self.dead.remove(&place).is_some(), "e{event} is redriven, and is no dead letter");
                self.holds.retain(|(partition, _), dead| (*partition, *dead) != place);
            }
            (before, came) => panic!("e{event} was {before:?}, and came {came:?}"),
        }
        let kind = match &end.outcome {
            Outcome::Done => None,
            Outcome::Skipped => Some(End::Skipped),
            Outcome::Dead { holds, effect, .. } => {
                self.seen.dead += 1;
                self.dead.insert(place, (event, *effect));
                if *holds {
                    let key = self.records[event].key.filter(|_| self.settings.order == Order::Key);
                    let other = self.holds.insert((place.0, key), place.1);
                    assert!(other.is_none_or(|other| other == place.1), "{key:?} is held by {other:?} and by e{event}");
                }
                Some(End::Dead)
            }
            Outcome::Parked { retry_at, state, .. } => {
                self.seen.parked += 1;
                assert!(self.settings.order != Order::Partition, "e{event} is parked");
                let retry_at_ms = u64::try_from(retry_at.0.as_millis()).unwrap();
                let row = Row { event, retry_at_ms, written_at_ms: self.now_ms, state: *state };
                self.parked.insert(place, row);
                Some(End::Parked)
            }
        };
        if let Some(kind) = kind {
            self.evidence.ended.push(Ended { event_id: format!("e{event}"), end: kind, at_ms: Some(self.now_ms) });
        }
    }

    fn trouble(&mut self) {
        if self.healed {
            return;
        }
        let process = self.dice.index(self.processes.len());
        match self.dice.between(0, 6) {
            0 if !self.calm => self.crash(process),
            1 if !self.calm => self.make_zombie(process),
            2 => self.revoke_all(),
            _ => self.reassign(),
        }
        let wait = self.dice.between(50, 3_000);
        self.after(wait, Event::Trouble);
    }

    /// The process is gone; its calls may still arrive. The group notices after a while.
    fn crash(&mut self, process: usize) {
        if !self.processes[process].alive {
            return;
        }
        self.seen.crashes += 1;
        self.seen.stale += self.processes[process].machine.stale_inputs();
        self.processes[process].alive = false;
        let gone: Vec<(i32, (usize, u64))> =
            self.owners.iter().map(|(partition, owner)| (*partition, *owner)).collect();
        let wait = self.dice.between(1, 800);
        for (partition, owner) in gone.into_iter().filter(|(_, (owner, _))| *owner == process) {
            self.after(wait, Event::Evict { partition, owner });
        }
        let back = self.dice.between(1, 4_000);
        self.after(back, Event::Restart(process));
    }

    fn restart(&mut self, process: usize) {
        if self.processes[process].alive {
            return;
        }
        let fresh = self.process();
        self.processes[process] = fresh;
        let old: Vec<i32> =
            self.owners.iter().filter(|(_, (owner, _))| *owner == process).map(|(partition, _)| *partition).collect();
        for partition in old {
            self.owners.remove(&partition);
        }
        self.settle_group();
    }

    /// The group takes everything from a process that does not notice for a while, and goes on.
    fn make_zombie(&mut self, process: usize) {
        let incarnation = self.processes[process].incarnation;
        let wait = self.dice.between(1, 3_000);
        let owned: Vec<i32> =
            self.owners.iter().filter(|(_, owner)| **owner == (process, incarnation)).map(|(p, _)| *p).collect();
        if owned.is_empty() || self.processes.len() == 1 {
            return;
        }
        self.seen.zombies += 1;
        for partition in owned {
            self.owners.remove(&partition);
            self.shall.insert(partition, (process + 1) % self.processes.len());
            if let Some((epoch, _)) = self.processes[process].owned.get(&partition).copied() {
                self.after(wait, Event::Lost { process, incarnation, partition, epoch });
            }
        }
        self.settle_group();
    }

    /// An eager rebalance: everybody gives everything back first.
    fn revoke_all(&mut self) {
        let owners: Vec<(i32, (usize, u64))> =
            self.owners.iter().map(|(partition, owner)| (*partition, *owner)).collect();
        for (partition, (process, incarnation)) in owners {
            self.revoke(partition, process, incarnation);
        }
        self.reassign();
    }

    /// A cooperative rebalance: only what moves is given back.
    fn reassign(&mut self) {
        self.seen.rebalances += 1;
        for partition in 0..self.partitions {
            let process = self.dice.index(self.processes.len());
            self.shall.insert(partition, process);
        }
        self.settle_group();
    }

    fn settle_group(&mut self) {
        let wanted: Vec<(i32, usize)> = self.shall.iter().map(|(partition, process)| (*partition, *process)).collect();
        for (partition, process) in wanted {
            match self.owners.get(&partition).copied() {
                Some((owner, incarnation)) if owner != process && self.processes[process].alive => {
                    self.revoke(partition, owner, incarnation);
                }
                None if self.processes[process].alive && !self.processes[process].owned.contains_key(&partition) => {
                    self.assign(partition, process);
                }
                Some(_) | None => {}
            }
        }
    }

    fn revoke(&mut self, partition: i32, process: usize, incarnation: u64) {
        let shell = &mut self.processes[process];
        if shell.incarnation == incarnation && shell.alive && shell.leaving.insert(partition) {
            let deadline = at(self.now_ms + REVOKE_WITHIN_MS);
            self.input(process, Input::Revoke { partition: Partition(partition), deadline });
        }
    }

    fn assign(&mut self, partition: i32, process: usize) {
        let (offset, metadata) = self.committed[&partition].clone();
        let place = self.log[&partition].partition_point(|event| self.records[*event].offset < offset);
        let shell = &mut self.processes[process];
        let epoch = Epoch(shell.own(partition, place));
        self.owners.insert(partition, (process, shell.incarnation));
        self.since_ms.insert(partition, self.now_ms);
        let partitions = u32::try_from(self.partitions).unwrap();
        let parked: Vec<ParkedAt> = self
            .parked
            .iter()
            .filter(|((of, _), _)| *of == partition)
            .map(|((_, offset), row)| ParkedAt {
                offset: *offset,
                key: key_of(&self.records[row.event]),
                retry_after: Duration::from_millis(row.retry_at_ms.saturating_sub(self.now_ms)),
                maybe_tried: row.retry_at_ms <= self.now_ms,
                unknown_below: row.state.unknown_below,
            })
            .collect();
        let held = self
            .holds
            .iter()
            .filter(|((of, _), _)| *of == partition)
            .map(|((_, key), dead)| Held { offset: *dead, key: key.map(|key| key.to_be_bytes()[..].into()) });
        let held: Vec<Held> = held.collect();
        self.seen.inherited_parked += parked.len();
        self.seen.inherited_holds += held.len();
        let partition = Partition(partition);
        self.input(process, Input::Assigned { epoch, partition, offset, metadata, partitions, parked, held });
    }

    fn heal(&mut self) {
        self.healed = true;
        self.system.healed = true;
        for process in 0..self.processes.len() {
            self.restart(process);
        }
        self.settle_group();
    }
}

fn key_of(record: &Record) -> Option<Key> {
    record.key.map(|key| key.to_be_bytes()[..].into())
}

fn at(ms: u64) -> Time {
    Time(Duration::from_millis(ms))
}

fn reason(code: &str) -> Reason {
    Reason { code: code.to_owned(), detail: "as the dice fell".to_owned() }
}

fn log() -> AttemptLog {
    AttemptLog { at_ms: 0, status: None, excerpt: String::new() }
}
