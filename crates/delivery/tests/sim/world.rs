//! The world: a topic, a group, up to three processes, a system, and what happens to them, one event after another.

use std::collections::{BTreeMap, BTreeSet};

use tieline_delivery::oracle::{Evidence, Produced};
use tieline_delivery::{Answer, Commit, CommitId, Input, Order, Outcome, RecordId, Settings};

use crate::commits::Fate;
use crate::dice::Dice;
use crate::group::Group;
use crate::log::Log;
use crate::plan::{FINISHES_WITHIN_MS, HEALS_AT_MS, Plan, REQUEST_DEADLINE_MS, Weather};
use crate::process::{Failed, Process, Who};
use crate::seen::Seen;
use crate::state_topics::StateTopics;
use crate::system::System;

/// Numbers of partitions that stand for what is replayed of them.
const REPLAYS: i32 = 1_000;

pub enum Event {
    Produce,
    Fetch(usize),
    Replay(usize),
    Wake(Who),
    /// Something reaches a process.
    To(Who, Message),
    /// What waits to be sent together has waited long enough.
    BatchDue(Who, u64),
    /// Calls reach the system, in one request.
    Arrive(Vec<Call>),
    /// A commit reaches the broker.
    Commit {
        who: Who,
        commit: Commit<usize>,
        generation: u64,
        fate: Fate,
    },
    /// A process has given a partition back.
    Released {
        who: Who,
        partition: i32,
        assignment: u64,
    },
    RebalanceTimeout {
        who: Who,
        partition: i32,
        assignment: u64,
    },
    /// The group has heard nothing of a member for too long.
    SessionOver(Who),
    /// So it has, and the member is there all the same.
    Evict(Who),
    /// Somebody looks at the dead letters, and stops and lets go.
    Operate,
    Trouble,
    Restart(usize),
    Thaw(Who),
    Heal,
}

/// What reaches a process.
pub enum Message {
    Input(Input<usize>),
    Answer { id: RecordId, attempt: u32, event: usize, answer: Answer },
    Recall(RecordId),
    CommitEnds { id: CommitId, made: bool },
    Assign { partition: i32, assignment: u64, generation: u64 },
    Generation(u64),
    Revoke { partition: i32, assignment: u64 },
    Lost,
}

/// A call on its way to the system.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub who: Who,
    pub id: RecordId,
    pub attempt: u32,
    pub event: usize,
    pub sent_ms: u64,
    /// Whether its sender owned the partition when its machine handed it out.
    pub by_owner: bool,
}

pub struct World {
    pub dice: Dice,
    pub plan: Plan,
    pub now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    next_incarnation: u64,
    pub log: Log,
    pub system: System,
    pub processes: Vec<Process>,
    pub group: Group,
    pub topics: StateTopics,
    /// Calls on their way to the system.
    pub on_the_way: Vec<Call>,
    /// Events that had an effect through a call of an owner, so that the next owner has to know of it.
    pub applied_by_owner: BTreeSet<usize>,
    /// Partitions and keys with an event that had its effect first through a call of another.
    pub applied_by_zombies: BTreeSet<(i32, Option<u64>)>,
    /// Since when an event fails, and when it failed last, whoever tried it.
    pub failing: BTreeMap<usize, Failed>,
    /// Mappings under which a call has worked.
    pub worked_under: BTreeSet<u64>,
    /// Events that somebody has said are at fault.
    pub condemned: BTreeSet<usize>,
    pub evidence: Evidence,
    /// What may have had to be done again: crashes and other losses of a partition.
    pub losses: usize,
    pub healed: bool,
    pub seen: Seen,
    /// Prints what goes in and out of every machine.
    pub trace: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let plan = Plan::of(&mut dice, seed);
        let mut world = Self {
            now_ms: 0,
            events: BTreeMap::new(),
            next_event: 0,
            next_incarnation: 0,
            log: Log::new(plan.partitions),
            system: System { faults: plan.faults, ..System::default() },
            processes: Vec::new(),
            group: Group::new(plan.protocol),
            topics: StateTopics::new(plan.partitions),
            on_the_way: Vec::new(),
            applied_by_owner: BTreeSet::new(),
            applied_by_zombies: BTreeSet::new(),
            failing: BTreeMap::new(),
            worked_under: BTreeSet::new(),
            condemned: BTreeSet::new(),
            evidence: Evidence { system_remembers_keys: true, ..Evidence::default() },
            losses: 0,
            healed: false,
            seen: Seen::default(),
            trace: std::env::var_os("TRACE").is_some(),
            plan,
            dice,
        };
        for process in 0..world.plan.processes {
            let fresh = world.process(process);
            world.processes.push(fresh);
            world.after(0, Event::Fetch(process));
            world.after(0, Event::Replay(process));
        }
        world.after(0, Event::Produce);
        world.after(HEALS_AT_MS, Event::Heal);
        world.after(500, Event::Trouble);
        world.after(700, Event::Operate);
        world.reassign(false);
        world
    }

    /// A process as it starts: with the mapping of the day, and a wall clock of its own.
    pub fn process(&mut self, process: usize) -> Process {
        self.next_incarnation += 1;
        let who = Who { process, incarnation: self.next_incarnation };
        let bad = !self.healed && self.plan.bad_mapping_ms.contains(&self.now_ms);
        let fingerprint = if bad {
            self.seen.note("bad deployments");
            666
        } else {
            self.dice.between(1, 3)
        };
        let settings = Settings { fingerprint, seed: self.next_incarnation, ..self.plan.settings.clone() };
        let skew_ms = self.skew_ms();
        Process::new(settings, self.now_ms, who, skew_ms)
    }

    pub fn skew_ms(&mut self) -> i64 {
        let spread = i64::try_from(self.plan.clock_spread_ms).unwrap();
        i64::try_from(self.dice.between(0, 2 * self.plan.clock_spread_ms + 1)).unwrap() - spread
    }

    /// Runs to the end, and has it judged.
    pub fn run(mut self) -> Seen {
        let limit = HEALS_AT_MS + FINISHES_WITHIN_MS + 2 * self.plan.clock_spread_ms;
        while !(self.healed && self.is_finished()) {
            let ((at, _), event) = self.events.pop_first().expect("something happens always");
            assert!(at < limit, "{} s after healing it is not finished:\n{}", (at - HEALS_AT_MS) / 1_000, self.state());
            self.now_ms = at;
            self.happen(event);
        }
        if !self.plan.clocks_are_wild() {
            self.seen.note_most("most ms to finish after healing", self.now_ms - HEALS_AT_MS);
        }
        self.drain();
        self.judge()
    }

    fn is_finished(&self) -> bool {
        self.log.produced == self.plan.records
            && self.log.replays.values().flatten().all(|event| self.topics.ledger.contains_key(event))
            && self.log.ends.iter().all(|(partition, end)| self.topics.offsets[partition].0 == *end)
            && self.topics.parked.is_empty()
            && self.topics.holds.is_empty()
    }

    fn drain(&mut self) {
        let end = self.now_ms + 2 * REQUEST_DEADLINE_MS;
        self.plan.batch = None; // Nothing waits for others any more.
        for process in 0..self.processes.len() {
            self.send_waiting(process);
            let deadline = self.processes[process].time(end);
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
        let by_key = self.plan.settings.order != Order::None;
        for (event, record) in self.log.records.iter().enumerate() {
            let replay = record.replay;
            // A zombie that calls late, for it or for a newer one, no owner can prevent.
            let place = (record.partition, record.key);
            let ordered =
                by_key && !replay.is_some_and(|replay| replay.overtakes || self.applied_by_zombies.contains(&place));
            self.evidence.produced.push(Produced {
                // The committed offset has passed what is replayed long ago, and says nothing of it.
                partition: record.partition + if replay.is_some() { REPLAYS } else { 0 },
                offset: record.offset,
                key: record.key.filter(|_| ordered).map(|key| format!("{}/{key}", record.partition)),
                // Between the record that it is and the next one.
                sequence: (replay.map_or(event, |replay| replay.of) * 1_000 + replay.map_or(0, |_| event)) as u64,
                event_id: format!("e{event}"),
                acknowledged: true,
            });
        }
        self.evidence.arrivals = std::mem::take(&mut self.system.arrivals);
        self.evidence.duplicates_max = match self.plan.weather {
            Weather::Calm => Some(0),
            Weather::Foul | Weather::Outages => None,
        };
        let verdict = self.evidence.judge();
        assert!(verdict.holds(), "{verdict}");
        assert_eq!(self.topics.ledger.len(), self.log.records.len(), "the ledger misses what was committed");
        for (event, outcome) in &self.topics.ledger {
            let record = &self.log.records[*event];
            match outcome {
                Outcome::Done => assert!(self.system.remembered.contains(event), "e{event} is done and has no effect"),
                Outcome::Skipped => assert!(record.skipped, "e{event} is skipped"),
                Outcome::Overtaken => assert!(record.replay.is_some(), "e{event} is no replay, and overtaken"),
                Outcome::Dead { .. } => {}
                Outcome::Parked { .. } => panic!("e{event} was parked last, and is parked no more"),
            }
        }
        let stale = self.processes.iter().map(|process| process.machine.stale_inputs()).sum();
        self.seen.add_to("records", self.log.records.len() as u64);
        self.seen.add_to("calls", self.evidence.arrivals.len() as u64);
        self.seen.add_to("duplicates", verdict.duplicates as u64);
        self.seen.add_to("stale inputs", stale);
        self.seen
    }

    pub fn state(&self) -> String {
        let views = self.processes.iter().map(|process| {
            let views: Vec<_> = process.machine.partitions().collect();
            let machine = &process.machine;
            format!("{:?}, {:?}, {:?}\n{views:#?}", process.who, machine.outage(), machine.load())
        });
        let parked: Vec<_> = self.topics.parked.keys().collect();
        let open = self.log.replays.values().flatten().filter(|event| !self.topics.ledger.contains_key(*event));
        let replays: Vec<_> = open.map(|event| (event, self.log.records[*event].place())).collect();
        let (group, topics) = (&self.group, &self.topics);
        format!(
            "owners {:?}, shall {:?}, out {:?}, ends {:?}, committed {:?}, parked {parked:?}, replays {replays:?}, holds {:?}\n",
            group.owners, group.shall, group.out, self.log.ends, topics.offsets, topics.holds
        ) + &views.collect::<Vec<_>>().join("\n")
    }

    pub fn after(&mut self, wait_ms: u64, event: Event) {
        self.events.insert((self.now_ms + wait_ms, self.next_event), event);
        self.next_event += 1;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Produce => self.produce(),
            Event::Fetch(process) => self.fetch(process),
            Event::Replay(process) => self.replay(process),
            Event::Wake(who) => {
                let process = &self.processes[who.process];
                if process.who == who && !process.frozen {
                    self.pump(who.process);
                }
            }
            Event::To(who, message) => self.reach(who, message),
            Event::BatchDue(who, batch) => self.batch_due(who, batch),
            Event::Arrive(calls) => self.arrive(&calls),
            Event::Commit { who, commit, generation, fate } => self.commit(who, commit, generation, fate),
            Event::Released { who, partition, assignment } => self.given_back(who, partition, assignment),
            Event::RebalanceTimeout { who, partition, assignment } => {
                self.rebalance_timed_out(who, partition, assignment);
            }
            Event::SessionOver(who) => {
                let process = &self.processes[who.process];
                if process.who == who && (process.frozen || !process.alive) {
                    self.evict(who);
                }
            }
            Event::Evict(who) => self.evict(who),
            Event::Operate => self.operate(),
            Event::Trouble => self.trouble(),
            Event::Restart(process) => self.restart(process),
            Event::Thaw(who) => self.thaw(who),
            Event::Heal => self.heal(),
        }
    }

    fn produce(&mut self) {
        if self.log.produced == self.plan.records {
            return;
        }
        self.log.produce(&mut self.dice, self.plan.weather != Weather::Outages);
        let wait = self.dice.between(1, HEALS_AT_MS / self.plan.records as u64);
        self.after(wait, Event::Produce);
    }

    /// Something reaches a process, or lies in its kernel until that runs again.
    fn reach(&mut self, who: Who, message: Message) {
        let process = &mut self.processes[who.process];
        if process.who != who || !process.alive {
            return;
        }
        if process.frozen {
            process.backlog.push_back(message);
        } else {
            self.take(who.process, message);
        }
    }
}
