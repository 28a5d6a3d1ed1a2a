//! The shell of a process: it takes what reaches it to its machine, and does what the machine asks for.

use std::time::Duration;

use tieline_delivery::{Answer, AttemptLog, CommitId, Epoch, Input, Output, Partition, Prepared, Reason, RecordId};

use crate::batches::Whole;
use crate::plan::{Protocol, REQUEST_DEADLINE_MS, Weather};
use crate::process::{Failed, Waiting, Who};
use crate::system::{Health, Reply};
use crate::world::{Call, Event, Message, World};

/// What was fetched lies in a channel for so long at most: an assignment may be over when it comes out.
const FETCHED_AFTER_MS: u64 = 80;
/// How long a partition that is revoked may take: longer than a call.
const REVOKE_WITHIN_MS: u64 = 3_000;

impl World {
    /// A process hears something.
    pub fn take(&mut self, process: usize, message: Message) {
        match message {
            Message::Input(input) => self.input(process, input),
            Message::Answer { id, attempt, event, answer } => self.answer(process, id, attempt, event, answer),
            Message::Recall(id) => self.recalled(process, id),
            Message::CommitEnds { id, made } => self.commit_ends(process, id, made),
            Message::Assign { partition, assignment, generation } => {
                self.assign(process, partition, assignment, generation);
            }
            Message::Generation(generation) => self.processes[process].generation = generation,
            Message::Revoke { partition, assignment } => self.revoke(process, partition, assignment),
            Message::Lost => self.lost(process),
        }
    }

    pub fn input(&mut self, process: usize, input: Input<usize>) {
        let shell = &mut self.processes[process];
        if !shell.alive {
            return;
        }
        if self.trace && !matches!(input, Input::Tick) {
            eprintln!("{} ms, process {process} <- {input:?}", self.now_ms);
        }
        shell.machine.handle(shell.time(self.now_ms), input);
        let before = std::mem::replace(&mut shell.in_outage, shell.machine.outage().is_some());
        if shell.in_outage && !before {
            self.seen.note("outages noticed");
        }
        self.pump(process);
    }

    /// Does what the machine asks for.
    pub fn pump(&mut self, process: usize) {
        for _ in 0..10_000 {
            let shell = &mut self.processes[process];
            if !shell.alive {
                return;
            }
            let (who, now) = (shell.who, shell.time(self.now_ms));
            let output = shell.machine.poll(now);
            if self.trace && !matches!(output, Output::Wait { .. }) {
                eprintln!("{} ms, process {process} -> {output:?}", self.now_ms);
            }
            match output {
                Output::Prepare { id, attempt, record, .. } => self.prepare(process, id, attempt, record),
                Output::Send { id, attempt, maybe_applied, record, .. } => {
                    if maybe_applied {
                        self.seen.note("sent again after an unknown outcome");
                    }
                    self.check_send(process, maybe_applied, record);
                    self.send(process, id, attempt, record);
                }
                Output::Recall { id } => {
                    self.check_recall(process, id);
                    self.recall(who, id);
                }
                Output::Commit(commit) => self.ask_commit(process, commit),
                Output::Pause { partition, reason } => {
                    shell.paused.insert(partition.0, reason);
                }
                Output::Resume { partition } => {
                    shell.paused.remove(&partition.0);
                }
                Output::Released { partition } => self.release(process, partition.0),
                Output::Drained => shell.drained = true,
                Output::Wait { until } => {
                    if let Some(until) = until {
                        assert!(until > now, "it wants to be asked at {until:?}, which is over");
                        let due = shell.now_ms(until);
                        self.after(due - self.now_ms, Event::Wake(who));
                    }
                    self.check_bounds(process);
                    return;
                }
            }
        }
        panic!("the machine has always something to do:\n{}", self.state());
    }

    pub fn fetch(&mut self, process: usize) {
        let wait = self.dice.between(1, 60);
        self.after(wait, Event::Fetch(process));
        let shell = &self.processes[process];
        if !shell.alive || shell.frozen {
            return;
        }
        let may = |partition: &&i32| !shell.paused.contains_key(*partition) && !shell.leaving.contains(*partition);
        let partitions: Vec<i32> = shell.owned.keys().filter(may).copied().collect();
        let slow = self.dice.chance(200);
        let late = self.dice.between(1, if slow { FETCHED_AFTER_MS } else { 5 });
        for partition in partitions {
            for _ in 0..self.dice.between(1, 12) {
                let shell = &mut self.processes[process];
                let Some(owned) = shell.owned.get_mut(&partition) else { break };
                let Some(event) = self.log.at(partition, owned.place) else { break };
                owned.place += 1;
                let record = &self.log.records[event];
                let id = RecordId { epoch: Epoch(owned.epoch), partition: Partition(partition), offset: record.offset };
                let input = Input::Fetched { id, key: record.key(), bytes: 50, record: event };
                shell.fetched_at_ms = shell.fetched_at_ms.max(self.now_ms + late);
                let (who, wait) = (shell.who, shell.fetched_at_ms - self.now_ms);
                self.after(wait, Event::To(who, Message::Input(input)));
            }
        }
    }

    fn prepare(&mut self, process: usize, id: RecordId, attempt: u32, event: usize) {
        let record = &self.log.records[event];
        assert_eq!(record.place(), (id.partition.0, id.offset));
        let fails = !self.healed && self.plan.weather != Weather::Outages && self.dice.chance(20);
        let outcome = match (record.skipped, fails) {
            (true, _) => Prepared::Skip,
            (false, true) => Prepared::NotNow(Answer::Unknown(reason("look-up")), log()),
            (false, false) => Prepared::Call,
        };
        let shell = &mut self.processes[process];
        let current = shell.owned.get(&id.partition.0).is_some_and(|owned| owned.epoch == id.epoch.0);
        match outcome {
            Prepared::Call => {
                shell.requests.insert(event);
            }
            Prepared::Skip => {
                if current {
                    shell.settled.insert(event);
                }
            }
            Prepared::NotNow(..) | Prepared::Refused(_) => self.note_failure(process, event),
        }
        let who = self.processes[process].who;
        let wait = self.dice.between(0, 5);
        self.after(wait, Event::To(who, Message::Input(Input::Prepared { id, attempt, outcome })));
    }

    fn send(&mut self, process: usize, id: RecordId, attempt: u32, event: usize) {
        let by_owner = self.group.owner(id.partition.0) == Some(self.processes[process].who);
        let waiting = Waiting { id, attempt, event, by_owner };
        match self.plan.batch {
            None => self.send_together(process, vec![waiting]),
            Some((max, linger_ms)) => self.collect(process, waiting, max, linger_ms),
        }
    }

    /// Sends these in one request.
    pub fn send_together(&mut self, process: usize, calls: Vec<Waiting>) {
        let (who, sent_ms) = (self.processes[process].who, self.now_ms);
        let slow = self.dice.chance(50);
        let wait = self.dice.between(1, if slow { REQUEST_DEADLINE_MS } else { 40 });
        let call = |Waiting { id, attempt, event, by_owner }| Call { who, id, attempt, event, sent_ms, by_owner };
        let calls: Vec<Call> = calls.into_iter().map(call).collect();
        self.on_the_way.extend(&calls);
        self.after(wait, Event::Arrive(calls));
    }

    /// A request reaches the system, whatever has become of its sender.
    pub fn arrive(&mut self, calls: &[Call]) {
        let Some(Call { who, sent_ms, .. }) = calls.first().copied() else { return };
        let whole = self.fate_of(calls);
        let timeout = sent_ms + REQUEST_DEADLINE_MS - self.now_ms;
        for call in calls {
            let same = |other: &Call| (other.who, other.id, other.attempt) == (who, call.id, call.attempt);
            self.on_the_way.remove(self.on_the_way.iter().position(same).unwrap());
            let (answer, lost) = self.call(*call, whole);
            let wait = self.dice.between(1, 30).min(timeout);
            // An answer that speaks of the others only says that nothing is known of this one.
            let wait = if lost && (calls.len() == 1 || whole == Whole::Cut) { timeout } else { wait };
            let Call { id, attempt, event, .. } = *call;
            self.after(wait, Event::To(who, Message::Answer { id, attempt, event, answer }));
        }
        self.maybe_crash(who, "crashes after a call was applied");
    }

    /// What the system does about a record, and what is said of it; and whether nothing is.
    fn call(&mut self, call: Call, whole: Whole) -> (Answer, bool) {
        let Call { who, attempt, event, by_owner, .. } = call;
        let cut = whole == Whole::Cut;
        if cut && self.dice.chance(500) {
            return (Answer::Unknown(reason("timeout")), true); // It did not come to this one.
        } else if whole == Whole::Refused {
            return (Answer::NotApplied(reason("batch-refused")), false);
        }
        let health = self.health(who, event);
        let poison = self.log.records[event].poison;
        let reply = self.system.call(&mut self.dice, self.now_ms, event, attempt, poison, health);
        let reply = if cut { self.system.lose_answer() } else { reply };
        let applied = self.system.arrivals.last().is_some_and(|arrival| arrival.applied);
        if applied && !by_owner {
            let record = &self.log.records[event];
            self.applied_by_zombies.insert((record.partition, record.key));
        }
        if by_owner && self.system.remembered.contains(&event) {
            self.applied_by_owner.insert(event);
        }
        match reply {
            Reply::Status(status) => (answer_of(status), false),
            Reply::Unreadable => (Answer::AppliedUnreadable(reason("unreadable")), false),
            Reply::Throttled(ms) => {
                self.seen.note("throttled");
                (Answer::Throttled { retry_after: Duration::from_millis(ms) }, false)
            }
            Reply::Dropped => (Answer::Unknown(reason("timeout")), true),
        }
    }

    fn health(&self, who: Who, event: usize) -> Health {
        if self.healed {
            return Health::Up;
        }
        if self.plan.outages_ms.iter().any(|span| span.contains(&self.now_ms)) {
            return Health::Down;
        }
        let sender = &self.processes[who.process];
        if sender.who == who && sender.fingerprint == crate::trouble::BAD_MAPPING {
            return Health::Misfed;
        }
        let sick = self.log.records[event].key.and_then(|key| self.plan.sick.get(&key));
        sick.filter(|(until, _)| self.now_ms < *until).map_or(Health::Up, |(_, way)| Health::Sick(*way))
    }

    fn answer(&mut self, process: usize, id: RecordId, attempt: u32, event: usize, answer: Answer) {
        let shell = &mut self.processes[process];
        let partition = id.partition.0;
        if shell.owned.get(&partition).is_some_and(|owned| owned.epoch == id.epoch.0) {
            if let Some(key) = self.log.records[event].key {
                shell.calling.remove(&(partition, key));
            }
            match &answer {
                Answer::Applied => {
                    shell.settled.insert(event);
                    shell.uncovered.insert(event);
                    shell.worked_ms = Some(self.now_ms);
                    self.worked_under.insert(shell.fingerprint);
                }
                Answer::AppliedUnreadable(_) => {
                    shell.worked_ms = Some(self.now_ms);
                    self.worked_under.insert(shell.fingerprint);
                }
                Answer::Throttled { retry_after } => {
                    let wait = u64::try_from(retry_after.as_millis()).unwrap();
                    shell.calls_from_ms = shell.calls_from_ms.max(self.now_ms + wait);
                }
                Answer::Refused(_)
                | Answer::Conflict(_)
                | Answer::AbsentOrForbidden(_)
                | Answer::NotApplied(_)
                | Answer::Unknown(_)
                | Answer::Credential(_)
                | Answer::Misconfigured(_) => self.note_failure(process, event),
            }
        }
        let (heard, before) = (is_heard(&answer), self.processes[process].in_outage);
        self.input(process, Input::Answered { id, attempt, answer, log: log() });
        let after = self.processes[process].in_outage;
        assert!(heard || !before || after, "an outage is over by an answer that says nothing of it");
    }

    fn note_failure(&mut self, process: usize, event: usize) {
        let now = Failed { first_ms: self.now_ms, last_ms: self.now_ms };
        self.processes[process].failed.entry(event).or_insert(now).last_ms = self.now_ms;
        self.failing.entry(event).or_insert(now).last_ms = self.now_ms;
    }

    /// Reads a parked record back: at once, late, not at all, or twice.
    fn recall(&mut self, who: Who, id: RecordId) {
        let late = !self.healed && self.dice.chance(60);
        if late {
            self.seen.note("recalled late");
        }
        let wait = self.dice.between(1, if late { 3_000 } else { 20 });
        self.after(wait, Event::To(who, Message::Recall(id)));
    }

    fn recalled(&mut self, process: usize, id: RecordId) {
        let fails = !self.healed && self.dice.chance(50);
        let shell = &mut self.processes[process];
        let row = self.topics.parked.get(&(id.partition.0, id.offset)).filter(|_| !fails);
        let input = match row {
            Some(row) => {
                let state = row.state(shell.wall_ms(self.now_ms));
                let (has_request, record) = (row.has_request, row.event);
                if has_request {
                    shell.requests.insert(record);
                }
                self.seen.note("recalled");
                Input::Recalled { id, bytes: 50, record, state, attempts: Vec::new(), has_request }
            }
            // A zombie may ask for what is there no more.
            None => Input::RecallFailed { id },
        };
        if matches!(input, Input::Recalled { .. }) && !self.healed && self.dice.chance(50) {
            self.seen.note("recalled twice");
            let who = self.processes[process].who;
            self.after(2, Event::To(who, Message::Input(input.clone())));
        }
        self.input(process, input);
    }

    fn assign(&mut self, process: usize, partition: i32, assignment: u64, generation: u64) {
        if self.group.owner(partition) != Some(self.processes[process].who) {
            // It hears of it when that is over already. Asking where to begin is refused under KIP-848; a classic group tells
            // anybody, so that it reads what the real owner has committed, and takes itself for the owner.
            match self.group.protocol {
                Protocol::Server => return,
                Protocol::Eager | Protocol::Cooperative => self.seen.note("assigned after an eviction"),
            }
        }
        let (offset, metadata) = self.topics.offsets[&partition].clone();
        let place = self.log.place_of(partition, offset);
        let shell = &mut self.processes[process];
        shell.generation = generation;
        let end = self.log.end(partition);
        let epoch = Epoch(shell.own(partition, (place, end), assignment, &self.log.events(partition)));
        let wall_ms = shell.wall_ms(self.now_ms);
        let (parked, held) = self.topics.index(&self.log, partition, wall_ms, self.plan.clock_margin_ms);
        let tried = parked.iter().filter(|one| one.maybe_tried).count();
        self.seen.add_to("parked records inherited", parked.len() as u64);
        self.seen.add_to("parked records inherited that may have been tried", tried as u64);
        self.seen.add_to("holds inherited", held.len() as u64);
        let (partition, partitions) = (Partition(partition), u32::try_from(self.plan.partitions).unwrap());
        self.input(process, Input::Assigned { epoch, partition, offset, metadata, partitions, parked, held });
    }

    fn revoke(&mut self, process: usize, partition: i32, assignment: u64) {
        let shell = &mut self.processes[process];
        let owned = shell.owned.get(&partition).is_some_and(|owned| owned.assignment == assignment);
        if owned && shell.leaving.insert(partition) {
            let deadline = shell.time(self.now_ms + REVOKE_WITHIN_MS);
            self.input(process, Input::Revoke { partition: Partition(partition), deadline });
            self.send_waiting(process);
        }
    }

    /// The machine lets a partition go. The group is told when no commit of it is under way any more.
    fn release(&mut self, process: usize, partition: i32) {
        let shell = &mut self.processes[process];
        let Some(owned) = shell.owned.get(&partition).copied() else { return };
        shell.disown(partition, &self.log.events(partition));
        if shell.committing.is_some() {
            shell.released.push((partition, owned.assignment));
        } else {
            let who = shell.who;
            self.tell_released(who, partition, owned.assignment);
        }
    }

    /// The process hears that the group has put it out: all is lost. It joins again.
    fn lost(&mut self, process: usize) {
        let shell = &mut self.processes[process];
        shell.released.clear();
        let owned: Vec<i32> = shell.owned.keys().copied().collect();
        for partition in owned {
            let shell = &mut self.processes[process];
            shell.disown(partition, &self.log.events(partition));
            self.input(process, Input::Lost { partition: Partition(partition) });
        }
        self.group.out.remove(&process);
        self.settle_group();
    }

    fn commit_ends(&mut self, process: usize, id: CommitId, made: bool) {
        let shell = &mut self.processes[process];
        if let Some((_, events)) = shell.committing.take_if(|(asked, _)| *asked == id) {
            if made {
                shell.uncovered.retain(|event| !events.contains(event));
            }
            let (who, released) = (shell.who, std::mem::take(&mut shell.released));
            for (partition, assignment) in released {
                self.tell_released(who, partition, assignment);
            }
        }
        let failed = Input::CommitFailed { commit: id, in_rebalance: false };
        self.input(process, if made { Input::Committed { commit: id } } else { failed });
    }
}

fn answer_of(status: u16) -> Answer {
    let why = reason(&format!("http-{status}"));
    match status {
        200..=299 => Answer::Applied,
        401 => Answer::Credential(why),
        404 => Answer::AbsentOrForbidden(why),
        409 => Answer::Conflict(why),
        400..=499 => Answer::Refused(why),
        501 => Answer::Misconfigured(why),
        503 => Answer::NotApplied(why),
        _ => Answer::Unknown(why),
    }
}

/// Whether it shows that the system works, or is there at least.
fn is_heard(answer: &Answer) -> bool {
    match answer {
        Answer::Applied | Answer::AppliedUnreadable(_) | Answer::Refused(_) | Answer::Conflict(_) => true,
        Answer::AbsentOrForbidden(_)
        | Answer::NotApplied(_)
        | Answer::Unknown(_)
        | Answer::Throttled { .. }
        | Answer::Credential(_)
        | Answer::Misconfigured(_) => false,
    }
}

fn reason(code: &str) -> Reason {
    Reason { code: code.to_owned(), detail: "as the dice fell".to_owned() }
}

pub fn log() -> AttemptLog {
    AttemptLog { at_ms: 0, status: None, excerpt: String::new() }
}
