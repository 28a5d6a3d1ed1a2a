//! The `tieline` command: a file a subcommand.

mod apply;
mod check;
mod clock;
mod control;
mod counted;
mod dead_letters;
mod desk;
mod dev;
mod environment;
mod failure;
mod init;
mod load;
mod log;
mod moment;
mod pause;
mod process;
mod redrive;
mod replay;
mod run;
mod select;
mod table;
mod test;
mod r#where;
mod wiring;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::{Failure, say};

/// Each call makes and drops some hundred pieces of memory, many of them on another thread: glibc's allocator takes half as
/// much again for that (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-driven integration bus on Kafka.
///
/// Exit codes: 0 done, 1 problems found, 2 wrong usage, 3 something outside is missing.
#[derive(Debug, Parser)]
#[command(name = "tieline", version, max_term_width = 100)]
struct Cli {
    /// The directory of the bus, with its `tieline.yaml`.
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    bus: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a new bus that passes `check` and `test`: `tieline init acme`
    Init(init::Options),
    /// Type-check every definition from event to contract and back: `tieline check`
    Check(check::Options),
    /// Run the cases of consumers and producers: `tieline test erp-project`
    Test(test::Options),
    /// Make topics, schemas and first offsets so: `tieline apply`
    Apply(apply::Options),
    /// Run producers and consumers: `tieline run consumers/erp-project`
    Run(run::Options),
    /// Say what became of an event, or of all events of a key, in every consumer: `tieline where deal-1042`
    Where(r#where::Options),
    /// List, show, edit and discard what could not be delivered: `tieline dead-letters list erp-project`
    DeadLetters(dead_letters::Options),
    /// Deliver dead letters again, in order: `tieline redrive erp-project --code http-422 --reason 'the ERP is fixed'`
    Redrive(redrive::Options),
    /// Deliver a stretch of a topic again, behind live work: `tieline replay erp-project --from 2h --reason 'the ERP lost it'`
    Replay(replay::Options),
    /// Begin no further delivery of a consumer, a system or a key: `tieline pause systems/billing --reason 'they migrate'`
    Pause(pause::Options),
    /// Go on with what was paused: `tieline resume systems/billing --reason 'they are done'`
    Resume(pause::Options),
    /// Show what was asked of the bus, by whom, and what came of it: `tieline control list`
    Control(control::Options),
    /// Run the whole bus on this machine, with stand-ins for its systems: `tieline dev`
    Dev(dev::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure);
            failure.code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    // The first provider that is installed stays; nobody else installs one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.command {
        Command::Init(options) => init::run(&options),
        Command::Check(options) => check::run(&cli.bus, &options),
        Command::Test(options) => test::run(&cli.bus, &options),
        Command::Apply(options) => process::block_on(apply::run(&cli.bus, &options))?,
        Command::Run(options) => process::block_on(run::run(&cli.bus, &options))?,
        Command::Where(options) => process::block_on(r#where::run(&cli.bus, &options))?,
        Command::DeadLetters(options) => process::block_on(dead_letters::run(&cli.bus, &options))?,
        Command::Redrive(options) => process::block_on(redrive::run(&cli.bus, &options))?,
        Command::Replay(options) => process::block_on(replay::run(&cli.bus, &options))?,
        Command::Pause(options) => process::block_on(pause::pause(&cli.bus, &options))?,
        Command::Resume(options) => process::block_on(pause::resume(&cli.bus, &options))?,
        Command::Control(options) => process::block_on(control::run(&cli.bus, &options))?,
        Command::Dev(options) => process::block_on(dev::run(&cli.bus, &options))?,
    }
}
