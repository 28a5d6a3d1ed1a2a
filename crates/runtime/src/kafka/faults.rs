//! What librdkafka reports about itself. A wrong password shows nowhere else; and while a broker is away the client repeats
//! itself 20 times a second, so that the same is not told again and again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
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
