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
    pub allocator: Allocator,
    pub log: Vec<Record>,
    read: usize,
    pub outages: Vec<Time>,
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
        let allocator = allocator(&limits, "first");
        let mut bench = Self { now, limits, callers, allocator, log: Vec::new(), read: 0, outages: Vec::new() };
        bench.allocator.handle(now, AllocatorInput::CaughtUp);
        bench.settle();
        bench
    }

    /// Another owner of the partition, which reads all that lies in it. The one before is gone.
    pub fn take_over(&mut self) {
        self.allocator = allocator(&self.limits, &format!("at {:?}", self.now));
        for (offset, record) in (0..).zip(&self.log) {
            self.allocator.handle(self.now, AllocatorInput::Read { offset, record: record.clone() });
        }
        self.allocator.handle(self.now, AllocatorInput::CaughtUp);
        self.settle();
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
        let unix_ms = UNIX_MS + i64::try_from(self.now.since(Time(secs(1_000))).as_millis()).unwrap();
        self.allocator.handle(self.now, AllocatorInput::Wall { unix_ms });
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
            while let AllocatorOutput::Write(record) = self.allocator.poll(self.now) {
                self.log.push(record);
            }
            if self.read == self.log.len() {
                return;
            }
            while self.read < self.log.len() {
                let (offset, record) = (i64::try_from(self.read).unwrap(), &self.log[self.read]);
                for caller in &mut self.callers {
                    caller.handle(self.now, CallerInput::Read { offset, record: record.clone() });
                }
                self.allocator.handle(self.now, AllocatorInput::Read { offset, record: record.clone() });
                self.read += 1;
            }
        }
    }
}

fn allocator(limits: &LimitsSettings, id: &str) -> Allocator {
    Allocator::new(AllocatorSettings {
        system: "erp".to_owned(),
        id: id.to_owned(),
        limits: limits.clone(),
        deadline: secs(10),
    })
}
