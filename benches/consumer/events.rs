//! The records that both sides read: deals of a thousand accounts, the same in every run.

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tieline_bus::Event;
use tieline_runtime::kafka::EventProducer;
use tieline_schema::cloudevents::Attributes;
use tieline_schema::wire::v0_header;

use crate::workload::Workload;

/// How many different deals there are: enough that most calls under way are of different keys, few enough that some wait.
const DEALS: u32 = 10_000;

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
pub fn samples(workload: Workload, records: usize) -> impl Iterator<Item = Sample> {
    let mut random = StdRng::seed_from_u64(SEED);
    (0..records).map(move |n| sample(&mut random, n % workload.one_won_of == 0))
}

fn sample(random: &mut StdRng, won: bool) -> Sample {
    let key = format!("D-{:05}", random.random_range(0..DEALS));
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

/// Publishes them as a producer would.
pub async fn publish(
    producer: &EventProducer,
    event: &Event,
    schema: u32,
    workload: Workload,
    records: usize,
) -> anyhow::Result<()> {
    let sends = samples(workload, records).enumerate().map(|(n, sample)| async move {
        let mut value = v0_header(schema).to_vec();
        value.extend(event.schema.datum_from_json(&sample.payload).context("a sample does not fit its schema")?);
        let attributes = attributes(event, n, &sample.key);
        producer.publish(&event.topic, sample.key.as_bytes(), &attributes, &value).await?;
        anyhow::Ok(())
    });
    futures_util::stream::iter(sends).buffered(PUBLISHING_MAX).try_collect::<()>().await
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
