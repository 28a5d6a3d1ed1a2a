//! Preparing and sending, without a loop around them: what a look-up's refusal means for its record, and what follows from
//! an effect whose answer was lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod batches;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tieline_bus::{Bus, Environment};
use tieline_delivery::Answer;
use tieline_sandbox::broker::embedded::Embedded;
use tieline_sandbox::registry::Registry;
use tieline_sandbox::systems::{Expected, Fault, Repeats, Spec, Systems};
use tieline_schema::cloudevents::Attributes;
use tieline_schema::contract::Contract;
use tieline_schema::wire::v0_header;

use super::Wiring;
use super::prepare::{Delivered, Preparer, Step};
use super::send::Sender;
use crate::happening::What;
use crate::kafka::{Connection, Record};

const CONTRACT: &str = r#"
openapi: 3.1.0
info: { title: ERP, version: "1" }
paths:
  /users:
    post: { operationId: addUser, responses: { "204": { description: Made. } } }
  /users/{id}:
    get:
      operationId: getUser
      parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
      responses: { "200": { description: It., content: { application/json: { schema: {
        type: object, required: [id, name], properties: { id: { type: string }, name: { type: string } } } } } } }
  /projects:
    post:
      operationId: createProject
      requestBody: { required: true, content: { application/json: { schema: {
        type: object, required: [ref, manager], properties: { ref: { type: string }, manager: { type: string } } } } } }
      responses: { "201": { description: Made., content: { application/json: { schema: {
        type: object, required: [id], properties: { id: { type: string }, ref: { type: string } } } } } } }
    get:
      operationId: findProjects
      parameters: [{ name: ref, in: query, required: true, schema: { type: string } }]
      responses: { "200": { description: Those., content: { application/json: { schema: { type: object, required: [found],
        properties: { found: { type: array, items: {
          type: object, required: [id, ref], properties: { id: { type: string }, ref: { type: string } } } } } } } } } }
  /projects/{id}:
    delete:
      operationId: deleteProject
      parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
      responses: { "204": { description: Gone. } }
"#;

const SYSTEM: &str = "purpose: It plans.\nowner: a@example.com\nbase_url: http://127.0.0.1:1\ncontract: openapi.yaml
idempotency:
  look_up:
    createProject:
      operation: findProjects
      with: { ref: .ref }
      found_at: /found
      found_when: $found.ref == .ref
      visible_after: 0s
";

const CONSUMER: &str = "purpose: It does.\nowner: a@example.com\nsubscribe: crm.deal_won
look_up: { manager: { system: erp, operation: getUser, with: { id: .owner }, keep: 10m } }
call: { system: erp, operation: createProject, body: { ref: .deal, manager: $manager.name } }
on_tombstone: { operation: deleteProject, with: { id: $key } }
emit: { event: erp.project_made, key: .deal, payload: { project: $response.id } }
deliver: { patience: 300ms }
";

/// A bus of two events, and these files.
fn shop(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::TempDir::new().unwrap();
    let write = |path: &str, text: &str| {
        std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(path), text).unwrap();
    };
    write("tieline.yaml", "bus: shop\nlanguage: 1\nkafka: { brokers: x }\nregistry: { url: \"${REGISTRY}\" }\n");
    write("schemas/crm.deal_won.avsc", &schema("crm", "deal_won", &["deal", "owner"]).to_string());
    write("schemas/erp.project_made.avsc", &schema("erp", "project_made", &["project"]).to_string());
    files.iter().for_each(|(path, text)| write(path, text));
    dir
}

fn schema(namespace: &str, name: &str, fields: &[&str]) -> Value {
    let field = |name: &&str| json!({ "name": name, "type": "string", "doc": "It." });
    let fields: Vec<Value> = fields.iter().map(field).collect();
    json!({ "type": "record", "namespace": namespace, "name": name, "doc": "It.", "fields": fields })
}

struct Places {
    registry: String,
    erp: String,
}

impl Environment for Places {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "REGISTRY").then(|| self.registry.clone())
    }
    fn secret(&self, _name: &str) -> Option<String> {
        None
    }
    fn base_url(&self, _system: &str) -> Option<String> {
        Some(self.erp.clone())
    }
}

/// A consumer with all that is around it, in this process.
struct Line {
    systems: Systems,
    sender: Sender,
    preparer: Arc<Preparer>,
    /// The registry's id of the event's schema.
    schema: u32,
    _registry: Registry,
    _broker: Embedded,
}

impl Line {
    async fn new() -> Self {
        Self::with_consumer(CONSUMER).await
    }

    async fn with_consumer(consumer: &str) -> Self {
        let registry = Registry::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let seed = BTreeMap::from([
            ("/users".to_owned(), vec![json!({ "id": "u-1", "name": "Ada" })]),
            ("/projects".to_owned(), vec![json!({ "id": "D-1", "ref": "D-1", "manager": "Ada" })]),
        ]);
        let dir = shop(&[
            ("systems/erp/openapi.yaml", CONTRACT),
            ("systems/erp/system.yaml", SYSTEM),
            ("consumers/plan/consumer.yaml", consumer),
        ]);
        let places = |erp: String| Places { registry: registry.url(), erp };

        let loaded = Bus::load(dir.path(), &places("http://127.0.0.1:1".to_owned()));
        let contract: Arc<Contract> = Arc::clone(&loaded.bus.expect("it is sound").systems["erp"].contract);
        let (credential, repeats, version) = (Expected::None, Repeats::default(), None);
        let spec = Spec { name: "erp".into(), contract, credential, repeats, version, seed };
        let systems = Systems::start(vec![spec]).await.unwrap();
        let bus = Bus::load(dir.path(), &places(systems.base_url("erp").unwrap())).bus.unwrap();

        let broker = Embedded::start().unwrap();
        broker.create_topic("erp.project_made", 1).unwrap();
        let mut kafka = bus.kafka.clone();
        kafka.brokers = broker.brokers().to_owned();
        let wiring = Arc::new(Wiring::new(bus, Connection { kafka, embedded: true }, "one".to_owned()).unwrap());
        let mut ids = Vec::new();
        for name in ["crm.deal_won", "erp.project_made"] {
            let event = &wiring.bus.events[name];
            ids.push(wiring.registry.register(&event.subject, &event.schema.text, &[]).await.unwrap());
        }
        let consumer = Arc::clone(&wiring.bus.consumers["plan"]);
        let preparer = Arc::new(Preparer::new(Arc::clone(&wiring), consumer));
        let sender = Sender {
            preparer: Arc::clone(&preparer),
            system: Arc::clone(&wiring.systems["erp"]),
            metrics: wiring.metrics.consumer("plan"),
            follow_up_schema: Some(ids[1]),
        };
        Self { systems, sender, preparer, schema: ids[0], _registry: registry, _broker: broker }
    }

    fn record(&self, deal: &str, owner: &str) -> Delivered {
        record(&self.preparer.consumer, self.schema, deal, owner)
    }

    /// A record with this key and no value, nor any header that tells of it.
    fn tombstone(&self, key: Option<&[u8]>, offset: i64) -> Delivered {
        Delivered::new(Record {
            topic: self.preparer.consumer.event.topic.as_str().into(),
            partition: 0,
            offset,
            timestamp_ms: None,
            key: key.map(Into::into),
            value: None,
            headers: std::iter::empty().collect(),
        })
    }

    /// What a tombstone comes to.
    async fn bury(&self, delivered: &Delivered, maybe_applied: bool) -> Answer {
        let Step::Call(call) = self.preparer.prepare(delivered).await else { panic!("it has no request") };
        delivered.keep_request(call);
        self.sender.send(delivered, 1, maybe_applied, None).await.0
    }

    /// Prepares until that means something else than to try again.
    async fn prepare(&self, delivered: &Delivered) -> Step {
        let begun = Instant::now();
        loop {
            match self.preparer.prepare(delivered).await {
                Step::NotNow(Answer::NotApplied(_), _) => tokio::task::yield_now().await,
                other => return other,
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "it is tried for ever");
        }
    }
}

/// A record of a deal, of this consumer's event.
fn record(consumer: &tieline_bus::Consumer, schema: u32, deal: &str, owner: &str) -> Delivered {
    let event = &consumer.event;
    let mut value = v0_header(schema).to_vec();
    value.extend(event.schema.datum_from_json(&json!({ "deal": deal, "owner": owner })).unwrap());
    let attributes = Attributes {
        id: format!("evt-{deal}"),
        source: "/crm".into(),
        ty: event.name.clone(),
        time_ms: None,
        subject: None,
        causation_id: None,
        traceparent: None,
        tracestate: None,
    };
    let headers = attributes.to_headers();
    Delivered::new(Record {
        topic: event.topic.as_str().into(),
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        value: Some(value),
        headers: headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect(),
    })
}

#[tokio::test]
async fn a_look_up_that_finds_nothing_is_the_records_fault_only_where_others_are_answered() {
    let line = Line::new().await;
    let nobodys = line.record("D-1", "u-9");
    let begun = Instant::now();
    let outage = line.prepare(&nobodys).await;
    assert!(matches!(&outage, Step::NotNow(Answer::Misconfigured(why), _) if why.code == "http-404"), "{outage:?}");
    assert!(begun.elapsed() >= Duration::from_millis(300), "it was not asked for again for as long as it should");

    assert!(matches!(line.prepare(&line.record("D-2", "u-1")).await, Step::Call(_)));
    let refused = line.prepare(&nobodys).await;
    assert!(matches!(&refused, Step::NotNow(Answer::Refused(_), _)), "{refused:?}");

    // Its right to ask is taken away: what was answered to others before counts for nothing.
    line.systems.fault("erp", Fault { status: Some(403), ..Fault::default() });
    let outage = line.prepare(&line.record("D-3", "u-8")).await;
    assert!(matches!(&outage, Step::NotNow(Answer::Misconfigured(_), _)), "{outage:?}");
}

#[tokio::test]
async fn what_follows_from_an_effect_is_made_of_what_a_look_up_finds() {
    let line = Line::new().await;
    let mut happenings = line.preparer.wiring.happenings.listen();
    let delivered = line.record("D-1", "u-1");
    let Step::Call(call) = line.prepare(&delivered).await else { panic!("it has no request") };
    delivered.keep_request(call);

    line.systems.fault("erp", Fault { drop_after_effect_share: 1.0, ..Fault::default() });
    let (lost, _) = line.sender.send(&delivered, 1, false, None).await;
    assert!(matches!(lost, Answer::Unknown(_)), "{lost:?}");
    line.systems.fault("erp", Fault::default());
    let (found, _) = line.sender.send(&delivered, 2, true, None).await;
    assert_eq!(found, Answer::Applied);

    let effects = line.systems.journal().iter().filter(|arrival| arrival.applied).count();
    assert_eq!(effects, 1);
    let mut followed = false;
    while let Ok(happening) = happenings.try_recv() {
        followed |= matches!(happening.what, What::Followed { .. });
    }
    assert!(followed, "the follow-up event was not published");
}

#[tokio::test]
async fn a_tombstone_deletes_what_has_its_key_and_nothing_follows() {
    let line = Line::new().await;
    let mut happenings = line.preparer.wiring.happenings.listen();
    let gone = line.tombstone(Some(b"D-1"), 7);
    assert_eq!(line.bury(&gone, false).await, Answer::Applied);
    let arrivals = line.systems.journal();
    let [deleted] = &arrivals[..] else { panic!("{arrivals:?}") };
    assert_eq!((&*deleted.method, &*deleted.path, deleted.status), ("DELETE", "/projects/D-1", 204));
    assert_eq!(gone.event_id(), Some("0-7"), "the place names it");

    // Its answer was lost, and it is made again: what is not there is what it wants.
    assert_eq!(line.bury(&gone, true).await, Answer::Applied);
    assert_eq!(line.systems.journal().last().unwrap().status, 404);
    // Only that is.
    line.systems.fault("erp", Fault { status: Some(403), ..Fault::default() });
    let forbidden = line.bury(&gone, true).await;
    assert!(matches!(forbidden, Answer::AbsentOrForbidden(_)), "{forbidden:?}");
    while let Ok(happening) = happenings.try_recv() {
        assert!(!matches!(happening.what, What::Followed { .. }), "an event follows from nothing");
    }
}

#[tokio::test]
async fn a_tombstone_that_says_nothing_of_anything_is_refused() {
    let line = Line::new().await;
    for key in [None, Some(&[0xff, 0xfe][..])] {
        let step = line.preparer.prepare(&line.tombstone(key, 0)).await;
        assert!(matches!(&step, Step::Refused(why) if why.code == "undecodable"), "{step:?}");
    }
    let empty = line.bury(&line.tombstone(Some(b""), 1), false).await;
    assert!(matches!(&empty, Answer::Refused(why) if why.code == "request"), "{empty:?}");
    assert!(line.systems.journal().is_empty());
}

#[tokio::test]
async fn a_tombstone_without_declaration_is_skipped_and_one_of_another_event_always() {
    let line =
        Line::with_consumer(&CONSUMER.replace("on_tombstone: { operation: deleteProject, with: { id: $key } }\n", ""))
            .await;
    let step = line.preparer.prepare(&line.tombstone(Some(b"D-1"), 7)).await;
    assert!(matches!(step, Step::Skip), "{step:?}");

    let line = Line::new().await;
    let mut others = line.tombstone(Some(b"D-1"), 7).record;
    let says = [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/crm"), ("ce_type", "crm.deal_lost")];
    others.headers = says.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
    let step = line.preparer.prepare(&Delivered::new(others)).await;
    assert!(matches!(step, Step::Skip), "{step:?}");
}
