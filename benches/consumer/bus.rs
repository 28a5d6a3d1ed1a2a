//! The bus that is measured: the flagship's `erp-project`, with its mapping and its contract, in a folder of its own.
//!
//! Four things differ from the flagship. The ERP sets no limit and takes a token that is not fetched, since the limit
//! would be what is measured; the consumer starts at the beginning of the topic; a workload without a follow-up event has no
//! `emit`; and each says how many calls may be under way.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tieline_bus::{Bus, Environment, render};

use crate::workload::Records;

/// The consumer.
pub const CONSUMER: &str = "erp-project";

/// The event that it reads.
pub const EVENT: &str = "crm.deal_stage_changed";

/// The event that follows.
pub const FOLLOW_UP: &str = "erp.project_created";

/// How many partitions a topic has.
pub const PARTITIONS: u32 = 6;

/// The token that the ERP is shown.
pub const TOKEN: &str = "bench-token";

/// Where Kafka, the registry and the ERP are.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// `bootstrap.servers`.
    pub kafka: String,
    /// The registry's URL.
    pub registry: String,
    /// The ERP's URL.
    pub erp: String,
}

impl Environment for Addresses {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "KAFKA_BROKERS" => Some(self.kafka.clone()),
            "SCHEMA_REGISTRY_URL" => Some(self.registry.clone()),
            "ERP_URL" => Some(self.erp.clone()),
            _ => None,
        }
    }

    fn secret(&self, name: &str) -> Option<String> {
        (name == "erp-token").then(|| TOKEN.to_owned())
    }
}

/// Writes the bus into a folder. Its name decides the consumer's group, so that a new name reads from the beginning.
pub fn write(dir: &Path, name: &str, of: Records, in_flight: usize) -> anyhow::Result<()> {
    let flagship = Path::new(env!("CARGO_MANIFEST_DIR"));
    let consumer = PathBuf::from("consumers").join(CONSUMER).join("consumer.yaml");
    put(dir, "tieline.yaml", &tieline_yaml(name))?;
    put(dir, "systems/erp/system.yaml", SYSTEM)?;
    for file in ["systems/erp/openapi.yaml", &schema_file(EVENT), &schema_file(FOLLOW_UP)] {
        put(dir, file, &read(&flagship.join(file))?)?;
    }
    let text = read(&flagship.join(&consumer))?;
    put(dir, &consumer.display().to_string(), &changed(&text, of, in_flight)?)
}

/// Loads it.
pub fn load(dir: &Path, addresses: &Addresses) -> anyhow::Result<Bus> {
    let loaded = Bus::load(dir, addresses);
    loaded.bus.with_context(|| format!("the bench's bus has problems:\n{}", render::human(dir, &loaded.problems)))
}

fn schema_file(event: &str) -> String {
    format!("schemas/{event}.avsc")
}

fn tieline_yaml(name: &str) -> String {
    format!(
        "bus: {name}\n\
         language: 1\n\
         kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", partitions: {PARTITIONS}, replication: 1 }}\n\
         registry: {{ url: \"${{SCHEMA_REGISTRY_URL}}\" }}\n"
    )
}

const SYSTEM: &str = r#"
purpose: The ERP, answering at once.
owner: erp-team@example.com
base_url: "${ERP_URL}"
contract: openapi.yaml
credential: { bearer: { token: secret:erp-token } }
idempotency: { header: Idempotency-Key, quoted: false, remembers: 24h }
deadline: 10s
version: { header: API-Version, expect: "2026-01" }
"#;

fn changed(text: &str, of: Records, in_flight: usize) -> anyhow::Result<String> {
    let mut text = if of.follow_up { text.to_owned() } else { without_block(text, "emit:") };
    let ours = format!("in_flight: {in_flight}\n");
    for (theirs, ours) in [("start: now", "start: earliest"), ("in_flight: 64\n", ours.as_str())] {
        ensure!(text.contains(theirs), "consumers/{CONSUMER} has no `{theirs}` now: see to benches/consumer/bus.rs");
        text = text.replace(theirs, ours);
    }
    Ok(text)
}

/// Leaves a block of the first level out.
fn without_block(text: &str, head: &str) -> String {
    let mut inside = false;
    let outside = text.lines().filter(|line| {
        if !line.starts_with([' ', '#']) && !line.is_empty() {
            inside = *line == head;
        }
        !inside
    });
    outside.map(|line| format!("{line}\n")).collect()
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn put(dir: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    let path = dir.join(file);
    let folder = path.parent().unwrap_or(dir);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
