//! `tieline test`: the cases of consumers and producers.

use std::path::Path;

use clap::Args;
use tieline_bus::{render, run_cases};

use crate::counted::counted;
use crate::environment::{ProcessEnvironment, WithoutSecrets};
use crate::failure::{Failure, print};
use crate::load;

/// Run the cases: what a consumer sends for an event, what a producer makes of a body. Nothing is sent.
#[derive(Debug, Args)]
pub struct Options {
    /// A consumer, a producer, or the path of a case; all of the bus without one.
    only: Option<String>,
    /// Print the problems as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs cases.
///
/// # Errors
/// When one does not hold, or there is none of this name.
pub fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    let bus = load::bus(dir, &WithoutSecrets(ProcessEnvironment::new()))?;
    let report = run_cases(&bus, options.only.as_deref());
    if report.cases.is_empty() {
        let what = options.only.as_deref().unwrap_or("this bus");
        return Err(Failure::Usage(format!("there is no case of {what}: cases lie in consumers/NAME/cases/*.yaml")));
    }
    let failed = report.failed().count();
    if options.json {
        print(&render::json(dir, &report.problems()));
    } else {
        for case in &report.cases {
            let sign = if case.holds() { "ok  " } else { "FAIL" };
            print(&format!("{sign} {}: {}\n", case.definition, case.purpose));
        }
        print(&render::human(dir, &report.problems()));
        let held = report.cases.len() - failed;
        let holds = if held == 1 { "holds" } else { "hold" };
        let does = if failed == 1 { "does" } else { "do" };
        print(&format!("{} {holds}, {failed} {does} not\n", counted(held, "case")));
    }
    if failed > 0 { Err(Failure::Problems) } else { Ok(()) }
}
