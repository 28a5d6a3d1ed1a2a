//! What a replay would do, and which stretches it is of: settled before it is ordered.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;
use tieline_bus::{Consumer, Order};
use tieline_schema::wire::{VALUE_SCHEMA_HEADER, split};

use super::{OperateError, Payload};
use crate::consumer::{Preview, preview};
use crate::kafka::{Record, Span, TopicReader, state_topic};
use crate::replay::{Judge, Newest, RANGE_MAX, Shown, Was, reach, steps};
use crate::state::{Origin, Range, Replay, Tally};

/// Where a stretch begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// With the oldest record that is there.
    Earliest,
    /// Where live work begins: with what the consumer has not finished.
    Latest,
    /// With the first record of this time, milliseconds since the Unix epoch.
    Time(i64),
    /// At these offsets of these partitions, and of no others.
    Offsets(BTreeMap<i32, i64>),
}

/// Which stretches of a consumer's topic these are, as of now. They end before live work.
///
/// # Errors
/// When a topic cannot be read, or a stretch is too long.
pub fn ranges(
    reader: &mut TopicReader,
    consumer: &Consumer,
    from: &Mark,
    to: &Mark,
) -> Result<Vec<Range>, OperateError> {
    let topic = &consumer.event.topic;
    let spans = reader.spans(topic)?;
    let committed: BTreeMap<i32, i64> =
        reader.committed(topic)?.into_iter().filter_map(|at| Some((at.partition, at.offset?))).collect();
    let at = |mark: &Mark| -> Result<BTreeMap<i32, i64>, OperateError> {
        Ok(match mark {
            Mark::Earliest => spans.iter().map(|span| (span.partition, span.from)).collect(),
            Mark::Latest => committed.clone(),
            Mark::Offsets(offsets) => offsets.clone(),
            Mark::Time(ms) => reader.since(topic, &spans, *ms)?.iter().map(|s| (s.partition, s.from)).collect(),
        })
    };
    let (from, to) = (at(from)?, at(to)?);
    let mut ranges = Vec::new();
    for Span { partition, from: first, .. } in spans {
        let ends = from.get(&partition).zip(to.get(&partition)).zip(committed.get(&partition));
        let Some(((from, to), committed)) = ends else { continue };
        let range = Range { partition, from: (*from).max(first), to: (*to).min(*committed) };
        if range.to - range.from > RANGE_MAX {
            return Err(OperateError::TooLong { partition });
        }
        if range.from < range.to {
            ranges.push(range);
        }
    }
    Ok(ranges)
}

/// The partitions of a replay of which the ledger does not reach back to its begin, and to where it does.
///
/// # Errors
/// When a topic cannot be read.
pub fn beyond_ledger(reader: &mut TopicReader, bus: &str, replay: &Replay) -> Result<Vec<(i32, i64)>, OperateError> {
    let ledger = state_topic(bus, &replay.consumer, "ledger");
    let mut beyond = Vec::new();
    for range in &replay.ranges {
        let reach = reach(reader, &ledger, &replay.topic, range.partition)?;
        if reach > range.from {
            beyond.push((range.partition, reach));
        }
    }
    Ok(beyond)
}

/// What a replay would do.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    /// How many records would come to which end; those that would be sent, as if all calls worked.
    pub tally: Tally,
    /// The first ones of those that would not be passed over.
    pub records: Vec<Foreseen>,
}

/// A record of a replay, before anything was sent.
#[derive(Debug, Clone, Serialize)]
pub struct Foreseen {
    /// Where it lies.
    pub origin: Origin,
    /// The event's id.
    pub event_id: Option<String>,
    /// Its key, as text.
    pub key: Option<String>,
    /// What the ledger shows of it: `missing`, `done`.
    pub was: &'static str,
    /// The newer record of its key that keeps it from being sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overtaken_by: Option<i64>,
    /// What would become of it, if it is sent.
    #[serde(flatten)]
    pub preview: Preview,
}

/// Looks what a replay would do. Nothing is sent, and no system asked.
///
/// # Errors
/// When a topic, or the registry, cannot be read.
pub fn forecast(
    reader: &mut TopicReader,
    bus: &str,
    consumer: &Consumer,
    replay: &Replay,
    (judge, payload): (&mut Option<Judge>, &mut Payload),
    max: usize,
) -> Result<Forecast, OperateError> {
    let mut forecast = Forecast { tally: Tally::default(), records: Vec::new() };
    let ledger = state_topic(bus, &replay.consumer, "ledger");
    let overtakes = replay.overtake || consumer.deliver.order == Order::None;
    for range in &replay.ranges {
        let newest = (!overtakes).then(Newest::default);
        let shown = Shown::read(reader, (&ledger, &replay.topic), *range, None, newest)?;
        let mut failed = None;
        steps(reader, replay, *range, &shown, judge, |step| {
            forecast.tally += step.tally;
            let Some(record) = step.record else { return ControlFlow::Continue(()) };
            match forecast.foresee(consumer, &shown, payload, record, max) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(forecast)
}

impl Forecast {
    fn foresee(
        &mut self,
        consumer: &Consumer,
        shown: &Shown,
        payload: &mut Payload,
        record: Record,
        max: usize,
    ) -> Result<(), OperateError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let newest = record.key.as_deref().and_then(|key| shown.newest.of(key));
        let mut foreseen = Foreseen {
            origin: Origin { topic: record.topic.to_string(), partition: record.partition, offset: record.offset },
            event_id: record.headers.last("ce_id").map(text),
            key: record.key.as_deref().map(text),
            was: match shown.was(record.offset) {
                Was::Missing => "missing",
                Was::Done => "done",
                Was::SetAside => "set aside",
            },
            overtaken_by: newest.filter(|newest| *newest > record.offset),
            preview: Preview::Skip,
        };
        foreseen.preview = look(consumer, payload, record)?;
        match (&foreseen.overtaken_by, &foreseen.preview) {
            (Some(_), _) => self.tally.overtaken += 1,
            (None, Preview::Call { .. } | Preview::LookUp { .. }) => self.tally.sent += 1,
            (None, Preview::Skip) => self.tally.skipped += 1,
            (None, Preview::Refuse { .. }) => self.tally.dead += 1,
        }
        let tells = foreseen.overtaken_by.is_some() || foreseen.preview != Preview::Skip;
        if tells && self.records.len() < max {
            self.records.push(foreseen);
        }
        Ok(())
    }
}

fn look(consumer: &Consumer, payload: &mut Payload, record: Record) -> Result<Preview, OperateError> {
    let Some(value) = record.value.clone() else { return Ok(preview(consumer, None, &[], record)) };
    let (schema, datum) = match split(&value, record.headers.last(VALUE_SCHEMA_HEADER)) {
        Ok(split) => split,
        Err(error) => return Ok(Preview::Refuse { why: format!("undecodable: {error}") }),
    };
    match payload.reader_of(consumer, schema)? {
        Some(reader) => Ok(preview(consumer, Some(&reader), datum, record)),
        None => {
            Ok(Preview::Refuse { why: "undecodable: the registry has no schema that it can be read with".to_owned() })
        }
    }
}
