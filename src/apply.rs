//! `tieline apply`: topics, schemas and first offsets.

use std::path::Path;

use clap::Args;
use tieline_runtime::apply::apply;
use tieline_runtime::kafka::Connection;
use tieline_runtime::registry::RegistryClient;

use crate::environment::{ProcessEnvironment, WithoutSecrets};
use crate::failure::{Failure, print};
use crate::{load, log};

/// Make topics, schemas and first offsets so. A second run changes nothing.
#[derive(Debug, Args)]
pub struct Options {
    /// Print what was changed as a JSON array of sentences.
    #[arg(long)]
    json: bool,
}

/// Applies a bus.
///
/// # Errors
/// When the bus has problems, or Kafka or the registry cannot be asked or refuses.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    log::start("warn");
    // The secrets of systems and webhooks are not needed; those of Kafka and the registry are in the environment or fail.
    let bus = load::bus(dir, &WithoutSecrets(ProcessEnvironment::new()))?;
    let connection = Connection { kafka: bus.kafka.clone(), embedded: false };
    let registry = RegistryClient::new(&bus.registry)?;
    let changes = apply(&bus, &connection, &registry).await?;
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&changes)?));
    } else if changes.is_empty() {
        print("nothing to change\n");
    } else {
        print(&changes.iter().map(|change| format!("{change}\n")).collect::<String>());
    }
    Ok(())
}
