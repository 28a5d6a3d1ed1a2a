//! Reading the bus, and telling what is wrong with it.

use std::io::Write as _;
use std::path::Path;

use tieline_bus::{Bus, Environment, Loaded, render};
use tieline_mapping::Severity;

use crate::failure::Failure;

/// Reads a bus for a command that needs all of it. Problems are told on standard error.
///
/// # Errors
/// When there is an error in it.
pub fn bus(dir: &Path, environment: &dyn Environment) -> Result<Bus, Failure> {
    there(dir)?;
    let Loaded { bus, problems } = Bus::load(dir, environment);
    let errors: Vec<_> = problems.into_iter().filter(|p| p.diagnostic.severity == Severity::Error).collect();
    match bus {
        Some(bus) if errors.is_empty() => Ok(bus),
        _ => {
            let _ = write!(std::io::stderr(), "{}", render::human(dir, &errors));
            Err(Failure::Problems)
        }
    }
}

/// A directory without a `tieline.yaml` is a wrong `--bus`, not a bus with a problem.
///
/// # Errors
/// When there is no bus.
pub fn there(dir: &Path) -> Result<(), Failure> {
    if dir.join("tieline.yaml").is_file() {
        Ok(())
    } else {
        let dir = dir.display();
        Err(Failure::Usage(format!(
            "{dir} has no tieline.yaml: go to the bus's directory, give it with --bus, or write a new bus with `tieline init`"
        )))
    }
}
