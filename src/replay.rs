//! `tieline replay`: a stretch of a consumer's topic, delivered again behind live work.

pub mod progress;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use clap::{ArgGroup, Args};
use serde_json::json;
use tieline_bus::Consumer;
use tieline_runtime::consumer::Preview;
use tieline_runtime::operate::{Forecast, Foreseen, Mark, Payload, beyond_ledger, forecast, ranges};
use tieline_runtime::replay::Judge;
use tieline_runtime::state::{Act, Replay};

use crate::dead_letters::ordered;
use crate::desk::{Because, Desk, said};
use crate::failure::{Failure, print};
use crate::moment;
use crate::table::{plain, table};

/// Deliver records of a consumer's topic again: only those whose effect is missing, behind live work, and never after a
/// newer record of their key.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["from", "status", "cancel"]))]
pub struct Options {
    /// The consumer.
    consumer: String,
    /// Where it begins: `earliest`, a time (2026-01-31T08:00:00Z, or 2h ago), or offsets of partitions: `0:1200,3:900`.
    #[arg(long, value_name = "WHERE", value_parser = mark)]
    from: Option<Mark>,
    /// Where it ends, before that: the same, or `latest`, where live work begins.
    #[arg(long, value_name = "WHERE", value_parser = mark, default_value = "latest")]
    to: Mark,
    /// Only events for which this holds, as in a consumer's `when`: `--where ".deal.amount > 1000"`.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Send what is done too, as effects of their own.
    #[arg(long)]
    again: bool,
    /// Send also what is older than a record of its key that is done.
    #[arg(long)]
    overtake: bool,
    /// Send at most so many in a second, from each replica.
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Show what it would do, and order nothing. No system is asked.
    #[arg(long)]
    dry_run: bool,
    /// Show so many records of a dry run.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    max: usize,
    /// Show how far the replays of this consumer are.
    #[arg(long)]
    status: bool,
    /// End this replay where it stands.
    #[arg(long, value_name = "COMMAND")]
    cancel: Option<String>,
    /// Why, in your words; for whatever is ordered.
    #[arg(long, value_name = "TEXT", value_parser = said, required_unless_present_any = ["dry_run", "status"])]
    reason: Option<String>,
    /// Who asks, where it is not the user of this shell.
    #[arg(long = "as", value_name = "WHO", value_parser = said)]
    by: Option<String>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Orders a replay, shows what it would do, how far it is, or ends it.
///
/// # Errors
/// When it makes no sense, or Kafka or the registry cannot be asked.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    let desk = Desk::open(dir)?;
    let consumer = desk.consumer(&options.consumer)?;
    if options.status {
        return progress::show(&desk, &consumer, options.json).await;
    }
    if let Some(command) = &options.cancel {
        progress::check(&desk, &consumer, command).await?;
        return options
            .give(&desk, Act::Cancel { command: command.clone() }, &format!("cancel replay {command}"))
            .await;
    }
    let replay = options.replay(&desk, &consumer).await?;
    let offsets: i64 = replay.ranges.iter().map(|range| range.to - range.from).sum();
    if replay.ranges.is_empty() {
        print(&format!("consumers/{} has nothing between these places that it has finished\n", consumer.name));
        return Err(Failure::Problems);
    }
    if options.dry_run {
        return options.foresee(&desk, &consumer, replay).await;
    }
    options.refuse_beyond_ledger(&desk, &replay).await?;
    let what = format!("replay at most {offsets} records of consumers/{}", consumer.name);
    options.give(&desk, Act::Replay(replay), &what).await
}

impl Options {
    /// The replay, with its places settled.
    async fn replay(&self, desk: &Desk, consumer: &Arc<Consumer>) -> Result<Replay, Failure> {
        let Some(from) = self.from.clone() else { return Err(Failure::Usage("say --from where".to_owned())) };
        let (to, of) = (self.to.clone(), Arc::clone(consumer));
        let mut replay = Replay {
            consumer: consumer.name.clone(),
            topic: consumer.event.topic.clone(),
            ranges: Vec::new(),
            again: self.again,
            overtake: self.overtake,
            condition: self.condition.clone(),
            per_second: self.rate,
        };
        judge(&replay, desk, consumer)?;
        replay.ranges = desk.ask(move |desk| ranges(&mut desk.reader(&of.name)?, &of, &from, &to)).await?;
        Ok(replay)
    }

    /// What is older than the ledger may be done or not: nobody knows.
    async fn refuse_beyond_ledger(&self, desk: &Desk, replay: &Replay) -> Result<(), Failure> {
        if self.again {
            return Ok(());
        }
        let of = replay.clone();
        let beyond = desk.ask(move |desk| beyond_ledger(&mut desk.reader(&of.consumer)?, &desk.bus.name, &of)).await?;
        if beyond.is_empty() {
            return Ok(());
        }
        let places: Vec<String> = beyond.iter().map(|(partition, reach)| format!("{partition}:{reach}")).collect();
        Err(Failure::Usage(format!(
            "the ledger of consumers/{} does not reach so far back, so that nothing says what is missing: begin at \
             `--from {}`, or send all of it with `--again`",
            replay.consumer,
            places.join(",")
        )))
    }

    async fn give(&self, desk: &Desk, act: Act, what: &str) -> Result<(), Failure> {
        let because = Because::of(self.reason.clone().unwrap_or_default(), self.by.clone());
        let command = desk.order(act, &because).await?;
        print(&if self.json {
            format!("{}\n", serde_json::to_string_pretty(&json!({ "command": command.id }))?)
        } else {
            ordered(&command.id, &plain(what))
        });
        Ok(())
    }

    async fn foresee(&self, desk: &Desk, consumer: &Arc<Consumer>, replay: Replay) -> Result<(), Failure> {
        let mut judge = judge(&replay, desk, consumer)?;
        let (of, max) = (Arc::clone(consumer), self.max);
        let beyond = if self.again { Ok(()) } else { self.refuse_beyond_ledger(desk, &replay).await };
        let foreseen = desk
            .ask(move |desk| {
                let (mut reader, mut payload) = (desk.reader(&of.name)?, Payload::new(desk.registry.clone()));
                forecast(&mut reader, &desk.bus.name, &of, &replay, (&mut judge, &mut payload), max)
            })
            .await?;
        print(&if self.json { format!("{}\n", serde_json::to_string_pretty(&foreseen)?) } else { shown(&foreseen) });
        beyond
    }
}

/// The condition has to make sense before anything is ordered.
fn judge(replay: &Replay, desk: &Desk, consumer: &Arc<Consumer>) -> Result<Option<Judge>, Failure> {
    Judge::of(replay, &consumer.event, &desk.registry).map_err(|error| {
        Failure::Usage(format!("--where `{}`: {error}", replay.condition.as_deref().unwrap_or_default()))
    })
}

fn shown(foreseen: &Forecast) -> String {
    let head = ["ORIGIN", "EVENT", "KEY", "WAS", "WOULD BE", "REQUEST"];
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let row = |one: &Foreseen| {
        let (would, request) = would_be(one);
        vec![one.origin.to_string(), text(&one.event_id), text(&one.key), one.was.to_owned(), would, request]
    };
    let rows: Vec<Vec<String>> = foreseen.records.iter().map(row).collect();
    let mut told = if rows.is_empty() { String::new() } else { table(&head, &rows) };
    let sent = foreseen.tally.sent;
    told += &format!("would send {sent}; {}; nothing was sent, and no system asked\n", progress::of(&foreseen.tally));
    told
}

fn would_be(one: &Foreseen) -> (String, String) {
    if let Some(newer) = one.overtaken_by {
        return ("passed over".to_owned(), format!("offset {newer} of its key is newer, and done"));
    }
    let sent = if one.was == "done" { "sent again" } else { "sent" };
    match &one.preview {
        Preview::Call { operation, parameters, body } => {
            let parameters = parameters.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
            let body = body.as_ref().map(|body| format!(" {body}")).unwrap_or_default();
            (sent.to_owned(), format!("{operation}{parameters}{body}"))
        }
        Preview::LookUp { operation, look_ups } => {
            (sent.to_owned(), format!("{operation}, after looking up {}", look_ups.join(", ")))
        }
        Preview::Skip => ("skipped".to_owned(), String::new()),
        Preview::Refuse { why } => ("a dead letter".to_owned(), why.clone()),
    }
}

/// Reads where a stretch begins or ends.
fn mark(text: &str) -> Result<Mark, String> {
    match text {
        "earliest" => return Ok(Mark::Earliest),
        "latest" => return Ok(Mark::Latest),
        _ => {}
    }
    let offset = |part: &str| {
        let (partition, offset) = part.split_once(':')?;
        Some((partition.trim().parse().ok()?, offset.trim().parse().ok()?))
    };
    if let Some(offsets) = text.split(',').map(offset).collect::<Option<BTreeMap<i32, i64>>>() {
        return Ok(Mark::Offsets(offsets));
    }
    moment::parse(text)
        .map(Mark::Time)
        .map_err(|wrong| format!("{wrong}; or `earliest`, `latest`, or offsets of partitions, such as 0:1200,3:900"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_a_time_or_offsets_of_partitions() {
        assert_eq!(mark("earliest"), Ok(Mark::Earliest));
        assert_eq!(mark("0:1200, 3:900"), Ok(Mark::Offsets([(0, 1_200), (3, 900)].into())));
        assert_eq!(mark("1970-01-01T00:00:01Z"), Ok(Mark::Time(1_000)));
        assert!(mark("2h").is_ok_and(|mark| matches!(mark, Mark::Time(_))));
        assert!(mark("yesterday").is_err_and(|why| why.contains("0:1200,3:900")));
    }
}
