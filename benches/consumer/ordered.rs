//! Orders a replay of all that a consumer was given, as the command line does, and waits for its end.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tieline_bus::Bus;
use tieline_runtime::kafka::{Connection, EventProducer, TopicReader, group_of};
use tieline_runtime::operate::{Mark, asked, order, ranges};
use tieline_runtime::state::{Act, Command, Progress, Replay, Stage, Tally};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::bus::CONSUMER;

/// How long a replay may take.
const OVER_WITHIN: Duration = Duration::from_secs(120);

/// How often it is looked whether it is over. That is another process's work than what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a replay is to be.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Whether what is done is sent too.
    pub again: bool,
    /// At most so many in a second.
    pub per_second: Option<u32>,
}

/// A replay that was ordered.
#[derive(Debug)]
pub struct Ordered {
    desk: Desk,
    command: String,
    partitions: usize,
}

#[derive(Debug, Clone)]
struct Desk {
    bus: String,
    connection: Connection,
}

impl Ordered {
    /// Orders one, from the first record that is there to the last that the consumer has finished.
    pub async fn replay(bus: &Bus, how: How) -> anyhow::Result<Self> {
        let connection = Connection { kafka: bus.kafka.clone(), embedded: false };
        let desk = Desk { bus: bus.name.clone(), connection };
        let consumer = bus.consumers.get(CONSUMER).context("the bus has no such consumer")?.clone();
        let (reading, of) = (desk.clone(), consumer.clone());
        let all = tokio::task::spawn_blocking(move || {
            anyhow::Ok(ranges(&mut reading.reader()?, &of, &Mark::Earliest, &Mark::Latest)?)
        });
        let replay = Replay {
            consumer: consumer.name.clone(),
            topic: consumer.event.topic.clone(),
            ranges: all.await??,
            again: how.again,
            overtake: false,
            condition: None,
            per_second: how.per_second,
        };
        let partitions = replay.ranges.len();
        let command = desk.order(Act::Replay(replay)).await?;
        Ok(Self { desk, command, partitions })
    }

    /// Ends it where it stands, and waits until it has ended.
    pub async fn cancel(self) -> anyhow::Result<()> {
        self.desk.order(Act::Cancel { command: self.command.clone() }).await?;
        self.over().await?;
        Ok(())
    }

    /// Waits until it is over in each partition: what became of its records.
    pub async fn over(&self) -> anyhow::Result<Tally> {
        let until = Instant::now() + OVER_WITHIN;
        let mut reader = self.desk.reader()?;
        loop {
            let bus = self.desk.bus.clone();
            let (back, read) = tokio::task::spawn_blocking(move || {
                let read = asked(&mut reader, &bus, usize::MAX);
                (reader, read)
            })
            .await?;
            reader = back;
            let ours = read?.into_iter().find(|asked| asked.command.id == self.command);
            let progress = ours.map(|asked| asked.progress).unwrap_or_default();
            if let Some(tally) = ended(&progress, self.partitions)? {
                return Ok(tally);
            }
            ensure!(Instant::now() < until, "a replay is not over within {OVER_WITHIN:?}: {progress:?}");
            sleep(LOOK_EVERY).await;
        }
    }
}

/// What became of all records, once each partition has come to its end.
fn ended(progress: &[Progress], partitions: usize) -> anyhow::Result<Option<Tally>> {
    let (mut sum, mut ended) = (Tally::default(), 0);
    for at in progress {
        match &at.stage {
            Stage::Replayed { tally, .. } => {
                sum += *tally;
                ended += 1;
            }
            Stage::Failed { why } => bail!("a replay cannot be carried out: {why}"),
            Stage::Accepted | Stage::UnderWay { .. } | Stage::Done { .. } | Stage::Replaying { .. } => {}
        }
    }
    Ok((ended == partitions).then_some(sum))
}

impl Desk {
    fn reader(&self) -> anyhow::Result<TopicReader> {
        Ok(TopicReader::new(&self.connection, &group_of(&self.bus, CONSUMER))?)
    }

    async fn order(&self, act: Act) -> anyhow::Result<String> {
        let (by, reason) = ("bench".to_owned(), "it is measured".to_owned());
        let command = Command { id: Uuid::new_v4().to_string(), by, reason, at_ms: tieline_runtime::now_ms(), act };
        order(&EventProducer::new(&self.connection)?, &self.bus, &command).await?;
        Ok(command.id)
    }
}
