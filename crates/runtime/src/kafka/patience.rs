//! Asking brokers that do not know yet: a topic or a coordinator that was made a moment ago has its leader a moment later.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How long brokers may take to agree.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before a broker is asked again that did not know yet of a topic that was made a moment ago.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Asks again, for as long as a broker may take, while it does not know yet who leads.
pub(crate) fn patiently<T>(mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Err(error) if Instant::now() < deadline && is_passing(&error) => std::thread::park_timeout(ASK_AGAIN),
            answer => return answer,
        }
    }
}

fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
        )
    )
}
