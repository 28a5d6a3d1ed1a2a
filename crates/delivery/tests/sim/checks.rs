//! What is asserted while the world runs, beside the oracle's verdict at its end.

use std::time::Duration;

use tieline_delivery::{Came, Commit, Final, Order, Outcome, PauseReason, RecordId};

use crate::plan::Weather;
use crate::process::{Failed, Who};
use crate::world::World;

/// Reasons to park a record that has not failed.
const NOT_FAILED: [&str; 3] = ["behind", "paused", "redriven"];

impl World {
    /// A call goes out.
    pub fn check_send(&mut self, process: usize, maybe_applied: bool, event: usize) {
        let order = self.plan.settings.order;
        let record = &self.log.records[event];
        let shell = &mut self.processes[process];
        assert!(shell.requests.contains(&event), "e{event} is sent unprepared");
        assert!(self.now_ms >= shell.calls_from_ms, "e{event} is sent before the time that the system named");
        assert!(!shell.paused_all, "e{event} is sent, and the consumer is paused");
        if let (Order::Key, Some(key)) = (order, record.key) {
            assert!(!shell.paused_keys.contains(&key), "e{event} is sent, and its key {key} is paused");
            assert!(shell.calling.insert((record.partition, key)), "two calls of key {key} at once: e{event}");
        }
        let load = shell.machine.load();
        let settings = &self.plan.settings;
        let most = load.allowed.min(settings.in_flight_max);
        assert!(load.in_flight <= most, "{} calls are under way, and {most} may be", load.in_flight);
        let alone = load.in_flight == 1 || shell.machine.outage().is_none();
        assert!(alone, "{} calls are under way, and it is an outage", load.in_flight);
        // What is not committed since commits of its partition are refused comes on top.
        let refused = |partition: i32| {
            let mut refused = shell.machine.partitions().filter(|at| at.paused == Some(PauseReason::NotCommitted));
            refused.any(|at| at.partition.0 == partition)
        };
        let counts = |event: &&usize| !refused(self.log.records[**event].partition);
        let repeats = load.in_flight + shell.uncovered.iter().filter(counts).count();
        assert!(!refused(record.partition), "e{event} is sent, and commits of its partition are refused");
        let most = settings.repeats_max.max(settings.in_flight_max + 1);
        assert!(repeats <= most, "after a crash {repeats} calls would come again, and {most} may");
        if self.group.owner(record.partition) == Some(shell.who) {
            self.check_known(maybe_applied, event);
            self.check_order(process, event);
        }
    }

    /// An owner knows which effects there may be, and waits for the calls of the owners before it. (A zombie cannot.)
    fn check_known(&self, maybe_applied: bool, event: usize) {
        let partition = self.log.records[event].partition;
        let since_ms = self.group.owners[&partition].since_ms;
        let parked = matches!(self.topics.ledger.get(&event), Some(Outcome::Parked { .. }));
        let calls = || self.on_the_way.iter().filter(|call| call.event == event);
        assert!(
            calls().all(|call| call.sent_ms > since_ms) || (parked && self.plan.clocks_are_wild()),
            "e{event} is sent, and an older owner's call may still arrive"
        );
        // What comes out of the park is known by the time at which it was to be tried: a clock that is far off, and a
        // zombie that goes on for long, send it again under the key that the system remembers.
        let unknown = if parked {
            !self.plan.clocks_are_wild()
                && (self.applied_by_owner.contains(&event) || calls().any(|call| call.by_owner))
        } else {
            self.system.remembered.contains(&event) || calls().next().is_some()
        };
        assert!(maybe_applied || !unknown, "e{event} is sent as never applied, and it is, or may be yet");
    }

    /// Nothing goes before an older one of its key that has not come to its end, or that holds it.
    fn check_order(&self, process: usize, event: usize) {
        for before in self.log.before(self.plan.settings.order, event) {
            let ended = match self.topics.ledger.get(&before) {
                Some(Outcome::Done | Outcome::Skipped | Outcome::Overtaken) => true,
                Some(Outcome::Dead { .. }) => {
                    let (partition, offset) = self.log.records[before].place();
                    let holds = self.topics.holds.iter().any(|((of, _), dead)| (*of, *dead) == (partition, offset));
                    // Where records of a partition wait for each other, it was redriven in its place.
                    !holds || self.plan.supersedes() || self.processes[process].settled.contains(&before)
                }
                // What is replayed is in nobody's way before it is parked, or dead.
                None if self.log.records[before].replay.is_some() => true,
                Some(Outcome::Parked { .. }) | None => self.processes[process].settled.contains(&before),
            };
            let state = self.topics.ledger.get(&before);
            assert!(ended, "e{event} is sent before e{before}, which is older, of its key, and {state:?}");
        }
    }

    /// A parked record is asked for: it is durable, and its time has come.
    pub fn check_recall(&self, process: usize, id: RecordId) {
        let shell = &self.processes[process];
        if self.group.owner(id.partition.0) != Some(shell.who) {
            return;
        }
        let row = self.topics.parked.get(&(id.partition.0, id.offset));
        let row = row.unwrap_or_else(|| panic!("{id:?} is recalled, and is not parked"));
        let waits = !NOT_FAILED.contains(&row.code.as_str()) && self.plan.clocks_are_true();
        if let (true, Some(failed_ms)) = (waits, row.failed_ms) {
            let schedule = &self.plan.settings.park_schedule;
            let step = usize::try_from(row.state.steps).unwrap();
            // What somebody had paused is parked even where nothing else is.
            let wait = schedule.get(step).or(schedule.last()).copied().unwrap_or_default();
            let due_ms = failed_ms + u64::try_from(wait.as_millis()).unwrap();
            assert!(self.now_ms >= due_ms, "e{} is recalled {} ms early", row.event, due_ms - self.now_ms);
        }
    }

    /// A commit is asked for: what it parks or buries is parked or buried for a reason.
    pub fn check_commit(&self, process: usize, commit: &Commit<usize>) {
        let shell = &self.processes[process];
        for end in &commit.finals {
            let Outcome::Parked { reason, .. } = &end.outcome else { continue };
            assert!(self.plan.settings.order != Order::Partition, "e{} is parked", end.record);
            if matches!(end.came, Came::Parked | Came::Redriven) || NOT_FAILED.contains(&reason.code.as_str()) {
                continue;
            }
            let Some(failed) = shell.failed.get(&end.record) else { panic!("e{} is parked unfailed", end.record) };
            self.assert_patient(end, *failed);
            assert!(
                shell.worked_ms.is_some_and(|worked| worked >= failed.first_ms),
                "e{} is parked, and nothing has worked since it failed",
                end.record
            );
        }
    }

    fn assert_patient(&self, end: &Final<usize>, failed: Failed) {
        let tried = Duration::from_millis(self.now_ms - failed.first_ms);
        let patience = self.plan.settings.patience;
        assert!(tried >= patience, "e{} is {:?} after {tried:?}", end.record, end.outcome);
    }

    /// A record has come to an end.
    pub fn check_end(&mut self, who: Who, end: &Final<usize>) {
        let Outcome::Dead { reason, effect, .. } = &end.outcome else {
            if let (Weather::Outages, Outcome::Parked { .. }) = (self.plan.weather, &end.outcome) {
                panic!("e{} is parked in an outage: {:?}", end.record, end.outcome);
            }
            return;
        };
        assert!(self.plan.weather != Weather::Outages, "e{} is buried in an outage: {reason:?}", end.record);
        self.seen.note("dead");
        if *effect == tieline_delivery::Effect::Exists {
            self.seen.note("dead with an effect");
        }
        let known = *effect != tieline_delivery::Effect::None || self.plan.clocks_are_wild();
        let applied = self.applied_by_owner.contains(&end.record);
        assert!(known || !applied, "e{} is dead as without an effect, and has one", end.record);
        if self.condemned.contains(&end.record) {
            return; // Somebody has said that it is at fault, whatever it failed of last.
        }
        let failed = self.failing.get(&end.record).copied();
        match reason.code.as_str() {
            "given-up" => {
                self.seen.note("given up");
                let Some(failed) = failed else { panic!("e{} is given up unfailed", end.record) };
                let tried = Duration::from_millis(self.now_ms - failed.first_ms);
                let early = tried < self.plan.settings.give_up_after && self.plan.clocks_are_true();
                assert!(!early, "e{} is given up after {tried:?}", end.record);
            }
            "conflict" | "http-404" => {
                let Some(failed) = failed else { panic!("e{} is dead unfailed", end.record) };
                self.assert_patient(end, failed);
            }
            "http-400" => {
                let fingerprint = self.processes[who.process].fingerprint;
                let known = self.worked_under.contains(&fingerprint);
                assert!(known, "e{} is buried, and nothing has ever worked under its mapping", end.record);
            }
            "unreadable" => {}
            other => panic!("e{} is dead of {other}", end.record),
        }
    }

    /// No more is under way than may be, and who has no room fetches nothing.
    pub fn check_bounds(&self, process: usize) {
        let (shell, settings) = (&self.processes[process], &self.plan.settings);
        let load = shell.machine.load();
        let most = settings.in_flight_max;
        let stopped = shell.paused_all || shell.machine.outage().is_some();
        let least = usize::from(!stopped);
        assert!((least..=most).contains(&load.allowed), "{load:?}: not between {least} and {most} calls are allowed");
        // (What has a request that has to be sent again comes to those that are prepared.)
        assert!(load.preparing <= most, "{load:?}: more than {most} are prepared ahead");
        let full =
            load.buffered_records >= settings.window_records_max || load.buffered_bytes >= settings.window_bytes_max;
        for partition in shell.owned.keys().filter(|partition| !shell.leaving.contains(partition)) {
            assert!(!full || shell.paused.contains_key(partition), "{load:?}: partition {partition} is not paused");
        }
    }
}
