//! `tieline where`: what became of an event in every consumer, or what it waits for there.

use std::path::Path;

use clap::Args;
use tieline_runtime::operate::{Question, State, Subject, Trail, Whereabouts, whereabouts};

use crate::dead_letters::attempts;
use crate::desk::Desk;
use crate::failure::{Failure, print};
use crate::moment;
use crate::table::{plain, table};

/// Say what became of an event, or of all events of a key, in every consumer.
#[derive(Debug, Args)]
pub struct Options {
    /// The id of an event, or a key.
    #[arg(value_name = "EVENT-ID|KEY")]
    text: String,
    /// It is a key: only its partition is read.
    #[arg(long, conflicts_with = "event")]
    key: bool,
    /// It is an event's id, even if it is some event's key.
    #[arg(long)]
    event: bool,
    /// How far back topics and ledgers are read: a time, or how long ago.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = moment::parse)]
    since: i64,
    /// Follow at most so many records of a topic: the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    max: usize,
    /// Show the attempts, where they are kept.
    #[arg(long)]
    attempts: bool,
    /// Print as a JSON array, attempts included.
    #[arg(long)]
    json: bool,
}

/// Follows an event.
///
/// # Errors
/// When no record is found, or Kafka cannot be asked.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    let desk = Desk::open(dir)?;
    let is = match (options.key, options.event) {
        (true, _) => Subject::Key,
        (false, true) => Subject::EventId,
        (false, false) => Subject::Either,
    };
    let question = Question { text: options.text.clone(), is, since_ms: options.since, records_max: options.max };
    let trails = desk.ask(move |desk| whereabouts(&desk.connection, &desk.bus, &question)).await?;
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&trails)?));
    } else {
        print(&trails.iter().map(|trail| shown(trail, options.attempts)).collect::<String>());
    }
    if trails.is_empty() {
        if !options.json {
            let (text, since) = (plain(&options.text), moment::show(options.since));
            print(&format!("no record since {since} has the id or key `{text}`, in any topic that a consumer reads\n"));
        }
        return Err(Failure::Problems);
    }
    Ok(())
}

fn shown(trail: &Trail, with_attempts: bool) -> String {
    let text = |text: &Option<String>| plain(text.as_deref().unwrap_or("-"));
    let at = trail.timestamp_ms.map_or_else(|| "its record is no longer there".to_owned(), moment::show);
    let (event, id, key) = (text(&trail.event), text(&trail.event_id), text(&trail.key));
    let mut out = format!("{event} {id}, key {key}, {at}, {}\n", trail.origin);
    out += &table(
        &["CONSUMER", "STATE", "WHEN", "ATTEMPTS", "WHY, OR WHAT IT WAITS FOR"],
        &trail.consumers.iter().map(row).collect::<Vec<_>>(),
    );
    for at in trail.consumers.iter().filter(|at| with_attempts && !at.tried.is_empty()) {
        out += &format!("consumers/{}\n{}", at.consumer, attempts(&at.tried));
    }
    out + "\n"
}

fn row(at: &Whereabouts) -> Vec<String> {
    let when = match (at.state, at.at_ms) {
        (_, None) => "-".to_owned(),
        (State::Parked, Some(at_ms)) => format!("not before {}", moment::show(at_ms)),
        (
            State::Done
            | State::Skipped
            | State::Superseded
            | State::Dead
            | State::Held
            | State::UnderWay
            | State::Waiting
            | State::Unknown,
            Some(at_ms),
        ) => moment::show(at_ms),
    };
    let attempts = at.attempts.map_or_else(|| "-".to_owned(), |attempts| attempts.to_string());
    vec![at.consumer.clone(), at.state.name().to_owned(), when, attempts, at.why.clone()]
}
