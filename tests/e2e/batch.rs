//! Records that are sent together: of a batch that fails in part, only what failed goes again, and each key keeps its order.
//! Hazard 23.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use tieline_sandbox::batches::{Batches, Whole};
use tieline_sandbox::recorder::{Arrival, Options};

use crate::load::Load;
use crate::{eventually, secs};

const RECORDS: u64 = 3_000;

const CONSUMER: &str = "purpose: Changes of items have their effects together.
owner: tests@example.com
subscribe: load.item_changed
call:
  system: recorder
  operation: putItems
  batch:
    items_at: /items
    max: 25
    linger: 20ms
    id: /ref
    outcomes: [{ at: /results, means: { /status: status } }]
  item: { ref: .item_id, key: $idempotency_key, sequence: .sequence }
deliver: { in_flight: 64, patience: 30s, on_dead_letter: continue, start: earliest }
";

const CONTRACT: &str = "openapi: 3.1.0
info: { title: Lists, version: '1' }
paths:
  /items:
    post:
      operationId: putItems
      requestBody: { required: true, content: { application/json: { schema: { type: object, required: [items], properties: {
        items: { type: array, maxItems: 25, items: { type: object, required: [ref, key, sequence], properties: {
          ref: { type: string }, key: { type: string, format: uuid }, sequence: { type: integer } } } } } } } } }
      responses: { '207': { description: Each., content: { application/json: { schema: {
        type: object, required: [results], properties: { results: { type: array, items: {
          type: object, required: [ref, status], properties: { ref: { type: string }, status: { type: integer } } } } } } } } } }
";

/// A seventh of the items fails at the first attempt, each twentieth request is lost after its effects, and each
/// thirtieth fails as a whole.
fn trouble() -> impl Fn(&[Arrival]) -> Whole + Send + Sync + 'static {
    let requests = AtomicU32::new(0);
    move |items| match requests.fetch_add(1, Ordering::Relaxed) {
        n if n % 20 == 19 => Whole::Dropped,
        n if n % 30 == 14 => Whole::Status(503),
        _ => Whole::Items(items.iter().map(|item| if fails(item) { 503 } else { 200 }).collect()),
    }
}

fn fails(item: &Arrival) -> bool {
    item.earlier_attempts == 0 && item.body_sha256[0].is_multiple_of(7)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_that_fails_in_part_only_what_failed_goes_again_in_the_order_of_its_key() {
    let system = Batches::start(trouble()).await.expect("a system that takes lists");
    let mut load = Load::start("batch", Options::default()).await;
    load.environment.push(("RECORDER_URL".to_owned(), system.url()));
    std::fs::write(load.dir.path().join("consumers/apply-item/consumer.yaml"), CONSUMER).expect("a consumer");
    std::fs::write(load.dir.path().join("systems/recorder/openapi.yaml"), CONTRACT).expect("a contract");

    let replica = load.replica("a");
    let produced = load.produce(RECORDS, secs(3)).await.expect("produced");
    eventually("each record has its effect", secs(60), || system.effects() >= produced.len()).await;
    load.all_committed(&produced, secs(30)).await;
    assert!(replica.terminate(secs(30)).await.success(), "it stops in order");

    let arrivals = system.arrivals();
    let failed = arrivals.iter().filter(|item| item.status == 503).count();
    println!("{} requests, {} items, {failed} failed", system.requests().len(), arrivals.len());
    assert!(failed > 100, "too little went wrong for this to show anything");
    what_is_answered_never_comes_again(&arrivals);
    for request in system.requests() {
        let keys: BTreeSet<_> = request.iter().map(|item| item.key.clone()).collect();
        assert_eq!(keys.len(), request.len(), "two records of one key in one request");
    }
    assert!(system.requests().len() * 5 < arrivals.len(), "they hardly went together");

    let lost = arrivals.iter().filter(|item| item.dropped).count();
    let verdict = load.verdict_of(arrivals, produced, Some(lost), Vec::new()).await;
    println!("{verdict}");
    assert!(verdict.holds(), "{verdict}");
    assert_eq!(verdict.effects, usize::try_from(RECORDS).expect("few"));
}

/// An item that was answered with success is not sent a second time: its batch's other half would be the reason.
fn what_is_answered_never_comes_again(arrivals: &[Arrival]) {
    let mut answered: BTreeMap<&str, &Arrival> = BTreeMap::new();
    for item in arrivals {
        let key = item.idempotency_key.as_deref().expect("each item has its key");
        assert!(!answered.contains_key(key), "{key} was done, and came again");
        if item.status == 200 && !item.dropped {
            answered.insert(key, item);
        }
    }
}
