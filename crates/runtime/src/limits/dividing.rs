//! What this process divides: an allocator for each limited system in the partitions that the group gave it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tieline_bus::System;
use tieline_delivery::Time;
use tieline_delivery::limits::{Allocator, AllocatorInput, AllocatorOutput, Record, system_of};

use super::gate::WAKE_GAP_MIN;
use super::rising::Rising;
use super::topic::partition_of;
use super::writer::Writer;
use super::{Event, settings};
use crate::telemetry::LimitMetrics;

/// How often the allocators are told what the wall clock shows; at least twice a minute.
const WALL_EVERY: Duration = Duration::from_secs(10);

/// The allocators of this process.
#[derive(Debug)]
pub(super) struct Dividing {
    /// All limited systems of the bus.
    systems: Vec<Arc<System>>,
    allocators: BTreeMap<String, Divided>,
    rising: Rising,
    writer: Writer,
    metrics: LimitMetrics,
    wall_at: Time,
}

#[derive(Debug)]
struct Divided {
    allocator: Allocator,
    wakes_at: Option<Time>,
    was_granting: bool,
}

impl Dividing {
    /// Nothing is this process's yet.
    pub fn new(systems: Vec<Arc<System>>, writer: Writer, metrics: LimitMetrics) -> Self {
        let (allocators, rising) = (BTreeMap::new(), Rising::default());
        Self { systems, allocators, rising, writer, metrics, wall_at: Time::default() }
    }

    /// Takes in what the group's client brought; what is for callers is not for us.
    pub fn take(&mut self, now: Time, event: Event) {
        match event {
            Event::Owned { partitions } => partitions.into_iter().for_each(|partition| self.begin(partition)),
            Event::Disowned { partitions } => self.end(&partitions),
            Event::ReadOwned { partition, offset, record } => self.read(now, partition, offset, record),
            Event::CaughtUp { partition } => {
                for (_, divided) in self.allocators.iter_mut().filter(|(system, _)| partition_of(system) == partition) {
                    divided.allocator.handle(now, AllocatorInput::CaughtUp);
                    divided.wakes_at = Some(now);
                }
            }
            Event::Read { .. } => {}
        }
        self.drive(now);
    }

    fn begin(&mut self, partition: i32) {
        self.rising.forget(partition);
        for system in self.systems.iter().filter(|system| partition_of(&system.name) == partition) {
            let mut allocator = Allocator::new(settings::allocator(system));
            allocator.handle(Time::default(), AllocatorInput::Wall { unix_ms: crate::now_ms() });
            let divided = Divided { allocator, wakes_at: None, was_granting: false };
            self.allocators.insert(system.name.clone(), divided);
        }
        // The time that was given above is not that of the clock: it is said again before anything is granted.
        self.wall_at = Time::default();
    }

    fn end(&mut self, partitions: &[i32]) {
        self.allocators.retain(|system, _| {
            let stays = !partitions.contains(&partition_of(system));
            if !stays {
                self.metrics.system(system).divides.set(0);
                tracing::info!(system, "another process divides its limits");
            }
            stays
        });
    }

    fn read(&mut self, now: Time, partition: i32, offset: i64, record: Record) {
        if !self.rising.passes(partition, offset) {
            return;
        }
        let divided = system_of(&record.key).and_then(|system| self.allocators.get_mut(system));
        if let Some(divided) = divided {
            divided.allocator.handle(now, AllocatorInput::Read { offset, record });
            divided.wakes_at = Some(now);
        }
    }

    /// Does what the allocators ask for that is due.
    pub fn drive(&mut self, now: Time) {
        if self.wall_at <= now && !self.allocators.is_empty() {
            self.wall_at = now.after(WALL_EVERY);
            let unix_ms = crate::now_ms();
            for divided in self.allocators.values_mut() {
                divided.allocator.handle(now, AllocatorInput::Wall { unix_ms });
            }
        }
        for (system, divided) in self.allocators.iter_mut().filter(|(_, d)| d.wakes_at.is_some_and(|at| at <= now)) {
            divided.wakes_at = loop {
                match divided.allocator.poll(now) {
                    AllocatorOutput::Write(record) => self.writer.write(system, &record),
                    AllocatorOutput::Wait { until } => break until.map(|until| until.max(now.after(WAKE_GAP_MIN))),
                }
            };
            let is_granting = divided.allocator.is_granting(now);
            if std::mem::replace(&mut divided.was_granting, is_granting) != is_granting {
                self.metrics.system(system).divides.set(i64::from(is_granting));
                tracing::info!(system, is_granting, "divides its limits among all that call it");
            }
        }
    }

    /// When there is something to do without an event.
    pub fn wakes_at(&self) -> Option<Time> {
        let wall = (!self.allocators.is_empty()).then_some(self.wall_at);
        self.allocators.values().filter_map(|divided| divided.wakes_at).chain(wall).min()
    }
}
