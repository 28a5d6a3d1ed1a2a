//! Settings of librdkafka's clients: the user's own, and above them the few that the bus's promises rest on.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use tieline_bus::Kafka;

/// How the broker is reached, and what kind of broker it is.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Addresses and the user's settings.
    pub kafka: Kafka,
    /// Whether it is the embedded broker of `tieline dev`, which has neither transactions nor admin requests.
    pub embedded: bool,
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting of the user's that would break a promise.
    #[error("kafka setting `{name}: {value}` is refused: {reason}; take it out of `kafka.settings` in tieline.yaml")]
    Refused {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it would break.
        reason: &'static str,
    },
    /// librdkafka did not take a setting. Its value is left out, since it may be a password.
    #[error("kafka setting `{name}` is refused by the client: {problem}")]
    Setting {
        /// The setting.
        name: String,
        /// What the client said, without the value.
        problem: String,
    },
    /// The client could not be made.
    #[error("the Kafka client cannot be made: {0}")]
    Client(KafkaError),
}

impl From<KafkaError> for ConnectError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, problem, name, value) => {
                let problem = if value.is_empty() { problem } else { problem.replace(&value, "…") };
                Self::Setting { name, problem }
            }
            other => Self::Client(other),
        }
    }
}

/// Settings that are ours, and why the user's are refused.
const REFUSED: [(&str, &str); 6] = [
    ("enable.auto.offset.store", "a record would count as done when it is handed over, and a crash would lose it"),
    ("enable.auto.commit", "offsets are committed with the ledger, not in the background"),
    ("auto.offset.reset", "a missing offset must halt the partition, not skip or repeat it"),
    ("acks", "an event is published when all in-sync replicas have it"),
    ("enable.idempotence", "a retried produce would repeat or reorder events"),
    ("partitioner", "the key decides the partition, as Java's default partitioner does"),
];

/// How long a broker may wait to fill a fetch. Also the embedded broker's latency, since it does not wake a waiting fetch.
const FETCH_WAIT_MS: &str = "10";

/// How long the coordinator waits for a member's heartbeat.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Bytes that librdkafka may fetch ahead for one consumer, in KiB. Its default is 64 MiB a partition.
const PREFETCH_KIB: &str = "16384";

/// Largest record of a state topic, in bytes: twice the usual 1 MiB of an event, and 1 MiB. A dead letter holds the original
/// in base 64. Both the topic and the client, whose own default is 1,000,000, have to let it through.
pub(crate) const STATE_RECORD_BYTES_MAX: &str = "3145728";

fn base(connection: &Connection) -> Result<ClientConfig, ConnectError> {
    let mut config = ClientConfig::new();
    for (name, value) in &connection.kafka.settings {
        if let Some((name, reason)) = REFUSED.iter().find(|(refused, _)| refused == name) {
            return Err(ConnectError::Refused { name, value: value.expose().to_owned(), reason });
        }
        config.set(name, value.expose());
    }
    config.set("bootstrap.servers", &connection.kafka.brokers);
    config.set("client.id", "tieline");
    // What a client would measure for brokers that collect metrics of clients (KIP-714): histograms of some 100 KiB for each
    // connection of each of a process's clients, though hardly any broker asks.
    set_unless_given(&mut config, "enable.metrics.push", "false");
    config.set_log_level(RDKafkaLogLevel::Warning);
    Ok(config)
}

/// Settings of a client that asks about topics and makes them.
///
/// # Errors
/// When the user set one that would break a promise.
pub fn admin_settings(connection: &Connection) -> Result<ClientConfig, ConnectError> {
    base(connection)
}

/// Settings of a client that reads as a member of a group.
///
/// # Errors
/// When the user set one that would break a promise.
pub fn consumer_settings(connection: &Connection, group: &str) -> Result<ClientConfig, ConnectError> {
    let mut config = base(connection)?;
    if connection.embedded {
        // The mock cluster takes seconds to join a classic group, and a tenth of one for this protocol (KIP-848).
        config.set("group.protocol", "consumer");
    } else if config.get("group.protocol") != Some("consumer") {
        // With the newer protocol (KIP-848) these are the broker's to say, and the client refuses them.
        let session = SESSION_TIMEOUT.as_millis().to_string();
        set_unless_given(&mut config, "session.timeout.ms", &session);
        set_unless_given(&mut config, "heartbeat.interval.ms", "1500");
        set_unless_given(&mut config, "partition.assignment.strategy", "cooperative-sticky");
    }
    set_unless_given(&mut config, "max.poll.interval.ms", "60000");
    set_unless_given(&mut config, "queued.max.messages.kbytes", PREFETCH_KIB);
    set_unless_given(&mut config, "fetch.wait.max.ms", FETCH_WAIT_MS);
    config.set("group.id", group);
    config.set("enable.auto.offset.store", "false");
    config.set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "error");
    config.set("isolation.level", "read_committed");
    Ok(config)
}

/// Settings of a client that publishes.
///
/// # Errors
/// When the user set one that would break a promise.
pub fn producer_settings(connection: &Connection) -> Result<ClientConfig, ConnectError> {
    let mut config = base(connection)?;
    set_unless_given(&mut config, "delivery.timeout.ms", "10000");
    set_unless_given(&mut config, "linger.ms", "2");
    set_unless_given(&mut config, "message.max.bytes", STATE_RECORD_BYTES_MAX);
    set_unless_given(&mut config, "compression.type", "lz4");
    config.set("acks", "all");
    config.set("enable.idempotence", "true");
    config.set("partitioner", "murmur2_random");
    Ok(config)
}

fn set_unless_given(config: &mut ClientConfig, name: &str, value: &str) {
    if config.get(name).is_none() {
        config.set(name, value);
    }
}

/// The consumer group of a consumer.
#[must_use]
pub fn group_of(bus: &str, consumer: &str) -> String {
    format!("{bus}.{consumer}")
}

/// A state topic of a consumer or producer: `BUS.NAME.KIND`.
#[must_use]
pub fn state_topic(bus: &str, owner: &str, kind: &str) -> String {
    format!("{bus}.{owner}.{kind}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use tieline_bus::Secret;

    use super::*;

    fn connection(settings: &[(&str, &str)]) -> Connection {
        let settings =
            settings.iter().map(|(k, v)| ((*k).to_owned(), Secret::new((*v).to_owned()))).collect::<BTreeMap<_, _>>();
        let kafka = Kafka { brokers: "127.0.0.1:1".to_owned(), settings, partitions: 1, replication: 1 };
        Connection { kafka, embedded: false }
    }

    #[test]
    fn storing_offsets_in_the_background_is_refused() {
        let error = consumer_settings(&connection(&[("enable.auto.offset.store", "true")]), "g").unwrap_err();
        assert!(error.to_string().contains("enable.auto.offset.store: true"), "{error}");
        assert!(error.to_string().contains("a crash would lose it"), "{error}");
    }

    #[test]
    fn the_users_settings_stay_where_no_promise_rests_on_them() {
        let config = consumer_settings(&connection(&[("session.timeout.ms", "45000")]), "g").unwrap();
        assert_eq!(config.get("session.timeout.ms"), Some("45000"));
        assert_eq!(config.get("enable.metrics.push"), Some("false"));
        assert_eq!(config.get("enable.auto.offset.store"), Some("false"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
        let asked_for = producer_settings(&connection(&[("enable.metrics.push", "true")])).unwrap();
        assert_eq!(asked_for.get("enable.metrics.push"), Some("true"));
    }

    #[test]
    fn the_newer_group_protocol_is_given_nothing_that_its_client_refuses() {
        for protocol in ["classic", "consumer"] {
            let config = consumer_settings(&connection(&[("group.protocol", protocol)]), "g").unwrap();
            let client: Result<rdkafka::consumer::BaseConsumer, _> = config.create();
            assert!(client.is_ok(), "{protocol}: {:?}", client.err());
        }
    }
}
