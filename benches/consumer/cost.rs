//! What a record costs: the consumer and the loop without guarantees in turn, on the same records.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tieline_bus::Bus;
use tieline_mapping::Bounds;

use crate::bus::{CONSUMER, EVENT, FOLLOW_UP};
use crate::by_hand::ByHand;
use crate::driver::tell;
use crate::events::samples;
use crate::measure::{Spread, Used};
use crate::process::{RAW, Started, TIED};
use crate::results::{self, Cost, Line};
use crate::stage::{IN_FLIGHT, Stage};
use crate::system::Begin;
use crate::workload::Records;

/// How many samples the two mappings are compared on.
const COMPARED: usize = 1_000;

/// What one side used in one round.
#[derive(Clone, Copy)]
pub struct Round {
    cpu_us_per_record: f64,
    used: Used,
}

/// Measures one workload and reports it.
pub async fn measure(of: Records, records: usize, rounds: usize) -> anyhow::Result<()> {
    let stage = Stage::set(of, records).await?;
    agree(stage.bus(), of)?;
    let (mut tied, mut raw) = (Vec::new(), Vec::new());
    for n in 0..rounds {
        // Who begins changes, so that what drifts on the machine hits both.
        let sides = if n % 2 == 0 { [TIED, RAW] } else { [RAW, TIED] };
        for side in sides {
            let round = one_round(&stage, of, records, (side, n)).await?;
            if side == TIED { tied.push(round) } else { raw.push(round) }
        }
    }
    report_all(of.name, &tied, &raw)
}

async fn one_round(stage: &Stage, of: Records, records: usize, (side, n): (&str, usize)) -> anyhow::Result<Round> {
    let scene = stage.scene(&format!("bench-{}-{n}", of.name), Begin::default(), IN_FLIGHT, records).await?;
    let mut started = Started::new(side, &scene.task)?;
    let used = started.said::<Used>().await?.without_dead_letters()?;
    started.ended().await?;

    let seen = scene.end().await?.seen;
    let calls = of.calls(records);
    ensure!((seen.requests, seen.effects) == (calls, calls), "{side} made {seen:?} of {calls} calls");
    Round::of(used, records, (of.name, side, n))
}

impl Round {
    /// What so many records come to, and a line for people.
    pub fn of(used: Used, records: usize, (workload, side, n): (&str, &str, usize)) -> anyhow::Result<Self> {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let (cpu_us, count, elapsed_ms) = (used.cpu_us as f64, records as f64, used.elapsed_ms as f64);
        let round = Self { cpu_us_per_record: cpu_us / count, used };
        tell(&format!(
            "{workload:<10} round {n} {side:<9} {:>7.2} CPU-µs a record, {:>7.0} records/s, {:>4} MiB at most",
            round.cpu_us_per_record,
            count / (elapsed_ms / 1_000.0),
            used.peak_rss_kib / 1_024,
        ))?;
        Ok(round)
    }
}

/// The line for machines, and the spread for people.
pub fn report_all(workload: &str, tied: &[Round], raw: &[Round]) -> anyhow::Result<()> {
    let spread = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.cpu_us_per_record));
    let (ours, theirs) = (spread(tied), spread(raw));
    let ratio =
        Spread::of(tied.iter().zip(raw).map(|(ours, theirs)| ours.cpu_us_per_record / theirs.cpu_us_per_record));
    let peak = tied.iter().map(|round| round.used.peak_rss_kib).max().unwrap_or(0);
    tell(&format!(
        "{workload:<10} consumer {:.2} ({:.2}–{:.2}), raw {:.2} ({:.2}–{:.2}) CPU-µs a record: median (least–most)",
        ours.median, ours.least, ours.most, theirs.median, theirs.least, theirs.most,
    ))?;
    results::report(&Line::Cost(Cost {
        workload: workload.to_owned(),
        load: results::load()?,
        cpu_us_per_record: ours.rounded(2),
        raw_cpu_us_per_record: theirs.rounded(2),
        ratio: ratio.rounded(2),
        peak_rss_mib: peak / 1_024,
    }))
}

/// Makes sure that both sides do the same work.
fn agree(bus: &Bus, of: Records) -> anyhow::Result<()> {
    let event = bus.events.get(EVENT).context("the bus has no such event")?;
    let follow_up = bus.events.get(FOLLOW_UP).context("the bus has no such event")?;
    let consumer = bus.consumers.get(CONSUMER).context("the bus has no such consumer")?;
    let mapping = consumer.call.body.as_ref().context("the call has no body")?;
    let reader = consumer.layout.reader(&event.schema.avro, &event.schema.avro)?;
    let by_hand = ByHand::new(&event.schema.avro, &follow_up.schema.avro)?;
    let bounds = Bounds::default();
    for sample in samples(of, COMPARED) {
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
