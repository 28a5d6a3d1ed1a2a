//! What people order, the owner of a partition does: redrive, discard, pause and resume.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::producer::FutureRecord;
use tieline_delivery::oracle::{End, Ended};
use tieline_runtime::kafka::{EventProducer, TopicReader};
use tieline_runtime::state::{
    Act, Command, ControlRecord, DeadLetter, Hold, Lot, Progress, Stage, Target, control_topic,
};
use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use crate::load::Load;
use crate::process::tieline;
use crate::{eventually, secs};

const RECORDS: u64 = 1_000;

/// Keys whose records are refused while the switch is on.
const REFUSED: [&str; 3] = ["item-7", "item-50", "item-77"];

fn options(on: &Arc<AtomicBool>) -> Options {
    let on = Arc::clone(on);
    let react = move |arrival: &Arrival| {
        let refused = on.load(Ordering::Relaxed) && REFUSED.contains(&arrival.key.as_deref().unwrap_or_default());
        refused.then(|| Reaction { status: 422, ..Reaction::default() })
    };
    Options { key_pointer: Some("/item".to_owned()), react: Some(Box::new(react)), ..Options::default() }
}

async fn order(load: &Load, bus: &str, id: &str, act: Act) {
    let command =
        Command { id: id.to_owned(), by: "ann@desk".to_owned(), reason: "it is fixed".to_owned(), at_ms: 1, act };
    let (topic, key, value) = (control_topic(bus), command.key(), command.encode().expect("a command"));
    let producer = EventProducer::new(&load.connection()).expect("a producer");
    producer.put(FutureRecord::to(&topic).partition(0).key(&key[..]).payload(&value[..])).await.expect("acknowledged");
}

/// What lies on a topic of state now: the latest of each key.
fn latest(load: &Load, bus: &str, topic: &str) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    let mut reader = TopicReader::new(&load.connection(), &format!("{bus}.apply-item")).expect("a reader");
    let spans = reader.spans(topic).expect("its end");
    let mut latest = std::collections::BTreeMap::new();
    let take = |record: tieline_runtime::kafka::Record| {
        let key = record.key.expect("a key").to_vec();
        match record.value {
            Some(value) => latest.insert(key, value),
            None => latest.remove(&key),
        };
        ControlFlow::Continue(())
    };
    reader.read(topic, &spans, take).expect("its records");
    latest
}

fn dead_letters(load: &Load, bus: &str) -> Vec<DeadLetter<'static>> {
    let letters = latest(load, bus, &format!("{bus}.apply-item.dead-letters"));
    letters.into_values().map(|value| DeadLetter::decode(&value).expect("a dead letter")).collect()
}

/// The partitions in which a command is done, and how many of its dead letters were passed over.
fn done(load: &Load, bus: &str, command: &str) -> (usize, u64) {
    let records = latest(load, bus, &control_topic(bus));
    let progress = records.iter().filter_map(|(key, value)| match ControlRecord::decode(key, value) {
        Ok(ControlRecord::Progress(Progress { command: of, stage: Stage::Done { passed, .. }, .. }))
            if of == command =>
        {
            Some(passed)
        }
        _ => None,
    });
    progress.fold((0, 0), |(partitions, all), passed| (partitions + 1, all + passed))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_key_is_delivered_in_order_and_a_discarded_one_goes_on() {
    let refuses = Arc::new(AtomicBool::new(true));
    let load = Load::start_with("ordered", options(&refuses), "{ in_flight: 64, patience: 1s, start: earliest }").await;
    let first = load.replica("a");
    let produced = load.produce(RECORDS, secs(5)).await.expect("produced");
    let of_refused =
        produced.iter().filter(|record| REFUSED.contains(&record.key.as_deref().unwrap_or_default())).count();
    load.drained(produced.len() - of_refused, secs(60)).await;
    load.all_committed(&produced, secs(30)).await;
    let letters = dead_letters(&load, "ordered");
    assert_eq!(letters.len(), REFUSED.len(), "the first of each key, and the others wait behind it");
    let holds = || latest(&load, "ordered", "ordered.apply-item.parked").keys().filter(|key| Hold::is_one(key)).count();
    assert_eq!(holds(), REFUSED.len());

    // Whoever takes over knows what is held, and carries out what was ordered while nobody ran.
    first.kill();
    refuses.store(false, Ordering::Relaxed);
    let (discarded, redriven): (Vec<_>, Vec<_>) =
        letters.iter().partition(|letter| letter.original.key.as_deref() == Some(REFUSED[0].as_bytes()));
    let lots = |letters: &[&DeadLetter<'_>]| Lot::of(letters.iter().map(|letter| &letter.original.origin));
    let consumer = || "apply-item".to_owned();
    let discard = Act::Discard { consumer: consumer(), lots: lots(&discarded) };
    order(&load, "ordered", "c1", discard).await;
    let redrive = Act::Redrive { consumer: consumer(), lots: lots(&redriven), per_second: Some(1), rounds_max: 3 };
    order(&load, "ordered", "c2", redrive.clone()).await;
    let second = load.replica("b");
    load.drained(produced.len() - 1, secs(60)).await;
    let partitions = lots(&redriven).len();
    eventually("both orders are done", secs(30), || {
        done(&load, "ordered", "c1") == (1, 0) && done(&load, "ordered", "c2") == (partitions, 0)
    })
    .await;
    assert_eq!((dead_letters(&load, "ordered").len(), holds()), (0, 0));

    // Ordered again, nothing is left to do.
    order(&load, "ordered", "c3", redrive).await;
    eventually("the third order is done", secs(30), || {
        done(&load, "ordered", "c3") == (partitions, redriven.len() as u64)
    })
    .await;
    assert!(second.terminate(secs(30)).await.success());
    assert_eq!(load.recorder.effects(), produced.len() - 1);

    let discarded = discarded.iter().map(|letter| letter.original.event_id.clone().expect("an id").into_owned());
    let waited = produced.iter().filter(|record| REFUSED.contains(&record.key.as_deref().unwrap_or_default()));
    let parked = waited.map(|record| Ended { event_id: record.event_id.clone(), end: End::Parked, at_ms: None });
    let ended = discarded.map(|event_id| Ended { event_id, end: End::Dead, at_ms: None }).chain(parked).collect();
    let verdict = load.verdict_with(produced, Some(1_024), ended).await;
    println!("{verdict}");
    assert!(verdict.holds(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_consumer_calls_nobody_until_it_is_resumed() {
    let load = Load::start("paused", options(&Arc::new(AtomicBool::new(false)))).await;
    let replica = load.replica("a");
    let first = load.produce(100, secs(1)).await.expect("produced");
    load.drained(first.len(), secs(60)).await;

    let target = || Target::Consumer { name: "apply-item".to_owned() };
    order(&load, "paused", "p1", Act::Pause { target: target() }).await;
    eventually("it says that it is paused", secs(30), || replica.log().contains("paused by order p1")).await;
    let calls = load.recorder.arrivals().len();
    load.produce(100, secs(1)).await.expect("produced");
    // A replica that starts later is paused from the start.
    replica.kill();
    let second = load.replica("b");
    eventually("it says that it is paused", secs(30), || second.log().contains("paused by order p1")).await;
    assert_eq!(load.recorder.arrivals().len(), calls);

    order(&load, "paused", "p2", Act::Resume { target: target() }).await;
    // The same events once more: what was produced twice has one effect.
    eventually("the second hundred is called", secs(30), || load.recorder.arrivals().len() >= calls + 100).await;
    assert!(second.terminate(secs(30)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_refused_before_anything_has_worked_is_buried_when_somebody_says_so() {
    let refuses = Arc::new(AtomicBool::new(true));
    let on = Arc::clone(&refuses);
    let react = move |_: &Arrival| on.load(Ordering::Relaxed).then(|| Reaction { status: 422, ..Reaction::default() });
    let options = Options { react: Some(Box::new(react)), ..Options::default() };
    let load = Load::start("buried", options).await;
    let replica = load.replica("a");
    let produced = load.produce(8, secs(1)).await.expect("produced");
    eventually("each was refused", secs(60), || load.recorder.arrived() >= produced.len()).await;
    assert!(dead_letters(&load, "buried").is_empty());

    let place = |n: usize| format!("{}-{}-{}", load.topic(), produced[n].partition, produced[n].offset);
    let bury = |more: &[&str]| {
        let (first, second) = (place(0), place(5));
        let said = ["--reason", "typed by hand, and wrong", "--as", "ann"];
        let args = [&["dead-letters", "bury", "apply-item", &first, &second], &said[..], more].concat();
        tieline(load.dir.path(), &args, &load.environment)
    };
    let (code, told, _) = bury(&["--dry-run"]);
    assert!(code == 0 && told.contains(&place(5)) && told.contains("would bury 2 records"), "{told}");
    assert!(latest(&load, "buried", &control_topic("buried")).is_empty());
    let (code, told, wrong) = bury(&["--json"]);
    assert_eq!(code, 0, "{wrong}");
    let command = serde_json::from_str::<serde_json::Value>(&told).expect("JSON")["command"].clone();
    let command = command.as_str().expect("an id").to_owned();
    let partitions: BTreeSet<i32> = [produced[0].partition, produced[5].partition].into();
    eventually("they are buried", secs(60), || done(&load, "buried", &command) == (partitions.len(), 0)).await;
    let dead: BTreeSet<String> = dead_letters(&load, "buried")
        .iter()
        .filter_map(|dead| Some(dead.original.event_id.clone()?.into_owned()))
        .collect();
    assert_eq!(dead, BTreeSet::from([produced[0].event_id.clone(), produced[5].event_id.clone()]));
    let (_, list, _) = tieline(load.dir.path(), &["control", "list"], &load.environment);
    assert!(
        ["bury 2 of consumers/apply-item", "ann", "typed by hand", "done: 2"].iter().all(|t| list.contains(t)),
        "{list}"
    );

    // The others wait on, and go through when the system takes them.
    refuses.store(false, Ordering::Relaxed);
    load.drained(produced.len() - 2, secs(90)).await;
    load.all_committed(&produced, secs(30)).await;
    assert!(replica.terminate(secs(30)).await.success());
    let dead = dead.into_iter().map(|event_id| Ended { event_id, end: End::Dead, at_ms: None }).collect();
    let verdict = load.verdict_with(produced, Some(0), dead).await;
    println!("{verdict}");
    assert!(verdict.holds(), "{verdict}");
}
