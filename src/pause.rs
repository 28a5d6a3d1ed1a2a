//! `tieline pause` and `tieline resume`: a consumer, a system, a key or a replay.

use std::path::Path;

use clap::Args;
use serde_json::json;
use tieline_bus::Bus;
use tieline_runtime::state::{Act, Target};

use crate::dead_letters::ordered;
use crate::desk::{Because, Desk};
use crate::failure::{Failure, print};
use crate::table::plain;

/// Pause or resume. What is under way ends; what waits keeps its place, and nobody leaves the group.
#[derive(Debug, Args)]
pub struct Options {
    /// `consumers/NAME`, `systems/NAME`, a NAME that only one of them has, `keys/KEY`, or `replays/COMMAND`.
    what: String,
    /// Only in this consumer; for a key.
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    #[command(flatten)]
    because: Because,
    /// Print the command's id as JSON.
    #[arg(long)]
    json: bool,
}

/// Orders a pause.
///
/// # Errors
/// When the bus has nothing of this name, or the order is not acknowledged.
pub async fn pause(dir: &Path, options: &Options) -> Result<(), Failure> {
    order(dir, options, |target| Act::Pause { target }, "pause").await
}

/// Orders that something goes on.
///
/// # Errors
/// When the bus has nothing of this name, or the order is not acknowledged.
pub async fn resume(dir: &Path, options: &Options) -> Result<(), Failure> {
    order(dir, options, |target| Act::Resume { target }, "resume").await
}

async fn order(dir: &Path, options: &Options, act: fn(Target) -> Act, what: &str) -> Result<(), Failure> {
    let desk = Desk::open(dir)?;
    let target = options.target(&desk)?;
    let command = desk.order(act(target), &options.because).await?;
    print(&if options.json {
        format!("{}\n", serde_json::to_string_pretty(&json!({ "command": command.id }))?)
    } else {
        ordered(&command.id, &format!("{what} {}", plain(&options.what)))
    });
    Ok(())
}

impl Options {
    fn target(&self, desk: &Desk) -> Result<Target, Failure> {
        if let Some(key) = self.what.strip_prefix("keys/").filter(|key| !key.is_empty()) {
            let consumer = self.consumer.as_deref().map(|name| desk.consumer(name)).transpose()?;
            return Ok(Target::Key { key: key.to_owned(), consumer: consumer.map(|c| c.name.clone()) });
        }
        if let Some(command) = self.what.strip_prefix("replays/").filter(|command| !command.is_empty()) {
            return Ok(Target::Replay { command: command.to_owned() });
        }
        if self.consumer.is_some() {
            return Err(Failure::Usage("--consumer narrows the pause of a key: keys/KEY".to_owned()));
        }
        named(&desk.bus, self.what.trim_end_matches('/'))
    }
}

/// The consumer or system of a name. A bare name is no key: a misspelt consumer would become one.
fn named(bus: &Bus, what: &str) -> Result<Target, Failure> {
    let known = |folder: &str, there: &dyn Fn(&str) -> bool| {
        let name = what.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).unwrap_or(what);
        there(name).then(|| name.to_owned())
    };
    let consumer = known("consumers", &|name| bus.consumers.contains_key(name));
    let system = known("systems", &|name| bus.systems.contains_key(name));
    match (consumer, system) {
        (Some(name), None) => Ok(Target::Consumer { name }),
        (None, Some(name)) => Ok(Target::System { name }),
        (Some(_), Some(_)) => Err(Failure::Usage(format!(
            "`{what}` is a consumer and a system: write consumers/{what} or systems/{what}"
        ))),
        (None, None) => {
            let consumers = bus.consumers.keys().map(|name| format!("consumers/{name}"));
            let known: Vec<String> =
                consumers.chain(bus.systems.keys().map(|name| format!("systems/{name}"))).collect();
            Err(Failure::Usage(format!(
                "the bus has no `{}`; it has {}; a key is written keys/KEY",
                plain(what),
                known.join(", ")
            )))
        }
    }
}
