//! Connections over their life: slow ones, idle ones, and the end of the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{PATH, Reply, Server, eventually, signed};
use prometheus::{IntCounter, Registry};
use serde_json::json;
use tieline_runtime::producer::Accepted;
use tieline_server::admin::{Admin, Condition, Stuck, admin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Reads to the end, and tells how long that took.
async fn to_the_end(mut stream: TcpStream) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    let mut text = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut text)).await.expect("ends").unwrap();
    (text, began.elapsed())
}

#[tokio::test]
async fn a_head_that_drips_and_a_connection_without_one_are_given_up() {
    let server = Server::start().await;
    let silent = server.connect().await;
    let (read, mut write) = server.connect().await.into_split();
    tokio::spawn(async move {
        while write.write_all(b"P").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let drip = async move {
        let mut read = read;
        let began = Instant::now();
        let mut text = Vec::new();
        _ = timeout(Duration::from_secs(20), read.read_to_end(&mut text)).await.expect("ends");
        began.elapsed()
    };
    let ((text, idle), dripped) = tokio::join!(to_the_end(silent), drip);
    assert!(text.is_empty());
    for elapsed in [idle, dripped] {
        assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&elapsed), "{elapsed:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up_with_408() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: bus\r\nContent-Length: 10\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (text, elapsed) = to_the_end(stream).await;
    Reply::parse(&text).problem(408);
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&elapsed), "{elapsed:?}");
    assert_eq!(server.count("crm", "too_slow"), 1);
}

#[tokio::test]
async fn a_connection_carries_one_delivery_after_another() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let alive = |id: &str| String::from_utf8(signed(id, "", b"{}")).unwrap().replace("Connection: close\r\n", "");
    for id in ["msg_1", "msg_2"] {
        stream.write_all(alive(id).as_bytes()).await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"}") {
            stream.read_buf(&mut text).await.unwrap();
        }
        assert!(text.starts_with(b"HTTP/1.1 202"));
    }
}

#[tokio::test]
async fn who_stops_lets_what_is_under_way_end_and_takes_no_more() {
    let gate = Arc::new(Notify::new());
    let mut server = Server::answering(Some(Arc::clone(&gate)), |_| Ok(Accepted::Ignored)).await;
    let idle = server.connect().await;
    let mut stream = server.connect().await;
    stream.write_all(&signed("msg_1", "", b"{}")).await.unwrap();
    eventually(Duration::from_secs(5), || server.recorder.deliveries.lock().unwrap().len() == 1).await;

    server.begin_to_stop();
    let (_, idle_for) = to_the_end(idle).await;
    assert!(idle_for < Duration::from_secs(5), "an idle connection held the end up for {idle_for:?}");
    assert!(TcpStream::connect(server.address).await.is_err(), "still listening");
    gate.notify_one();
    let (text, _) = to_the_end(stream).await;
    assert!(text.starts_with(b"HTTP/1.1 202"));
    timeout(Duration::from_secs(5), server.stopped()).await.expect("stops").unwrap();
}

#[tokio::test]
async fn who_stops_waits_no_longer_than_its_deadline() {
    let mut server = Server::answering(Some(Arc::new(Notify::new())), |_| Ok(Accepted::Ignored)).await;
    let mut stream = server.connect().await;
    stream.write_all(&signed("msg_1", "", b"{}")).await.unwrap();
    eventually(Duration::from_secs(5), || server.recorder.deliveries.lock().unwrap().len() == 1).await;
    let began = Instant::now();
    timeout(Duration::from_secs(28), server.stop()).await.expect("stops").unwrap();
    assert!(began.elapsed() > Duration::from_secs(19));
}

#[tokio::test]
async fn the_admin_port_tells_what_holds_what_is_measured_and_what_is_stuck() {
    let registry = Registry::new();
    let counter = IntCounter::new("tieline_test_total", "A count.").unwrap();
    registry.register(Box::new(counter.clone())).unwrap();
    counter.inc_by(3);
    let ok = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let kafka = Arc::clone(&ok);
    let router = admin(Admin {
        registry,
        conditions: Arc::new(move || {
            let ok = kafka.load(std::sync::atomic::Ordering::Relaxed);
            vec![Condition { name: "kafka".into(), ok, detail: "3 brokers".into() }]
        }),
        stuck: Arc::new(|| {
            vec![Stuck {
                what: "consumers/billing-contract, partition 3".into(),
                why: "billing answers 503".into(),
                since_ms: 1_700_000_000_000,
                remedy: "it goes on by itself when billing is back".into(),
            }]
        }),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(tieline_server::serve(listener, router, std::future::pending()));
    let ask = async |method: &str, path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: bus\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Reply::parse(&to_the_end(stream).await.0)
    };

    assert_eq!(ask("GET", "/livez").await.status, 200);
    let ready = ask("GET", "/readyz").await;
    let condition = json!({ "name": "kafka", "ok": true, "detail": "3 brokers" });
    assert_eq!((ready.status, ready.json()), (200, json!({ "ready": true, "conditions": [condition] })));
    ok.store(false, std::sync::atomic::Ordering::Relaxed);
    let unready = ask("GET", "/readyz").await;
    assert_eq!((unready.status, &unready.json()["ready"]), (503, &json!(false)));
    assert_eq!(ask("GET", "/livez").await.status, 200, "alive all the same");

    let metrics = ask("GET", "/metrics").await;
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{metrics:?}");
    assert!(metrics.body.contains("\ntieline_test_total 3\n"), "{metrics:?}");
    assert_eq!(ask("GET", "/stuck").await.json()["stuck"][0]["why"], "billing answers 503");
    ask("GET", "/").await.problem(404);
    ask("POST", "/metrics").await.problem(405);
}
