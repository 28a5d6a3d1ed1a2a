//! Brokers to try Tieline on, and to test it with: librdkafka's mock in this process, or a real Kafka beside it.

pub mod embedded;
pub mod kafka;

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// librdkafka refused something of the embedded broker.
    #[error("the embedded broker cannot {doing}")]
    Embedded {
        /// What was asked of it.
        doing: String,
        /// What librdkafka says.
        #[source]
        cause: rdkafka::error::KafkaError,
    },
    /// Something that a real Kafka needs is not installed; the sentence says what, and how to get it.
    #[error("{sentence}")]
    Missing {
        /// What is missing, and what to do.
        sentence: String,
    },
    /// Kafka did not do what it was told.
    #[error("kafka.sh {command} failed: {output}")]
    Script {
        /// The command of `kafka.sh`.
        command: String,
        /// The end of what it printed.
        output: String,
    },
    /// A file, a process or a port could not be had.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
}
