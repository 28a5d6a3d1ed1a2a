//! The consumer group, as the coordinator sees it: who owns what, under which generation, and how that changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Protocol, Weather};
use crate::process::Who;
use crate::world::{Event, Message, World};

/// How long the group waits for an owner to give something back: longer than a revocation may take.
const REBALANCE_TIMEOUT_MS: u64 = 4_500;
/// How long it may take until a member knows where a partition stands that it was given.
const READS_WITHIN_MS: u64 = 1_500;
/// Longest time between two heartbeats of a member.
const HEARTBEAT_MS: u64 = 400;

#[derive(Debug, Clone, Copy)]
pub struct Owner {
    pub who: Who,
    pub assignment: u64,
    /// Since when.
    pub since_ms: u64,
    /// It has been told to give it back.
    pub revoked: bool,
}

pub struct Group {
    pub protocol: Protocol,
    pub owners: BTreeMap<i32, Owner>,
    /// Which process is to own what.
    pub shall: BTreeMap<i32, usize>,
    /// Processes that the group has put out, and that do not know it yet.
    pub out: BTreeSet<usize>,
    /// Of all members, or of each.
    pub generations: BTreeMap<usize, u64>,
    generation: u64,
    rebalancing: bool,
    next_assignment: u64,
}

impl Group {
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            owners: BTreeMap::new(),
            shall: BTreeMap::new(),
            out: BTreeSet::new(),
            generations: BTreeMap::new(),
            generation: 0,
            rebalancing: false,
            next_assignment: 1,
        }
    }

    pub fn owner(&self, partition: i32) -> Option<Who> {
        self.owners.get(&partition).map(|owner| owner.who)
    }

    /// Whether a commit of this member is taken: the broker looks at its generation, not at its partitions.
    pub fn takes(&self, who: Who, generation: u64) -> bool {
        !self.out.contains(&who.process) && self.generations.get(&who.process) == Some(&generation)
    }
}

impl World {
    /// Deals the partitions out anew.
    pub fn reassign(&mut self, everybody_gives_back: bool) {
        self.seen.note("rebalances");
        for partition in 0..self.plan.partitions {
            let process = self.dice.index(self.processes.len());
            self.group.shall.insert(partition, process);
        }
        self.group.rebalancing |= everybody_gives_back;
        self.settle_group();
    }

    /// Brings who owns what nearer to who shall.
    pub fn settle_group(&mut self) {
        let members: Vec<usize> =
            (0..self.processes.len()).filter(|p| self.processes[*p].alive && !self.group.out.contains(p)).collect();
        if members.is_empty() {
            return;
        }
        for partition in 0..self.plan.partitions {
            if !members.contains(&self.group.shall[&partition]) {
                let other = members[self.dice.index(members.len())];
                self.group.shall.insert(partition, other);
            }
        }
        match self.group.protocol {
            Protocol::Eager => self.settle_eager(),
            Protocol::Cooperative => self.settle_cooperative(),
            Protocol::Server => self.settle_server(),
        }
    }

    fn misplaced(&self) -> Vec<i32> {
        let owners = &self.group.owners;
        owners.iter().filter(|(p, owner)| owner.who.process != self.group.shall[p]).map(|(p, _)| *p).collect()
    }

    fn unowned(&self) -> Vec<i32> {
        (0..self.plan.partitions).filter(|partition| !self.group.owners.contains_key(partition)).collect()
    }

    fn settle_eager(&mut self) {
        self.group.rebalancing |= !self.misplaced().is_empty() || !self.unowned().is_empty();
        if !self.group.rebalancing {
            return;
        }
        let owned: Vec<i32> = self.group.owners.keys().copied().collect();
        if owned.is_empty() {
            self.group.rebalancing = false;
            self.next_generation();
            self.assign_all();
        }
        owned.into_iter().for_each(|partition| self.tell_revoke(partition));
    }

    fn settle_cooperative(&mut self) {
        let misplaced = self.misplaced();
        if misplaced.is_empty() && !self.unowned().is_empty() {
            self.next_generation();
            self.assign_all();
        }
        misplaced.into_iter().for_each(|partition| self.tell_revoke(partition));
    }

    fn settle_server(&mut self) {
        for partition in self.unowned() {
            let process = self.group.shall[&partition];
            self.group.generation += 1;
            self.group.generations.insert(process, self.group.generation);
            self.tell_assign(partition);
        }
        self.misplaced().into_iter().for_each(|partition| self.tell_revoke(partition));
    }

    fn next_generation(&mut self) {
        self.group.generation += 1;
        let generation = self.group.generation;
        for process in 0..self.processes.len() {
            if !self.group.out.contains(&process) {
                self.group.generations.insert(process, generation);
                if self.processes[process].alive {
                    let who = self.processes[process].who;
                    self.tell(who, Message::Generation(generation));
                }
            }
        }
    }

    fn assign_all(&mut self) {
        self.unowned().into_iter().for_each(|partition| self.tell_assign(partition));
    }

    fn tell_assign(&mut self, partition: i32) {
        let process = self.group.shall[&partition];
        let who = self.processes[process].who;
        let assignment = self.group.next_assignment;
        self.group.next_assignment += 1;
        let owner = Owner { who, assignment, since_ms: self.now_ms, revoked: false };
        self.group.owners.insert(partition, owner);
        let generation = self.group.generations.get(&process).copied().unwrap_or(0);
        let message = Message::Assign { partition, assignment, generation };
        let foul = !self.healed && self.plan.weather == Weather::Foul;
        if foul && self.dice.chance(100) {
            // Where a partition stands is told when no transaction of an earlier owner is open any more.
            let late = self.dice.between(1, READS_WITHIN_MS);
            self.tell_after(late, who, message);
            if self.dice.chance(500) {
                let wait = self.dice.between(0, late);
                self.after(wait, Event::Evict(who));
            }
        } else {
            self.tell(who, message);
        }
    }

    fn tell_revoke(&mut self, partition: i32) {
        let Some(owner) = self.group.owners.get_mut(&partition).filter(|owner| !owner.revoked) else { return };
        owner.revoked = true;
        let Owner { who, assignment, .. } = *owner;
        self.tell(who, Message::Revoke { partition, assignment });
        self.after(REBALANCE_TIMEOUT_MS, Event::RebalanceTimeout { who, partition, assignment });
    }

    /// The group's words reach a process in their order, with the next heartbeat.
    fn tell(&mut self, who: Who, message: Message) {
        let late = match self.group.protocol {
            Protocol::Eager | Protocol::Cooperative => self.dice.between(1, 30),
            Protocol::Server => self.dice.between(1, HEARTBEAT_MS),
        };
        self.tell_after(late, who, message);
    }

    fn tell_after(&mut self, late: u64, who: Who, message: Message) {
        let process = &mut self.processes[who.process];
        process.hears_at_ms = process.hears_at_ms.max(self.now_ms + late);
        let wait = process.hears_at_ms - self.now_ms;
        self.after(wait, Event::To(who, message));
    }

    /// A process says that it has given a partition back.
    pub fn tell_released(&mut self, who: Who, partition: i32, assignment: u64) {
        let late = match self.group.protocol {
            Protocol::Eager | Protocol::Cooperative => self.dice.between(0, 10),
            Protocol::Server => self.dice.between(0, HEARTBEAT_MS),
        };
        self.after(late, Event::Released { who, partition, assignment });
    }

    pub fn given_back(&mut self, who: Who, partition: i32, assignment: u64) {
        let owner = self.group.owners.get(&partition);
        if owner.is_some_and(|owner| owner.who == who && owner.assignment == assignment) {
            self.group.owners.remove(&partition);
            self.settle_group();
        }
    }

    pub fn rebalance_timed_out(&mut self, who: Who, partition: i32, assignment: u64) {
        let owner = self.group.owners.get(&partition);
        if owner.is_some_and(|owner| owner.who == who && owner.assignment == assignment) {
            self.seen.note("evicted in a rebalance");
            self.evict(who);
        }
    }

    /// The group takes everything from a member; it hears so later, if it lives.
    pub fn evict(&mut self, who: Who) {
        if self.processes[who.process].who != who || self.group.out.contains(&who.process) {
            return;
        }
        self.group.owners.retain(|_, owner| owner.who != who);
        self.group.generations.remove(&who.process);
        self.group.out.insert(who.process);
        if self.processes[who.process].alive {
            let late = self.dice.between(1, 3_000);
            self.tell_after(late, who, Message::Lost);
        }
        self.settle_group();
    }
}
