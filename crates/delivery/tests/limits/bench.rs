//! Some callers, an allocator, and a log that everybody reads at once: for rules that need no dice.

use std::time::Duration;

use tieline_delivery::Time;
use tieline_delivery::limits::{
    Allocator, AllocatorInput, AllocatorOutput, AllocatorSettings, Caller, CallerId, CallerInput, CallerOutput,
    CallerSettings, Flow, LimitsSettings, NotYet, Permit, Record,
};

pub const UNIX_MS: i64 = 1_795_514_400_000 + 3_600_000;

pub struct Bench {
    pub now: Time,
    pub limits: LimitsSettings,
    pub callers: Vec<Caller>,
    /// The last one is that of the newest process; those before it stand by, or think that they divide.
    pub allocators: Vec<Allocator>,
    pub log: Vec<Record>,
    read: usize,
    pub outages: Vec<Time>,
    /// What the wall clock showed when it began.
    pub began_unix_ms: i64,
}

pub fn flow(consumer: &str) -> Flow {
    Flow { consumer: consumer.to_owned(), replay: false }
}

pub fn replay_of(consumer: &str) -> Flow {
    Flow { replay: true, ..flow(consumer) }
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Bench {
    pub fn new(callers: usize, limits: LimitsSettings) -> Self {
        let now = Time(secs(1_000));
        let caller = |place: usize| {
            let mut caller = Caller::new(CallerSettings {
                system: "erp".to_owned(),
                id: CallerId::new(&format!("c{place}")),
                limits: limits.clone(),
                retry_after_max: secs(60),
            });
            caller.handle(now, CallerInput::CaughtUp { unix_ms: UNIX_MS });
            caller
        };
        let callers = (0..callers).map(caller).collect();
        let (allocators, log, outages) = (Vec::new(), Vec::new(), Vec::new());
        let mut bench = Self { now, limits, callers, allocators, log, read: 0, outages, began_unix_ms: UNIX_MS };
        bench.stand_by("c0");
        bench
    }

    /// Another allocator, which reads all that lies in the log, and then reads along.
    pub fn stand_by(&mut self, name: &str) {
        let mut allocator = allocator(&self.limits, name);
        for (offset, record) in (0..).zip(&self.log[..self.read]) {
            allocator.handle(self.now, AllocatorInput::Read { offset, record: record.clone() });
        }
        allocator.handle(self.now, AllocatorInput::CaughtUp);
        self.allocators.push(allocator);
        self.settle();
    }

    /// All allocators stop in order, and a new one divides as soon as it is asked.
    pub fn take_over(&mut self) {
        self.allocators.iter_mut().for_each(|allocator| allocator.handle(self.now, AllocatorInput::Stop));
        self.settle();
        self.allocators.clear();
        self.stand_by(&format!("at {:?}", self.now));
        while !self.claimed() {
            self.advance(ms(10));
        }
    }

    /// Whether the last word on who divides is a claim.
    pub fn claimed(&self) -> bool {
        self.log.iter().rev().find(|record| record.key == "erp/claim").is_some_and(|record| record.value.is_some())
    }

    /// Whether the newest allocator divides.
    pub fn is_granting(&self) -> bool {
        self.allocators.last().is_some_and(|allocator| allocator.is_granting(self.now))
    }

    pub fn want(&mut self, caller: usize, calls: u64) {
        self.want_for(caller, flow("a"), calls);
    }

    pub fn want_for(&mut self, caller: usize, flow: Flow, calls: u64) {
        self.callers[caller].handle(self.now, CallerInput::Waiting { flow, weight: 1, calls });
        self.settle();
    }

    pub fn take(&mut self, caller: usize) -> Result<Permit, NotYet> {
        self.take_for(caller, &flow("a"))
    }

    pub fn take_for(&mut self, caller: usize, flow: &Flow) -> Result<Permit, NotYet> {
        self.callers[caller].try_take(self.now, flow, 0)
    }

    /// How many calls a caller may send in this time, each of which ends at once.
    pub fn sends(&mut self, caller: usize, within: Duration) -> usize {
        let (end, mut sent) = (self.now.after(within), 0);
        while self.now < end {
            while let Ok(permit) = self.take(caller) {
                sent += 1;
                self.callers[caller].handle(self.now, CallerInput::Ended { permit, cost: None });
            }
            self.want(caller, 100);
            self.advance(ms(10));
        }
        sent
    }

    pub fn advance(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = self.now.after(ms(10)).min(end);
            self.settle();
        }
    }

    /// Everybody does what there is to do, and reads what was written.
    pub fn settle(&mut self) {
        let unix_ms = self.began_unix_ms + i64::try_from(self.now.since(Time(secs(1_000))).as_millis()).unwrap();
        self.allocators.iter_mut().for_each(|allocator| allocator.handle(self.now, AllocatorInput::Wall { unix_ms }));
        loop {
            for caller in &mut self.callers {
                loop {
                    match caller.poll(self.now) {
                        CallerOutput::Write(record) => self.log.push(record),
                        CallerOutput::Outage { until } => self.outages.push(until),
                        CallerOutput::Wait { .. } => break,
                    }
                }
            }
            for allocator in &mut self.allocators {
                while let AllocatorOutput::Write(record) = allocator.poll(self.now) {
                    self.log.push(record);
                }
            }
            if self.read == self.log.len() {
                return;
            }
            while self.read < self.log.len() {
                let (offset, record) = (i64::try_from(self.read).unwrap(), &self.log[self.read]);
                for caller in &mut self.callers {
                    caller.handle(self.now, CallerInput::Read { offset, record: record.clone() });
                }
                for allocator in &mut self.allocators {
                    allocator.handle(self.now, AllocatorInput::Read { offset, record: record.clone() });
                }
                self.read += 1;
            }
        }
    }
}

fn allocator(limits: &LimitsSettings, id: &str) -> Allocator {
    Allocator::new(AllocatorSettings {
        system: "erp".to_owned(),
        caller: CallerId::new(id),
        limits: limits.clone(),
        deadline: secs(10),
    })
}
