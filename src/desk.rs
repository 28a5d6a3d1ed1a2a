//! What the commands of the person on call have in common: the bus, its Kafka and registry, and who they are.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use tieline_bus::{Bus, Consumer};
use tieline_runtime::kafka::{Connection, EventProducer, TopicReader, group_of};
use tieline_runtime::operate::{OperateError, order};
use tieline_runtime::registry::RegistryClient;
use tieline_runtime::state::{Act, Command};
use uuid::Uuid;

use crate::dev::{Addresses, BrokerKind, DevEnvironment};
use crate::environment::{ProcessEnvironment, WithoutSecrets};
use crate::failure::Failure;
use crate::{load, log};

/// A bus, and how it is reached.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The bus.
    pub bus: Arc<Bus>,
    /// Its Kafka.
    pub connection: Connection,
    /// Its registry.
    pub registry: RegistryClient,
}

/// Who orders something, and why: it is kept with the order.
#[derive(Debug, Args)]
pub struct Because {
    /// Why, in your words.
    #[arg(long, value_name = "TEXT", value_parser = said)]
    reason: String,
    /// Who asks, where it is not the user of this shell.
    #[arg(long = "as", value_name = "WHO", value_parser = said)]
    by: Option<String>,
}

impl Because {
    /// Somebody's reason, said in another way.
    pub fn of(reason: String, by: Option<String>) -> Self {
        Self { reason, by }
    }
}

impl Desk {
    /// Reads the bus: the one that a `tieline dev` runs in this directory now, else as `tieline.yaml` says. The secrets of its
    /// systems are not needed.
    ///
    /// # Errors
    /// When it has problems.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        log::start("warn");
        let (bus, embedded) = match Addresses::of_running(dir) {
            Some(dev) => {
                // Said aloud: `tieline.yaml` names another Kafka, which somebody may have meant.
                say_which(&format!("of the bus that `tieline dev` runs here, at {}", dev.brokers));
                let mut bus = load::bus(dir, &DevEnvironment::default())?;
                dev.settle(&mut bus);
                (bus, dev.broker == BrokerKind::Embedded)
            }
            None => (load::bus(dir, &WithoutSecrets(ProcessEnvironment::new()))?, false),
        };
        let connection = Connection { kafka: bus.kafka.clone(), embedded };
        let registry = RegistryClient::new(&bus.registry)?;
        Ok(Self { bus: Arc::new(bus), connection, registry })
    }

    /// The consumer of this name; `consumers/NAME` is one too.
    ///
    /// # Errors
    /// When the bus has none.
    pub fn consumer(&self, name: &str) -> Result<Arc<Consumer>, Failure> {
        let found = self.bus.consumers.get(name.strip_prefix("consumers/").unwrap_or(name));
        found.cloned().ok_or_else(|| {
            let known: Vec<&str> = self.bus.consumers.keys().map(String::as_str).collect();
            Failure::Usage(format!("the bus has no consumer `{name}`; it has {}", known.join(", ")))
        })
    }

    /// Reads as the group of a consumer may.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn reader(&self, consumer: &str) -> Result<TopicReader, OperateError> {
        Ok(TopicReader::new(&self.connection, &group_of(&self.bus.name, consumer))?)
    }

    /// Asks Kafka on a thread that may wait for it.
    ///
    /// # Errors
    /// What went wrong there.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T, OperateError> + Send + 'static,
    ) -> Result<T, Failure> {
        let desk = self.clone();
        Ok(tokio::task::spawn_blocking(move || question(&desk)).await??)
    }

    /// Gives an order, and says the command that stands for it.
    ///
    /// # Errors
    /// When it is not acknowledged.
    pub async fn order(&self, act: Act, because: &Because) -> Result<Command, Failure> {
        let command = Command {
            id: Uuid::new_v4().to_string(),
            by: because.by.clone().unwrap_or_else(who),
            reason: because.reason.clone(),
            at_ms: tieline_runtime::now_ms(),
            act,
        };
        order(&EventProducer::new(&self.connection)?, &self.bus.name, &command).await?;
        Ok(command)
    }
}

/// Tells a person beside the answer, which may be read by a program.
fn say_which(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// `user@host` of this shell; where nobody has named the user (a container), the number.
fn who() -> String {
    let named =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let number =
        || std::fs::metadata("/proc/self").map_or_else(|_| "unknown".to_owned(), |me| format!("uid-{}", me.uid()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}@{}", named.unwrap_or_else(number), host.trim())
}

/// A text that says something, and not a novel.
pub fn said(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say something: it is what others will read".to_owned()),
        text if text.len() > 1_000 => Err("say it in at most 1,000 bytes".to_owned()),
        text => Ok(text.to_owned()),
    }
}
