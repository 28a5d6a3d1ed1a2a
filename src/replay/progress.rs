//! How far replays are, as their owners say.

use serde_json::json;
use tieline_bus::Consumer;
use tieline_runtime::operate::{Asked, OperateError, asked};
use tieline_runtime::state::{Act, Progress, Range, Stage, Tally};

use crate::desk::Desk;
use crate::failure::{Failure, print};
use crate::table::table;

/// Most commands that are looked through for replays, the newest ones.
const COMMANDS_MAX: usize = 10_000;

/// Shows the replays of a consumer, partition by partition.
///
/// # Errors
/// When Kafka cannot be asked.
pub async fn show(desk: &Desk, consumer: &Consumer, as_json: bool) -> Result<(), Failure> {
    let replays = replays(desk, consumer).await?;
    if as_json {
        let all: Vec<_> = replays.iter().map(|asked| json!({ "replay": asked, "state": state(asked) })).collect();
        print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
        return Ok(());
    }
    if replays.is_empty() {
        print(&format!("no replay of consumers/{} was ordered\n", consumer.name));
    }
    for replay in &replays {
        let command = &replay.command;
        print(&format!("{} by {}: {}\n{}\n", command.id, command.by, command.reason, state(replay)));
        let Act::Replay(order) = &command.act else { continue };
        let rows: Vec<Vec<String>> = order.ranges.iter().map(|range| row(range, &replay.progress)).collect();
        print(&table(&["PARTITION", "FROM", "AT", "TO", "A SECOND", "STATE"], &rows));
    }
    Ok(())
}

/// Whether this is a replay of this consumer.
///
/// # Errors
/// When it is none, or Kafka cannot be asked.
pub async fn check(desk: &Desk, consumer: &Consumer, command: &str) -> Result<(), Failure> {
    if replays(desk, consumer).await?.iter().any(|asked| asked.command.id == command) {
        return Ok(());
    }
    let usage =
        format!("`{command}` is no replay of consumers/{0}: `tieline replay {0} --status` lists them", consumer.name);
    Err(Failure::Usage(usage))
}

async fn replays(desk: &Desk, consumer: &Consumer) -> Result<Vec<Asked>, Failure> {
    let name = consumer.name.clone();
    desk.ask(move |desk| -> Result<Vec<Asked>, OperateError> {
        let mut all = asked(&mut desk.reader(&name)?, &desk.bus.name, COMMANDS_MAX)?;
        all.retain(|asked| matches!(&asked.command.act, Act::Replay(replay) if replay.consumer == name));
        Ok(all)
    })
    .await
}

fn row(range: &Range, progress: &[Progress]) -> Vec<String> {
    let Range { partition, from, to } = range;
    let stage = progress.iter().find(|at| at.partition == *partition).map(|at| &at.stage);
    let (at, per_second, state) = match stage {
        Some(Stage::Replaying { at, per_second, tally, .. }) => (*at, per_second.to_string(), of(tally)),
        Some(Stage::Replayed { tally, cancelled: false }) => (*to, "-".to_owned(), format!("done: {}", of(tally))),
        Some(Stage::Replayed { tally, cancelled: true }) => {
            (from + i64::try_from(tally.total()).unwrap_or(0), "-".to_owned(), format!("cancelled: {}", of(tally)))
        }
        Some(Stage::Failed { why }) => (*from, "-".to_owned(), format!("failed: {why}")),
        Some(Stage::Accepted | Stage::UnderWay { .. } | Stage::Done { .. }) | None => {
            (*from, "-".to_owned(), "not begun".to_owned())
        }
    };
    vec![partition.to_string(), from.to_string(), at.to_string(), to.to_string(), per_second, state]
}

/// What all owners together say of a replay.
pub fn state(asked: &Asked) -> String {
    let Act::Replay(order) = &asked.command.act else { return String::new() };
    let (mut tally, mut left, mut per_second, mut open, mut cancelled) = (Tally::default(), 0, 0, 0, false);
    for range in &order.ranges {
        match asked.progress.iter().find(|at| at.partition == range.partition).map(|at| &at.stage) {
            Some(Stage::Replaying { at, to, per_second: rate, tally: so_far, .. }) => {
                tally += *so_far;
                left += to - at;
                per_second += rate;
                open += 1;
            }
            Some(Stage::Replayed { tally: all, cancelled: ended }) => {
                tally += *all;
                cancelled |= ended;
            }
            Some(Stage::Failed { why }) => return format!("failed in partition {}: {why}", range.partition),
            Some(Stage::Accepted | Stage::UnderWay { .. } | Stage::Done { .. }) | None => {
                left += range.to - range.from;
                open += 1;
            }
        }
    }
    let told = of(&tally);
    match (open, cancelled) {
        (0, false) => format!("done: {told}"),
        (_, true) => format!("cancelled: {told}"),
        (_, false) => {
            let all: i64 = order.ranges.iter().map(|range| range.to - range.from).sum();
            let percent = (all - left) * 100 / all.max(1);
            let end = match u64::try_from(left).unwrap_or(0).checked_div(per_second) {
                Some(seconds) => format!(", about {} left", lasting(seconds)),
                None => String::new(),
            };
            format!("{percent} %{end}: {told}")
        }
    }
}

/// What became of records, in words; those that none came to are left out.
pub fn of(tally: &Tally) -> String {
    let Tally { sent, skipped, overtaken, dead, parked, done_before, set_aside, not_meant } = tally;
    let parts = [
        (sent, "sent"),
        (skipped, "skipped"),
        (overtaken, "overtaken"),
        (dead, "dead"),
        (parked, "parked"),
        (done_before, "done before"),
        (set_aside, "dead or parked before"),
        (not_meant, "not meant"),
    ];
    let told: Vec<String> = parts.iter().filter(|(n, _)| **n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if told.is_empty() { "nothing yet".to_owned() } else { told.join(", ") }
}

fn lasting(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}
