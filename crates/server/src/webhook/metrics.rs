//! What the webhooks count. Labels come from definitions, never from a request.

use std::time::Instant;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Upper bounds of the histogram in seconds: a publish takes 2 to 50 ms; the body may take 10 s, the broker longer.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// The webhooks' metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 202, an event.
    Published,
    /// 202, no rule takes it.
    Ignored,
    /// 202, kept as a dead letter.
    DeadLettered,
    /// 503: the broker did not acknowledge.
    NotAccepted,
    /// 401.
    Unverified,
    /// 400: broken off, or not JSON.
    Malformed,
    /// 413.
    TooLarge,
    /// 408.
    TooSlow,
    /// 405 or 415: not what a webhook is sent as.
    Unsupported,
    /// 503: too much at once.
    Full,
    /// 500: our definition is wrong.
    Misconfigured,
    /// 404.
    UnknownPath,
    /// The sender hung up.
    Abandoned,
}

impl Outcome {
    /// As the label has it.
    fn label(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Ignored => "ignored",
            Self::DeadLettered => "dead_lettered",
            Self::NotAccepted => "not_accepted",
            Self::Unverified => "unverified",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Unsupported => "unsupported",
            Self::Full => "full",
            Self::Misconfigured => "misconfigured",
            Self::UnknownPath => "unknown_path",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Metrics {
    /// Makes the metrics known.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("tieline_webhook_requests_total", "Requests to webhooks, by how they ended."),
            &["producer", "outcome"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "tieline_webhook_seconds",
                "Seconds from a request's head to its answer, the broker's acknowledgement included.",
            )
            .buckets(SECONDS.to_vec()),
            &["producer"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self { requests, seconds })
    }

    /// Starts to observe a request to a producer's webhook.
    pub(crate) fn observe<'a>(&'a self, producer: &'a str) -> Observation<'a> {
        Observation { metrics: self, producer, began: Instant::now(), outcome: Outcome::Abandoned }
    }

    /// Counts a request that no producer receives: a sender with an old address, or somebody who looks around.
    pub(crate) fn unknown_path(&self) {
        self.requests.with_label_values(&["", Outcome::UnknownPath.label()]).inc();
    }
}

/// A request under way; counted when it is dropped, so that one whose sender hangs up is counted too.
#[derive(Debug)]
pub(crate) struct Observation<'a> {
    metrics: &'a Metrics,
    producer: &'a str,
    began: Instant,
    outcome: Outcome,
}

impl Observation<'_> {
    /// Notes how it ended.
    pub(crate) fn ended(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        self.metrics.requests.with_label_values(&[self.producer, self.outcome.label()]).inc();
        self.metrics.seconds.with_label_values(&[self.producer]).observe(self.began.elapsed().as_secs_f64());
    }
}
