//! The client against real sockets on loopback: what nasty servers do, and what values of events cannot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use tieline_bus::{ClientAuth, Credential, Idempotency, Limits, Secret, System};
use tieline_delivery::Answer;
use tieline_schema::contract::{Contract, Operation, Parameter, Place};
use tieline_schema::types::Type;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Request, SystemClient, SystemClientError};
use crate::telemetry::Metrics;

mod drift;
mod hostile;
mod judging;
mod limited;
mod look_ups;
mod one_effect;
mod secrets;
mod tokens;
mod wire;

const CANARY: &str = "canary-7f3a9c";

/// Whoever asks.
fn flow() -> Arc<tieline_delivery::limits::Flow> {
    Arc::new(tieline_delivery::limits::Flow { consumer: "erp-project".into(), replay: false })
}

fn client(base_url: String, credential: Credential) -> Arc<SystemClient> {
    client_of(System { credential, ..system(base_url) })
}

fn client_of(system: System) -> Arc<SystemClient> {
    Arc::new(new_client(system).unwrap())
}

fn new_client(system: System) -> Result<SystemClient, SystemClientError> {
    SystemClient::new(Arc::new(system), Metrics::new(prometheus::Registry::new()).unwrap().systems())
}

pub(crate) fn system(base_url: String) -> System {
    System {
        name: "erp".into(),
        purpose: String::new(),
        owner: String::new(),
        base_url,
        contract: Arc::new(Contract { operations: vec![], document: Arc::default() }),
        credential: Credential::None,
        idempotency: Idempotency::default(),
        deadline: Duration::from_secs(5),
        response_bytes_max: 1_000,
        version: None,
        answers: Default::default(),
        limits: Limits::default(),
    }
}

fn key() -> Credential {
    Credential::ApiKey { header: "x-key".into(), key: Secret::new(CANARY.into()) }
}

fn request(path: &str, parameters: &[(&str, Place, &str)]) -> Request {
    let named = |(name, place, _): &(&str, Place, &str)| Parameter {
        name: (*name).into(),
        place: *place,
        required: true,
        ty: Type::text(),
    };
    let operation = Operation {
        id: "op".into(),
        summary: None,
        method: "POST".into(),
        path: path.into(),
        parameters: parameters.iter().map(named).collect(),
        request: None,
        responses: vec![],
    };
    Request {
        operation: Arc::new(operation),
        parameters: parameters.iter().map(|(name, _, value)| ((*name).into(), (*value).into())).collect(),
        body: Some(b"{}".as_slice().into()),
        idempotency_key: None,
        traceparent: None,
        headers: vec![],
        on_behalf: None,
        reads_response: false,
    }
}

/// Serves each connection one fixed text after it has sent something, then does what `then` says.
async fn raw(text: String, then: fn(tokio::net::TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(text.as_bytes()).await;
            then(stream);
        }
    });
    format!("http://{address}")
}

fn hold(stream: tokio::net::TcpStream) {
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    });
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn code(answer: &Answer) -> &str {
    match answer {
        Answer::Applied => "applied",
        Answer::Throttled { .. } => "throttled",
        Answer::AppliedUnreadable(r)
        | Answer::Refused(r)
        | Answer::Conflict(r)
        | Answer::AbsentOrForbidden(r)
        | Answer::NotApplied(r)
        | Answer::Unknown(r)
        | Answer::Credential(r)
        | Answer::Misconfigured(r) => &r.code,
    }
}

#[tokio::test]
async fn nobody_listening_is_not_applied_and_a_reset_after_the_request_is_unknown() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let reply = client(format!("http://{free}"), key()).call(&request("/x", &[])).await;
    assert!(matches!(reply.answer, Answer::NotApplied(_)), "{reply:?}");
    assert_eq!(code(&reply.answer), "connect");

    let reply = client(raw(String::new(), drop).await, key()).call(&request("/x", &[])).await;
    assert!(matches!(reply.answer, Answer::Unknown(_)), "{reply:?}");
    assert_eq!(code(&reply.answer), "lost");
}

#[tokio::test]
async fn silence_is_unknown_after_the_deadline_and_no_later() {
    let base = raw(String::new(), hold).await;
    let mut system = (**client(base, key()).system()).clone();
    system.deadline = Duration::from_millis(200);
    let begun = Instant::now();
    let reply = new_client(system).unwrap().call(&request("/x", &[])).await;
    assert!(matches!(reply.answer, Answer::Unknown(_)) && code(&reply.answer) == "timeout", "{reply:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_body_that_drips_ends_at_the_deadline_and_one_without_end_at_its_bound() {
    let base = raw("HTTP/1.1 422 No\r\ncontent-length: 900\r\n\r\ndrip".into(), hold).await;
    let mut system = (**client(base, key()).system()).clone();
    system.deadline = Duration::from_millis(300);
    let reply = new_client(system).unwrap().call(&request("/x", &[])).await;
    assert_eq!((code(&reply.answer), reply.log.excerpt.as_str()), ("http-422", "drip"));

    let endless = format!("HTTP/1.1 422 No\r\ncontent-length: 99999999999\r\n\r\n{}", "x".repeat(9_000));
    let begun = Instant::now();
    let reply = client(raw(endless, hold).await, key()).call(&request("/x", &[])).await;
    assert_eq!((code(&reply.answer), reply.log.excerpt.len()), ("http-422", 512));
    assert!(begun.elapsed() < Duration::from_secs(3), "it waited for the rest");
}

#[tokio::test]
async fn headers_without_end_are_an_unknown_outcome() {
    let many = format!("HTTP/1.1 200 OK\r\n{}", "x-a: b\r\n".repeat(200));
    let reply = client(raw(many, hold).await, key()).call(&request("/x", &[])).await;
    assert_eq!(code(&reply.answer), "lost");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let elsewhere = Router::new().fallback(move || async move { counted.fetch_add(1, Ordering::SeqCst).to_string() });
    let to = serve(elsewhere).await;
    let base = raw(format!("HTTP/1.1 307 There\r\nlocation: {to}/\r\ncontent-length: 0\r\n\r\n"), hold).await;
    let reply = client(base, key()).call(&request("/x", &[])).await;
    assert!(matches!(reply.answer, Answer::Misconfigured(_)), "{reply:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn values_stay_in_their_segment_their_query_and_their_header() {
    let echo = |uri: axum::http::Uri| async move { (StatusCode::UNPROCESSABLE_ENTITY, uri.to_string()) };
    let client = client(format!("{}/api/", serve(Router::new().fallback(echo)).await), key());
    for (value, sent) in [
        ("a/b", "a%2Fb"),
        ("../../admin", "..%2F..%2Fadmin"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("a\r\nx: y", "a%0D%0Ax%3A%20y"),
        ("%2e%2e", "%252e%252e"),
        ("@evil.example", "%40evil.example"),
    ] {
        let asked = request("/users/{id}/x", &[("id", Place::Path, value), ("q", Place::Query, value)]);
        let reply = client.call(&asked).await;
        assert_eq!(reply.log.excerpt, format!("/api/users/{sent}/x?q={sent}"));
    }
    for value in ["", ".", ".."] {
        let reply = client.call(&request("/users/{id}", &[("id", Place::Path, value)])).await;
        assert!(matches!(reply.answer, Answer::Refused(_)) && code(&reply.answer) == "request", "{value:?}: {reply:?}");
    }
    for (path, value) in [("/a/.{id}", "."), ("/a/{id}.", ".")] {
        let reply = client.call(&request(path, &[("id", Place::Path, value)])).await;
        assert_eq!(code(&reply.answer), "request", "{path}");
    }
    for (name, value) in [("x-a", "a\r\nx-b: c"), ("x-a", "ü"), ("Host", "evil.example"), ("authorization", "x")] {
        let reply = client.call(&request("/x", &[(name, Place::Header, value)])).await;
        assert_eq!(code(&reply.answer), "request", "{name}");
    }
}

#[tokio::test]
async fn a_secret_shows_nowhere() {
    let echo = |headers: HeaderMap| async move { (StatusCode::UNPROCESSABLE_ENTITY, format!("{headers:?}")) };
    let base = serve(Router::new().fallback(echo)).await;
    for credential in [
        key(),
        Credential::Bearer { token: Secret::new(CANARY.into()) },
        Credential::Basic { username: "bus".into(), password: Secret::new(CANARY.into()) },
    ] {
        let client = client(base.clone(), credential);
        let reply = client.call(&request("/x", &[])).await;
        assert!(reply.log.excerpt.contains("[secret]"), "the server did echo it: {reply:?}");
        let all = format!("{reply:?} {client:?}");
        assert!(!all.contains(CANARY) && !all.contains("YnVzOmNhbmFyeS03ZjNhOWM"), "{all}");
    }
}

/// A token endpoint that counts, and a system that takes only the token of this generation or a later one.
async fn guarded(from: usize, life: u64) -> (Arc<SystemClient>, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (tokens, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (t, c) = (Arc::clone(&tokens), Arc::clone(&calls));
    let token = move || async move {
        let n = t.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        format!(r#"{{"access_token":"{CANARY}-{n}","token_type":"bearer","expires_in":{life}}}"#)
    };
    let call = move |headers: HeaderMap| async move {
        c.fetch_add(1, Ordering::SeqCst);
        let token = headers["authorization"].to_str().unwrap().rsplit_once('-').unwrap().1.parse::<usize>().unwrap();
        if token < from { StatusCode::UNAUTHORIZED } else { StatusCode::UNPROCESSABLE_ENTITY }
    };
    let base = serve(Router::new().route("/token", post(token)).route("/x", post(call))).await;
    let credential = oauth2(&format!("{base}/token"));
    (client(base, credential), tokens, calls)
}

fn oauth2(token_url: &str) -> Credential {
    Credential::OAuth2 {
        token_url: token_url.into(),
        client_id: "bus".into(),
        client_secret: Secret::new(CANARY.into()),
        client_auth: ClientAuth::Basic,
        scopes: vec!["a".into(), "b".into()],
    }
}

async fn call_at_once(client: &Arc<SystemClient>, count: usize) -> Vec<Answer> {
    let calls: Vec<_> = (0..count)
        .map(|_| {
            let client = Arc::clone(client);
            tokio::spawn(async move { client.call(&request("/x", &[])).await.answer })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn a_thousand_calls_share_one_token_request() {
    let (client, tokens, calls) = guarded(1, 3_600).await;
    let answers = call_at_once(&client, 1_000).await;
    assert!(answers.iter().all(|a| code(a) == "http-422"), "{:?}", answers.iter().find(|a| code(a) != "http-422"));
    assert_eq!((tokens.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (1, 1_000));
}

#[tokio::test]
async fn a_client_with_connections_of_its_own_shares_the_token() {
    let (client, tokens, calls) = guarded(1, 3_600).await;
    let other = Arc::new(client.with_own_connections().unwrap());
    client.call(&request("/x", &[])).await;
    assert_eq!(code(&other.call(&request("/x", &[])).await.answer), "http-422");
    assert_eq!((tokens.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn a_token_revoked_under_many_calls_is_renewed_once_and_each_calls_once_more() {
    let (client, tokens, calls) = guarded(2, 3_600).await;
    let answers = call_at_once(&client, 200).await;
    assert!(answers.iter().all(|a| code(a) == "http-422"));
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
    // Who began after the renewal had the new token from the start.
    assert!((200..=400).contains(&calls.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn a_token_that_is_refused_again_is_an_answer_about_the_credential() {
    let (client, tokens, calls) = guarded(usize::MAX, 3_600).await;
    let reply = client.call(&request("/x", &[])).await;
    assert!(matches!(reply.answer, Answer::Credential(_)), "{reply:?}");
    assert_eq!((tokens.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (2, 2));
    assert!(!format!("{reply:?} {client:?}").contains(CANARY));
}

#[tokio::test]
async fn a_token_at_its_end_is_not_sent() {
    let (client, tokens, _) = guarded(1, 0).await;
    for _ in 0..3 {
        client.call(&request("/x", &[])).await;
    }
    assert_eq!(tokens.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_who_refuses_it_decides_the_class() {
    for (status, applied) in [(503, "not applied"), (500, "not applied"), (400, "credential"), (401, "credential")] {
        let calls = Arc::new(AtomicUsize::new(0));
        let c = Arc::clone(&calls);
        let refuse = move || async move {
            (StatusCode::from_u16(status).unwrap(), format!(r#"{{"error":"invalid_client","x":"{CANARY}"}}"#))
        };
        let called = move || async move { c.fetch_add(1, Ordering::SeqCst).to_string() };
        let base =
            serve(Router::new().route("/token", post(refuse)).route("/x", get(called.clone()).post(called))).await;
        let credential = oauth2(&format!("{base}/token"));
        let reply = client(base, credential).call(&request("/x", &[])).await;
        match applied {
            "credential" => assert!(matches!(reply.answer, Answer::Credential(_)), "{reply:?}"),
            _ => assert!(matches!(reply.answer, Answer::NotApplied(_)), "{reply:?}"),
        }
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        assert!(!format!("{reply:?}").contains(CANARY));
    }
}

#[tokio::test]
async fn a_token_that_was_cut_on_the_way_was_not_refused() {
    let cut = "HTTP/1.1 200 X\r\ncontent-length: 99\r\n\r\n{\"access_token\":";
    let credential = oauth2(&format!("{}/token", raw(cut.into(), drop).await));
    let reply = client("http://127.0.0.1:1".into(), credential).call(&request("/x", &[])).await;
    assert!(matches!(reply.answer, Answer::NotApplied(_)) && code(&reply.answer) == "token", "{reply:?}");
}

#[tokio::test]
async fn each_status_has_its_class() {
    let answer = |status: u16, headers: &str| {
        let text = format!("HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\n\r\n");
        async move { client(raw(text, hold).await, Credential::None).call(&request("/x", &[])).await.answer }
    };
    for status in [400, 402, 406, 410, 413, 414, 415, 418, 422, 451] {
        assert!(matches!(answer(status, "").await, Answer::Refused(_)), "{status}");
    }
    for status in [409, 412, 423] {
        assert!(matches!(answer(status, "").await, Answer::Conflict(_)), "{status}");
    }
    for status in [403, 404, 405] {
        assert!(matches!(answer(status, "").await, Answer::AbsentOrForbidden(_)), "{status}");
    }
    for status in [425, 503] {
        assert!(matches!(answer(status, "").await, Answer::NotApplied(_)), "{status}");
    }
    for status in [408, 500, 502, 504, 507, 599] {
        assert!(matches!(answer(status, "").await, Answer::Unknown(_)), "{status}");
    }
    for status in [300, 301, 302, 303, 307, 308, 501] {
        assert!(matches!(answer(status, "").await, Answer::Misconfigured(_)), "{status}");
    }
    assert!(matches!(answer(401, "").await, Answer::Credential(_)));
    let wait = |seconds| Answer::Throttled { retry_after: Duration::from_secs(seconds) };
    assert_eq!(answer(429, "").await, wait(2));
    assert_eq!(answer(429, "retry-after: 30\r\n").await, wait(30));
    assert_eq!(answer(503, "retry-after: 7\r\n").await, wait(7));
}
