//! The world: processes, the log between them, the system that they call, and what happens to them.

use std::collections::BTreeMap;
use std::time::Duration;

use tieline_delivery::limits::{
    Allocator, AllocatorInput, AllocatorOutput, AllocatorSettings, Caller, CallerId, CallerInput, CallerOutput,
    CallerSettings, Flow, Permit, Record,
};

use crate::dice::Dice;
use crate::judge::{Judge, Seen, seconds};
use crate::log::Log;
use crate::process::{Clock, Load, Process};
use crate::setup::{COST_MAX, DEADLINE, MIDNIGHT_UNIX_MS, Setup};

const SECOND: u64 = 1_000_000;
/// The last of many faults; when all must be well; when the one that divides is killed; when only one process has work; the
/// end.
const HEALS_US: u64 = 16 * SECOND;
const MEASURED_US: u64 = 30 * SECOND;
const ORPHANED_US: u64 = 46 * SECOND;
const ALONE_US: u64 = 60 * SECOND;
const LENT_US: u64 = 62 * SECOND;
const ENDS_US: u64 = 70 * SECOND;

enum Event {
    Append { process: usize, incarnation: u64, record: Record },
    Deliver { process: usize, incarnation: u64, offset: i64 },
    CatchUp { process: usize, incarnation: u64 },
    Exit { process: usize, incarnation: u64 },
    End { process: usize, incarnation: u64, call: Call, is_known_over: bool },
    Wake { process: usize, incarnation: u64 },
    Wall { process: usize, incarnation: u64 },
    Work,
    Trouble,
    Restart { process: usize },
    Heal,
    Orphan,
    Alone,
}

/// A call under way, and what comes of it.
struct Call {
    permit: Permit,
    cost: u64,
    throttled: Option<Duration>,
}

pub struct World {
    dice: Dice,
    setup: Setup,
    now_us: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    log: Log,
    processes: Vec<Process>,
    next_incarnation: u64,
    /// The epoch of the latest claim.
    epoch: i64,
    healed: bool,
    orphaned: bool,
    alone: bool,
    judge: Judge,
    /// Nobody calls from the first to the second of these, as the system has told this process.
    throttled: Vec<(u64, u64, usize, u64)>,
    /// Calls of each consumer while all is measured.
    fair: BTreeMap<String, u64>,
    seen: Seen,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let setup = Setup::new(&mut dice);
        let judge = Judge::new(&setup);
        let mut world = Self {
            dice,
            now_us: 0,
            events: BTreeMap::new(),
            next_event: 0,
            log: Log::default(),
            processes: Vec::new(),
            next_incarnation: 1,
            epoch: -1,
            healed: false,
            orphaned: false,
            alone: false,
            judge,
            throttled: Vec::new(),
            fair: BTreeMap::new(),
            seen: Seen::default(),
            setup,
        };
        for place in 0..world.setup.processes {
            let process = world.process(place);
            world.processes.push(process);
            world.start(place);
        }
        world.after(0, Event::Work);
        world.after(SECOND, Event::Trouble);
        world.after(HEALS_US, Event::Heal);
        world.after(ORPHANED_US, Event::Orphan);
        world.after(ALONE_US, Event::Alone);
        world
    }

    fn process(&mut self, place: usize) -> Process {
        let incarnation = self.next_incarnation;
        self.next_incarnation += 1;
        self.judge.callers += 1;
        let (id, limits) = (CallerId::new(&format!("p{place}.{incarnation}")), self.setup.limits.clone());
        let (system, retry_after_max) = ("erp".to_owned(), Duration::from_secs(3_600));
        let divides = AllocatorSettings {
            system: system.clone(),
            caller: id.clone(),
            limits: limits.clone(),
            deadline: DEADLINE,
        };
        let allocator = Allocator::new(divides);
        let caller = Caller::new(CallerSettings { system, id, limits, retry_after_max });
        let mut load = BTreeMap::new();
        for (name, weight, replay) in [("a", 1, false), ("b", 3, false), ("a", 1, true)] {
            let flow = Flow { consumer: name.to_owned(), replay };
            load.insert(flow, Load { weight, waiting: 0, endless: false, sent: 0, sleeps_us: 0 });
        }
        Process {
            clock: Clock::new(&mut self.dice),
            incarnation,
            alive: true,
            paused_until_us: 0,
            mute_until_us: 0,
            caller,
            caught_up: false,
            allocator,
            read_from: 0,
            written_us: 0,
            read_us: 0,
            load,
            wakes_us: u64::MAX,
        }
    }

    fn start(&mut self, process: usize) {
        let incarnation = self.processes[process].incarnation;
        let wait = self.dice.between(1_000, 50_000);
        self.after(wait, Event::CatchUp { process, incarnation });
        self.after(wait, Event::Wall { process, incarnation });
    }

    fn after(&mut self, wait_us: u64, event: Event) {
        self.events.insert((self.now_us + wait_us, self.next_event), event);
        self.next_event += 1;
    }

    pub fn run(mut self) -> Seen {
        while let Some(((at_us, number), event)) = self.events.pop_first() {
            if at_us > ENDS_US {
                break;
            }
            self.now_us = at_us;
            if let Some((process, incarnation)) = process_of(&event) {
                let there = &self.processes[process];
                let is_end = matches!(event, Event::End { .. });
                if there.paused_until_us > at_us && there.incarnation == incarnation && !is_end {
                    // Under its old number: what comes to it keeps its order.
                    self.events.insert((there.paused_until_us, number), event);
                    continue;
                }
                if (there.incarnation != incarnation || !there.alive) && !is_end {
                    continue;
                }
            }
            self.happen(event);
        }
        self.check_promises();
        self.seen.calls = u64::try_from(self.judge.sent_us.len()).unwrap();
        self.seen.full_bursts = self.judge.full_bursts.min(1);
        self.seen
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Append { record, .. } => self.append(record),
            Event::Deliver { process, offset, .. } => self.deliver(process, offset),
            Event::CatchUp { process, .. } => self.catch_up(process),
            Event::Exit { process, .. } => self.processes[process].alive = false,
            Event::End { process, incarnation, call, is_known_over } => {
                self.end(process, incarnation, call, is_known_over);
            }
            Event::Wake { process, .. } => {
                if self.processes[process].wakes_us <= self.now_us {
                    self.processes[process].wakes_us = u64::MAX;
                    self.turn(process);
                }
            }
            Event::Wall { process, incarnation } => {
                let unix_ms = self.unix_ms(process);
                let now = self.processes[process].clock.local(self.now_us);
                self.processes[process].allocator.handle(now, AllocatorInput::Wall { unix_ms });
                self.after(5 * SECOND, Event::Wall { process, incarnation });
            }
            Event::Work => self.work(),
            Event::Trouble => self.trouble(),
            Event::Restart { process } => self.restart(process),
            Event::Heal => self.heal(),
            Event::Orphan => self.orphan(),
            Event::Alone => self.leave_alone(),
        }
    }

    fn append(&mut self, record: Record) {
        let is_claim = record.key == "erp/claim" && record.value.is_some();
        let epoch = record.key.strip_prefix("erp/grant/").and_then(|rest| rest.split_once('/')?.0.parse::<i64>().ok());
        self.seen.zombies += u64::from(record.value.is_some() && epoch.is_some_and(|epoch| epoch < self.epoch));
        let offset = self.log.append(record);
        if is_claim {
            self.seen.takeovers += u64::from(self.epoch >= 0);
            self.epoch = offset;
            let well = (MEASURED_US..ORPHANED_US).contains(&self.now_us) || self.now_us > ORPHANED_US + 6 * SECOND;
            assert!(!well, "a claim, where one divides\n{}", self.state());
        }
        for process in 0..self.processes.len() {
            let lag = self.lag();
            let there = &mut self.processes[process];
            if there.alive {
                there.read_us = there.read_us.max(self.now_us + lag);
                let (wait, incarnation) = (there.read_us - self.now_us, there.incarnation);
                self.after(wait, Event::Deliver { process, incarnation, offset });
            }
        }
    }

    /// How long a record is on its way in either direction.
    fn lag(&mut self) -> u64 {
        if !self.healed && self.dice.chance(self.setup.late) {
            self.dice.between(50_000, 1_500_000)
        } else {
            self.dice.between(500, 15_000)
        }
    }

    fn deliver(&mut self, process: usize, offset: i64) {
        let record = self.log.at(offset);
        let there = &mut self.processes[process];
        let now = there.clock.local(self.now_us);
        if there.caught_up && offset >= there.read_from {
            there.caller.handle(now, CallerInput::Read { offset, record: record.clone() });
            there.allocator.handle(now, AllocatorInput::Read { offset, record });
        }
        self.turn(process);
    }

    fn catch_up(&mut self, process: usize) {
        let (records, end) = (self.log.compacted(&mut self.dice), self.log.end());
        let unix_ms = self.unix_ms(process);
        let there = &mut self.processes[process];
        let now = there.clock.local(self.now_us);
        there.allocator.handle(now, AllocatorInput::Wall { unix_ms });
        for (offset, record) in records {
            there.caller.handle(now, CallerInput::Read { offset, record: record.clone() });
            there.allocator.handle(now, AllocatorInput::Read { offset, record });
        }
        there.caller.handle(now, CallerInput::CaughtUp { unix_ms });
        there.allocator.handle(now, AllocatorInput::CaughtUp);
        (there.caught_up, there.read_from) = (true, end);
        self.report_load(process);
        self.turn(process);
    }

    /// What the process does whenever something has happened to it: all that its machines ask for, all calls that may go.
    fn turn(&mut self, process: usize) {
        let mut wakes = Vec::new();
        self.calls(process, &mut wakes);
        let (now, incarnation) = {
            let there = &self.processes[process];
            (there.clock.local(self.now_us), there.incarnation)
        };
        for step in 0.. {
            assert!(step < 10_000, "the caller always has something to do");
            match self.processes[process].caller.poll(now) {
                CallerOutput::Write(record) => self.write(process, record),
                CallerOutput::Outage { until } => panic!("an outage until {until:?}"),
                CallerOutput::Wait { until } => {
                    assert!(
                        until.is_none_or(|until| until > now),
                        "the caller wants to be asked at {until:?}: {now:?}"
                    );
                    wakes.extend(until);
                    break;
                }
            }
        }
        for step in 0.. {
            assert!(step < 10_000, "the allocator always has something to do");
            match self.processes[process].allocator.poll(now) {
                AllocatorOutput::Write(record) => self.write(process, record),
                AllocatorOutput::Wait { until } => {
                    assert!(until.is_none_or(|until| until > now), "the allocator wants to be asked at {until:?}");
                    wakes.extend(until);
                    break;
                }
            }
        }
        let there = &mut self.processes[process];
        if let Some(until) = wakes.into_iter().min() {
            // Its timers are late now and then, never early.
            let at = there.clock.true_us(until).max(self.now_us + 1) + self.dice.between(0, 1_000);
            if at < there.wakes_us {
                there.wakes_us = at;
                self.after(at - self.now_us, Event::Wake { process, incarnation });
            }
        }
    }

    fn calls(&mut self, process: usize, wakes: &mut Vec<tieline_delivery::Time>) {
        let mut flows: Vec<Flow> = self.processes[process].load.keys().cloned().collect();
        let turn = self.dice.index(flows.len());
        flows.rotate_left(turn);
        let mut left = flows.len();
        while left > 0 {
            let flow = flows.remove(0);
            let there = &mut self.processes[process];
            let Load { waiting, sleeps_us, .. } = there.load[&flow];
            if waiting > 0 && self.now_us < sleeps_us {
                wakes.push(there.clock.local(sleeps_us + 1));
                left -= 1;
                flows.push(flow);
                continue;
            }
            let now = there.clock.local(self.now_us);
            match if waiting > 0 { Some(there.caller.try_take(now, &flow, 0)) } else { None } {
                Some(Ok(permit)) => {
                    self.send(process, &flow, permit);
                    left = flows.len() + 1;
                }
                Some(Err(not_yet)) => {
                    let until = not_yet.until.map_or(self.now_us, |until| there.clock.true_us(until));
                    if self.setup.tardy && flow.consumer == "a" && !flow.replay {
                        let late_us = until.max(self.now_us) + self.dice.between(12_000, 40_000);
                        there.load.get_mut(&flow).unwrap().sleeps_us = late_us;
                        wakes.push(there.clock.local(late_us + 1));
                    } else {
                        wakes.extend(not_yet.until);
                    }
                    left -= 1;
                }
                None => left -= 1,
            }
            flows.push(flow);
        }
    }

    fn send(&mut self, process: usize, flow: &Flow, permit: Permit) {
        let there = &mut self.processes[process];
        assert!(there.alive && there.caught_up && there.paused_until_us <= self.now_us);
        let load = there.load.get_mut(flow).unwrap();
        load.sent += 1;
        load.waiting -= 1;
        if load.endless {
            load.waiting += 1;
            let (weight, calls) = (load.weight, load.waiting);
            let now = there.clock.local(self.now_us);
            there.caller.handle(now, CallerInput::Waiting { flow: flow.clone(), weight, calls });
        }
        let incarnation = there.incarnation;
        if (MEASURED_US..ORPHANED_US).contains(&self.now_us) {
            let name = if flow.replay { format!("{} again", flow.consumer) } else { flow.consumer.clone() };
            *self.fair.entry(name).or_default() += 1;
        }
        self.judge.sent(self.now_us);
        self.check_throttles(process, incarnation);
        self.call(process, incarnation, permit);
    }

    /// The call takes its time, and is answered.
    fn call(&mut self, process: usize, incarnation: u64, permit: Permit) {
        let deadline_us = u64::try_from(DEADLINE.as_micros()).unwrap() * 98 / 100;
        let takes = if self.healed {
            self.dice.between(1_000, self.setup.healed_call_us)
        } else if self.dice.chance(50) {
            deadline_us
        } else {
            self.dice.between(1_000, 300_000)
        };
        let throttled = (!self.healed && self.dice.chance(self.setup.throttles))
            .then(|| Duration::from_millis(self.dice.between(100, 6_000)));
        let cost = if self.setup.limits.cost.is_some() { self.dice.between(1, COST_MAX) } else { 0 };
        let call = Call { permit, cost, throttled };
        self.after(takes, Event::End { process, incarnation, call, is_known_over: false });
    }

    fn end(&mut self, process: usize, incarnation: u64, call: Call, is_known_over: bool) {
        if !is_known_over {
            self.judge.over();
        }
        let there = &self.processes[process];
        let gone = there.incarnation != incarnation || !there.alive;
        if there.paused_until_us > self.now_us && !gone {
            // Its process does not know yet.
            let wait = there.paused_until_us - self.now_us;
            self.after(wait, Event::End { process, incarnation, call, is_known_over: true });
            return;
        }
        let Call { permit, cost, throttled } = call;
        self.judge.costs(self.now_us, cost);
        if gone {
            self.judge.unsettled += 1;
            return;
        }
        let unix_ms = self.unix_ms(process);
        let there = &mut self.processes[process];
        let now = there.clock.local(self.now_us);
        if let Some(retry_after) = throttled {
            self.seen.throttled += 1;
            let until = self.now_us + u64::try_from(retry_after.as_micros()).unwrap();
            self.throttled.push((self.now_us, until, process, incarnation));
            there.caller.handle(now, CallerInput::Throttled { retry_after, unix_ms });
        }
        there.caller.handle(now, CallerInput::Ended { permit, cost: (cost > 0).then_some(cost) });
        self.turn(process);
    }

    /// Who was told does not call before the time; others neither, from a second later, unless records are lost or late.
    fn check_throttles(&self, process: usize, incarnation: u64) {
        for (from, until, told, told_incarnation) in &self.throttled {
            let own = (*told, *told_incarnation) == (process, incarnation);
            let told_is_there = self.processes[*told].alive && self.processes[*told].incarnation == *told_incarnation;
            let knows_at = if own { *from } else { *from + SECOND };
            if own || (self.setup.calm && told_is_there) {
                let early = (knows_at..*until).contains(&self.now_us);
                assert!(
                    !early,
                    "a call {} s after a refusal that named {} s",
                    seconds(self.now_us - from),
                    seconds(until - from)
                );
            }
        }
    }

    fn write(&mut self, process: usize, record: Record) {
        let mute = self.now_us < self.processes[process].mute_until_us;
        if !self.healed && (mute || self.dice.chance(self.setup.lost)) {
            self.seen.lost += 1;
            return;
        }
        let lag = self.lag();
        let there = &mut self.processes[process];
        there.written_us = there.written_us.max(self.now_us + lag);
        let (wait, incarnation) = (there.written_us - self.now_us, there.incarnation);
        self.after(wait, Event::Append { process, incarnation, record });
    }

    fn unix_ms(&self, process: usize) -> i64 {
        let since_midnight = i64::try_from(self.now_us).unwrap() - i64::try_from(self.setup.midnight_us).unwrap();
        MIDNIGHT_UNIX_MS + since_midnight.div_euclid(1_000) + self.processes[process].clock.wall_off_ms
    }

    /// Somebody has more or less to do.
    fn work(&mut self) {
        if self.now_us >= HEALS_US {
            return;
        }
        let process = self.dice.index(self.processes.len());
        let there = &mut self.processes[process];
        for load in there.load.values_mut() {
            if self.dice.chance(500) {
                load.waiting = [0, 0, 1, 3, 60][self.dice.index(5)];
                load.endless = load.waiting > 0 && self.dice.chance(400);
            }
        }
        self.report_load(process);
        let wait = self.dice.between(20_000, 800_000);
        self.after(wait, Event::Work);
    }

    fn report_load(&mut self, process: usize) {
        let there = &mut self.processes[process];
        if !there.alive || !there.caught_up || there.paused_until_us > self.now_us {
            return;
        }
        let now = there.clock.local(self.now_us);
        for (flow, load) in &there.load {
            let (weight, calls) = (load.weight, load.waiting);
            there.caller.handle(now, CallerInput::Waiting { flow: flow.clone(), weight, calls });
        }
        self.turn(process);
    }

    fn trouble(&mut self) {
        if self.healed {
            return;
        }
        let process = self.dice.index(self.processes.len());
        match self.dice.between(0, 8) {
            0 => self.crash(process),
            1 => self.crash(self.divides().unwrap_or(process)),
            2 | 3 if !self.setup.calm => self.pause(process),
            4 | 5 if !self.setup.calm => {
                // Its lease runs out while it is at work, and so does what the allocator counts of it.
                self.seen.mutes += 1;
                self.processes[process].mute_until_us = self.now_us + self.dice.between(SECOND, 6 * SECOND);
            }
            6 => self.stop(self.divides().unwrap_or(process)),
            _ => self.stop(process),
        }
        let wait = self.dice.between(300_000, 4 * SECOND);
        self.after(wait, Event::Trouble);
    }

    fn crash(&mut self, process: usize) {
        if !self.processes[process].alive {
            return;
        }
        self.seen.crashes += 1;
        self.processes[process].alive = false;
        let wait = self.dice.between(10_000, 5 * SECOND);
        self.after(wait, Event::Restart { process });
    }

    /// Who divides, as far as it knows.
    fn divides(&self) -> Option<usize> {
        let divides = |there: &Process| there.alive && there.allocator.is_granting(there.clock.local(self.now_us));
        self.processes.iter().position(divides)
    }

    /// It ends in order: what it holds is given back, and others divide.
    fn stop(&mut self, process: usize) {
        let there = &mut self.processes[process];
        if !there.alive || !there.caught_up || there.paused_until_us > self.now_us {
            return;
        }
        self.seen.stops += 1;
        let (now, incarnation) = (there.clock.local(self.now_us), there.incarnation);
        there.caller.handle(now, CallerInput::Stop);
        there.allocator.handle(now, AllocatorInput::Stop);
        self.turn(process);
        let ends = self.dice.between(0, SECOND);
        self.after(ends, Event::Exit { process, incarnation });
        let wait = self.dice.between(10_000, 5 * SECOND);
        self.after(ends + wait, Event::Restart { process });
    }

    fn restart(&mut self, process: usize) {
        if self.processes[process].alive {
            return;
        }
        self.processes[process] = self.process(process);
        self.start(process);
        self.make_busy(process);
    }

    fn pause(&mut self, process: usize) {
        self.seen.pauses += 1;
        let pause = if self.dice.chance(500) {
            self.dice.between(1_000, SECOND)
        } else {
            self.dice.between(SECOND, 12 * SECOND)
        };
        let paused = &mut self.processes[process].paused_until_us;
        *paused = (*paused).max((self.now_us + pause).min(HEALS_US - 1));
    }

    /// No more faults, and everybody has more to do than can be done.
    fn heal(&mut self) {
        self.healed = true;
        for process in 0..self.processes.len() {
            self.restart(process);
            self.make_busy(process);
        }
    }

    /// The one that divides is killed, and comes again when it was measured how the others do without.
    fn orphan(&mut self) {
        let Some(divides) = self.divides().filter(|_| self.processes.len() > 1) else { return };
        self.orphaned = true;
        self.processes[divides].alive = false;
        self.after(ALONE_US - SECOND - ORPHANED_US, Event::Restart { process: divides });
    }

    fn make_busy(&mut self, process: usize) {
        if !self.healed {
            return;
        }
        for load in self.processes[process].load.values_mut() {
            (load.waiting, load.endless) = (50, true);
        }
        self.report_load(process);
    }

    /// From now on the first process alone has work, and nothing but a replay.
    fn leave_alone(&mut self) {
        self.alone = true;
        for process in 0..self.processes.len() {
            for (flow, load) in &mut self.processes[process].load {
                if process > 0 || !flow.replay {
                    (load.waiting, load.endless) = (0, false);
                }
            }
            self.report_load(process);
        }
    }

    fn check_promises(&mut self) {
        let limits = &self.setup.limits;
        let days = &self.judge.days;
        self.seen.midnights += u64::from(days.len() == 2);
        let spent = |day: bool| days.get(&day).map_or(0, |day| day.0);
        let left = limits.per_day.map(|most| most - spent(true).max(spent(false)));
        self.seen.exhausted_days += u64::from(left.is_some_and(|left| left < 3));
        let (Some(rate), None) = (limits.per_second, limits.cost) else { return };
        if limits.per_day.is_some() {
            return;
        }
        // At the end each bucket may hold a part of a call, which it did not hold at the beginning.
        self.check_rate(rate, MEASURED_US, ORPHANED_US, self.places(rate), "everybody has work");
        self.seen.used += 1;
        if self.orphaned {
            self.check_orphaned(rate);
        }
        self.check_rate(rate, LENT_US, ENDS_US, 1, "one alone has work, 2 s after the others");
        self.seen.lent += 1;
        self.check_fair(rate);
    }

    /// When the one that divides is killed, another does when the lease of that one is over. What it had in flight counts for
    /// the deadline too.
    fn check_orphaned(&mut self, rate: f64) {
        let ended = if self.setup.limits.in_flight.is_some() { DEADLINE } else { Duration::ZERO };
        let from = ORPHANED_US + 3 * SECOND + u64::try_from(ended.as_micros()).unwrap();
        self.check_rate(rate, from, ALONE_US - SECOND, self.places(rate), "the one that divided was killed");
        if rate >= 10.0 && self.setup.limits.in_flight.is_none() && self.all_have_places(rate) {
            let silent = self.judge.longest_silence_us(ORPHANED_US, ORPHANED_US + 4 * SECOND);
            assert!(silent < SECOND * 3 / 2, "nobody called for {} s, when who divided was killed", seconds(silent));
        }
        self.seen.orphaned += 1;
    }

    fn all_have_places(&self, rate: f64) -> bool {
        self.places(rate) == u64::try_from(self.setup.processes).unwrap()
    }

    /// How many processes can hold a share at once.
    fn places(&self, rate: f64) -> u64 {
        let burst = self.setup.limits.burst.map_or(rate.max(1.0), f64::from);
        let places = self.setup.limits.in_flight.map_or(burst, |most| burst.min(f64::from(most)));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let places = places as u64;
        places.min(u64::try_from(self.setup.processes).unwrap())
    }

    fn check_rate(&self, rate: f64, from_us: u64, to_us: u64, parts: u64, when: &str) {
        let sent = self.judge.sent_between(from_us, to_us);
        let due = rate * seconds(to_us - from_us);
        #[allow(clippy::cast_precision_loss)]
        let used = (sent + 1 + parts) as f64 / due;
        assert!(used >= 0.9, "{sent} calls where {due} may be sent, while {when}\n{}", self.state());
    }

    /// Each consumer has its part by weight, whatever process it is in; a replay has none while others want all.
    fn check_fair(&mut self, rate: f64) {
        let count = |name: &str| self.fair.get(name).copied().unwrap_or(0);
        let (a, b, again) = (count("a"), count("b"), count("a again"));
        // A bucket of one call is full at once: there it would cost rate to wait for who is late.
        let waits =
            !self.setup.tardy || self.setup.limits.burst.is_none_or(|burst| burst as usize >= 2 * self.setup.processes);
        if rate >= 10.0 && self.all_have_places(rate) && waits {
            #[allow(clippy::cast_precision_loss)]
            let part = a as f64 / (a + b) as f64;
            assert!((0.2..0.3).contains(&part), "a has {a} calls, b {b}, at weights of 1 to 3");
            assert!(again <= (a + b) / 50, "a replay has {again} calls, where live ones have {a} and {b}");
            self.seen.fair += 1;
            self.seen.tardy += u64::from(self.setup.tardy);
        }
    }

    fn state(&self) -> String {
        let mut state = format!("{:?} processes {}\n", self.setup.limits, self.setup.processes);
        for process in &self.processes {
            let now = process.clock.local(self.now_us);
            let divides = process.allocator.is_granting(now);
            state += &format!("alive {} divides {divides} {:?}\n", process.alive, process.caller.share());
        }
        state
    }
}

fn process_of(event: &Event) -> Option<(usize, u64)> {
    match event {
        Event::Append { process, incarnation, .. }
        | Event::Deliver { process, incarnation, .. }
        | Event::CatchUp { process, incarnation }
        | Event::Exit { process, incarnation }
        | Event::End { process, incarnation, .. }
        | Event::Wake { process, incarnation }
        | Event::Wall { process, incarnation } => Some((*process, *incarnation)),
        Event::Work | Event::Trouble | Event::Restart { .. } | Event::Heal | Event::Orphan | Event::Alone => None,
    }
}
