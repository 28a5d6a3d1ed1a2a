//! Follows partitions of the topic for the callers of this process: assigned by hand, each from where it was read to.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::rising::{Rising, record_of};
use super::{Event, LimitsError};
use crate::kafka::{ConnectError, Connection, Faulty, consumer_settings};

/// How long one poll waits. It bounds how late a process that ends is noticed, and how late a partition that is added.
const POLL: Duration = Duration::from_millis(200);

/// How long a broker keeps a fetch that has nothing to bring. It answers at once when a record comes; the embedded one does
/// not, and keeps the settings of all clients.
const FETCH_WAIT_MS: &str = "500";

/// What the client is told.
fn settings(connection: &Connection, group: &str) -> Result<ClientConfig, ConnectError> {
    let mut config = consumer_settings(connection, group)?;
    // What is deleted of the topic was read, or is of no use: who falls behind goes on with what is there.
    config.set("auto.offset.reset", "earliest");
    if !connection.embedded {
        config.set("fetch.wait.max.ms", FETCH_WAIT_MS);
    }
    Ok(config)
}

/// The client that follows. Its thread ends when nobody takes what it brings.
pub(super) struct Follower {
    client: Arc<BaseConsumer<Faulty>>,
    topic: String,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follower")
    }
}

impl Follower {
    /// Starts the thread. No partition is followed yet.
    pub fn start(
        connection: &Connection,
        group: &str,
        topic: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, LimitsError> {
        let config = settings(connection, group)?;
        let client = Arc::new(config.create_with_context(Faulty::of(topic)).map_err(ConnectError::from)?);
        let polled = Arc::clone(&client);
        std::thread::Builder::new()
            .name("limits-follow".to_owned())
            .spawn(move || follow(&polled, &events))
            .map_err(|_| LimitsError::NoThread)?;
        Ok(Self { client, topic: topic.to_owned() })
    }

    /// Follows one more partition, from this offset on.
    pub fn add(&self, partition: i32, offset: i64) -> Result<(), LimitsError> {
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&self.topic, partition, Offset::Offset(offset)).map_err(ConnectError::from)?;
        Ok(self.client.incremental_assign(&from).map_err(ConnectError::from)?)
    }
}

fn follow(client: &BaseConsumer<Faulty>, events: &mpsc::Sender<Event>) {
    let mut rising = Rising::default();
    while !events.is_closed() {
        match client.poll(POLL) {
            Some(Ok(message)) => {
                let Some((_, offset, record)) = record_of(&message).filter(|at| rising.passes(at.0, at.1)) else {
                    continue;
                };
                if events.blocking_send(Event::Read { offset, record }).is_err() {
                    return;
                }
            }
            Some(Err(error)) => client.context().tell(&error),
            None => {}
        }
    }
}
