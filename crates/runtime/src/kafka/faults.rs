//! What librdkafka reports about itself. A wrong password shows nowhere else; and while a broker is away the client repeats
//! itself 20 times a second, so that the same is not told again and again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How long the same fault is not told again. One that lasts is told as long as it lasts.
const QUIET: Duration = Duration::from_secs(30);

/// The faults of one client, each told when it comes and then from time to time.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// One entry for each code, of which there are fewer than 200.
    told: Mutex<Vec<(Option<RDKafkaErrorCode>, Instant)>>,
}

impl Faults {
    /// Logs a fault, unless that was done just now.
    pub(super) fn tell(&self, client: &str, error: &KafkaError, reason: &str) {
        if self.is_news(error.rdkafka_error_code(), Instant::now()) {
            tracing::warn!(client, error = %error, reason, "Kafka's client reports a fault");
        }
    }

    fn is_news(&self, code: Option<RDKafkaErrorCode>, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.iter_mut().find(|(other, _)| *other == code) {
            Some((_, at)) if now.duration_since(*at) < QUIET => false,
            Some((_, at)) => {
                *at = now;
                true
            }
            None => {
                told.push((code, now));
                true
            }
        }
    }
}

impl ClientContext for Faults {
    fn error(&self, error: KafkaError, reason: &str) {
        self.tell("events", &error, reason);
    }
}

/// What a client that reads one topic calls back on: its faults are told, each from time to time.
#[derive(Debug)]
pub(crate) struct Faulty {
    topic: String,
    faults: Faults,
}

impl Faulty {
    pub(crate) fn of(topic: &str) -> Self {
        Self { topic: topic.to_owned(), faults: Faults::default() }
    }

    /// Tells a fault that the client gets over by itself.
    pub(crate) fn tell(&self, error: &KafkaError) {
        // An end is reported as if it were a fault.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            self.faults.tell(&self.topic, error, "the client gets over this by itself");
        }
    }
}

impl ClientContext for Faulty {
    fn error(&self, error: KafkaError, _: &str) {
        self.tell(&error);
    }
}

impl ConsumerContext for Faulty {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_lasts_is_told_twice_a_minute_and_a_new_one_at_once() {
        let (faults, start) = (Faults::default(), Instant::now());
        let down = Some(RDKafkaErrorCode::AllBrokersDown);
        let told = (0..1_200).filter(|n| faults.is_news(down, start + Duration::from_millis(50 * n))).count();
        assert_eq!(told, 2);
        assert!(faults.is_news(Some(RDKafkaErrorCode::Authentication), start));
    }
}
