//! One record hangs, thousands behind it end, and the process is killed: what had ended does not come again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, TopicPartitionList};
use tieline_delivery::Metadata;
use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use crate::cluster::kafka;
use crate::load::Load;
use crate::size::{figure, size};
use crate::{eventually, secs};

/// The key whose calls hang.
const HUNG: &str = "item-3";

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_behind_a_record_that_hangs_does_not_come_again_after_a_crash() {
    let hangs = Arc::new(AtomicBool::new(true));
    let of_system = Arc::clone(&hangs);
    let hang = move |arrival: &Arrival| {
        let hangs = of_system.load(Ordering::Relaxed) && arrival.key.as_deref() == Some(HUNG);
        // Answered by nobody before the process is killed; what it did is not known then.
        hangs.then(|| Reaction { delay: secs(60), ..Reaction::default() })
    };
    let options = Options { key_pointer: Some("/item".to_owned()), react: Some(Box::new(hang)), ..Options::default() };
    let load = Load::start("hung", options).await;
    load.edit("systems/recorder/system.yaml", "deadline: 5s", "deadline: 60s");
    let replica = load.replica("a");
    let records = size().hung_records;
    let produced = load.produce(records, secs(records / 1_000)).await.unwrap();
    let hung: Vec<_> = produced.iter().filter(|record| record.key.as_deref() == Some(HUNG)).collect();
    let (partition, offset) = (hung[0].partition, hung[0].offset);
    let left = i64::try_from(hung.len()).unwrap();
    let done = |at: &BTreeMap<i32, i64>| {
        let others = produced.iter().filter(|record| record.partition != partition);
        others.into_iter().all(|record| at.get(&record.partition).is_some_and(|offset| *offset > record.offset))
    };
    let mut seen = None;
    eventually("all but the key that hangs is committed as ended", secs(60), || {
        seen = metadata(&load, partition);
        seen.as_ref().is_some_and(|seen| {
            let unfinished: i64 = seen.unfinished.iter().map(|run| run.end - run.start).sum();
            (seen.base, unfinished) == (offset, left) && done(&load.committed("apply-item"))
        })
    })
    .await;
    let behind = seen.map_or(0, |seen| seen.horizon - seen.base - left);
    replica.kill();

    hangs.store(false, Ordering::Relaxed);
    // The next owner waits for as long as a call of the last one may take.
    load.edit("systems/recorder/system.yaml", "deadline: 60s", "deadline: 3s");
    let second = load.replica("b");
    load.drained(produced.len(), secs(60)).await;
    load.all_committed(&produced, secs(30)).await;
    assert!(second.terminate(secs(30)).await.success());
    let again: Vec<_> = load.recorder.arrivals().into_iter().filter(|arrival| arrival.earlier_attempts > 0).collect();
    figure(format!(
        "{records} records, {behind} of its partition had ended behind the one that hangs; {} call came again",
        again.len()
    ));
    assert!(behind > 100, "{behind}");
    let in_its_partition = again.iter().filter(|arrival| arrival.key.as_deref() == Some(HUNG)).count();
    assert_eq!((again.len(), in_its_partition), (1, 1), "{again:?}");
    let verdict = load.verdict(produced, Some(1)).await;
    assert!(verdict.holds(), "{verdict}");
}

/// What is committed of a partition beside its offset.
fn metadata(load: &Load, partition: i32) -> Option<Metadata> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka().brokers())
        .set("group.id", "hung.apply-item")
        .create()
        .ok()?;
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition(&load.topic(), partition);
    let found = reader.committed_offsets(wanted, secs(10)).ok()?;
    Metadata::parse(found.elements().first()?.metadata()).ok()
}
