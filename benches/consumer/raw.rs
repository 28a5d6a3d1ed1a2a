//! The other side: a loop of the same libraries, as one would write it in an afternoon, and as fast as they allow.
//!
//! It reads the topic, decodes, maps, calls with as many calls under way as the consumer has, and commits offsets in the
//! background; or it calls nobody, where a record is only looked at. It has no order of keys, no idempotency key, no retry, no dead letter, no contract, no transaction, no
//! metrics; what is under way when it ends is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use tieline_schema::avro::EventSchema;
use tieline_schema::wire::v0_header;
use tokio::sync::mpsc;

use crate::bus::{Addresses, EVENT, FOLLOW_UP, TOKEN, load};
use crate::by_hand::{ByHand, DealStageChanged};
use crate::process::{FromFirstCall, Task, argument, say};

/// As the consumer's: records that are handed over together, and hand-overs that wait.
const BATCH: usize = 256;
const BATCHES: usize = 16;

/// Bytes of a Confluent header, version 0.
const WIRE_HEADER: usize = 5;

/// The schema's id in what follows.
const NOBODY_READS: u32 = 2;

const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
}

/// Delivers all records, or only decodes and maps them; leaves the group, and says what it used.
pub async fn run(calls: bool) -> anyhow::Result<()> {
    let task: Task = argument()?;
    let counts = Arc::new(Counts::default());
    let polled = poll(&task, &counts)?;
    let records = task.records;
    let mut working = tokio::spawn(deliver_all(task, calls, polled.batches, Arc::clone(&counts)));
    let measure = async {
        let first = if calls { &counts.calls } else { &counts.done };
        let measured = FromFirstCall::wait(|| first.load(Ordering::Relaxed)).await?;
        measured.until(|| counts.done.load(Ordering::Relaxed), records).await;
        counts.stop.store(true, Ordering::Relaxed);
        anyhow::Ok(measured)
    };
    let measured = tokio::select! {
        ended = &mut working => anyhow::bail!("the loop ended before its work: {ended:?}"),
        measured = measure => measured?,
    };
    working.await.context("the loop has panicked")??;
    polled.thread.join().map_err(|_| anyhow::anyhow!("the polling thread has panicked"))?;
    say(&measured.used()?)
}

struct Polled {
    batches: mpsc::Receiver<Vec<Vec<u8>>>,
    thread: std::thread::JoinHandle<()>,
}

/// Polls on a thread of its own and hands the values over.
fn poll(task: &Task, counts: &Arc<Counts>) -> anyhow::Result<Polled> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &task.kafka)
        .set("group.id", &task.group)
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[EVENT])?;
    let (sender, batches) = mpsc::channel(BATCHES);
    let counts = Arc::clone(counts);
    let thread = std::thread::spawn(move || {
        while !counts.stop.load(Ordering::Relaxed) {
            let batch = poll_batch(&consumer);
            if !batch.is_empty() && sender.blocking_send(batch).is_err() {
                break;
            }
        }
    });
    Ok(Polled { batches, thread })
}

fn poll_batch(consumer: &BaseConsumer) -> Vec<Vec<u8>> {
    let mut batch = Vec::new();
    let mut wait = POLL;
    while batch.len() < BATCH {
        match consumer.poll(wait) {
            Some(Ok(message)) => batch.extend(value(&message)),
            Some(Err(error)) => tracing::warn!(%error, "Kafka's client reports a fault"),
            None => break,
        }
        wait = Duration::ZERO;
    }
    batch
}

fn value(message: &BorrowedMessage<'_>) -> Option<Vec<u8>> {
    message.payload().map(<[u8]>::to_vec)
}

/// What every call uses.
struct Caller<'s> {
    /// Whether a call is made of what was mapped.
    calls: bool,
    http: reqwest::Client,
    url: String,
    by_hand: ByHand<'s>,
    follow_up: Option<ThreadedProducer<DefaultProducerContext>>,
}

async fn deliver_all(
    task: Task,
    calls: bool,
    batches: mpsc::Receiver<Vec<Vec<u8>>>,
    counts: Arc<Counts>,
) -> anyhow::Result<()> {
    let addresses = Addresses { kafka: task.kafka.clone(), registry: task.registry.clone(), erp: task.erp.clone() };
    let bus = load(&task.bus, &addresses)?;
    let schema = |event: &str| -> anyhow::Result<&EventSchema> {
        Ok(&bus.events.get(event).with_context(|| format!("no event {event}"))?.schema)
    };
    let caller = Caller {
        calls,
        http: reqwest::Client::builder().no_proxy().build()?,
        url: format!("{}/v2/projects", task.erp),
        by_hand: ByHand::new(&schema(EVENT)?.avro, &schema(FOLLOW_UP)?.avro)?,
        follow_up: if task.follow_up { Some(producer(&task)?) } else { None },
    };
    let batches = stream::unfold(batches, |mut batches| async { Some((batches.recv().await?, batches)) });
    let mut results = batches
        .flat_map(stream::iter)
        .map(|value| deliver(&caller, value, &counts))
        .buffer_unordered(task.in_flight)
        .boxed();
    while let Some(result) = results.next().await {
        result?;
        counts.done.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(producer) = &caller.follow_up {
        producer.flush(Duration::from_secs(10))?;
    }
    Ok(())
}

fn producer(task: &Task) -> anyhow::Result<ThreadedProducer<DefaultProducerContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", &task.kafka).create()?)
}

async fn deliver(caller: &Caller<'_>, value: Vec<u8>, counts: &Counts) -> anyhow::Result<()> {
    let event = caller.by_hand.read(value.get(WIRE_HEADER..).context("a value without a header")?)?;
    if !event.is_won() {
        return Ok(());
    }
    let body = caller.by_hand.body(&event)?;
    if !caller.calls {
        return Ok(());
    }
    let request = caller
        .http
        .post(&caller.url)
        .bearer_auth(TOKEN)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .body(body);
    let response = request.send().await?.error_for_status()?.bytes().await?;
    counts.calls.fetch_add(1, Ordering::Relaxed);
    follow_up(caller, &event, &response)
}

fn follow_up(caller: &Caller<'_>, event: &DealStageChanged, response: &[u8]) -> anyhow::Result<()> {
    let Some(producer) = &caller.follow_up else { return Ok(()) };
    let mut value = v0_header(NOBODY_READS).to_vec();
    value.extend(caller.by_hand.follow_up(event, response)?);
    let record = BaseRecord::to(FOLLOW_UP).key(event.deal_id()).payload(&value);
    producer.send(record).map_err(|(error, _)| error.into())
}
