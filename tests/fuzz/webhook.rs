//! Any request of a sender: head and body, verified, parsed and mapped to an event. Nobody gets in without the secret, and
//! what becomes an event is one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use tieline_bus::{Bus, Environment, Producer, Source};
use tieline_runtime::producer::{Delivery, Made};
use tieline_schema::cloudevents::Attributes;
use tieline_schema::friendly::VALUES_MAX;
use tieline_schema::wire::split;
use tieline_server::webhook::{json, passed_on, sign, verify};

/// When each request arrives.
const NOW: i64 = 1_800_000_000;

struct Given;

impl Environment for Given {
    fn variable(&self, _name: &str) -> Option<String> {
        Some("http://127.0.0.1:1".to_owned())
    }

    fn secret(&self, _name: &str) -> Option<String> {
        Some("whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5".to_owned())
    }
}

/// The bus that the demo runs: Standard Webhooks, and HMAC with a time and without.
static BUS: LazyLock<Bus> = LazyLock::new(|| {
    let loaded = Bus::load(&root(), &Given);
    loaded.bus.unwrap_or_else(|| panic!("{:?}", loaded.problems))
});

/// The first byte chooses the producer, and whether the sender knows the secret; then come lines of headers, an empty
/// line, and the body.
pub fn run(bytes: &[u8]) {
    let [how, request @ ..] = bytes else { return };
    let producer = BUS.producers.values().nth(usize::from(how >> 1) % BUS.producers.len()).expect("it has some");
    let Source::Webhook(webhook) = &producer.source;
    let (head, body) = split_head(request);
    let now = Timestamp::from_second(NOW).expect("in range");
    let mut headers = headers(head);

    let verified = verify(webhook, &headers, body, now);
    // Who guesses 256 bits has found something.
    assert!(verified.is_err(), "somebody without the secret got in");
    if how % 2 == 0 {
        return;
    }
    // As the sender signs: its headers take the place of what was made up.
    for (name, value) in sign(webhook, "msg_fuzz", now, body).expect("signed") {
        let name = HeaderName::try_from(name).expect("a name");
        headers.insert(name, HeaderValue::try_from(value).expect("a value"));
    }
    let id = verify(webhook, &headers, body, now).expect("the sender has the secret");
    let Ok(json) = json::parse(body) else { return };
    let passed = passed_on(&headers, &webhook.verify);
    let delivery = Delivery {
        id: id.into(),
        headers: passed,
        json,
        body: body.to_vec(),
        received_ms: NOW * 1_000,
        traceparent: headers.get("traceparent").and_then(|v| v.to_str().ok()).map(str::to_owned),
    };
    becomes(producer, &delivery);
}

/// What becomes of a delivery: nothing, a reason that holds none of it, or an event that everybody can read.
fn becomes(producer: &Producer, delivery: &Delivery) {
    let schemas: BTreeMap<String, u32> = BUS.events.keys().map(|name| (name.clone(), 1)).collect();
    let Ok(Some(made)) = Made::of(producer, &schemas, delivery) else { return };
    let (_, datum) = split(&made.value, None).expect("the wire format");
    let shown = made.rule.event.schema.json_from_datum(datum, VALUES_MAX);
    assert!(shown.is_ok(), "{shown:?}");
    let written = made.attributes.to_headers();
    let read = Attributes::from_headers(written.iter().map(|(name, value)| (*name, Some(value.as_bytes()))));
    assert_eq!(read.map(|read| read.id), Ok(made.attributes.id), "what was published cannot be read");
}

fn split_head(request: &[u8]) -> (&[u8], &[u8]) {
    match request.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&request[..at], &request[at + 2..]),
        None => (&[], request),
    }
}

/// The lines that can be headers.
fn headers(head: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Of this repository, from its own tests and from `fuzz/`.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(|dir| dir.join("tieline.yaml").is_file()).expect("in the repository").to_owned()
}
