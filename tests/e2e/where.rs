//! What became of an event: one answer for each state that it can be in, put together from Kafka alone.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use serde_json::Value;
use tieline_runtime::kafka::EventProducer;
use tieline_sandbox::recorder::{Arrival, Options, Reaction};
use tieline_schema::avro::EventSchema;
use tieline_schema::partitioner::partition;

use crate::load::{Load, record};
use crate::process::tieline;
use crate::{eventually, secs};

const SCHEMA: &str = include_str!("load/load.item_changed.avsc");

/// A bus of which one key is refused and one is answered late.
struct Bus {
    name: &'static str,
    load: Load,
    schema: EventSchema,
    id: u32,
    producer: EventProducer,
}

/// Refused.
const REFUSED: &str = "item-7";

/// Answered late.
const SLOW: u64 = 11;

/// Never answered well.
const DOWN: u64 = 15;

impl Bus {
    async fn start(name: &'static str) -> Self {
        let react = |arrival: &Arrival| match arrival.key.as_deref() {
            Some(REFUSED) => Some(Reaction { status: 422, ..Reaction::default() }),
            Some("item-11") => Some(Reaction { delay: secs(4), ..Reaction::default() }),
            Some("item-15") => Some(Reaction { status: 503, ..Reaction::default() }),
            Some("item-13") if arrival.earlier_attempts < 2 => Some(Reaction { status: 503, ..Reaction::default() }),
            _ => None,
        };
        let options =
            Options { key_pointer: Some("/item".to_owned()), react: Some(Box::new(react)), ..Options::default() };
        let load = Load::start(name, options).await;
        let header = load.header().await;
        let id = u32::from_be_bytes(header[1..].try_into().unwrap());
        let producer = EventProducer::new(&load.connection()).unwrap();
        Self { name, load, schema: EventSchema::parse(SCHEMA).unwrap(), id, producer }
    }

    /// Changes how the consumer delivers.
    fn deliver(&self, from: &str, to: &str) {
        let file = self.load.dir.path().join("consumers/apply-item/consumer.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
    }

    async fn publish(&self, sequence: u64, ty: &str) {
        let (key, mut event, value) = record(self.name, sequence, self.id, &self.schema);
        event.ty = ty.to_owned();
        let headers = event.to_headers().into_iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
            headers.insert(Header { key: name, value: Some(value.as_bytes()) })
        });
        let topic = self.load.topic();
        let put = FutureRecord::to(&topic).key(key.as_bytes()).payload(value.as_slice()).headers(headers);
        self.producer.put(put).await.unwrap();
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let (dir, environment) = (self.load.dir.path(), &self.load.environment);
        tokio::task::block_in_place(|| tieline(dir, &[&["where"], args].concat(), environment))
    }

    /// Where an event is in the consumer of the bus; null where it is not found.
    fn whereabouts(&self, args: &[&str]) -> Value {
        let (code, out, error) = self.run(&[args, &["--json"]].concat());
        let trails: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}{error}"));
        assert_eq!(code, i32::from(trails.as_array().unwrap().is_empty()), "{out}{error}");
        trails[0]["consumers"][0].clone()
    }

    fn state(&self, sequence: u64) -> Value {
        self.whereabouts(&[&format!("{}-{sequence}", self.name)])["state"].clone()
    }
}

/// A sequence whose key lies in the partition of another one's.
fn beside(sequence: u64) -> u64 {
    let its = |sequence: u64| partition(format!("item-{}", sequence % 97).as_bytes(), 6);
    (20..97).find(|other| its(*other) == its(sequence)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_in_each_state_with_its_attempts_and_what_it_waits_for() {
    let bus = Bus::start("whereabouts").await;
    let item = "load.item_changed";
    let replica = bus.load.replica("a");
    for sequence in 20..40 {
        bus.publish(sequence, item).await;
    }
    bus.publish(13, item).await;
    bus.load.drained(21, secs(60)).await;
    bus.publish(7, item).await;
    bus.publish(41, "load.item_renamed").await;
    eventually("each is final", secs(60), || {
        bus.state(7) == "dead" && bus.state(41) == "skipped" && bus.state(13) == "done"
    })
    .await;
    let tried = bus.whereabouts(&["whereabouts-13"]);
    assert_eq!(tried["attempts"], 3, "{tried}");
    assert_eq!(tried["tried"][0]["status"], 503, "{tried}");
    assert!(tried["at_ms"].as_i64().unwrap() > 1_600_000_000_000, "{tried}");
    let dead = bus.whereabouts(&["whereabouts-7", "--event"]);
    assert!(dead["why"].as_str().unwrap().starts_with("http-422: "), "{dead}");
    assert_eq!(dead["tried"][0]["status"], 422, "{dead}");
    // What has no commit beyond it yet is not known to be under way: the one after it makes it so.
    bus.publish(SLOW, item).await;
    bus.publish(beside(SLOW), item).await;
    eventually("it is under way", secs(30), || bus.state(SLOW) == "under-way").await;
    eventually("it is done", secs(30), || bus.state(SLOW) == "done").await;
    assert!(replica.terminate(secs(30)).await.success());

    bus.publish(50, item).await;
    let waiting = bus.whereabouts(&["item-50", "--key"]);
    assert_eq!(waiting["state"], "waiting", "{waiting}");
    assert!(waiting["why"].as_str().unwrap().contains("0 records of its partition are before it"), "{waiting}");
    let pause = ["pause", "apply-item", "--reason", "a migration", "--as", "ann"];
    let (dir, environment) = (bus.load.dir.path(), &bus.load.environment);
    assert_eq!(tokio::task::block_in_place(|| tieline(dir, &pause, environment)).0, 0);
    assert_eq!(bus.whereabouts(&["item-50", "--key"])["why"], "paused by ann: a migration");

    let (code, out, _) = bus.run(&["item-13", "--attempts"]);
    assert_eq!(code, 0);
    assert!(out.contains("load.item_changed whereabouts-13, key item-13,"), "{out}");
    assert!(out.contains("apply-item  done") && out.contains("503"), "{out}");
    let (code, out, _) = bus.run(&["item-99999"]);
    assert_eq!(code, 1);
    assert!(out.contains("has the id or key `item-99999`"), "{out}");
    assert_eq!(bus.whereabouts(&["item-13", "--event"]), Value::Null, "a key is no event's id");
    assert_eq!(bus.whereabouts(&["whereabouts-20", "--since", "2100-01-01T00:00:00Z"]), Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_record_says_when_it_is_tried_again_and_what_is_behind_it_does_not() {
    let bus = Bus::start("parked").await;
    bus.deliver("patience: 30s", "patience: 1s");
    let replica = bus.load.replica("a");
    // Only what fails while others go through is parked: they go on for longer than it is tried.
    let others = bus.load.produce(200, secs(8));
    eventually("it is parked", secs(60), || bus.state(DOWN) == "parked").await;
    eventually("the next of its key is parked", secs(60), || bus.state(DOWN + 97) == "parked").await;
    let head = bus.whereabouts(&["parked-15"]);
    assert!(head["at_ms"].as_i64().unwrap() > tieline_runtime::now_ms(), "{head}");
    assert!(head["why"].as_str().unwrap().starts_with("http-503"), "{head}");
    assert!(head["attempts"].as_u64().unwrap() >= 2, "{head}");
    assert_eq!(bus.whereabouts(&["parked-112"])["at_ms"], Value::Null);
    others.await.unwrap();
    drop(replica);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_dead_letter_of_its_key_is_held_by_that() {
    let bus = Bus::start("held").await;
    bus.deliver("on_dead_letter: continue", "on_dead_letter: hold");
    let replica = bus.load.replica("a");
    for sequence in 20..40 {
        bus.publish(sequence, "load.item_changed").await;
    }
    bus.load.drained(20, secs(60)).await;
    bus.publish(7, "load.item_changed").await;
    eventually("the first is dead", secs(60), || bus.state(7) == "dead").await;
    bus.publish(104, "load.item_changed").await;
    eventually("the second is held", secs(60), || bus.state(104) == "held").await;
    let held = bus.whereabouts(&["held-104"]);
    assert!(held["why"].as_str().unwrap().starts_with("its key is held behind the dead letter held.items-"), "{held}");
    drop(replica);
}
