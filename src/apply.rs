//! `tieline apply`: topics, schemas and first offsets.

use std::path::Path;

use clap::Args;
use tieline_bus::Bus;
use tieline_runtime::apply::{Accepted, apply};
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
    /// Go on where records were deleted before this consumer delivered them: those are given up.
    #[arg(long, value_name = "CONSUMER")]
    accept_gap: Vec<String>,
    /// Go on with partitions that were added to this consumer's topic: keys lie elsewhere, and their order is not kept.
    #[arg(long, value_name = "CONSUMER")]
    accept_partitions: Vec<String>,
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
    let accepted = Accepted {
        gaps: options.accept_gap.iter().cloned().collect(),
        partitions: options.accept_partitions.iter().cloned().collect(),
    };
    refuse_unknown(&bus, &accepted)?;
    let changes = apply(&bus, &connection, &registry, &accepted).await?;
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&changes)?));
    } else if changes.is_empty() {
        print("nothing to change\n");
    } else {
        print(&changes.iter().map(|change| format!("{change}\n")).collect::<String>());
    }
    Ok(())
}

/// A name that is no consumer's would accept nothing, and seem to.
fn refuse_unknown(bus: &Bus, accepted: &Accepted) -> Result<(), Failure> {
    match accepted.gaps.iter().chain(&accepted.partitions).find(|name| !bus.consumers.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(Failure::Usage(format!("the bus has no consumer `{name}`"))),
    }
}
