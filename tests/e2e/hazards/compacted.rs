//! A topic that is compacted while it is delivered: what the log cleaner takes away is passed, the last of each key comes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use tieline_delivery::oracle::{End, Ended, Produced};
use tieline_runtime::kafka::{Record, TopicReader};
use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use super::admin;
use crate::load::Load;
use crate::size::{figure, size};
use crate::{eventually, secs};

/// Records in a second.
const RATE: u64 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_delivered_while_it_is_compacted_and_the_last_record_of_each_key_comes() {
    // Slow at times, so that the cleaner comes before the consumer to some records, and behind it to others.
    let slow = |_: &Arrival| {
        Some(Reaction { delay: Duration::from_millis(rand::random_range(20..200)), ..Reaction::default() })
    };
    let load = Load::start("compacted", Options { react: Some(Box::new(slow)), ..Options::default() }).await;
    compact(&load.topic()).await;
    let (records, pace) = (size().compacted_records, |records: u64| secs(records / RATE));
    let replica = load.replica("a");
    let mut produced = load.produce(records, pace(records)).await.unwrap();
    eventually("it works", secs(60), || load.recorder.effects() > 0).await;
    // What it leaves unfinished is taken away before anybody reads it again, and so is what comes now.
    replica.kill();
    produced.extend(load.produce_from(records, records, pace(records)).await.unwrap());
    let unread = produced.len() - usize::try_from(records).unwrap();
    eventually("the log cleaner has been at work", secs(60), || places(&load).len() < unread / 2).await;
    // Whoever takes over begins in a log with holes, and the cleaner goes on behind it and before it.
    let second = load.replica("b");
    produced.extend(load.produce_from(records * 2, records / 2, pace(records / 2)).await.unwrap());
    load.all_committed(&produced, secs(180)).await;
    assert!(second.terminate(secs(30)).await.success());

    let (of, left) = (produced.len(), places(&load));
    let ended: Vec<Ended> = taken_away(&load, &left, &produced).collect();
    let taken = ended.len();
    let verdict = load.verdict_with(produced, Some(1_024), ended).await;
    figure(format!("{of} records, {} left in the log; {taken} were gone before they were read; {verdict}", left.len()));
    assert!(verdict.holds(), "{verdict}");
    assert!(taken > 0, "the cleaner never came first: {verdict}");
}

/// What was not delivered, is not in the log any more, and is not the last of its key: that alone may the cleaner take.
fn taken_away<'a>(
    load: &Load,
    left: &'a BTreeSet<(i32, i64)>,
    produced: &'a [Produced],
) -> impl Iterator<Item = Ended> + use<'a> {
    let delivered = load.delivered(produced);
    let last: BTreeMap<Option<&str>, u64> =
        produced.iter().map(|record| (record.key.as_deref(), record.sequence)).collect();
    let gone = produced.iter().filter(move |record| {
        !left.contains(&(record.partition, record.offset))
            && !delivered.contains(&record.event_id)
            && last[&record.key.as_deref()] > record.sequence
    });
    gone.map(|record| Ended { event_id: record.event_id.clone(), end: End::Superseded, at_ms: None })
}

/// Where the records lie that are in the log.
fn places(load: &Load) -> BTreeSet<(i32, i64)> {
    let mut reader = TopicReader::new(&load.connection(), "compacted").unwrap();
    let spans = reader.spans(&load.topic()).unwrap();
    let mut places = BTreeSet::new();
    let take = |record: Record| {
        places.insert((record.partition, record.offset));
        ControlFlow::Continue(())
    };
    reader.read(&load.topic(), &spans, take).unwrap();
    places
}

/// Has a topic be compacted, and that soon: of a segment that is written no more, once a second.
async fn compact(topic: &str) {
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic))
        .set("cleanup.policy", "compact")
        .set("segment.ms", "200")
        .set("min.cleanable.dirty.ratio", "0.01")
        .set("max.compaction.lag.ms", "500");
    for altered in admin().alter_configs([&config], &AdminOptions::new()).await.unwrap() {
        altered.unwrap();
    }
}
