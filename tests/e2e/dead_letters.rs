//! The person on call: finds exactly the dead letters that are meant, sees one whole, and orders what becomes of them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use serde_json::Value;
use tieline_runtime::kafka::{Connection, EventProducer, TopicReader};
use tieline_runtime::state::{Act, Command, ControlRecord, Lot, Target, UnmappedBody};
use tieline_sandbox::recorder::{Arrival, Options, Reaction};
use tieline_schema::avro::EventSchema;
use tieline_schema::wire::split;

use crate::load::{Load, record};
use crate::process::tieline;
use crate::{eventually, secs};

const SCHEMA: &str = include_str!("load/load.item_changed.avsc");

/// The keys that the system refuses.
const REFUSED: [&str; 2] = ["item-7", "item-9"];

/// A bus with dead letters.
struct Desk {
    name: &'static str,
    load: Load,
    schema: EventSchema,
    id: u32,
    producer: EventProducer,
}

impl Desk {
    /// Some records are delivered, so that what is refused later is no outage.
    async fn start(name: &'static str) -> (Self, crate::process::Process) {
        let refuse = |arrival: &Arrival| {
            let refused = arrival.key.as_deref().is_some_and(|key| REFUSED.contains(&key));
            refused.then(|| Reaction { status: 422, ..Reaction::default() })
        };
        let options =
            Options { key_pointer: Some("/item".to_owned()), react: Some(Box::new(refuse)), ..Options::default() };
        let load = Load::start(name, options).await;
        let header = load.header().await;
        let id = u32::from_be_bytes(header[1..].try_into().unwrap());
        let producer = EventProducer::new(&load.connection()).unwrap();
        let schema = EventSchema::parse(SCHEMA).unwrap();
        let desk = Self { name, load, schema, id, producer };
        let replica = desk.load.replica("a");
        for sequence in (20..97).chain(117..194) {
            desk.publish(sequence).await;
        }
        desk.load.drained(154, secs(60)).await;
        (desk, replica)
    }

    async fn publish(&self, sequence: u64) -> String {
        let (key, event, value) = record(self.name, sequence, self.id, &self.schema);
        let topic = self.load.topic();
        let (partition, offset) = self.producer.publish(&topic, key.as_bytes(), &event, &value).await.unwrap();
        format!("{topic}-{partition}-{offset}")
    }

    /// A value that cannot be read.
    async fn publish_broken(&self, sequence: u64) -> String {
        let (key, event, mut value) = record(self.name, sequence, self.id, &self.schema);
        value.truncate(8);
        let headers = event.to_headers().into_iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
            headers.insert(Header { key: name, value: Some(value.as_bytes()) })
        });
        let topic = self.load.topic();
        let put = FutureRecord::to(&topic).key(key.as_bytes()).payload(value.as_slice()).headers(headers);
        let (partition, offset) = self.producer.put(put).await.unwrap();
        format!("{topic}-{partition}-{offset}")
    }

    /// Runs a command: its exit code and what it wrote.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let (dir, environment) = (self.load.dir.path(), &self.load.environment);
        tokio::task::block_in_place(|| tieline(dir, args, environment))
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, out, error) = self.run(&[args, &["--json"]].concat());
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}: {out}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
    }

    /// The event ids that `list` finds with these filters.
    fn listed(&self, filters: &[&str]) -> BTreeSet<String> {
        let all = self.json(&[&["dead-letters", "list", "apply-item"], filters].concat());
        all.as_array().unwrap().iter().map(|at| at["letter"]["event_id"].as_str().unwrap().to_owned()).collect()
    }

    fn ids(&self, sequences: &[u64]) -> BTreeSet<String> {
        sequences.iter().map(|sequence| format!("{}-{sequence}", self.name)).collect()
    }

    /// All commands that were given.
    fn commands(&self) -> Vec<Command> {
        let mut reader = TopicReader::new(&self.load.connection(), "desk-test").unwrap();
        let topic = format!("{}.tieline.control", self.name);
        let spans = reader.spans(&topic).unwrap();
        let mut commands = Vec::new();
        reader
            .read(&topic, &spans, |record| {
                let read = ControlRecord::decode(record.key.as_deref().unwrap(), record.value.as_deref().unwrap());
                if let ControlRecord::Command(command) = read.unwrap() {
                    commands.push(command);
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        commands
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_find_exactly_the_dead_letters_that_are_meant() {
    let (desk, replica) = Desk::start("letters").await;
    let mut origins = Vec::new();
    for sequence in [7, 104, 201, 9, 106] {
        origins.push(desk.publish(sequence).await);
    }
    desk.publish_broken(12).await;
    eventually("6 dead letters", secs(60), || desk.listed(&[]).len() == 6).await;

    assert_eq!(desk.listed(&[]), desk.ids(&[7, 104, 201, 9, 106, 12]));
    assert_eq!(desk.listed(&["--code", "http-422"]), desk.ids(&[7, 104, 201, 9, 106]));
    assert_eq!(desk.listed(&["--code", "undecodable"]), desk.ids(&[12]));
    assert_eq!(desk.listed(&["--code", "http-422", "--code", "undecodable"]).len(), 6);
    assert_eq!(desk.listed(&["--key", "item-7"]), desk.ids(&[7, 104, 201]));
    assert_eq!(desk.listed(&["--where", ".sequence > 100"]), desk.ids(&[104, 201, 106]));
    assert_eq!(desk.listed(&["--where", ".sequence > 100 and .item_id == 'item-7'", "--max", "1"]), desk.ids(&[104]));
    assert_eq!(desk.listed(&["--since", "1h"]).len(), 6);
    assert_eq!(desk.listed(&["--until", "1h"]).len(), 0);
    let (code, out, _) = desk.run(&["dead-letters", "list", "--code", "http-422"]);
    assert_eq!(code, 0);
    assert!(out.contains("consumers/apply-item: 5 dead letters") && out.contains(&origins[0]), "{out}");
    let (_, out, _) = desk.run(&["dead-letters", "list", "apply-item", "--where", ".sequence > 0"]);
    assert!(out.contains("1 whose payload cannot be read were not judged"), "{out}");

    let (code, _, error) = desk.run(&["dead-letters", "list", "apply-item", "--where", ".sequenze > 100"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("no field `sequenze`") && error.contains("did you mean `sequence`"), "{error}");
    assert_eq!(desk.run(&["dead-letters", "list", "--where", ".sequence > 1"]).0, 2);
    assert_eq!(desk.run(&["dead-letters", "list", "nobody"]).0, 2);
    assert_eq!(desk.run(&["dead-letters", "list", "--since", "yesterday"]).0, 2);

    let shown = desk.json(&["dead-letters", "show", "letters-104"]);
    assert_eq!(shown[0]["payload"]["sequence"], 104);
    assert_eq!(shown[0]["letter"]["attempts"][0]["status"], 422);
    let (code, out, _) = desk.run(&["dead-letters", "show", &origins[1]]);
    assert_eq!(code, 0);
    assert!(out.contains("letters-104") && out.contains("\"sequence\": 104") && out.contains("[secret]"), "{out}");
    let (code, out, _) = desk.run(&["dead-letters", "show", "letters-12"]);
    assert_eq!(code, 0);
    assert!(out.contains("payload cannot be shown"), "{out}");
    assert_eq!(desk.run(&["dead-letters", "show", "letters-1"]).0, 1);
    assert!(replica.terminate(secs(30)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_names_the_letters_that_its_dry_run_has_shown_and_who_gave_it() {
    let (desk, replica) = Desk::start("orders").await;
    let mut origins = Vec::new();
    for sequence in [7, 104, 9] {
        origins.push(desk.publish(sequence).await);
    }
    eventually("3 dead letters", secs(60), || desk.listed(&[]).len() == 3).await;
    // From here on nobody acts: what was ordered can be looked at.
    assert!(replica.terminate(secs(30)).await.success());

    let because = ["--reason", "billing has said so"];
    let discard = ["dead-letters", "discard", "apply-item", "--key", "item-7"];
    assert_eq!(desk.run(&discard).0, 2, "no reason was given");
    assert_eq!(desk.run(&[&discard[..3], &because[..]].concat()).0, 2, "nothing was chosen");
    assert_eq!(desk.run(&[&discard[..4], &["item-8"], &because[..]].concat()).0, 1, "nothing matches");
    let dry = desk.json(&[&discard[..], &because, &["--dry-run"]].concat());
    assert_eq!((&dry["command"], dry["letters"].as_array().unwrap().len()), (&Value::Null, 2));
    assert!(desk.commands().is_empty(), "a dry run orders nothing");

    desk.json(&[&discard[..], &because, &["--as", "ann"]].concat());
    let redrive = ["redrive", "apply-item", "orders-9", "--rate", "5", "--rounds", "2"];
    assert_eq!(desk.run(&[&redrive[..], &because[..]].concat()).0, 0);
    let file = desk.load.dir.path().join("item.json");
    let edit = ["dead-letters", "edit", "apply-item", "orders-9", "--payload", file.to_str().unwrap()];
    std::fs::write(&file, r#"{ "item_id": "item-9", "sequence": "many" }"#).unwrap();
    let (code, _, error) = desk.run(&[&edit[..], &because[..]].concat());
    assert_eq!(code, 2);
    assert!(error.contains("does not fit schemas/load.item_changed.avsc") && error.contains(".sequence"), "{error}");
    std::fs::write(&file, r#"{ "item_id": "item-9", "sequence": 9, "note": "as agreed" }"#).unwrap();
    assert_eq!(desk.run(&[&edit[..], &because[..]].concat()).0, 0);
    assert_eq!(desk.run(&[&["pause", "recorder"][..], &because[..]].concat()).0, 0);
    assert_eq!(desk.run(&[&["resume", "keys/item-7", "--consumer", "apply-item"][..], &because[..]].concat()).0, 0);
    let (code, _, error) = desk.run(&[&["pause", "apply-itm"][..], &because[..]].concat());
    assert_eq!(code, 2);
    assert!(error.contains("consumers/apply-item") && error.contains("keys/KEY"), "{error}");

    let commands = desk.commands();
    let consumer = || "apply-item".to_owned();
    let lots = |origins: &[String]| Lot::of(&origins.iter().map(|o| o.parse().unwrap()).collect::<Vec<_>>());
    let [discarded, redriven, edited, paused, resumed] = commands.as_slice() else { panic!("{commands:#?}") };
    assert_eq!((discarded.by.as_str(), discarded.reason.as_str()), ("ann", "billing has said so"));
    assert_eq!(discarded.act, Act::Discard { consumer: consumer(), lots: lots(&origins[..2]) });
    assert!(redriven.by.contains('@'), "{}", redriven.by);
    let act = Act::Redrive { consumer: consumer(), lots: lots(&origins[2..]), per_second: Some(5), rounds_max: 2 };
    assert_eq!(redriven.act, act);
    let Act::Edit { value: Some(value), origin, .. } = &edited.act else { panic!("{edited:?}") };
    assert_eq!(origin.to_string(), origins[2]);
    let (_, datum) = split(value, None).unwrap();
    assert_eq!(desk.schema.json_from_datum(datum, 100).unwrap()["note"], "as agreed");
    assert_eq!(paused.act, Act::Pause { target: Target::System { name: "recorder".to_owned() } });
    let key = Target::Key { key: "item-7".to_owned(), consumer: Some(consumer()) };
    assert_eq!(resumed.act, Act::Resume { target: key });

    let listed = desk.json(&["control", "list", "--max", "4"]);
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|at| at["id"].as_str().unwrap()).collect();
    assert_eq!(ids, commands[1..].iter().map(|c| c.id.as_str()).collect::<Vec<_>>());
    let (_, out, _) = desk.run(&["control", "list"]);
    assert!(out.contains("discard 2 of consumers/apply-item") && out.contains("not yet read"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ordered_is_carried_out_and_where_tells_what_came_of_it() {
    let (desk, replica) = Desk::start("carried").await;
    for sequence in [7, 9, 106] {
        desk.publish(sequence).await;
    }
    eventually("3 dead letters", secs(60), || desk.listed(&[]).len() == 3).await;
    let because = ["--reason", "the form was wrong"];

    // The system takes it under another item.
    let file = desk.load.dir.path().join("item.json");
    std::fs::write(&file, r#"{ "item_id": "item-8", "sequence": 9 }"#).unwrap();
    let edit = ["dead-letters", "edit", "apply-item", "carried-9", "--payload", file.to_str().unwrap()];
    desk.json(&[&edit[..], &because].concat());
    desk.json(&[&["dead-letters", "discard", "apply-item", "--where", ".sequence == 106"][..], &because].concat());
    eventually("one is left", secs(60), || desk.listed(&[]) == desk.ids(&[7])).await;
    // It is refused again, and that is counted.
    desk.json(&[&["redrive", "apply-item", "--all"][..], &because].concat());
    let redriven = || desk.json(&["dead-letters", "list", "apply-item"])[0]["letter"]["redriven"].clone();
    eventually("it has died again", secs(60), || redriven() == 1).await;

    let (_, out, _) = desk.run(&["where", "carried-7", "--attempts"]);
    assert!(out.contains("[secret]"), "the answers are shown without the credential: {out}");
    let state = |event: &str| {
        let trails = desk.json(&["where", event]);
        (trails[0]["consumers"][0]["state"].clone(), trails[0]["consumers"][0]["why"].clone())
    };
    eventually("the edited one is done", secs(60), || state("carried-9").0 == "done").await;
    assert_eq!(state("carried-7").0, "dead");
    let (discarded, why) = state("carried-106");
    assert_eq!(discarded, "dead");
    assert!(why.as_str().unwrap().contains("discarded"), "{why}");
    let all_done = || {
        let commands = desk.json(&["control", "list"]);
        let stages = commands.as_array().unwrap().iter().flat_map(|c| c["progress"].as_array().unwrap().clone());
        stages.filter(|progress| progress["stage"]["is"] == "done").count()
    };
    eventually("each order is done", secs(60), || all_done() == 3).await;
    let (_, out, _) = desk.run(&["control", "list"]);
    assert_eq!(out.matches("done: 1").count(), 3, "{out}");
    assert!(replica.terminate(secs(30)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_could_not_be_mapped_is_listed_and_shown_with_its_body() {
    let dir = tempfile::tempdir().unwrap();
    let bus = dir.path().join("unmapped");
    let registry = tieline_sandbox::registry::Registry::start(crate::cluster::any_port()).await.unwrap();
    let environment = [
        ("KAFKA_BROKERS".to_owned(), crate::cluster::kafka().brokers().to_owned()),
        ("SCHEMA_REGISTRY_URL".to_owned(), registry.url()),
    ];
    let run = |args: &[&str]| tokio::task::block_in_place(|| tieline(&bus, args, &environment));
    let (code, _, error) =
        tokio::task::block_in_place(|| tieline(dir.path(), &["init", bus.to_str().unwrap()], &environment));
    assert_eq!(code, 0, "{error}");
    let file = bus.join("tieline.yaml");
    let text = std::fs::read_to_string(&file).unwrap().replace("replication: 3", "replication: 1");
    std::fs::write(&file, text).unwrap();
    let (code, out, error) = run(&["apply"]);
    assert_eq!(code, 0, "{out}{error}");

    let body = UnmappedBody {
        producer: "shop-webhooks".into(),
        delivery_id: "msg_1".into(),
        received_ms: tieline_runtime::now_ms(),
        headers: vec![("webhook-id".to_owned(), "msg_1".to_owned())].into(),
        body: Some(br#"{"type":"order.\u0001placed"}"#.as_slice().into()),
        reason: "the body breaks its contract".into(),
    };
    let brokers = crate::cluster::kafka().brokers().to_owned();
    let kafka = tieline_bus::Kafka { brokers, settings: Default::default(), partitions: 6, replication: 1 };
    let producer = EventProducer::new(&Connection { kafka, embedded: false }).unwrap();
    let (topic, value) = ("unmapped.shop-webhooks.dead-letters", body.encode().unwrap());
    producer.put(FutureRecord::to(topic).key(b"msg_1".as_slice()).payload(value.as_slice())).await.unwrap();

    for list in [&["dead-letters", "list"][..], &["dead-letters", "list", "producers/shop-webhooks", "--since", "1h"]] {
        let (code, out, error) = run(list);
        assert_eq!((code, error.as_str()), (0, ""), "{out}");
        assert!(out.contains("producers/shop-webhooks: 1 webhook that could not be mapped"), "{out}");
        assert!(out.contains("msg_1") && out.contains("breaks its contract"), "{out}");
    }
    let (code, out, _) = run(&["dead-letters", "list", "producers/shop-webhooks", "--until", "1h", "--json"]);
    assert_eq!((code, out.as_str()), (0, "[]\n"));
    assert_eq!(run(&["dead-letters", "list", "producers/shop-webhooks", "--key", "k"]).0, 2);
    assert_eq!(run(&["dead-letters", "list", "producers/nobody"]).0, 2);
    let (code, out, _) = run(&["dead-letters", "show", "msg_1"]);
    assert_eq!(code, 0);
    assert!(out.contains(r#"{"type":"order.\u0001placed"}"#) && out.contains("webhook-id"), "{out}");
}
