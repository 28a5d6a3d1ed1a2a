//! Where a running `tieline dev` listens, written to `.tieline/dev.json` of its bus, so that a second shell's commands
//! find it.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tieline_bus::{Bus, Credential};

/// How long it may take until it is known that something listens: it is on this machine.
const LISTENS_WITHIN: Duration = Duration::from_millis(500);

/// Where things listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Of which kind the broker is.
    pub broker: BrokerKind,
    pub brokers: String,
    pub registry: String,
    pub webhooks: String,
    pub admin: String,
    /// Signs a body as a system would, and sends it to a producer's webhook: `POST /send/PRODUCER`.
    pub senders: String,
    pub systems: BTreeMap<String, String>,
}

/// Which broker `tieline dev` took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrokerKind {
    /// librdkafka's mock cluster, in its process.
    Embedded,
    /// A real one that it has started.
    Kafka,
    /// The user's own.
    Given,
}

/// The file while it is true: gone when this is dropped. One that a killed process leaves behind is told by nobody listening.
#[derive(Debug)]
pub struct Written(PathBuf);

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Addresses {
    /// Writes them for others.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, dir: &Path) -> anyhow::Result<Written> {
        let file = file(dir);
        let folder = file.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&file, format!("{}\n", serde_json::to_string_pretty(self)?)))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Written(file))
    }

    /// Those of a `tieline dev` that runs this bus now.
    pub fn of_running(dir: &Path) -> Option<Self> {
        let addresses: Self = serde_json::from_str(&std::fs::read_to_string(file(dir)).ok()?).ok()?;
        let admin = addresses.admin.strip_prefix("http://")?.to_socket_addrs().ok()?.next()?;
        TcpStream::connect_timeout(&admin, LISTENS_WITHIN).ok()?;
        Some(addresses)
    }

    /// Points a bus there, whatever its `tieline.yaml` says.
    pub fn settle(&self, bus: &mut Bus) {
        settle(bus, self.broker, &self.brokers, &self.registry);
    }
}

/// Points a bus at the broker and the registry of a `tieline dev`.
pub fn settle(bus: &mut Bus, broker: BrokerKind, brokers: &str, registry: &str) {
    brokers.clone_into(&mut bus.kafka.brokers);
    registry.clone_into(&mut bus.registry.url);
    bus.registry.credential = Credential::None;
    if broker != BrokerKind::Given {
        bus.kafka.settings.clear();
        bus.kafka.replication = 1;
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join(".tieline").join("dev.json")
}
