//! How long topics keep what consumers need, against what consumers promise: looked at by `tieline apply`.
//!
//! What is parked is kept whole on a topic of its own, so that `give_up_after` needs nothing of the topic that records came
//! from. Two things do. What is not fetched yet, in an outage or behind a record that its partition waits for, is lost when
//! that topic deletes it. And a ledger that forgets sooner than that topic cannot say what became of records that are still
//! there: `tieline where` does not know, and a replay of them is refused.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tieline_bus::{Bus, Consumer, Order};

use crate::kafka::state_topic;

/// How long a topic keeps a record.
const RETENTION: &str = "retention.ms";

/// How long a broker may take for one request.
const BROKER_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a topic is looked at that is not there yet, and how long between.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// An outage that a consumer has to be able to wait through: a long weekend, when nobody looks.
const OUTAGE: Duration = Duration::from_secs(72 * 3_600);

/// What a topic says of how long it keeps records.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    /// In milliseconds; none for ever, as also where it is compacted.
    ms: Option<i64>,
    /// The settings that somebody has given to this topic.
    own: Vec<(String, String)>,
}

/// Has ledgers kept at least as long as the records that they speak of, and says what a topic deletes too soon.
///
/// # Errors
/// When the brokers refuse what is to be changed.
pub(crate) async fn keep(
    bus: &Bus,
    admin: &AdminClient<DefaultClientContext>,
    changes: &mut Vec<String>,
) -> Result<(), KafkaError> {
    for consumer in bus.consumers.values() {
        let (topic, ledger) = (consumer.event.topic.as_str(), state_topic(&bus.name, &consumer.name, "ledger"));
        let [Ok(source), Ok(kept)] = [describe(admin, topic).await, describe(admin, &ledger).await] else {
            // It may be kept from describing settings: nothing else needs that.
            tracing::warn!(topic, ledger, "how long these topics keep records cannot be seen, and is not looked at");
            continue;
        };
        if let Some(warning) = too_soon(consumer, source.ms) {
            tracing::warn!("{warning}");
        }
        if forgets_sooner(kept.ms, source.ms) {
            let ms = source.ms.map_or_else(|| "-1".to_owned(), |ms| ms.to_string());
            alter(admin, &ledger, &kept, &ms).await?;
            changes
                .push(format!("topic {ledger} keeps outcomes for as long as {topic} keeps records: {RETENTION} {ms}"));
        }
    }
    Ok(())
}

/// Whether what is kept for so long goes before what is kept for that long.
fn forgets_sooner(this: Option<i64>, that: Option<i64>) -> bool {
    match (this, that) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(this), Some(that)) => this < that,
    }
}

/// What a consumer would lose, if that is nearer than people would think.
fn too_soon(consumer: &Consumer, source_ms: Option<i64>) -> Option<String> {
    let kept = Duration::from_millis(u64::try_from(source_ms?).unwrap_or(0));
    let (topic, name, hours) = (&consumer.event.topic, &consumer.name, kept.as_secs() / 3_600);
    if consumer.deliver.order == Order::Partition && kept < consumer.deliver.give_up_after {
        return Some(format!(
            "{topic} deletes records after {hours} h: with `order: partition`, consumers/{name} waits for a record that fails, \
             and those behind it are deleted meanwhile; keep them for longer than `give_up_after`, or use `order: key`"
        ));
    }
    (kept < OUTAGE).then(|| {
        format!(
            "{topic} deletes records after {hours} h: in an outage of systems/{} that lasts longer, consumers/{name} loses what \
             it has not read; keep them for 72 h at least (`{RETENTION}`)",
            consumer.call.system.name
        )
    })
}

async fn describe(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<Kept, KafkaError> {
    let options = AdminOptions::new().request_timeout(Some(BROKER_TIMEOUT));
    let mut last = RDKafkaErrorCode::UnknownTopicOrPartition;
    for _ in 0..LOOKS {
        match admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await?.pop() {
            Some(Ok(resource)) => return Ok(Kept::read(&resource)),
            // One that was made a moment ago is not known everywhere yet.
            Some(Err(code)) => last = code,
            None => {}
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Err(KafkaError::AdminOp(last))
}

impl Kept {
    fn read(resource: &ConfigResource) -> Self {
        let value = |name: &str| resource.get(name).and_then(|entry| entry.value.as_deref());
        let deletes = value("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
        let ms = value(RETENTION).and_then(|ms| ms.parse::<i64>().ok()).filter(|ms| deletes && *ms >= 0);
        let own = resource.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
        let own = own.filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)));
        Self { ms, own: own.collect() }
    }
}

/// Sets how long a topic keeps records. The request replaces all of a topic's own settings, so they go with it.
async fn alter(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    kept: &Kept,
    retention_ms: &str,
) -> Result<(), KafkaError> {
    let own = kept.own.iter().filter(|(name, _)| name != RETENTION);
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(RETENTION, retention_ms);
    let config = own.fold(config, |config, (name, value)| config.set(name, value));
    let options = AdminOptions::new().request_timeout(Some(BROKER_TIMEOUT));
    for altered in admin.alter_configs([&config], &options).await? {
        altered.map_err(|(_, code)| KafkaError::AdminOp(code))?;
    }
    Ok(())
}
