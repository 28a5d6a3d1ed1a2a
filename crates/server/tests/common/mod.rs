//! A server on a real socket with a publisher that remembers, and a client that says exactly what it is told to.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::Registry;
use tieline_bus::{Secret, Verify};
use tieline_runtime::producer::{Accepted, Delivery, NotAccepted};
use tieline_server::webhook::{Accept, Accepting, Hook, router, standard_webhooks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

pub const SECRET: &str = "whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5";
pub const PATH: &str = "/hooks/{crm}";
pub const BODY_BYTES_MAX: usize = 1 << 20;

type Answer = Box<dyn Fn(&Delivery) -> Result<Accepted, NotAccepted> + Send + Sync>;

/// Keeps what it is given, and answers as it is told to.
pub struct Recorder {
    pub deliveries: Mutex<Vec<Delivery>>,
    answer: Answer,
    /// With it, an answer waits until it is notified.
    gate: Option<Arc<Notify>>,
}

impl Accept for Recorder {
    fn accept(&self, delivery: Delivery) -> Accepting<'_> {
        Box::pin(async move {
            let answer = (self.answer)(&delivery);
            self.deliveries.lock().unwrap().push(delivery);
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            answer
        })
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub recorder: Arc<Recorder>,
    pub registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub async fn start() -> Self {
        Self::answering(None, |delivery| {
            Ok(Accepted::Published { event_id: delivery.id.clone(), event: "crm.deal_stage_changed".into() })
        })
        .await
    }

    pub async fn answering(
        gate: Option<Arc<Notify>>,
        answer: impl Fn(&Delivery) -> Result<Accepted, NotAccepted> + Send + Sync + 'static,
    ) -> Self {
        let recorder = Arc::new(Recorder { deliveries: Mutex::default(), answer: Box::new(answer), gate });
        let registry = Registry::new();
        let routes = router(vec![hook("crm", PATH, recorder.clone())], &registry).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(tieline_server::serve(listener, routes, async { _ = stopped.await }));
        Self { address, recorder, registry, stop: Some(stop), serving }
    }

    /// Tells it to stop, and returns what becomes of it.
    pub async fn stop(&mut self) -> std::io::Result<()> {
        _ = self.stop.take().unwrap().send(());
        (&mut self.serving).await.unwrap()
    }

    pub fn begin_to_stop(&mut self) {
        _ = self.stop.take().unwrap().send(());
    }

    pub async fn stopped(&mut self) -> std::io::Result<()> {
        (&mut self.serving).await.unwrap()
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes, then reads to the end of the connection.
    pub async fn say(&self, bytes: &[u8]) -> Reply {
        let (reply, _) = self.say_on(bytes.to_vec(), 0, Vec::new()).await;
        reply
    }

    /// Sends a head, then a piece again and again, up to so many times or until the server takes no more; reads
    /// meanwhile. Returns the reply, and how many bytes the kernel took.
    pub async fn say_on(&self, head: Vec<u8>, times: usize, piece: Vec<u8>) -> (Reply, usize) {
        let (mut read, mut write) = self.connect().await.into_split();
        let writing = tokio::spawn(async move {
            let mut sent = 0;
            if write.write_all(&head).await.is_ok() {
                sent += head.len();
                for _ in 0..times {
                    if write.write_all(&piece).await.is_err() {
                        break;
                    }
                    sent += piece.len();
                }
            }
            (sent, write)
        });
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        // A reset after the answer is what a server does whose rest of the request nobody wants.
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            text.extend_from_slice(&buffer[..count]);
        }
        let (sent, _write) = writing.await.unwrap();
        (Reply::parse(&text), sent)
    }

    pub fn count(&self, producer: &str, outcome: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "tieline_webhook_requests_total");
        let label = |metric: &prometheus::proto::Metric, name: &str| {
            metric.get_label().iter().find(|label| label.name() == name).map(|label| label.value().to_owned())
        };
        family
            .into_iter()
            .flat_map(|family| family.get_metric())
            .filter(|m| label(m, "producer").as_deref() == Some(producer))
            .filter(|m| label(m, "outcome").as_deref() == Some(outcome))
            .map(|metric| metric.get_counter().get_value() as u64)
            .sum()
    }
}

pub fn hook(producer: &str, path: &str, accept: Arc<dyn Accept>) -> Hook {
    Hook {
        producer: producer.into(),
        path: path.into(),
        verify: Verify::StandardWebhooks {
            secrets: vec![Secret::new(SECRET.into())],
            tolerance: Duration::from_secs(300),
        },
        id_header: "webhook-id".into(),
        body_bytes_max: BODY_BYTES_MAX,
        accept,
    }
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Checks that it is a problem of this status, and returns its detail.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!((&json["type"], &json["status"]), (&"about:blank".into(), &status.into()), "{self:?}");
        json["detail"].as_str().unwrap_or_default().to_owned()
    }
}

/// A signed request; `headers` are further lines.
pub fn signed(id: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let now = Timestamp::now();
    let signature = standard_webhooks::sign(&Secret::new(SECRET.into()), id, now, body).unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: bus\r\nConnection: close\r\nContent-Length: {}\r\nwebhook-id: {id}\r\n\
         webhook-timestamp: {}\r\nwebhook-signature: {signature}\r\n{headers}\r\n",
        body.len(),
        now.as_second(),
    );
    [head.as_bytes(), body].concat()
}

/// Waits until it holds.
pub async fn eventually(within: Duration, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < within, "did not hold within {within:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
