//! `tieline dead-letters`: what could not be delivered, listed, shown, edited and discarded; and what is not to be tried any more.

mod bodies;
mod bury;
mod edit;
mod show;

pub use show::attempts;

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tieline_runtime::operate::Letters;
use tieline_runtime::state::{Act, Lot};

use crate::counted::counted;
use crate::desk::{Because, Desk};
use crate::failure::{Failure, print};
use crate::select::{Selection, or_none, shown, unjudged};

/// Look at what could not be delivered, and decide what becomes of it.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters, of one consumer or of all: `tieline dead-letters list erp-project --code http-422 --since 2h`
    List(ListOptions),
    /// Show one whole: its payload, its attempts, why it is dead: `tieline dead-letters show evt_7c1`
    Show(show::Options),
    /// Give some up for good; keys that they hold go on: `tieline dead-letters discard erp-project --key deal-1 --reason 'a test'`
    Discard(DiscardOptions),
    /// Make dead letters of records that a consumer keeps trying: `tieline dead-letters bury erp-project crm.deals-3-118 --reason 'a test'`
    Bury(bury::Options),
    /// Deliver one again with another payload: `tieline dead-letters edit erp-project evt_7c1 --payload deal.json --reason 'typo'`
    Edit(edit::Options),
}

/// List dead letters.
#[derive(Debug, Args)]
struct ListOptions {
    /// The consumer, or `producers/NAME` for what that could not map; all of the bus without one.
    consumer: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Print them as a JSON array.
    #[arg(long)]
    json: bool,
}

/// Give dead letters up.
#[derive(Debug, Args)]
struct DiscardOptions {
    /// The consumer.
    consumer: String,
    /// Their places or event ids, as `list` shows them; all that the filters choose without any.
    letters: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    orders: Orders,
}

/// How an order about dead letters is given.
#[derive(Debug, Args)]
pub struct Orders {
    #[command(flatten)]
    pub because: Because,
    /// All dead letters of the consumer: asked for where nothing else chooses.
    #[arg(long)]
    pub all: bool,
    /// Show what would be ordered, and order nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print as JSON what was ordered, or would be.
    #[arg(long)]
    pub json: bool,
}

/// Runs a subcommand.
///
/// # Errors
/// When nothing matches, the command makes no sense, or Kafka or the registry cannot be asked.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    match &options.command {
        Command::List(options) => list(dir, options).await,
        Command::Show(options) => show::run(dir, options).await,
        Command::Discard(options) => discard(dir, options).await,
        Command::Bury(options) => bury::run(dir, options).await,
        Command::Edit(options) => edit::run(dir, options).await,
    }
}

async fn list(dir: &Path, options: &ListOptions) -> Result<(), Failure> {
    let desk = Desk::open(dir)?;
    let named = options.consumer.as_deref();
    let producer = named.and_then(|name| name.strip_prefix("producers/"));
    let mut all = Vec::new();
    if producer.is_none() {
        all.extend(list_letters(&desk, options).await?);
    }
    let only_times = options.selection.has_only_times();
    if producer.is_some() && !only_times {
        let usage = "of what a producer could not map, --since, --until and --max choose: it is no event yet";
        return Err(Failure::Usage(usage.to_owned()));
    }
    if only_times && (producer.is_some() || named.is_none()) {
        for producer in bodies::producers(&desk, producer)? {
            let found = bodies::of(&desk, &producer, &options.selection).await?;
            if options.json {
                all.extend(found.iter().map(|body| json!({ "producer": producer, "body": body })));
            } else if !found.is_empty() || named.is_some() {
                print(&bodies::shown(&producer, &found));
            }
        }
    }
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
    }
    Ok(())
}

/// The dead letters of consumers: printed, or given back for JSON.
async fn list_letters(desk: &Desk, options: &ListOptions) -> Result<Vec<Value>, Failure> {
    let consumers = match &options.consumer {
        Some(name) => vec![desk.consumer(name)?],
        None if options.selection.condition.is_some() => {
            let usage = "--where reads the payload of one event: name the consumer whose dead letters it is about";
            return Err(Failure::Usage(usage.to_owned()));
        }
        None => desk.bus.consumers.values().cloned().collect(),
    };
    let mut all = Vec::new();
    for consumer in consumers {
        let found = or_none(options.selection.of(desk, &consumer, &[]).await)?;
        if options.json {
            let tell = |letter| json!({ "consumer": consumer.name, "letter": letter });
            all.extend(found.letters.iter().map(tell));
        } else if !found.letters.is_empty() || found.unjudged > 0 || options.consumer.is_some() {
            let count = found.letters.len();
            print(&format!("consumers/{}: {}\n", consumer.name, counted(count, "dead letter")));
            print(&if count > 0 { shown(&found.letters) } else { String::new() });
            print(&unjudged(&found));
        }
    }
    Ok(all)
}

async fn discard(dir: &Path, options: &DiscardOptions) -> Result<(), Failure> {
    let desk = Desk::open(dir)?;
    let consumer = desk.consumer(&options.consumer)?;
    let found = options.orders.choose(&desk, &consumer, &options.selection, &options.letters).await?;
    let act = Act::Discard { consumer: consumer.name.clone(), lots: lots(&found) };
    options.orders.give(&desk, act, "discard", &found).await
}

impl Orders {
    /// The dead letters that an order is about; at least one.
    ///
    /// # Errors
    /// When nothing was said about which, or none matches.
    pub async fn choose(
        &self,
        desk: &Desk,
        consumer: &tieline_bus::Consumer,
        selection: &Selection,
        named: &[String],
    ) -> Result<Letters, Failure> {
        if selection.is_empty() && named.is_empty() && !self.all {
            let usage = "say which dead letters: by place or event id, by a filter (--code, --key, --since, --where, …), or --all";
            return Err(Failure::Usage(usage.to_owned()));
        }
        let found = selection.of(desk, consumer, named).await?;
        if found.letters.is_empty() {
            print(&format!("no dead letter of consumers/{} matches\n{}", consumer.name, unjudged(&found)));
            return Err(Failure::Problems);
        }
        Ok(found)
    }

    /// Gives the order, or shows what it would be.
    ///
    /// # Errors
    /// When it is not acknowledged.
    pub async fn give(&self, desk: &Desk, act: Act, what: &str, found: &Letters) -> Result<(), Failure> {
        let count = found.letters.len();
        let command = if self.dry_run { None } else { Some(desk.order(act, &self.because).await?) };
        if self.json {
            let id = command.as_ref().map(|command| &command.id);
            let told = json!({ "command": id, "dry_run": self.dry_run, "letters": found.letters });
            print(&format!("{}\n", serde_json::to_string_pretty(&told)?));
            return Ok(());
        }
        match command {
            None => print(&format!(
                "{}{}would {what} {count}, and has ordered nothing\n",
                shown(&found.letters),
                unjudged(found)
            )),
            Some(command) => print(&format!(
                "{}{}",
                unjudged(found),
                ordered(&command.id, &format!("{what} {}", counted(count, "dead letter")))
            )),
        }
        Ok(())
    }
}

/// What somebody is told whose order was taken.
pub fn ordered(command: &str, what: &str) -> String {
    format!(
        "ordered: {what}, command {command}\nthe owners of the partitions act; `tieline control list` shows what came of it\n"
    )
}

/// The letters, as an order names them.
pub fn lots(found: &Letters) -> Vec<Lot> {
    Lot::of(found.letters.iter().map(|letter| &letter.origin))
}
