//! `tieline dead-letters edit`: one dead letter, delivered again with another payload.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use tieline_runtime::operate::{Payload, PayloadError};
use tieline_runtime::state::Act;

use super::Orders;
use crate::desk::Desk;
use crate::failure::Failure;
use crate::select::Selection;

/// Largest payload that is read, in bytes: more than an event of Kafka's usual 1 MiB could be.
const PAYLOAD_BYTES_MAX: u64 = 4 << 20;

/// Deliver one dead letter again with another payload. It must fit the event's schema, and gets an idempotency key of its own.
#[derive(Debug, Args)]
pub struct Options {
    /// The consumer.
    consumer: String,
    /// Its place (TOPIC-PARTITION-OFFSET) or its event's id.
    letter: String,
    /// A file with the payload as JSON, as `show` prints it; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
    #[command(flatten)]
    orders: Orders,
}

/// Orders it.
///
/// # Errors
/// When the payload does not fit, or the letter is not there or not the only one.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    let desk = Desk::open(dir)?;
    let consumer = desk.consumer(&options.consumer)?;
    let payload = read(&options.payload)?;
    let found =
        options.orders.choose(&desk, &consumer, &Selection::any(), std::slice::from_ref(&options.letter)).await?;
    let [letter] = found.letters.as_slice() else {
        let usage = format!("`{}` is {} dead letters: name the place of one", options.letter, found.letters.len());
        return Err(Failure::Usage(usage));
    };
    let origin = letter.origin.clone();
    let event = Arc::clone(&consumer.event);
    let written = desk.ask(move |desk| Ok(Payload::new(desk.registry.clone()).write(&event, &payload))).await?;
    let value = match written {
        Ok(value) => value,
        Err(PayloadError::Misfit(problem)) => {
            return Err(Failure::Usage(format!(
                "--payload does not fit schemas/{}.avsc: {problem}",
                consumer.event.name
            )));
        }
        Err(error @ (PayloadError::Tombstone | PayloadError::Wire(_) | PayloadError::Registry(_))) => {
            return Err(error.into());
        }
    };
    let act = Act::Edit { consumer: consumer.name.clone(), origin, value: Some(value.into()) };
    options.orders.give(&desk, act, "edit and redrive", &found).await
}

fn read(file: &Path) -> Result<Value, Failure> {
    let mut text = String::new();
    let from: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).with_context(|| format!("{} cannot be read", file.display()))?)
    };
    from.take(PAYLOAD_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("--payload {}: {error}", file.display())))
}
