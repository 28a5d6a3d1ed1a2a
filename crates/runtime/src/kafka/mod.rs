//! Kafka, as the bus uses it: settings with the rules that cannot be turned off, a thread that polls, a producer that
//! waits for acknowledgements, and commits that are one transaction.

mod commit;
mod faults;
mod fetch;
mod headers;
mod letters;
mod park;
mod patience;
mod publish;
mod read;
mod settings;

pub use commit::{Batch, CommitMode, Committer, Place, Report, StateRecord};
pub(crate) use faults::Faulty;
pub use fetch::{Control, FetchEvent, Fetcher, Gap, Halt, Membership, Position};
pub use headers::RecordHeaders;
pub use letters::{LetterError, LetterTopic};
pub use park::{ParkError, ParkTopic, Parked};
pub(crate) use patience::{patiently, watermarks};
pub(crate) use publish::judge as judge_publish;
pub use publish::{EventProducer, PublishError};
pub use read::{ReadError, Span, TopicReader};
pub(crate) use settings::STATE_RECORD_BYTES_MAX;
pub use settings::{
    ConnectError, Connection, admin_settings, consumer_settings, group_of, producer_settings, state_topic,
};

use std::sync::Arc;

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, Timestamp};

/// A record as it came from Kafka.
#[derive(Debug)]
pub struct Record {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was created or appended, milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Arc<[u8]>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: RecordHeaders,
}

impl Record {
    /// The same as librdkafka's message, without its buffer.
    fn detach(topic: &Arc<str>, message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map(|h| h.iter().map(|h| (h.key, h.value)).collect()).unwrap_or_default();
        Self {
            topic: Arc::clone(topic),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: match message.timestamp() {
                Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => Some(ms),
                Timestamp::NotAvailable => None,
            },
            key: message.key().map(Arc::from),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }

    /// What it costs to keep it, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key.as_ref().map_or(0, |k| k.len()) + self.value.as_ref().map_or(0, Vec::len) + self.headers.size()
    }
}
