//! Runs the sides in turn and says what came out.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_bus::Bus;
use tieline_mapping::Bounds;
use tieline_runtime::apply::{Accepted, apply};
use tieline_runtime::kafka::{Connection, EventProducer};
use tieline_runtime::registry::RegistryClient;
use tieline_sandbox::broker::kafka::{Kafka, Options};
use tieline_sandbox::registry::Registry;

use crate::bus::{self, Addresses, CONSUMER, EVENT, FOLLOW_UP};
use crate::by_hand::ByHand;
use crate::events::{publish, samples};
use crate::measure::Used;
use crate::process::{RAW, SYSTEM, Seen, Started, TIED, Task};
use crate::workload::{ALL, Workload};

/// How many samples the two mappings are compared on.
const COMPARED: usize = 1_000;

/// How it is run.
struct Settings {
    records: usize,
    rounds: usize,
    workloads: Vec<Workload>,
}

impl Settings {
    fn from_environment() -> anyhow::Result<Self> {
        let workloads = match std::env::var("BENCH_WORKLOAD") {
            Ok(name) => vec![Workload::named(&name)?],
            Err(_) => ALL.to_vec(),
        };
        Ok(Self { records: number("BENCH_RECORDS", 40_000)?, rounds: number("BENCH_ROUNDS", 3)?, workloads })
    }
}

fn number(name: &str, default: usize) -> anyhow::Result<usize> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    let number = text.parse().ok().filter(|n| *n > 0);
    number.with_context(|| format!("{name}={text} is not a number above 0"))
}

/// Measures all workloads.
pub async fn run() -> anyhow::Result<()> {
    let settings = Settings::from_environment()?;
    for workload in &settings.workloads {
        // A broker for each, so that no workload inherits another's log.
        Stage::set(*workload, settings.records).await?.measure(settings.rounds).await?;
    }
    Ok(())
}

/// All that a workload needs: a broker with its records, a registry, and a folder for buses.
struct Stage {
    workload: Workload,
    records: usize,
    dir: TempDir,
    kafka: Kafka,
    registry: Registry,
}

/// What one side used in one round.
#[derive(Clone, Copy)]
struct Round {
    cpu_us_per_record: f64,
    used: Used,
}

impl Stage {
    async fn set(workload: Workload, records: usize) -> anyhow::Result<Self> {
        let kafka = tokio::task::spawn_blocking(|| Kafka::start(Options::one_node())).await??;
        let registry = Registry::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let stage = Self { workload, records, dir: TempDir::new()?, kafka, registry };
        let (bus, connection, client) = stage.applied("bench-first", "http://127.0.0.1:9").await?;
        agree(&bus, workload)?;
        let event = bus.events.get(EVENT).context("the bus has no such event")?;
        let schema =
            client.lookup(&event.subject, &event.schema.text).await?.context("the schema is not registered")?;
        publish(&EventProducer::new(&connection)?, event, schema, workload, records).await?;
        Ok(stage)
    }

    /// Writes the bus under a name that was not used before, and applies it.
    async fn applied(&self, name: &str, erp: &str) -> anyhow::Result<(Bus, Connection, RegistryClient)> {
        bus::write(self.dir.path(), name, self.workload)?;
        let bus = bus::load(self.dir.path(), &self.addresses(erp))?;
        let connection = Connection { kafka: bus.kafka.clone(), embedded: false };
        let registry = RegistryClient::new(&bus.registry)?;
        apply(&bus, &connection, &registry, &Accepted::default()).await?;
        Ok((bus, connection, registry))
    }

    fn addresses(&self, erp: &str) -> Addresses {
        Addresses { kafka: self.kafka.brokers().to_owned(), registry: self.registry.url(), erp: erp.to_owned() }
    }

    async fn measure(&self, rounds: usize) -> anyhow::Result<()> {
        let (mut tied, mut raw) = (Vec::new(), Vec::new());
        for n in 0..rounds {
            // Who begins changes, so that what drifts on the machine hits both.
            let sides = if n % 2 == 0 { [TIED, RAW] } else { [RAW, TIED] };
            for side in sides {
                let round = self.round(side, n).await?;
                self.tell(side, n, round)?;
                if side == TIED { tied.push(round) } else { raw.push(round) }
            }
        }
        self.report(&tied, &raw)
    }

    async fn round(&self, side: &str, n: usize) -> anyhow::Result<Round> {
        let mut system = Started::new(SYSTEM, None)?;
        let erp: String = system.said().await?;
        let name = format!("bench-{}-{n}", self.workload.name);
        self.applied(&name, &erp).await?;
        let addresses = self.addresses(&erp);
        let task = Task {
            bus: self.dir.path().to_owned(),
            group: format!("{name}.raw"),
            workload: self.workload.name.to_owned(),
            records: self.records,
            kafka: addresses.kafka,
            registry: addresses.registry,
            erp: addresses.erp,
        };
        let mut started = Started::new(side, Some(&task))?;
        let used: Used = started.said().await?;
        started.ended().await?;

        system.finish();
        let seen: Seen = system.said().await?;
        system.ended().await?;
        let calls = self.workload.calls(self.records);
        ensure!(seen == Seen { requests: calls, effects: calls }, "{side} made {seen:?} of {calls} calls");
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(Round { cpu_us_per_record: used.cpu_us as f64 / self.records as f64, used })
    }

    /// A line for people.
    fn tell(&self, side: &str, n: usize, round: Round) -> anyhow::Result<()> {
        let Used { elapsed_ms, peak_rss_kib, .. } = round.used;
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let per_second = self.records as f64 / (elapsed_ms as f64 / 1_000.0);
        writeln!(
            std::io::stderr(),
            "{:<10} round {n} {side:<5} {:>7.1} CPU-µs a record, {per_second:>7.0} records/s, {:>4} MiB at most",
            self.workload.name,
            round.cpu_us_per_record,
            peak_rss_kib / 1_024,
        )
        .context("standard error is closed")
    }

    /// The line for machines, and the spread for people.
    fn report(&self, tied: &[Round], raw: &[Round]) -> anyhow::Result<()> {
        let (ours, theirs) = (spread(tied), spread(raw));
        let peak = tied.iter().map(|round| round.used.peak_rss_kib).max().unwrap_or(0);
        writeln!(
            std::io::stderr(),
            "{:<10} consumer {:.1} ({:.1}–{:.1}), raw {:.1} ({:.1}–{:.1}) CPU-µs a record: median (least–most)",
            self.workload.name,
            ours.1,
            ours.0,
            ours.2,
            theirs.1,
            theirs.0,
            theirs.2,
        )?;
        let line = json!({
            "workload": self.workload.name,
            "records": self.records,
            "cpu_us_per_record": rounded(ours.1, 1),
            "raw_cpu_us_per_record": rounded(theirs.1, 1),
            "ratio": rounded(ours.1 / theirs.1, 3),
            "peak_rss_mb": peak / 1_024,
        });
        writeln!(std::io::stdout(), "{line}").context("standard output is closed")
    }
}

/// Least, median and most.
fn spread(rounds: &[Round]) -> (f64, f64, f64) {
    let mut each: Vec<f64> = rounds.iter().map(|round| round.cpu_us_per_record).collect();
    each.sort_by(f64::total_cmp);
    let at = |n: usize| each.get(n).copied().unwrap_or(f64::NAN);
    let (low, high) = (each.len().saturating_sub(1) / 2, each.len() / 2);
    (at(0), f64::midpoint(at(low), at(high)), at(each.len().saturating_sub(1)))
}

fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (number * scale).round() / scale
}

/// Makes sure that both sides do the same work.
fn agree(bus: &Bus, workload: Workload) -> anyhow::Result<()> {
    let event = bus.events.get(EVENT).context("the bus has no such event")?;
    let follow_up = bus.events.get(FOLLOW_UP).context("the bus has no such event")?;
    let consumer = bus.consumers.get(CONSUMER).context("the bus has no such consumer")?;
    let mapping = consumer.call.body.as_ref().context("the call has no body")?;
    let reader = consumer.layout.reader(&event.schema.avro, &event.schema.avro)?;
    let by_hand = ByHand::new(&event.schema.avro, &follow_up.schema.avro)?;
    let bounds = Bounds::default();
    for sample in samples(workload, COMPARED) {
        let datum = event.schema.datum_from_json(&sample.payload)?;
        let frame = reader.read(&datum, &bounds)?;
        let mut ours = Vec::new();
        mapping.write(&frame, &[], &bounds, &mut ours)?;
        let theirs = by_hand.body(&by_hand.read(&datum)?)?;
        let (ours, theirs) = (numbers(serde_json::from_slice(&ours)?), numbers(serde_json::from_slice(&theirs)?));
        ensure!(ours == theirs, "the sides map differently:\n{ours}\n{theirs}");
    }
    Ok(())
}

/// `80000` and `80000.0` are one number in JSON.
fn numbers(value: Value) -> Value {
    match value {
        Value::Number(n) => json!(n.as_f64()),
        Value::Array(items) => Value::Array(items.into_iter().map(numbers).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, numbers(value))).collect())
        }
        other @ (Value::Null | Value::Bool(_) | Value::String(_)) => other,
    }
}
