//! A system is down, and behind it lie more bytes than a consumer may hold: it holds what it may, and drops nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;
use tieline_delivery::oracle::Produced;
use tieline_runtime::kafka::EventProducer;
use tieline_sandbox::recorder::{Options, Reaction};
use tieline_schema::avro::EventSchema;

use crate::load::{Load, SCHEMA, record};
use crate::size::{figure, size};
use crate::{eventually, secs};

const MIB: u64 = 1 << 20;

/// What each record's note has. Kafka takes 1 MiB unless it is told otherwise.
const NOTE_BYTES: usize = 900_000;

/// What a consumer may hold: the window's 64 MiB, the bodies of the 64 calls that were under way when the system was found
/// to be down (58 MiB), what its client has fetched beyond them (16 MiB) and hands over (32 MiB), and itself.
const RESIDENT_BYTES_MAX: u64 = 256 * MIB;

/// How far it may rise while nothing moves: allocators are not exact.
const RISE_BYTES_MAX: u64 = 24 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_large_records_behind_a_system_that_is_down_takes_bounded_memory_and_none_is_dropped() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let react = move |_: &tieline_sandbox::recorder::Arrival| {
        is_down.load(Ordering::SeqCst).then(|| Reaction { status: 503, ..Reaction::default() })
    };
    let load = Load::start("backlog", Options { react: Some(Box::new(react)), ..Options::default() }).await;
    let produced = produce(&load, size().backlog_records).await;
    let replica = load.replica("a");
    eventually("it calls", secs(90), || !load.recorder.arrivals().is_empty()).await;
    // Until as much is fetched as may be.
    let mut filled = replica.resident_bytes();
    let mut risen = Instant::now();
    eventually("its memory rises no more", secs(120), || {
        let now = replica.resident_bytes();
        if now > filled + MIB {
            (filled, risen) = (now, Instant::now());
        }
        risen.elapsed() > secs(4)
    })
    .await;

    let mut peak = filled;
    let since = Instant::now();
    eventually("some time passes", size().backlog_down + secs(30), || {
        peak = peak.max(replica.resident_bytes());
        since.elapsed() > size().backlog_down
    })
    .await;
    let calls = load.recorder.arrivals().len();
    assert_eq!(load.recorder.effects(), 0);
    assert!(peak <= RESIDENT_BYTES_MAX, "it holds {} MiB, {calls} calls", peak / MIB);
    assert!(peak <= filled + RISE_BYTES_MAX, "it rose from {} to {} MiB", filled / MIB, peak / MIB);

    down.store(false, Ordering::SeqCst);
    load.drained(produced.len(), secs(240)).await;
    load.all_committed(&produced, secs(60)).await;
    assert!(replica.terminate(secs(30)).await.success());
    let bytes = produced.len() * NOTE_BYTES;
    figure(format!(
        "{} MiB of records behind it: {} MiB held, {calls} calls while it was down",
        bytes as u64 / MIB,
        peak / MIB
    ));
    let verdict = load.verdict(produced, None).await;
    assert!(verdict.holds(), "{verdict}");
}

async fn produce(load: &Load, records: u64) -> Vec<Produced> {
    let producer = EventProducer::new(&load.connection()).unwrap();
    let schema = EventSchema::parse(SCHEMA).unwrap();
    let header = load.header().await;
    let id = u32::from_be_bytes(header[1..].try_into().unwrap());
    let mut produced = Vec::new();
    for sequence in 0..records {
        let (key, attributes, _) = record(&load.name, sequence, id, &schema);
        let payload = json!({ "item_id": key, "sequence": sequence, "note": "x".repeat(NOTE_BYTES) });
        let value = [&header[..], &schema.datum_from_json(&payload).unwrap()].concat();
        let (partition, offset) = producer.publish(&load.topic(), key.as_bytes(), &attributes, &value).await.unwrap();
        let event_id = attributes.id.clone();
        produced.push(Produced { partition, offset, key: Some(key), sequence, event_id, acknowledged: true });
    }
    produced
}
