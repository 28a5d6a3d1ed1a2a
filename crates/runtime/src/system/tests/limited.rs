//! Calls behind a gate: what an answer says of limits keeps the next call back, and without a permit nothing is sent.

use std::collections::BTreeMap;

use axum::response::IntoResponse as _;
use tieline_bus::Kafka;

use super::*;
use crate::kafka::{Connection, EventProducer};
use crate::limits::Limits as Shared;

/// A system that counts its calls and answers with this header, behind a gate that hears of no other replica.
async fn behind_a_gate(header: (&'static str, &'static str), limits: Limits) -> (SystemClient, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let answer = move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        ([header], "{}").into_response()
    };
    let system = Arc::new(System { limits, ..system(serve(Router::new().route("/x", post(answer))).await) });
    let kafka = Kafka { brokers: "127.0.0.1:1".to_owned(), settings: BTreeMap::new(), partitions: 1, replication: 1 };
    let connection = Connection { kafka, embedded: false };
    let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
    let producer = EventProducer::new(&connection).unwrap();
    let systems = BTreeMap::from([(system.name.clone(), Arc::clone(&system))]);
    let shared = Shared::new(&connection, "test", &systems, &producer, metrics.limits());
    let gate = shared.gate(&system.name).cloned();
    (SystemClient::new(system, metrics.systems()).unwrap().behind(gate), calls)
}

/// What two calls, one after the other, are answered, and how many of them were sent.
async fn twice(header: (&'static str, &'static str), limits: Limits) -> (Vec<Answer>, usize) {
    let (client, calls) = behind_a_gate(header, limits).await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(client.call(&Request { reads_response: false, ..request("/x", &[]) }).await.answer);
    }
    (answers, calls.load(Ordering::SeqCst))
}

#[tokio::test]
async fn where_nothing_remains_nothing_is_sent_before_the_reset() {
    let (answers, sent) = twice(("ratelimit", "\"default\";r=0;t=600"), Limits::default()).await;
    assert_eq!((&answers[0], sent), (&Answer::Applied, 1));
    assert!(matches!(answers[1], Answer::Throttled { .. }), "{answers:?}");
}

#[tokio::test]
async fn a_reset_that_is_near_is_waited_for() {
    let begun = Instant::now();
    let (answers, sent) = twice(("x-ratelimit-remaining-tokens", "0"), Limits::default()).await;
    assert_eq!((answers, sent), (vec![Answer::Applied, Answer::Applied], 2));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_remains_keeps_nobody_back() {
    let (answers, sent) = twice(("ratelimit", "\"default\";r=1;t=600"), Limits::default()).await;
    assert_eq!((answers, sent), (vec![Answer::Applied, Answer::Applied], 2));
}

#[tokio::test]
async fn a_limited_system_is_not_called_without_a_grant() {
    let limits = Limits { per_second: Some(100.0), ..Limits::default() };
    let (client, calls) = behind_a_gate(("x-nothing", "said"), limits).await;
    let called = request("/x", &[]);
    let waits = tokio::time::timeout(Duration::from_millis(300), client.call(&called)).await;
    assert!(waits.is_err(), "{waits:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}
