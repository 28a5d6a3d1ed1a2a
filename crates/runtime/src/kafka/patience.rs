//! Asking brokers that do not know yet: a topic or a coordinator that was made a moment ago has its leader a moment later,
//! and so has one whose broker is gone.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How long brokers may take to agree.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before they are asked again.
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

/// The first offset of a partition and the one after its last, asked for patiently.
pub(crate) fn watermarks<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
    timeout: Duration,
) -> Result<(i64, i64), KafkaError> {
    patiently(|| {
        client.fetch_watermarks(topic, partition, timeout).inspect_err(|_| {
            // The client keeps in mind that a partition has no leader, and would say so for minutes (librdkafka 2.12: until
            // the topic's metadata is refreshed, of itself each 5). Asked for metadata, it looks again.
            let _ = client.fetch_metadata(Some(topic), timeout);
        })
    })
}

fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                // Of the client itself: it has heard of no leader.
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::DestroyBroker
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
        )
    )
}
