//! `tieline control list`: what was asked of the bus, by whom and why, and what came of it.

use std::path::Path;

use clap::{Args, Subcommand};
use tieline_runtime::kafka::ReadError;
use tieline_runtime::operate::{Asked, OperateError, asked};
use tieline_runtime::state::{Act, Progress, Stage, Target};

use crate::desk::Desk;
use crate::failure::{Failure, print};
use crate::moment;
use crate::replay::progress;
use crate::table::table;

/// What was asked of the bus.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List commands with who gave them, why, and what came of them: `tieline control list --max 20`
    List {
        /// The newest so many.
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        max: usize,
        /// Print them as a JSON array.
        #[arg(long)]
        json: bool,
    },
}

/// Lists commands.
///
/// # Errors
/// When Kafka cannot be asked.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    let Command::List { max, json } = options.command;
    let desk = Desk::open(dir)?;
    let all = desk.ask(move |desk| read(desk, max)).await?;
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
    } else if all.is_empty() {
        print("nothing was asked yet\n");
    } else {
        let head = ["WHEN", "COMMAND", "WHAT", "BY", "STATE", "REASON"];
        print(&table(&head, &all.iter().map(row).collect::<Vec<_>>()));
    }
    Ok(())
}

fn read(desk: &Desk, max: usize) -> Result<Vec<Asked>, OperateError> {
    // Any group of the bus's may read it; without a consumer there is nobody to ask anything of.
    let Some(consumer) = desk.bus.consumers.keys().next() else { return Ok(Vec::new()) };
    match asked(&mut desk.reader(consumer)?, &desk.bus.name, max) {
        Err(OperateError::Read(ReadError::NoTopic { .. })) => Ok(Vec::new()),
        other => other,
    }
}

fn row(asked: &Asked) -> Vec<String> {
    let command = &asked.command;
    vec![
        moment::show(command.at_ms),
        command.id.clone(),
        what(&command.act, asked.letters),
        command.by.clone(),
        match &command.act {
            Act::Replay(_) => progress::state(asked),
            _ => state(&asked.progress),
        },
        command.reason.clone(),
    ]
}

fn what(act: &Act, letters: usize) -> String {
    match act {
        Act::Pause { target } => format!("pause {}", name(target)),
        Act::Resume { target } => format!("resume {}", name(target)),
        Act::Discard { consumer, .. } => format!("discard {letters} of consumers/{consumer}"),
        Act::Redrive { consumer, .. } => format!("redrive {letters} of consumers/{consumer}"),
        Act::Bury { consumer, .. } => format!("bury {letters} of consumers/{consumer}"),
        Act::Replay(replay) => {
            let offsets: i64 = replay.ranges.iter().map(|range| range.to - range.from).sum();
            format!("replay {offsets} offsets of consumers/{}", replay.consumer)
        }
        Act::Cancel { command } => format!("cancel replays/{command}"),
        Act::Edit { consumer, origin, .. } => format!("edit {origin} of consumers/{consumer}"),
    }
}

fn name(target: &Target) -> String {
    match target {
        Target::Consumer { name } => format!("consumers/{name}"),
        Target::System { name } => format!("systems/{name}"),
        Target::Replay { command } => format!("replays/{command}"),
        Target::Key { key, consumer: None } => format!("keys/{key}"),
        Target::Key { key, consumer: Some(consumer) } => format!("keys/{key} in consumers/{consumer}"),
    }
}

/// What all owners together say.
fn state(progress: &[Progress]) -> String {
    if progress.is_empty() {
        return "not yet read".to_owned();
    }
    let (mut done, mut passed, mut open) = (0, 0, 0);
    for at in progress {
        match &at.stage {
            Stage::Failed { why } => return format!("failed in partition {} of {}: {why}", at.partition, at.consumer),
            Stage::Accepted | Stage::Replaying { .. } | Stage::Replayed { .. } => open += 1,
            Stage::UnderWay { done: so_far, .. } => {
                done += so_far;
                open += 1;
            }
            Stage::Done { done: all, passed: over } => {
                done += all;
                passed += over;
            }
        }
    }
    match (open, done, passed) {
        (0, 0, 0) => "done".to_owned(),
        (0, done, 0) => format!("done: {done}"),
        (0, done, passed) => format!("done: {done}, passed over: {passed}"),
        (open, done, _) => format!("under way in {open} partitions, {done} done"),
    }
}
