//! `tieline check`: every definition, type-checked from event to contract and back.

use std::path::Path;
use std::time::Instant;

use clap::Args;
use tieline_bus::{Bus, render};
use tieline_mapping::Severity;

use crate::counted::counted;
use crate::environment::{ProcessEnvironment, WithoutSecrets};
use crate::failure::{Failure, print};
use crate::load;

/// Check every definition of the bus. Nothing is sent, and nothing outside its directory is asked.
#[derive(Debug, Args)]
pub struct Options {
    /// Print the problems as JSON.
    #[arg(long)]
    json: bool,
    /// Take a missing secret for a problem, as a service would.
    #[arg(long)]
    secrets: bool,
    /// Take warnings for problems. Notes are none: they say what may be as it should be, and is good to know.
    #[arg(long)]
    strict: bool,
}

/// Checks a bus.
///
/// # Errors
/// When problems were found.
pub fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    load::there(dir)?;
    let started = Instant::now();
    let loaded = if options.secrets {
        Bus::load(dir, &ProcessEnvironment::new())
    } else {
        Bus::load(dir, &WithoutSecrets(ProcessEnvironment::new()))
    };
    let problems = loaded.problems;
    let errors = problems.iter().filter(|p| p.diagnostic.severity == Severity::Error).count();
    let warnings = problems.iter().filter(|p| p.diagnostic.severity == Severity::Warning).count();
    let notes = problems.len() - errors - warnings;
    if options.json {
        print(&render::json(dir, &problems));
    } else {
        print(&render::human(dir, &problems));
        let what = loaded.bus.as_ref().map_or_else(String::new, inventory);
        let found = [counted(errors, "error"), counted(warnings, "warning"), counted(notes, "note")].join(", ");
        print(&format!("{found}{what}, in {} ms\n", started.elapsed().as_millis()));
    }
    if errors > 0 || (options.strict && warnings > 0) { Err(Failure::Problems) } else { Ok(()) }
}

fn inventory(bus: &Bus) -> String {
    let things = [
        counted(bus.systems.len(), "system"),
        counted(bus.events.len(), "event"),
        counted(bus.producers.len(), "producer"),
        counted(bus.consumers.len(), "consumer"),
    ];
    format!(": {}", things.join(", "))
}
