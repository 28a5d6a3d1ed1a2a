//! The recorder, whose log is the evidence of every fault test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde_json::json;
use tieline_sandbox::recorder::{Options, Reaction, Recorder};

#[tokio::test]
async fn attempts_are_logged_in_order_with_what_names_them() {
    let recorder = start(Options { key_pointer: Some("/deal/id".to_owned()), ..Options::default() }).await;
    for key in ["k1", "k2", "\"k1\""] {
        let request =
            post(&recorder, key).header("ce-id", "e1").header("traceparent", "00-a-b-01").header("x-other", "1");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let log = recorder.arrivals();
    assert_eq!(log.iter().map(|a| a.idempotency_key.as_deref().unwrap()).collect::<Vec<_>>(), ["k1", "k2", "k1"]);
    assert_eq!(log.iter().map(|a| a.applied).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(log.iter().map(|a| a.earlier_attempts).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!((log[0].key.as_deref(), log[0].path.as_str()), (Some("D-1"), "/calls"));
    assert_eq!(log[0].event_headers.keys().collect::<Vec<_>>(), ["ce-id", "traceparent"]);
    assert_eq!(log[0].body_sha256, log[2].body_sha256);
    assert!(log.windows(2).all(|pair| pair[0].at <= pair[1].at));
    assert_eq!((recorder.arrived(), recorder.effects()), (3, 2));
}

#[tokio::test]
async fn a_recorder_that_remembers_no_keys_makes_an_effect_each_time() {
    let recorder = start(Options { remembers_keys: false, ..Options::default() }).await;
    for _ in 0..2 {
        post(&recorder, "k1").send().await.unwrap();
    }
    assert_eq!(recorder.effects(), 2);
}

#[tokio::test]
async fn a_script_decides_what_becomes_of_each_attempt() {
    let script = |arrival: &tieline_sandbox::recorder::Arrival| match arrival.earlier_attempts {
        0 => Some(Reaction { status: 503, retry_after: Some(2), ..Reaction::default() }),
        1 => Some(Reaction { drop: true, ..Reaction::default() }), // applied, and then nothing is heard of it
        2 => Some(Reaction { delay: Duration::from_millis(300), ..Reaction::default() }),
        _ => None,
    };
    let recorder = start(Options { status: 201, react: Some(Box::new(script)), ..Options::default() }).await;
    let refused = post(&recorder, "k1").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "2"));
    assert!(post(&recorder, "k1").send().await.is_err());
    let asked = Instant::now();
    assert_eq!(post(&recorder, "k1").send().await.unwrap().status(), 200);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(post(&recorder, "k1").send().await.unwrap().status(), 201);
    assert_eq!(recorder.arrivals().iter().map(|a| a.applied).collect::<Vec<_>>(), [false, true, false, false]);
}

async fn start(options: Options) -> Recorder {
    let _ = rustls::crypto::ring::default_provider().install_default(); // reqwest asks for one even without TLS
    Recorder::start(options).await.unwrap()
}

fn post(recorder: &Recorder, key: &str) -> RequestBuilder {
    let url = format!("{}/calls", recorder.url());
    reqwest::Client::new().post(url).header("idempotency-key", key).json(&json!({ "deal": { "id": "D-1" } }))
}
