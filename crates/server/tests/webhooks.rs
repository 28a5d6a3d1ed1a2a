//! What a sender sees of a webhook, over a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{PATH, Server, eventually, hook, signed};
use prometheus::Registry;
use serde_json::json;
use tieline_runtime::producer::{Accepted, NotAccepted};
use tieline_server::webhook::{WebhooksError, router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_verified_body_is_handed_over_as_it_came_without_what_proves_it() {
    let server = Server::start().await;
    let headers = format!("X-Event: deal\r\nAuthorization: canary\r\nCookie: canary\r\ntraceparent: {TRACEPARENT}\r\n");
    let reply = server.say(&signed("msg_1", &headers, b"{ \"deal\": 1.50 }")).await;
    assert_eq!((reply.status, reply.json()), (202, json!({ "event_id": "msg_1", "event": "crm.deal_stage_changed" })));

    let deliveries = server.recorder.deliveries.lock().unwrap();
    let delivery = &deliveries[0];
    assert_eq!((delivery.id.as_str(), delivery.body.as_slice()), ("msg_1", b"{ \"deal\": 1.50 }".as_slice()));
    assert_eq!(delivery.json, json!({ "deal": 1.5 }));
    assert_eq!(delivery.traceparent.as_deref(), Some(TRACEPARENT));
    let names: Vec<&str> = delivery.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"x-event") && names.contains(&"webhook-id"), "{names:?}");
    assert!(!delivery.headers.iter().any(|(name, value)| value == "canary" || name.contains("signature")));
    assert_eq!(server.count("crm", "published"), 1);
}

#[tokio::test]
async fn a_delivery_without_a_trace_starts_one() {
    let server = Server::start().await;
    server.say(&signed("msg_1", "traceparent: 00-zz-zz-00\r\n", b"{}")).await;
    let deliveries = server.recorder.deliveries.lock().unwrap();
    let traceparent = deliveries[0].traceparent.clone().unwrap();
    assert_eq!((traceparent.len(), traceparent.starts_with("00-")), (55, true), "{traceparent}");
}

#[tokio::test]
async fn what_no_rule_takes_and_what_cannot_be_mapped_are_accepted_too() {
    for (accepted, body, outcome) in [
        (Accepted::Ignored, json!({ "ignored": true }), "ignored"),
        (
            Accepted::DeadLettered { reason: "`deal.id` is missing".into() },
            json!({ "dead_letter": "`deal.id` is missing" }),
            "dead_lettered",
        ),
    ] {
        let server = Server::answering(None, move |_| Ok(accepted.clone())).await;
        let reply = server.say(&signed("msg_1", "", b"{}")).await;
        assert_eq!((reply.status, reply.json()), (202, body));
        assert_eq!(server.count("crm", outcome), 1);
    }
}

#[tokio::test]
async fn what_the_broker_did_not_take_is_asked_for_again_without_saying_why() {
    let server = Server::answering(None, |_| Err(NotAccepted { reason: "broker canary:9092 is down".into() })).await;
    let reply = server.say(&signed("msg_1", "", b"{}")).await;
    let detail = reply.problem(503);
    assert!(reply.head.contains("retry-after: 5"), "{reply:?}");
    assert!(!detail.contains("canary"), "{detail}");
    assert_eq!(server.count("crm", "not_accepted"), 1);
}

#[tokio::test]
async fn an_answer_waits_for_the_acknowledgement() {
    let gate = Arc::new(Notify::new());
    let server = Server::answering(Some(Arc::clone(&gate)), |_| Ok(Accepted::Ignored)).await;
    let mut stream = server.connect().await;
    stream.write_all(&signed("msg_1", "", b"{}")).await.unwrap();
    eventually(Duration::from_secs(5), || server.recorder.deliveries.lock().unwrap().len() == 1).await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
    assert!(early.is_err(), "answered before the acknowledgement");
    gate.notify_one();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    assert!(text.starts_with(b"HTTP/1.1 202"));
}

#[tokio::test]
async fn a_request_that_does_not_prove_its_sender_is_refused_before_it_is_parsed() {
    let server = Server::start().await;
    let forged = String::from_utf8(signed("msg_1", "", b"{ no json")).unwrap().replace("msg_1", "msg_2");
    let reply = server.say(forged.as_bytes()).await;
    assert!(reply.problem(401).contains("webhook-signature"), "{reply:?}");
    assert!(reply.head.contains("www-authenticate: "), "{reply:?}");
    assert!(server.recorder.deliveries.lock().unwrap().is_empty());
    assert_eq!(server.count("crm", "unverified"), 1);
}

#[tokio::test]
async fn a_verified_body_that_is_no_json_is_refused_with_its_place() {
    let server = Server::start().await;
    let reply = server.say(&signed("msg_1", "", b"{\n \"deal\": canary }")).await;
    let detail = reply.problem(400);
    assert!(detail.contains("line 2") && !detail.contains("canary"), "{detail}");
}

#[tokio::test]
async fn only_post_is_taken_and_only_at_the_path_as_it_is_written() {
    let server = Server::start().await;
    let request = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: bus\r\n\r\n");
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let reply = server.say(request(method, PATH).as_bytes()).await;
        reply.problem(405);
        assert!(reply.head.contains("allow: post"), "{reply:?}");
    }
    for path in ["/", "/hooks", "/hooks/crm", "/hooks/{crm}/"] {
        let reply = server.say(request("POST", path).as_bytes()).await;
        assert_eq!(reply.problem(404), "", "no detail");
    }
    assert_eq!((server.count("crm", "unsupported"), server.count("", "unknown_path")), (4, 4));
}

#[tokio::test]
async fn a_sender_that_hangs_up_is_counted() {
    let server = Server::answering(Some(Arc::new(Notify::new())), |_| Ok(Accepted::Ignored)).await;
    let mut stream = server.connect().await;
    stream.write_all(&signed("msg_1", "", b"{}")).await.unwrap();
    eventually(Duration::from_secs(5), || server.recorder.deliveries.lock().unwrap().len() == 1).await;
    drop(stream);
    eventually(Duration::from_secs(5), || server.count("crm", "abandoned") == 1).await;
}

#[tokio::test]
async fn more_deliveries_than_there_are_slots_for_are_sent_away_and_slots_come_back() {
    const SLOTS: usize = 64;
    let gate = Arc::new(Notify::new());
    let server = Server::answering(Some(Arc::clone(&gate)), |_| Ok(Accepted::Ignored)).await;
    let mut waiting = Vec::new();
    for _ in 0..SLOTS {
        let mut stream = server.connect().await;
        stream.write_all(&signed("msg_1", "", b"{}")).await.unwrap();
        waiting.push(stream);
    }
    eventually(Duration::from_secs(10), || server.recorder.deliveries.lock().unwrap().len() == SLOTS).await;
    let reply = server.say(&signed("msg_2", "", b"{}")).await;
    reply.problem(503);
    assert!(reply.head.contains("retry-after: "), "{reply:?}");

    gate.notify_waiters();
    for mut stream in waiting {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        assert!(text.starts_with(b"HTTP/1.1 202"));
    }
    gate.notify_one();
    assert_eq!(server.say(&signed("msg_2", "", b"{}")).await.status, 202);
}

#[tokio::test]
async fn two_webhooks_at_one_path_are_refused_by_name() {
    let server = Server::start().await;
    let hooks = vec![hook("crm", "/a", server.recorder.clone()), hook("erp", "/a", server.recorder.clone())];
    let error = router(hooks, &Registry::new()).unwrap_err();
    assert!(matches!(&error, WebhooksError::SamePath { first, second, .. } if first == "crm" && second == "erp"));
    assert!(matches!(router(vec![], &server.registry), Err(WebhooksError::Metrics(_))));
}
