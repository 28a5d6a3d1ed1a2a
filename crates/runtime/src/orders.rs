//! What people have ordered of a running bus: the control topic, read and followed once for all consumers of a process.
//!
//! A consumer that starts gets what stands (pauses, and commands that are not done everywhere), then each command as it is
//! written. Who acts is the owner of a partition; this only carries.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::kafka::{ConnectError, Connection, ReadError, Span, TopicReader, consumer_settings, state_topic};
use crate::state::{Act, Command, ControlRecord, Pauses, Progress, Stage, control_topic};

/// The partition of the control topic.
const PARTITION: i32 = 0;

/// How long one poll waits. It bounds how late a process that ends is noticed.
const POLL: Duration = Duration::from_millis(200);

/// Why orders cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// A client cannot be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A thread cannot be started, or the process is ending.
    #[error("no thread can follow what is ordered")]
    NoThread,
}

/// The orders of a bus, for the consumers of this process. Clones share one reader.
#[derive(Debug, Clone)]
pub struct Orders {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    bus: String,
    /// Held while the history is read, so that it is read once.
    starting: tokio::sync::Mutex<bool>,
    known: Mutex<Known>,
}

/// What is known of the topic so far.
#[derive(Debug, Default)]
struct Known {
    pauses: Pauses,
    /// Redrives, discards and edits, in the topic's order, by their place in it.
    acts: BTreeMap<i64, Arc<Command>>,
    /// What is done: command, consumer, partition.
    done: HashSet<(String, String, i32)>,
    listeners: Vec<mpsc::UnboundedSender<Arc<Command>>>,
}

/// What stands when a consumer begins to listen.
#[derive(Debug)]
pub struct Standing {
    /// What is paused.
    pub pauses: Pauses,
    /// What was ordered of dead letters, in order.
    pub acts: Vec<Arc<Command>>,
    /// Each command from now on.
    pub coming: mpsc::UnboundedReceiver<Arc<Command>>,
}

impl Orders {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(connection: &Connection, bus: &str) -> Self {
        let shared = Shared {
            connection: connection.clone(),
            bus: bus.to_owned(),
            starting: tokio::sync::Mutex::new(false),
            known: Mutex::new(Known::default()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What stands now, and what comes. The first one that asks has the topic read.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub async fn listen(&self) -> Result<Standing, OrdersError> {
        let mut started = self.shared.starting.lock().await;
        if !*started {
            let shared = Arc::clone(&self.shared);
            tokio::task::spawn_blocking(move || shared.start()).await.map_err(|_| OrdersError::NoThread)??;
            *started = true;
        }
        let (listener, coming) = mpsc::unbounded_channel();
        let mut known = self.shared.known();
        known.listeners.push(listener);
        Ok(Standing { pauses: known.pauses.clone(), acts: known.acts.values().cloned().collect(), coming })
    }

    /// Whether an owner has said that a command is done in this partition.
    #[must_use]
    pub fn is_done(&self, command: &str, consumer: &str, partition: i32) -> bool {
        self.shared.known().done.contains(&(command.to_owned(), consumer.to_owned(), partition))
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the topic to its end, and follows it from there on a thread.
    fn start(self: Arc<Self>) -> Result<(), OrdersError> {
        let (group, topic) = (state_topic(&self.bus, "tieline", "orders"), control_topic(&self.bus));
        let mut reader = TopicReader::new(&self.connection, &group)?;
        reader.partitions(&topic)?;
        let span: Span = reader.span(&topic, PARTITION)?;
        reader.read(&topic, &[span], |record| {
            self.known().take(record.offset, record.key.as_deref(), record.value.as_deref());
            ControlFlow::Continue(())
        })?;
        let client: BaseConsumer = consumer_settings(&self.connection, &group)?.create().map_err(ConnectError::from)?;
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&topic, PARTITION, Offset::Offset(span.to)).map_err(ConnectError::from)?;
        client.assign(&from).map_err(ConnectError::from)?;
        let shared = Arc::downgrade(&self);
        std::thread::Builder::new()
            .name("orders".to_owned())
            .spawn(move || follow(&client, &shared))
            .map_err(|_| OrdersError::NoThread)?;
        Ok(())
    }
}

/// Takes each record as it is written, until nobody is left to tell.
fn follow(client: &BaseConsumer, shared: &Weak<Shared>) {
    loop {
        let polled = client.poll(POLL);
        let Some(shared) = shared.upgrade() else { return };
        match polled {
            Some(Ok(message)) => shared.known().take(message.offset(), message.key(), message.payload()),
            Some(Err(error)) => tracing::debug!(%error, "the control topic cannot be read now"),
            None => {}
        }
    }
}

impl Known {
    fn take(&mut self, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Some(value) = value else { return };
        match ControlRecord::decode(key.unwrap_or_default(), value) {
            Ok(ControlRecord::Command(command)) => self.command(offset, command),
            Ok(ControlRecord::Progress(progress)) => self.progress(progress),
            // Of another release, or nobody's: it orders nothing here, and whoever wrote it sees no progress.
            Err(error) => tracing::warn!(offset, %error, "an order cannot be read, and is not followed"),
        }
    }

    fn command(&mut self, offset: i64, command: Command) {
        self.pauses.take(&command);
        let command = Arc::new(command);
        match &command.act {
            Act::Pause { .. } | Act::Resume { .. } => {}
            Act::Discard { .. } | Act::Redrive { .. } | Act::Bury { .. } | Act::Edit { .. } | Act::Replay(_) => {
                self.acts.insert(offset, Arc::clone(&command));
            }
            // Who carries it out hears of it; who begins later does not hear of the replay any more.
            Act::Cancel { command: cancelled } => self.acts.retain(|_, act| act.id != *cancelled),
        }
        self.listeners.retain(|listener| listener.send(Arc::clone(&command)).is_ok());
    }

    fn progress(&mut self, progress: Progress) {
        match progress.stage {
            Stage::Done { .. } | Stage::Failed { .. } | Stage::Replayed { .. } => {
                self.done.insert((progress.command, progress.consumer, progress.partition));
            }
            Stage::Accepted | Stage::UnderWay { .. } | Stage::Replaying { .. } => return,
        }
        let done = &self.done;
        let open = |command: &Command| {
            let (consumer, partitions) = concerns(&command.act);
            partitions.into_iter().any(|p| !done.contains(&(command.id.clone(), consumer.to_owned(), p)))
        };
        self.acts.retain(|_, command| open(command));
    }
}

/// The consumer and the partitions in which an act is carried out; none of one that pauses or cancels.
#[must_use]
pub fn concerns(act: &Act) -> (&str, Vec<i32>) {
    match act {
        Act::Pause { .. } | Act::Resume { .. } | Act::Cancel { .. } => ("", Vec::new()),
        Act::Replay(replay) => (&replay.consumer, replay.ranges.iter().map(|range| range.partition).collect()),
        Act::Discard { consumer, lots } | Act::Redrive { consumer, lots, .. } | Act::Bury { consumer, lots } => {
            (consumer, lots.iter().map(|lot| lot.partition).collect())
        }
        Act::Edit { consumer, origin, .. } => (consumer, vec![origin.partition]),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::state::{Lot, Target};

    fn command(id: &str, act: Act) -> Command {
        Command { id: id.to_owned(), by: "ann".to_owned(), reason: "fixed".to_owned(), at_ms: 0, act }
    }

    fn lot(partition: i32) -> Lot {
        Lot { topic: "t".to_owned(), partition, offsets: vec![1] }
    }

    fn progress(command: &str, partition: i32, stage: Stage) -> Progress {
        Progress {
            command: command.to_owned(),
            consumer: "c".to_owned(),
            partition,
            by: "a".to_owned(),
            at_ms: 0,
            stage,
        }
    }

    #[test]
    fn a_command_stands_until_each_partition_that_it_concerns_is_done() {
        let mut known = Known::default();
        let discard = command("d", Act::Discard { consumer: "c".to_owned(), lots: vec![lot(0), lot(1)] });
        known.take(7, Some(&discard.key()), Some(&discard.encode().unwrap()));
        for (partition, stage, left) in [
            (0, Stage::Accepted, 1),
            (0, Stage::Done { done: 1, passed: 0 }, 1),
            (1, Stage::Failed { why: "gone".to_owned() }, 0),
        ] {
            let one = progress("d", partition, stage);
            known.take(8, Some(&one.key()), Some(&one.encode().unwrap()));
            assert_eq!(known.acts.len(), left);
        }
    }

    #[test]
    fn who_listens_hears_each_command_and_what_cannot_be_read_orders_nothing() {
        let (listener, mut coming) = mpsc::unbounded_channel();
        let mut known = Known { listeners: vec![listener], ..Known::default() };
        known.take(0, Some(b"x"), Some(b"{}"));
        let pause = command("p", Act::Pause { target: Target::Consumer { name: "c".to_owned() } });
        known.take(1, Some(&pause.key()), Some(&pause.encode().unwrap()));
        assert_eq!(coming.try_recv().unwrap().id, "p");
        assert!(coming.try_recv().is_err());
        assert_eq!(known.pauses.of_consumer("c", "s"), Some("p"));
    }
}
