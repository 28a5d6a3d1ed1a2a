//! The operator: redrives what may be cured, discards what cannot, stops keys and consumers and lets them go.

use tieline_delivery::{Effect, Epoch, Input, Order, Partition, RecordId};

use crate::log::{Poison, key_of};
use crate::plan::Weather;
use crate::world::{Event, World};

impl World {
    pub fn operate(&mut self) {
        let wait = self.dice.between(100, if self.healed { 500 } else { 3_000 });
        self.after(wait, Event::Operate);
        if self.healed {
            self.bury_what_is_kept();
            self.let_all_go();
        } else if self.plan.weather != Weather::Outages && self.dice.chance(300) {
            self.stop_or_let_go();
        }
        if !self.healed && self.dice.chance(600) {
            self.order_replay();
        }
        let holds: Vec<(i32, i64)> =
            self.topics.holds.iter().map(|((partition, _), dead)| (*partition, *dead)).collect();
        for (partition, offset) in holds {
            if self.healed || !self.dice.chance(700) {
                self.deal_with(partition, offset);
            }
        }
    }

    /// Redrives or discards a dead letter. What the owner of that moment loses is done again.
    fn deal_with(&mut self, partition: i32, offset: i64) {
        let Some(who) = self.group.owner(partition) else { return };
        let shell = &self.processes[who.process];
        if shell.who != who || !shell.alive || shell.frozen {
            return;
        }
        let (Some(owned), Some(&(event, effect))) =
            (shell.owned.get(&partition), self.topics.dead.get(&(partition, offset)))
        else {
            return;
        };
        let id = RecordId { epoch: Epoch(owned.epoch), partition: Partition(partition), offset };
        let key = self.log.records[event].key();
        let redrive = match self.log.records[event].poison {
            Poison::Always => !self.healed && !self.plan.supersedes() && self.dice.chance(200),
            // What has had its effect is never sent again.
            // A newer record may be under way that makes it moot.
            Poison::UntilHealed | Poison::No | Poison::Unreadable => {
                effect != Effect::Exists && !self.plan.supersedes()
            }
        };
        let input = if redrive {
            let maybe_applied = effect != Effect::None;
            Input::Redrive { id, key, bytes: 50, record: event, maybe_applied, attempts_total: 1, attempts: vec![] }
        } else {
            Input::Discard { id, key }
        };
        self.input(who.process, input);
    }

    /// Where nothing has ever worked, only a person can say that the records are at fault.
    fn bury_what_is_kept(&mut self) {
        for process in 0..self.processes.len() {
            let stuck = self.processes[process].machine.stuck();
            for id in stuck.into_iter().map(|stuck| stuck.id) {
                let place = (id.partition.0, id.offset);
                let at_fault = |event: &usize| {
                    let record = &self.log.records[*event];
                    record.place() == place && record.poison == Poison::Always
                };
                let at_fault: Vec<usize> = self.log.events(place.0).into_iter().filter(at_fault).collect();
                if !at_fault.is_empty() {
                    self.condemned.extend(at_fault);
                    self.input(process, Input::Bury { id });
                }
            }
        }
    }

    /// Each process hears of it for itself.
    fn stop_or_let_go(&mut self) {
        let (key, what) = (self.dice.between(0, 6), self.dice.between(0, 8));
        for process in 0..self.processes.len() {
            let shell = &mut self.processes[process];
            if !shell.alive || shell.frozen {
                continue;
            }
            let input = match what {
                0 => {
                    self.seen.note("consumers paused");
                    shell.paused_all = true;
                    Input::PauseAll { by: "c1".to_owned() }
                }
                1..=3 => {
                    shell.paused_all = false;
                    Input::ResumeAll
                }
                4 | 5 if self.plan.settings.order == Order::Key => {
                    self.seen.note("keys paused");
                    shell.paused_keys.insert(key);
                    Input::PauseKey { key: key_of(key) }
                }
                _ => {
                    shell.paused_keys.remove(&key);
                    Input::ResumeKey { key: key_of(key) }
                }
            };
            self.input(process, input);
        }
    }

    fn let_all_go(&mut self) {
        for process in 0..self.processes.len() {
            if std::mem::take(&mut self.processes[process].paused_all) {
                self.input(process, Input::ResumeAll);
            }
            for key in std::mem::take(&mut self.processes[process].paused_keys) {
                self.input(process, Input::ResumeKey { key: key_of(key) });
            }
        }
    }
}
