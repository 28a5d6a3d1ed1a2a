//! `tieline redrive`: dead letters, delivered again in the order of their keys and under the same idempotency keys.

use std::path::Path;

use clap::Args;
use tieline_runtime::state::Act;

use crate::dead_letters::{Orders, lots};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::select::Selection;

/// Deliver dead letters again, before later records of their keys. What had its effect already is never sent a second time.
#[derive(Debug, Args)]
pub struct Options {
    /// The consumer.
    consumer: String,
    /// Their places or event ids, as `tieline dead-letters list` shows them; all that the filters choose without any.
    letters: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Set at most so many going in a second, for each replica.
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Pass over what was redriven so often already.
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    #[command(flatten)]
    orders: Orders,
}

/// Orders a redrive.
///
/// # Errors
/// When nothing matches, or the order is not acknowledged.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    let desk = Desk::open(dir)?;
    let consumer = desk.consumer(&options.consumer)?;
    let found = options.orders.choose(&desk, &consumer, &options.selection, &options.letters).await?;
    let act = Act::Redrive {
        consumer: consumer.name.clone(),
        lots: lots(&found),
        per_second: options.rate,
        rounds_max: options.rounds,
    };
    options.orders.give(&desk, act, "redrive", &found).await
}
