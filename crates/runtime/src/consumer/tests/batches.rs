//! Batches against a system that takes lists: what of its answer is whose, and what goes again.

use tieline_delivery::{Epoch, Partition, RecordId};
use tieline_sandbox::batches::{Batches, Whole};

use super::super::batch::Waiting;
use super::super::send_batch::Answered;
use super::*;

const CONTRACT: &str = r#"
openapi: 3.1.0
info: { title: CRM, version: "1" }
paths:
  /items/batch:
    post:
      operationId: putItems
      requestBody: { required: true, content: { application/json: { schema: { type: object, required: [items], properties: {
        items: { type: array, maxItems: 100, items: { type: object, required: [ref, key], properties: {
          ref: { type: string }, key: { type: string, format: uuid } } } } } } } } }
      responses: { "207": { description: Each., content: { application/json: { schema: {
        type: object, required: [results], properties: { results: { type: array, items: {
          type: object, required: [ref, status], properties: { ref: { type: string }, status: { type: integer } } } } } } } } } }
"#;

const SYSTEM: &str = "purpose: It keeps.\nowner: a@example.com\nbase_url: http://127.0.0.1:1\ncontract: openapi.yaml\n";

const CONSUMER: &str = "purpose: It does.\nowner: a@example.com\nsubscribe: crm.deal_won
call:
  system: crm
  operation: putItems
  batch: { items_at: /items, max: 10, id: /ref, outcomes: [{ at: /results, means: { /status: status } }] }
  item: { ref: .deal, key: $idempotency_key }
emit: { event: erp.project_made, key: .deal, payload: { project: $response.ref } }
";

/// A consumer that sends batches, with all that is around it.
struct Many {
    line: Sending,
    system: Batches,
}

/// What sends.
struct Sending {
    sender: Sender,
    schema: u32,
    _registry: Registry,
    _broker: Embedded,
}

impl Many {
    async fn new(react: impl Fn(&[tieline_sandbox::recorder::Arrival]) -> Whole + Send + Sync + 'static) -> Self {
        let system = Batches::start(react).await.unwrap();
        let registry = Registry::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let dir = shop(&[
            ("systems/crm/openapi.yaml", CONTRACT),
            ("systems/crm/system.yaml", SYSTEM),
            ("consumers/sync/consumer.yaml", CONSUMER),
        ]);
        let loaded = Bus::load(dir.path(), &Places { registry: registry.url(), erp: system.url() });
        let bus = loaded.bus.unwrap_or_else(|| panic!("{:?}", loaded.problems));
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
        let preparer = Arc::new(Preparer::new(Arc::clone(&wiring), Arc::clone(&wiring.bus.consumers["sync"])));
        let sender = Sender {
            preparer,
            system: Arc::clone(&wiring.systems["crm"]),
            metrics: wiring.metrics.consumer("sync"),
            follow_up_schema: Some(ids[1]),
        };
        Self { line: Sending { sender, schema: ids[0], _registry: registry, _broker: broker }, system }
    }

    /// A record of this deal, prepared.
    async fn waiting(&self, offset: i64, deal: &str) -> Waiting {
        let preparer = &self.line.sender.preparer;
        let delivered = record(&preparer.consumer, self.line.schema, deal, "u-1");
        let Step::Call(call) = preparer.prepare(&delivered).await else { panic!("it has no request") };
        delivered.keep_request(call);
        let id = RecordId { epoch: Epoch(1), partition: Partition(0), offset };
        Waiting { id, attempt: 1, maybe_applied: false, delivered: Arc::new(delivered) }
    }

    async fn all(&self, deals: &[&str]) -> Vec<Waiting> {
        let mut all = Vec::new();
        for (deal, offset) in deals.iter().zip(0..) {
            all.push(self.waiting(offset, deal).await);
        }
        all
    }

    /// The answers of one attempt, by offset.
    async fn send(&self, records: Vec<Waiting>) -> Vec<Answer> {
        let batch = self.line.sender.preparer.consumer.call.batch.as_ref().unwrap();
        let mut answered = self.line.sender.send_batch(batch, records, None).await;
        answered.sort_by_key(|answered| answered.id.offset);
        answered.into_iter().map(|Answered { answer, .. }| answer).collect()
    }

    /// The items of each request.
    fn requests(&self) -> Vec<Vec<String>> {
        let names = |arrivals: Vec<tieline_sandbox::recorder::Arrival>| {
            arrivals.into_iter().map(|arrival| arrival.key.unwrap()).collect()
        };
        self.system.requests().into_iter().map(names).collect()
    }
}

/// The same record, to be tried again.
fn again(waiting: &Waiting) -> Waiting {
    Waiting { attempt: waiting.attempt + 1, delivered: Arc::clone(&waiting.delivered), ..*waiting }
}

fn code(answer: &Answer) -> &str {
    match answer {
        Answer::Applied => "applied",
        Answer::NotApplied(why) | Answer::Refused(why) | Answer::Unknown(why) => &why.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_record_is_answered_by_its_own_item_and_what_is_done_is_followed_by_its_event() {
    let statuses = |items: &[tieline_sandbox::recorder::Arrival]| match items.len() {
        5 => Whole::Items(vec![201, 503, 422, 0, 200]),
        _ => Whole::Items(vec![200; items.len()]),
    };
    let many = Many::new(statuses).await;
    let mut happenings = many.line.sender.preparer.wiring.happenings.listen();
    let records = many.all(&["a", "b", "c", "d", "e"]).await;
    let failed = [again(&records[1]), again(&records[3])];
    let answers = many.send(records).await;
    assert!(matches!(&answers[1], Answer::NotApplied(_)), "{answers:?}");
    assert!(matches!(&answers[2], Answer::Refused(_)), "{answers:?}");
    assert!(matches!(&answers[3], Answer::Unknown(_)), "nothing is said of it: {answers:?}");
    let codes: Vec<&str> = answers.iter().map(code).collect();
    assert_eq!(codes, ["applied", "item-503", "item-422", "item-missing", "applied"]);
    let mut followed = 0;
    while let Ok(happening) = happenings.try_recv() {
        followed += usize::from(matches!(happening.what, What::Followed { .. }));
    }
    assert_eq!(followed, 2);

    // Only what failed goes again, each under the key that it had.
    let answers = many.send(failed.into()).await;
    assert_eq!(answers, [Answer::Applied, Answer::Applied]);
    assert_eq!(many.requests(), [vec!["a", "b", "c", "d", "e"], vec!["b", "d"]]);
    let arrivals = many.system.arrivals();
    assert_eq!(arrivals[1].idempotency_key, arrivals[5].idempotency_key);
    assert_eq!((arrivals[1].body_sha256, arrivals[5].earlier_attempts), (arrivals[5].body_sha256, 1));
}

#[tokio::test]
async fn what_fails_as_a_whole_has_failed_for_each() {
    let whole = |items: &[tieline_sandbox::recorder::Arrival]| match items[0].key.as_deref() {
        Some("away") => Whole::Status(503),
        Some("lost") => Whole::Dropped,
        _ => Whole::Status(200),
    };
    let many = Many::new(whole).await;
    let away = many.send(many.all(&["away", "x"]).await).await;
    assert!(away.iter().all(|answer| matches!(answer, Answer::NotApplied(why) if why.code == "http-503")), "{away:?}");
    let lost = many.send(many.all(&["lost", "y"]).await).await;
    assert!(lost.iter().all(|answer| matches!(answer, Answer::Unknown(why) if why.code == "lost")), "{lost:?}");
    // Applied, and nobody can read to whom.
    let unreadable = many.send(many.all(&["z", "z2"]).await).await;
    assert!(unreadable.iter().all(|answer| matches!(answer, Answer::AppliedUnreadable(_))), "{unreadable:?}");
}

#[tokio::test]
async fn one_that_spoils_a_batch_is_found_by_sending_each_alone() {
    let spoilt = |items: &[tieline_sandbox::recorder::Arrival]| {
        if items.iter().any(|item| item.key.as_deref() == Some("bad")) {
            return Whole::Status(400);
        }
        Whole::Items(vec![200; items.len()])
    };
    let many = Many::new(spoilt).await;
    let records = many.all(&["good", "bad", "fine"]).await;
    let retried: Vec<Waiting> = records.iter().map(again).collect();
    let answers = many.send(records).await;
    assert!(answers.iter().all(|answer| code(answer) == "batch-refused"), "nobody is blamed yet: {answers:?}");
    assert!(matches!(answers[0], Answer::NotApplied(_)));
    for (record, expected) in retried.into_iter().zip(["applied", "http-400", "applied"]) {
        assert!(record.delivered.batched.is_alone());
        let answers = many.send(vec![record]).await;
        assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), [expected]);
    }
    assert_eq!(many.system.effects(), 2);
}

#[tokio::test]
async fn two_items_of_one_id_never_share_a_request() {
    let many = Many::new(|items| Whole::Items(vec![200; items.len()])).await;
    let records = many.all(&["a", "b", "a"]).await;
    let third = Arc::clone(&records[2].delivered);
    let answers = many.send(records).await;
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), ["applied", "applied", "item-id"]);
    assert!(third.batched.is_alone());
    assert_eq!(many.requests(), [["a", "b"]]);
}
