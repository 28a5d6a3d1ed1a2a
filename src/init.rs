//! `tieline init`: a new bus that passes `check` and `test`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::failure::{Failure, print};

/// Write a new bus: one system, one event, one producer, one consumer, each with a case.
#[derive(Debug, Args)]
pub struct Options {
    /// The directory to write it to; made if it is not there. Its name is the bus's.
    dir: PathBuf,
}

/// The files of a new bus.
const FILES: [(&str, &str); 10] = [
    ("tieline.yaml", include_str!("init/tieline.yaml")),
    ("systems/billing/system.yaml", include_str!("init/systems/billing/system.yaml")),
    ("systems/billing/openapi.yaml", include_str!("init/systems/billing/openapi.yaml")),
    ("schemas/shop.order_placed.avsc", include_str!("init/schemas/shop.order_placed.avsc")),
    ("producers/shop-webhooks/producer.yaml", include_str!("init/producers/shop-webhooks/producer.yaml")),
    ("producers/shop-webhooks/webhook.schema.json", include_str!("init/producers/shop-webhooks/webhook.schema.json")),
    ("producers/shop-webhooks/cases/placed.yaml", include_str!("init/producers/shop-webhooks/cases/placed.yaml")),
    ("consumers/order-invoice/consumer.yaml", include_str!("init/consumers/order-invoice/consumer.yaml")),
    ("consumers/order-invoice/cases/placed.yaml", include_str!("init/consumers/order-invoice/cases/placed.yaml")),
    (".gitignore", include_str!("init/gitignore")),
];

/// Writes the bus. A file that is there already is never written over.
///
/// # Errors
/// When a file is there already, or cannot be written.
pub fn run(options: &Options) -> Result<(), Failure> {
    let dir = &options.dir;
    // `.` has a name too.
    let whole = std::path::absolute(dir).context("cannot tell where this is")?;
    let name = whole.file_name().and_then(|n| n.to_str()).unwrap_or("bus").to_lowercase();
    let name_ok = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !name_ok {
        return Err(Failure::Usage(format!("`{name}` cannot be a bus's name: a-z, 0-9 and - only, a letter first")));
    }
    if let Some((there, _)) = FILES.iter().find(|(file, _)| dir.join(file).exists()) {
        let there = dir.join(there);
        return Err(Failure::Usage(format!("{} is there already, and nothing was written", there.display())));
    }
    for (file, text) in FILES {
        write(&dir.join(file), &text.replace("BUS_NAME", &name)).with_context(|| format!("cannot write {file}"))?;
    }
    let dir = dir.display();
    print(&format!("wrote bus `{name}` to {dir}; next:\n  cd {dir}\n  tieline check\n  tieline test\n  tieline dev\n"));
    Ok(())
}

fn write(file: &std::path::Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, text)
}
