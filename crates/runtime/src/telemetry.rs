//! Every metric of the bus, a row each. Labels come from definitions, never from data.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::system::Drift;

/// Bounds of the buckets of durations, in seconds: from a fast call on a local network to a day of waiting.
const SECONDS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3_600.0, 86_400.0];

/// The metrics of a process.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where they are gathered for `/metrics`.
    pub registry: Registry,
    deliveries: IntCounterVec,
    attempts: IntCounterVec,
    call_seconds: HistogramVec,
    effect_seconds: HistogramVec,
    lag_records: IntGaugeVec,
    lag_seconds: IntGaugeVec,
    keys_waiting: IntGaugeVec,
    in_flight: IntGaugeVec,
    in_flight_allowed: IntGaugeVec,
    buffered_records: IntGaugeVec,
    stuck: IntGaugeVec,
    parked_records: IntGaugeVec,
    held_keys: IntGaugeVec,
    outage: IntGaugeVec,
    paused_partitions: IntGaugeVec,
    commit_age_seconds: IntGaugeVec,
    commits: IntCounterVec,
    stale_inputs: IntGaugeVec,
    published: IntCounterVec,
    systems: SystemMetrics,
    limits: LimitMetrics,
}

/// The metrics of the systems that are called.
#[derive(Debug, Clone)]
pub struct SystemMetrics {
    /// Where a system is not as its definition says.
    pub drift: Drift,
    /// Look-ups of effects whose answer was lost, by what they found.
    pub effect_look_ups: IntCounterVec,
}

/// The metrics of the limits that replicas share.
#[derive(Debug, Clone)]
pub struct LimitMetrics {
    calls: IntCounterVec,
    waiting: IntGaugeVec,
    in_flight: IntGaugeVec,
    granted_per_second: GaugeVec,
    granted_in_flight: IntGaugeVec,
    divides: IntGaugeVec,
    unreadable: IntGaugeVec,
    /// Records of the limits' topic that were not written.
    pub faults: IntCounter,
}

/// The metrics of the limits of one system.
#[derive(Debug, Clone)]
pub struct SystemLimitMetrics {
    /// Calls that were let through.
    pub calls: IntCounter,
    /// Calls that could go at once if the limits let them.
    pub waiting: IntGauge,
    /// Calls under way.
    pub in_flight: IntGauge,
    /// This process's part of the rate.
    pub granted_per_second: Gauge,
    /// Its part of the calls under way.
    pub granted_in_flight: IntGauge,
    /// 1 while this process divides the limits among all.
    pub divides: IntGauge,
    /// Records of the system that could not be read.
    pub unreadable: IntGauge,
}

impl LimitMetrics {
    fn new() -> Result<Self, prometheus::Error> {
        let by_system = ["system"];
        Ok(Self {
            calls: counter("tieline_limit_calls_total", "Calls that the limits let through.", &by_system)?,
            waiting: gauge("tieline_limit_waiting", "Calls that wait for nothing but the limits.", &by_system)?,
            in_flight: gauge("tieline_limit_in_flight", "Calls under way at a limited system.", &by_system)?,
            granted_per_second: GaugeVec::new(
                Opts::new("tieline_limit_granted_per_second", "This process's part of the rate of calls."),
                &by_system,
            )?,
            granted_in_flight: gauge(
                "tieline_limit_granted_in_flight",
                "This process's part of the calls that may be under way.",
                &by_system,
            )?,
            divides: gauge("tieline_limit_divides", "1 where this process divides the limits among all.", &by_system)?,
            unreadable: gauge("tieline_limit_unreadable", "Records of the limits that cannot be read.", &by_system)?,
            faults: IntCounter::new("tieline_limit_faults_total", "Records of the limits that were not written.")?,
        })
    }

    fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.calls.clone()))?;
        registry.register(Box::new(self.granted_per_second.clone()))?;
        registry.register(Box::new(self.faults.clone()))?;
        for gauge in [&self.waiting, &self.in_flight, &self.granted_in_flight, &self.divides, &self.unreadable] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(())
    }

    /// Those of one system.
    #[must_use]
    pub fn system(&self, name: &str) -> SystemLimitMetrics {
        SystemLimitMetrics {
            calls: self.calls.with_label_values(&[name]),
            waiting: self.waiting.with_label_values(&[name]),
            in_flight: self.in_flight.with_label_values(&[name]),
            granted_per_second: self.granted_per_second.with_label_values(&[name]),
            granted_in_flight: self.granted_in_flight.with_label_values(&[name]),
            divides: self.divides.with_label_values(&[name]),
            unreadable: self.unreadable.with_label_values(&[name]),
        }
    }
}

/// The metrics of one consumer: the same, with its label filled in, so that nothing is looked up for a record.
#[derive(Debug, Clone)]
pub struct ConsumerMetrics {
    /// Records by what became of them.
    pub done: IntCounter,
    /// Passed by.
    pub skipped: IntCounter,
    /// Replayed records that were passed over.
    pub overtaken: IntCounter,
    /// Dead letters.
    pub dead: IntCounter,
    /// Set aside, each time.
    pub parked: IntCounter,
    /// Records that are parked now.
    pub parked_records: IntGauge,
    /// Keys that are held behind a dead letter.
    pub held_keys: IntGauge,
    /// 1 while the system fails for everybody.
    pub outage: IntGauge,
    /// Attempts, by what the answer meant.
    pub attempts: IntCounterVec,
    /// Time of a call.
    pub call_seconds: Histogram,
    /// From the event's time to its effect.
    pub effect_seconds: Histogram,
    /// Records of the topic that are not final, in all partitions that this process has.
    pub lag_records: IntGauge,
    /// Age of the oldest that was fetched, in seconds.
    pub lag_seconds: IntGauge,
    /// Keys with a record that is not final, and no call under way.
    pub keys_waiting: IntGauge,
    /// Calls under way.
    pub in_flight: IntGauge,
    /// Calls that may be under way.
    pub in_flight_allowed: IntGauge,
    /// Records kept in memory.
    pub buffered_records: IntGauge,
    /// Records that fail for longer than they should, and are not parked.
    pub stuck: IntGauge,
    /// Partitions that are not fetched from.
    pub paused_partitions: IntGauge,
    /// Time since the last commit, while there is something to commit.
    pub commit_age_seconds: IntGauge,
    /// Commits that were made.
    pub commits_ok: IntCounter,
    /// Commits that failed and are made again.
    pub commits_failed: IntCounter,
    /// Completions of an assignment that is over.
    pub stale_inputs: IntGauge,
}

impl Metrics {
    /// Makes and registers all of them.
    ///
    /// # Errors
    /// When one is registered already.
    pub fn new(registry: Registry) -> Result<Self, prometheus::Error> {
        let by_consumer = ["consumer"];
        let drift = counter(
            "tieline_drift_total",
            "Answers that are not as the system's definition says, where that stops nothing.",
            &["system", "operation", "kind"],
        )?;
        let effect_look_ups = counter(
            "tieline_effect_look_ups_total",
            "Look-ups of effects whose answer was lost, by what they found.",
            &["system", "operation", "result"],
        )?;
        for counter in [&drift, &effect_look_ups] {
            registry.register(Box::new(counter.clone()))?;
        }
        let metrics = Self {
            deliveries: counter(
                "tieline_deliveries_total",
                "Records by what became of them.",
                &["consumer", "outcome"],
            )?,
            attempts: counter("tieline_attempts_total", "Attempts by what the answer meant.", &["consumer", "answer"])?,
            call_seconds: histogram("tieline_call_seconds", "Time of a call, headers and body.", &by_consumer)?,
            effect_seconds: histogram("tieline_effect_seconds", "From the event's time to its effect.", &by_consumer)?,
            lag_records: gauge("tieline_lag_records", "Records of the topic that are not final.", &by_consumer)?,
            lag_seconds: gauge("tieline_lag_seconds", "Age of the oldest record that is not final.", &by_consumer)?,
            keys_waiting: gauge(
                "tieline_keys_waiting",
                "Keys with a record that is not final and no call under way.",
                &by_consumer,
            )?,
            in_flight: gauge("tieline_in_flight", "Calls under way.", &by_consumer)?,
            in_flight_allowed: gauge(
                "tieline_in_flight_allowed",
                "Calls that may be under way: as many as the system bears.",
                &by_consumer,
            )?,
            buffered_records: gauge("tieline_buffered_records", "Records kept in memory.", &by_consumer)?,
            stuck: gauge("tieline_stuck_records", "Records that fail for longer than they should.", &by_consumer)?,
            parked_records: gauge("tieline_parked_records", "Records that are parked.", &by_consumer)?,
            held_keys: gauge("tieline_held_keys", "Keys held behind a dead letter.", &by_consumer)?,
            outage: gauge("tieline_outage", "1 while the system fails for everybody.", &by_consumer)?,
            paused_partitions: gauge("tieline_paused_partitions", "Partitions not fetched from.", &by_consumer)?,
            commit_age_seconds: gauge("tieline_commit_age_seconds", "Time since the last commit.", &by_consumer)?,
            commits: counter("tieline_commits_total", "Commits by result.", &["consumer", "result"])?,
            stale_inputs: gauge("tieline_stale_completions", "Completions of an ended assignment.", &by_consumer)?,
            published: counter("tieline_published_total", "Bodies by what became of them.", &["producer", "outcome"])?,
            systems: SystemMetrics { drift: Drift::new(drift), effect_look_ups },
            limits: LimitMetrics::new()?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        self.limits.register(&self.registry)?;
        for counter in [&self.deliveries, &self.attempts, &self.commits, &self.published] {
            self.registry.register(Box::new(counter.clone()))?;
        }
        for histogram in [&self.call_seconds, &self.effect_seconds] {
            self.registry.register(Box::new(histogram.clone()))?;
        }
        let gauges = [
            &self.lag_records,
            &self.lag_seconds,
            &self.keys_waiting,
            &self.in_flight,
            &self.in_flight_allowed,
            &self.buffered_records,
            &self.stuck,
            &self.parked_records,
            &self.held_keys,
            &self.outage,
            &self.paused_partitions,
            &self.commit_age_seconds,
            &self.stale_inputs,
        ];
        for gauge in gauges {
            self.registry.register(Box::new(gauge.clone()))?;
        }
        Ok(())
    }

    /// The metrics of one consumer.
    #[must_use]
    pub fn consumer(&self, name: &str) -> ConsumerMetrics {
        ConsumerMetrics {
            done: self.deliveries.with_label_values(&[name, "done"]),
            skipped: self.deliveries.with_label_values(&[name, "skipped"]),
            overtaken: self.deliveries.with_label_values(&[name, "overtaken"]),
            dead: self.deliveries.with_label_values(&[name, "dead"]),
            parked: self.deliveries.with_label_values(&[name, "parked"]),
            parked_records: self.parked_records.with_label_values(&[name]),
            held_keys: self.held_keys.with_label_values(&[name]),
            outage: self.outage.with_label_values(&[name]),
            attempts: self.attempts.clone(),
            call_seconds: self.call_seconds.with_label_values(&[name]),
            effect_seconds: self.effect_seconds.with_label_values(&[name]),
            lag_records: self.lag_records.with_label_values(&[name]),
            lag_seconds: self.lag_seconds.with_label_values(&[name]),
            keys_waiting: self.keys_waiting.with_label_values(&[name]),
            in_flight: self.in_flight.with_label_values(&[name]),
            in_flight_allowed: self.in_flight_allowed.with_label_values(&[name]),
            buffered_records: self.buffered_records.with_label_values(&[name]),
            stuck: self.stuck.with_label_values(&[name]),
            paused_partitions: self.paused_partitions.with_label_values(&[name]),
            commit_age_seconds: self.commit_age_seconds.with_label_values(&[name]),
            commits_ok: self.commits.with_label_values(&[name, "ok"]),
            commits_failed: self.commits.with_label_values(&[name, "failed"]),
            stale_inputs: self.stale_inputs.with_label_values(&[name]),
        }
    }

    /// The metrics of the systems that are called.
    #[must_use]
    pub fn systems(&self) -> SystemMetrics {
        self.systems.clone()
    }

    /// The metrics of the limits that replicas share.
    #[must_use]
    pub fn limits(&self) -> LimitMetrics {
        self.limits.clone()
    }

    /// Counts what became of a producer's body: `published`, `ignored`, `dead`, `repeated`, `repeated-otherwise`, `failed`.
    pub fn count_published(&self, producer: &str, outcome: &str) {
        self.published.with_label_values(&[producer, outcome]).inc();
    }
}

fn counter(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(Opts::new(name, help), labels)
}

fn histogram(name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)
}
