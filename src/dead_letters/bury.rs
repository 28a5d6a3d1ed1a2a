//! `tieline dead-letters bury`: a record that keeps its consumer waiting is made a dead letter, since somebody says so.

use std::path::Path;

use clap::Args;
use serde_json::json;
use tieline_bus::Consumer;
use tieline_runtime::kafka::Record;
use tieline_runtime::state::{Act, Lot, Origin};

use super::ordered;
use crate::counted::counted;
use crate::desk::{Because, Desk};
use crate::failure::{Failure, print};
use crate::moment;
use crate::table::table;

/// Make dead letters of records that a consumer keeps trying, since they themselves are at fault and not the system or the
/// mapping: those that `/stuck` and `tieline where` show. One that is delivered meanwhile, or parked, is passed over.
#[derive(Debug, Args)]
pub struct Options {
    /// The consumer.
    consumer: String,
    /// The places of the records: TOPIC-PARTITION-OFFSET.
    #[arg(required = true, value_name = "PLACE")]
    records: Vec<Origin>,
    #[command(flatten)]
    because: Because,
    /// Show which records these are, and order nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print as JSON what was ordered, or would be.
    #[arg(long)]
    json: bool,
}

/// Orders it.
///
/// # Errors
/// When a record is not there, or the order is not acknowledged.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    let desk = Desk::open(dir)?;
    let consumer = desk.consumer(&options.consumer)?;
    let records = find(&desk, &consumer, &options.records).await?;
    let act = Act::Bury { consumer: consumer.name.clone(), lots: Lot::of(&options.records) };
    let command = if options.dry_run { None } else { Some(desk.order(act, &options.because).await?) };
    let count = counted(records.len(), "record");
    if options.json {
        let id = command.as_ref().map(|command| &command.id);
        let places: Vec<String> = options.records.iter().map(ToString::to_string).collect();
        let told = json!({ "command": id, "dry_run": options.dry_run, "records": places });
        print(&format!("{}\n", serde_json::to_string_pretty(&told)?));
        return Ok(());
    }
    print(&match command {
        None => format!("{}would bury {count}, and has ordered nothing\n", shown(&records)),
        Some(command) => ordered(&command.id, &format!("bury {count}")),
    });
    Ok(())
}

/// The records of these places; all of them, or it is no use to order anything.
async fn find(desk: &Desk, consumer: &Consumer, places: &[Origin]) -> Result<Vec<Record>, Failure> {
    let topic = &consumer.event.topic;
    if let Some(other) = places.iter().find(|place| place.topic != *topic) {
        return Err(Failure::Usage(format!(
            "consumers/{} reads {topic}, and {other} is no record of it",
            consumer.name
        )));
    }
    let (name, wanted) = (consumer.name.clone(), places.to_vec());
    let found = desk.ask(move |desk| {
        let mut reader = desk.reader(&name)?;
        let mut found = Vec::new();
        for place in &wanted {
            found.extend(reader.record(&place.topic, place.partition, place.offset)?);
        }
        Ok(found)
    });
    let found = found.await?;
    let is_there =
        |place: &&Origin| found.iter().any(|at| (at.partition, at.offset) == (place.partition, place.offset));
    match places.iter().find(|place| !is_there(place)) {
        Some(missing) => Err(Failure::Usage(format!("there is no record at {missing}"))),
        None => Ok(found),
    }
}

fn shown(records: &[Record]) -> String {
    let row = |record: &Record| {
        let key = record.key.as_ref().map_or_else(|| "-".to_owned(), |key| String::from_utf8_lossy(key).into_owned());
        let place = format!("{}-{}-{}", record.topic, record.partition, record.offset);
        vec![place, key, record.timestamp_ms.map_or_else(|| "-".to_owned(), moment::show)]
    };
    table(&["RECORD", "KEY", "PRODUCED"], &records.iter().map(row).collect::<Vec<_>>())
}
