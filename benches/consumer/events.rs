//! The records that both sides read: deals of a thousand accounts, the same in every run.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tieline_bus::Event;
use tieline_runtime::kafka::{Connection, EventProducer};
use tieline_schema::cloudevents::Attributes;
use tieline_schema::wire::v0_header;

use crate::workload::Records;

/// How many different deals there are: enough that most calls under way are of different keys, few enough that some wait.
const DEALS: u32 = 10_000;

/// The key that has far more records than others, in workloads that have one.
pub const BUSY_KEY: &str = "D-busy";

/// Where the randomness starts.
const SEED: u64 = 20_261_124;

/// Records that are on their way to the broker at once.
const PUBLISHING_MAX: usize = 1_000;

const ACCOUNTS: [&str; 4] =
    ["Nordwind Logistik AG", "Bäckerei Çelik & Söhne", "Société Générale de Câblage", "Hafenmühle GmbH"];

/// One event.
#[derive(Debug)]
pub struct Sample {
    /// The key: the deal's id.
    pub key: String,
    /// The payload, as the friendly JSON of the schema.
    pub payload: Value,
}

/// The events of a workload.
pub fn samples(of: Records, records: usize) -> impl Iterator<Item = Sample> {
    let mut random = StdRng::seed_from_u64(SEED);
    (0..records).map(move |n| {
        let deal = random.random_range(0..DEALS);
        let is_busy = of.one_busy_of.is_some_and(|one_of| n % one_of == 0);
        let key = if is_busy { BUSY_KEY.to_owned() } else { format!("D-{deal:05}") };
        sample(&mut random, key, n % of.one_won_of == 0)
    })
}

/// Events of deals that are all won, one of each key.
pub fn one_of_each(keys: impl Iterator<Item = String>) -> impl Iterator<Item = Sample> {
    let mut random = StdRng::seed_from_u64(SEED);
    keys.map(move |key| sample(&mut random, key, true))
}

fn sample(random: &mut StdRng, key: String, won: bool) -> Sample {
    let account: usize = random.random_range(0..ACCOUNTS.len());
    let cents = random.random_range(100..90_000_000_u32);
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    let hour = random.random_range(0..24_u32);
    let payload = json!({
        "deal": {
            "id": key, "title": "Warehouse rollout, second phase", "amount": amount, "currency": "EUR",
            "stage": if won { "CLOSED_WON" } else { "NEGOTIATION" }, "previous_stage": "PROPOSAL",
            "closed_at": if won { json!(format!("2026-11-24T{hour:02}:15:02Z")) } else { Value::Null },
            "signed_at": "2026-11-24T15:40:00Z", "expected_close_on": "2026-11-30",
            "description": "Site visit agreed for the first week. The customer wants the scanners before the gates.",
            "owner_id": "user-7",
        },
        "account": {
            "id": format!("A-{:03}", random.random_range(0..1_000_u32)), "name": ACCOUNTS[account], "language": "DE",
            "country": "DE", "contact_name": "Lena Brandt", "contact_email": "lena.brandt@example.com",
        },
        "lines": [
            { "sku": "WMS-CORE", "description": "Licence", "quantity": 1, "unit_price": amount, "billing": "ONCE" },
            { "sku": "WMS-CARE", "description": null, "quantity": 3, "unit_price": "15000.17", "billing": "YEARLY" },
            { "sku": "WMS-SCAN", "description": "Scanner", "quantity": 40, "unit_price": "19.90", "billing": "MONTHLY" },
        ],
        "changed_at": format!("2026-11-24T{hour:02}:15:02Z"),
    });
    Sample { key, payload }
}

/// Publishes events as a producer does.
pub struct Source {
    producer: EventProducer,
    event: Arc<Event>,
    schema: u32,
}

impl Source {
    /// `schema` is the registry's id of the event's.
    pub fn new(connection: &Connection, event: Arc<Event>, schema: u32) -> anyhow::Result<Self> {
        Ok(Self { producer: EventProducer::new(connection)?, event, schema })
    }

    /// Publishes one. Its number makes its id: none may come twice for one consumer.
    pub async fn publish(&self, n: usize, sample: &Sample) -> anyhow::Result<()> {
        let mut value = v0_header(self.schema).to_vec();
        value.extend(self.event.schema.datum_from_json(&sample.payload).context("a sample does not fit its schema")?);
        let attributes = attributes(&self.event, n, &sample.key);
        self.producer.publish(&self.event.topic, sample.key.as_bytes(), &attributes, &value).await?;
        Ok(())
    }

    /// Publishes as many as there are, as fast as it goes.
    pub async fn publish_all(&self, samples: impl Iterator<Item = Sample>) -> anyhow::Result<()> {
        let sends = samples.enumerate().map(|(n, sample)| async move { self.publish(n, &sample).await });
        futures_util::stream::iter(sends).buffered(PUBLISHING_MAX).try_collect::<()>().await
    }
}

fn attributes(event: &Event, n: usize, key: &str) -> Attributes {
    Attributes {
        id: format!("evt_{n:08}"),
        source: "/crm".to_owned(),
        ty: event.name.clone(),
        time_ms: Some(1_795_561_502_000),
        subject: Some(key.to_owned()),
        causation_id: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        tracestate: None,
    }
}
