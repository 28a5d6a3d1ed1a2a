//! What the ledger costs for a record: the writing of its entries, beyond what a commit takes that has none.
//!
//! It is far less than the noise of a whole consumer, and so is measured by itself: transactions as the consumer makes them
//! (the same settings, the same encoding, a record for each partition), in turn with and without entries, in a process that
//! does nothing else. All of that process's CPU time counts, so librdkafka's threads too.

use std::time::{Duration, Instant};

use anyhow::ensure;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde::{Deserialize, Serialize};
use tieline_runtime::kafka::{Connection, producer_settings, state_topic};
use tieline_runtime::state::{LedgerEntry, LedgerRecord, Outcome};

use crate::bus::{Addresses, CONSUMER, EVENT, PARTITIONS, load};
use crate::driver::tell;
use crate::measure::{Spread, cpu_us};
use crate::process::{LEDGER, Started, Task, argument, say};
use crate::results::{self, Line};
use crate::stage::{IN_FLIGHT, Stage};
use crate::system::Begin;
use crate::workload::TIMED;

/// Entries of a commit in each partition: what ten commits a second have at 15,000 records a second.
const ENTRIES: usize = 250;

/// Commits of a measurement. A tick of the kernel's account is 10 ms, and this many entries take some tenths of a second.
const COMMITS: usize = 500;

/// How long a step of a transaction may take.
const STEP_MAX: Duration = Duration::from_secs(10);

/// What one round used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Round {
    with_us: u64,
    without_us: u64,
}

/// Measures and reports.
pub async fn measure(rounds: usize) -> anyhow::Result<()> {
    let stage = Stage::set(TIMED, 0).await?;
    let scene = stage.scene("bench-ledger", Begin::default(), IN_FLIGHT, rounds).await?;
    let mut started = Started::new(LEDGER, &scene.task)?;
    let mut costs = Vec::new();
    for n in 0..rounds {
        let Round { with_us, without_us } = started.said().await?;
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let cost = (with_us as f64 - without_us as f64) / (COMMITS * entries_per_commit()) as f64;
        tell(&format!("ledger     round {n} {cost:>7.3} CPU-µs a record; without entries {without_us} in all"))?;
        costs.push(cost);
    }
    started.ended().await?;
    scene.end().await?;
    results::report(&Line::Ledger(results::Ledger {
        load: results::load()?,
        entries_per_commit: entries_per_commit(),
        cpu_us_per_record: Spread::of(costs).rounded(3),
    }))
}

fn entries_per_commit() -> usize {
    ENTRIES * PARTITIONS as usize
}

/// The part: says what each round used. The task's records are its rounds.
pub fn run() -> anyhow::Result<()> {
    let task: Task = argument()?;
    let addresses = Addresses { kafka: task.kafka, registry: task.registry, erp: task.erp };
    let bus = load(&task.bus, &addresses)?;
    let connection = Connection { kafka: bus.kafka.clone(), embedded: false };
    let mut config = producer_settings(&connection)?;
    config.set("linger.ms", "0").set("transactional.id", format!("{}.{CONSUMER}.bench", bus.name));
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(STEP_MAX)?;
    let topic = state_topic(&bus.name, CONSUMER, "ledger");
    // Texts as long as a consumer's.
    let ids: Vec<String> = (0..ENTRIES).map(|n| format!("01998f4e-7c1a-7d2e-9b3f-{n:012}")).collect();
    let keys: Vec<String> = (0..ENTRIES).map(|n| format!("D-{n:05}")).collect();
    commits(&producer, &topic, &[])?; // what the first ones make is made
    for n in 0..task.records {
        let (with, without) =
            (|| used(|| commits(&producer, &topic, &pairs(&ids, &keys))), || used(|| commits(&producer, &topic, &[])));
        // What comes first changes, so that what drifts on the machine hits both.
        let (with_us, without_us) = if n % 2 == 0 {
            let with = with()?;
            (with, without()?)
        } else {
            let without = without()?;
            (with()?, without)
        };
        say(&Round { with_us, without_us })?;
    }
    Ok(())
}

fn pairs<'a>(ids: &'a [String], keys: &'a [String]) -> Vec<(&'a str, &'a [u8])> {
    ids.iter().map(String::as_str).zip(keys.iter().map(String::as_bytes)).collect()
}

fn used(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let before = cpu_us(std::process::id())?;
    work()?;
    Ok(cpu_us(std::process::id())? - before)
}

fn commits(producer: &BaseProducer, topic: &str, texts: &[(&str, &[u8])]) -> anyhow::Result<()> {
    for _ in 0..COMMITS {
        producer.begin_transaction()?;
        for partition in (0..).take(PARTITIONS as usize) {
            let entries = texts.iter().zip(0..).map(|((id, key), offset)| entry(id, key, offset)).collect();
            for entries in LedgerRecord::cut(entries) {
                let record = LedgerRecord { topic: EVENT.into(), partition, committed_at_ms: 0, entries };
                let (key, value) = (LedgerRecord::key(EVENT, partition), record.encode()?);
                let record = BaseRecord::to(topic).partition(partition).key(&key).payload(&value);
                producer.send(record).map_err(|(error, _)| error)?;
            }
        }
        delivered(producer)?;
        producer.commit_transaction(STEP_MAX)?;
    }
    Ok(())
}

/// As the consumer makes one of a record that was done at once.
fn entry<'a>(id: &'a str, key: &'a [u8], offset: i64) -> LedgerEntry<'a> {
    LedgerEntry {
        offset,
        event_id: Some(id.into()),
        key: Some(String::from_utf8_lossy(key)),
        outcome: Outcome::Done,
        attempts: 1,
        tried: Vec::new(),
        replay: None,
    }
}

/// As the consumer waits: without the busy loop of rust-rdkafka's own.
fn delivered(producer: &BaseProducer) -> anyhow::Result<()> {
    let until = Instant::now() + STEP_MAX;
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::ZERO);
        ensure!(Instant::now() < until, "the ledger's records are not acknowledged");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
