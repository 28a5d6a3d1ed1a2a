//! The group whose members divide limits: the owner of a partition of the topic divides those of the systems in it. Each
//! assignment reads its partition from the beginning; nothing is ever committed.

use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;

use super::follow::settings;
use super::rising::record_of;
use super::{Event, LimitsError};
use crate::kafka::{ConnectError, Connection, Faulty, patiently};

/// How long one poll waits. It bounds how late an order to stop is seen.
const POLL: Duration = Duration::from_millis(200);

/// How long a broker may take to say where a partition ends. Nothing is polled meanwhile.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// How long leaving may take; a coordinator that does not answer sees the session time out instead.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A member of the group, with a thread of its own.
#[derive(Debug)]
pub(super) struct Group {
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

struct Member {
    topic: String,
    events: mpsc::Sender<Event>,
    faulty: Faulty,
}

impl Group {
    /// Joins.
    pub fn join(
        connection: &Connection,
        group: &str,
        topic: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, LimitsError> {
        let mut config = settings(connection, group)?;
        config.set("enable.partition.eof", "true");
        let member = Member { topic: topic.to_owned(), events, faulty: Faulty::of(topic) };
        let client: BaseConsumer<Member> = config.create_with_context(member).map_err(ConnectError::from)?;
        client.subscribe(&[topic]).map_err(ConnectError::from)?;
        let (stop, stopped) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("limits-divide".to_owned())
            .spawn(move || read(&client, &stopped))
            .map_err(|_| LimitsError::NoThread)?;
        Ok(Self { stop, thread })
    }

    /// Leaves the group, so that another member has the partitions at once. Blocks.
    pub fn leave(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

fn read(client: &BaseConsumer<Member>, stopped: &std::sync::mpsc::Receiver<()>) {
    // Whoever asked us to stop, or is gone, wants nothing of this any more.
    while matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
        let event = match client.poll(POLL) {
            Some(Ok(message)) => match record_of(&message) {
                Some((partition, offset, record)) => Event::ReadOwned { partition, offset, record },
                None => continue,
            },
            Some(Err(KafkaError::PartitionEOF(partition))) => Event::CaughtUp { partition },
            Some(Err(error)) => {
                client.context().faulty.tell(&error);
                continue;
            }
            None => continue,
        };
        client.context().report(event);
    }
    client.unsubscribe();
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    while client.assignment().is_ok_and(|assigned| assigned.count() > 0) && Instant::now() < deadline {
        let _ = client.poll(POLL);
    }
}

impl ClientContext for Member {
    fn error(&self, error: KafkaError, _: &str) {
        self.faulty.tell(&error);
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let numbers = |partitions: &rdkafka::TopicPartitionList| {
            partitions.elements().iter().map(|at| at.partition()).collect::<Vec<_>>()
        };
        match rebalance {
            Rebalance::Assign(partitions) => {
                let partitions =
                    numbers(partitions).into_iter().map(|partition| (partition, self.end(client, partition)));
                self.report(Event::Owned { partitions: partitions.collect() });
            }
            Rebalance::Revoke(partitions) => self.report(Event::Disowned { partitions: numbers(partitions) }),
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance of those who divide limits failed"),
        }
    }
}

impl Member {
    /// Where a partition ends now, or nothing where there is nothing to read. The client's own word for an end comes only when
    /// nothing has come for a while, and callers write all the time; it is what is left where the brokers cannot say.
    fn end(&self, client: &BaseConsumer<Self>, partition: i32) -> Option<i64> {
        match patiently(|| client.fetch_watermarks(&self.topic, partition, END_TIMEOUT)) {
            Ok((from, to)) => (from < to).then_some(to),
            Err(error) => {
                self.faulty.tell(&error);
                Some(i64::MAX)
            }
        }
    }

    /// When nobody listens any more, the process is ending.
    fn report(&self, event: Event) {
        let _ = self.events.blocking_send(event);
    }
}
