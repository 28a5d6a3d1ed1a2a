//! How long topics keep records: ledgers as long as what they speak of, and what is deleted too soon is said.

use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use tieline_sandbox::recorder::Options;

use crate::hazards::admin;
use crate::load::Load;

const LEDGER: &str = "retention.apply-item.ledger";

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_kept_as_long_as_what_it_speaks_of_and_too_short_a_retention_is_said() {
    let load = Load::start("retention", Options::default()).await;
    let (month_ms, hour_ms) = ("2592000000", "3600000");
    keep(&load.topic(), month_ms).await;
    let (code, out, error) = load.apply(&[]).await;
    assert!(code == 0 && out.contains(&format!("topic {LEDGER} keeps outcomes for as long as")), "{out}{error}");
    assert_eq!(
        (kept(LEDGER, "retention.ms").await, kept(LEDGER, "max.message.bytes").await),
        (month_ms.into(), "3145728".into())
    );
    let (_, out, error) = load.apply(&[]).await;
    assert_eq!((out.as_str(), error.contains("deletes records after")), ("nothing to change\n", false), "{error}");

    // A ledger that keeps more than is asked for is left alone.
    keep(&load.topic(), hour_ms).await;
    let (_, out, error) = load.apply(&[]).await;
    assert_eq!(out, "nothing to change\n");
    assert!(error.contains("deletes records after 1 h") && error.contains("apply-item"), "{error}");
    keep(&load.topic(), "-1").await;
    let (_, out, _) = load.apply(&[]).await;
    assert!(out.contains("retention.ms -1"), "{out}");
}

async fn keep(topic: &str, ms: &str) {
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("retention.ms", ms);
    for altered in admin().alter_configs([&config], &AdminOptions::new()).await.unwrap() {
        altered.unwrap();
    }
}

async fn kept(topic: &str, setting: &str) -> String {
    let described = admin().describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await;
    let resource = described.unwrap().pop().unwrap().unwrap();
    resource.get(setting).unwrap().value.clone().unwrap()
}
