//! What happens to processes: crashes, pauses, zombies, rebalances, redeployments, clocks that jump; and healing.

use tieline_delivery::Input;

use crate::log::key_of;
use crate::plan::Weather;
use crate::process::Who;
use crate::world::{Event, World};

/// The mapping of which everything is refused.
pub const BAD_MAPPING: u64 = 666;
/// The group puts out a member of which it has heard nothing for so long.
const SESSION_MS: u64 = 800;

impl World {
    pub fn trouble(&mut self) {
        if self.healed {
            return;
        }
        let process = self.dice.index(self.processes.len());
        let rough = self.plan.weather != Weather::Calm;
        match self.dice.between(0, 9) {
            0 if rough => self.crash(process),
            1 if rough => self.make_zombie(process),
            2 | 3 if rough => self.freeze(process),
            4 => self.reassign(true),
            5 => self.redeploy(process),
            6 if self.plan.clock_spread_ms > 0 => {
                self.seen.note("wall clocks jumped");
                self.processes[process].skew_ms = self.skew_ms();
            }
            _ => self.reassign(false),
        }
        let wait = self.dice.between(50, 2_500);
        self.after(wait, Event::Trouble);
    }

    /// A process dies in the middle of something, now and then.
    pub fn maybe_crash(&mut self, who: Who, when: &'static str) {
        let rough = !self.healed && self.plan.weather != Weather::Calm;
        if rough && self.dice.chance(4) && self.processes[who.process].who == who && self.processes[who.process].alive {
            self.seen.note(when);
            self.crash(who.process);
        }
    }

    /// The process is gone; its calls and commits may still arrive. The group notices after a while.
    fn crash(&mut self, process: usize) {
        if !self.processes[process].alive {
            return;
        }
        self.seen.note("crashes");
        self.stop(process);
        let (who, notices, back) =
            (self.processes[process].who, self.dice.between(1, SESSION_MS), self.dice.between(1, 4_000));
        self.after(notices, Event::SessionOver(who));
        self.after(back, Event::Restart(process));
    }

    fn stop(&mut self, process: usize) {
        self.losses += 1;
        let shell = &mut self.processes[process];
        shell.alive = false;
        shell.frozen = false;
        shell.backlog.clear();
        self.seen.add_to("stale inputs", shell.machine.stale_inputs());
    }

    /// A process is killed, and another one takes its place at once, perhaps with another mapping.
    fn redeploy(&mut self, process: usize) {
        if self.plan.weather == Weather::Calm || !self.processes[process].alive {
            return;
        }
        self.seen.note("redeployments");
        self.stop(process);
        self.restart(process);
    }

    pub fn restart(&mut self, process: usize) {
        if self.processes[process].alive {
            return;
        }
        let fresh = self.process(process);
        let old = std::mem::replace(&mut self.processes[process], fresh);
        // The group takes it for a new member: what the one before it owned is free.
        self.group.owners.retain(|_, owner| owner.who != old.who);
        self.group.generations.remove(&process);
        self.group.out.remove(&process);
        for key in old.paused_keys {
            self.processes[process].paused_keys.insert(key);
            self.input(process, Input::PauseKey { key: key_of(key) });
        }
        self.settle_group();
    }

    /// A process is stopped for a while, as by SIGSTOP or a stalled host.
    fn freeze(&mut self, process: usize) {
        let wait = self.dice.between(10, 3_000);
        let shell = &mut self.processes[process];
        if !shell.alive || shell.frozen {
            return;
        }
        shell.frozen = true;
        self.seen.note("frozen");
        let who = shell.who;
        if wait > SESSION_MS {
            self.seen.note("frozen past the session");
            self.after(SESSION_MS, Event::SessionOver(who));
        }
        self.after(wait, Event::Thaw(who));
    }

    /// It goes on: sometimes its own clocks come first, sometimes what has come for it meanwhile.
    pub fn thaw(&mut self, who: Who) {
        let process = who.process;
        if self.processes[process].who != who || !self.processes[process].alive {
            return;
        }
        self.processes[process].frozen = false;
        if self.dice.chance(500) {
            self.pump(process);
        }
        while let Some(message) = self.processes[process].backlog.pop_front() {
            if self.processes[process].who != who || !self.processes[process].alive {
                return;
            }
            self.take(process, message);
        }
        self.pump(process);
    }

    /// The group takes everything from a process that does not notice for a while, and goes on.
    fn make_zombie(&mut self, process: usize) {
        let who = self.processes[process].who;
        if self.processes[process].alive && self.processes.len() > 1 {
            self.seen.note("zombies");
            self.evict(who);
        }
    }

    pub fn heal(&mut self) {
        self.healed = true;
        self.system.healed = true;
        for process in 0..self.processes.len() {
            if self.processes[process].fingerprint == BAD_MAPPING && self.processes[process].alive {
                self.stop(process);
            }
            let who = self.processes[process].who;
            self.thaw(who);
            self.restart(process);
        }
        self.settle_group();
    }
}
