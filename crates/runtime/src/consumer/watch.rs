//! Where a consumer stands, looked at once a second: for its status, its metrics, and whoever listens.

use std::sync::Arc;

use tieline_delivery::PauseReason;

use super::lag::records_behind;
use super::service::{Done, Service};
use super::status::{ConsumerStatus, OutageStatus, PartitionStatus, StuckRecord, reason_text};
use crate::happening::{Happening, What};

impl Service {
    pub(super) fn publish_status(&mut self) {
        let status = self.look();
        self.tell_outage(status.outage.as_ref());
        self.metrics.in_flight.set(clamp(status.in_flight));
        self.metrics.in_flight_allowed.set(clamp(status.in_flight_allowed));
        self.metrics.keys_waiting.set(clamp(status.keys_waiting));
        self.metrics.buffered_records.set(clamp(status.buffered_records));
        self.metrics.stuck.set(clamp(status.stuck.len()));
        self.metrics.parked_records.set(clamp(status.parked_records));
        self.metrics.held_keys.set(clamp(status.held_keys));
        self.metrics.outage.set(i64::from(status.outage.is_some()));
        self.metrics.paused_partitions.set(clamp(status.partitions.iter().filter(|p| p.paused.is_some()).count()));
        self.metrics.stale_inputs.set(i64::try_from(self.machine.stale_inputs()).unwrap_or(i64::MAX));
        let idle = status.partitions.iter().all(|p| p.committed == p.fetched_to);
        let age = if idle { 0 } else { self.last_commit.elapsed().as_secs() };
        self.metrics.commit_age_seconds.set(i64::try_from(age).unwrap_or(i64::MAX));
        for at in self.machine.partitions() {
            self.ages.passed(at.partition.0, at.frontier);
        }
        self.metrics.lag_seconds.set(self.ages.oldest_s(crate::now_ms()));
        self.ask_lag();
        self.status.send_replace(status);
    }

    /// Tells when an outage begins, and when it is over.
    fn tell_outage(&mut self, outage: Option<&OutageStatus>) {
        let before = std::mem::replace(&mut self.in_outage, outage.is_some());
        if before == outage.is_some() {
            return;
        }
        let (consumer, system) = (&self.consumer, &self.consumer.call.system.name);
        let reason = outage.map(|outage| outage.detail.clone());
        match &reason {
            Some(reason) => tracing::warn!(consumer = consumer.name, system, reason, "the system fails for everybody"),
            None => tracing::info!(consumer = consumer.name, system, "the system works again"),
        }
        self.preparer.wiring.happenings.tell(|| Happening {
            at_ms: crate::now_ms(),
            service: consumer.name.clone(),
            event_id: String::new(),
            event: consumer.event.name.clone(),
            key: String::new(),
            what: What::Outage { reason },
        });
    }

    /// Asks the brokers how far we are behind, unless they are being asked.
    fn ask_lag(&mut self) {
        if std::mem::replace(&mut self.asking_lag, true) {
            return;
        }
        let (client, topic) = (Arc::clone(&self.fetcher.client), self.consumer.event.topic.clone());
        let frontiers: Vec<(i32, i64)> = self.machine.partitions().map(|p| (p.partition.0, p.frontier)).collect();
        self.under_way.push(Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || records_behind(&client, &topic, &frontiers)).await;
            Done::Behind { records: asked.ok().flatten() }
        }));
    }

    fn look(&self) -> ConsumerStatus {
        let load = self.machine.load();
        let now = self.now();
        let partitions = self.machine.partitions().map(|p| PartitionStatus {
            partition: p.partition.0,
            committed: p.committed,
            fetched_to: p.fetched_to,
            paused: p.paused.as_ref().filter(|reason| !matches!(reason, PauseReason::Window)).map(reason_text),
            paused_since_ms: self.paused_since.get(&p.partition.0).copied(),
        });
        let stuck = self.machine.stuck().into_iter().map(|s| StuckRecord {
            partition: s.id.partition.0,
            offset: s.id.offset,
            key: s.key.map(|k| String::from_utf8_lossy(&k).into_owned()),
            attempts: s.attempts,
            reason: s.reason.code,
            detail: s.reason.detail,
            outage: s.outage,
            failing_for_s: s.failing_for.as_secs(),
            retry_in_s: s.retry_at.0.saturating_sub(now.0).as_secs(),
        });
        ConsumerStatus {
            consumer: self.consumer.name.clone(),
            joined: self.assignments.has_joined(),
            partitions: partitions.collect(),
            in_flight: load.in_flight,
            in_flight_allowed: load.allowed,
            keys_waiting: load.keys_waiting,
            buffered_records: load.buffered_records,
            stuck: stuck.collect(),
            outage: self.machine.outage().map(|outage| OutageStatus {
                reason: outage.reason.code,
                detail: outage.reason.detail,
                lasting_s: outage.lasting.as_secs(),
                probes: outage.probes,
                probe_in_s: outage.probe_at.0.saturating_sub(now.0).as_secs(),
            }),
            limit: self.door.status(),
            parked_records: load.parked_records,
            parked_keys: load.parked_keys,
            held_keys: load.held_keys,
            halted: self.given_up.as_ref().map(ToString::to_string),
        }
    }
}

fn clamp(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
