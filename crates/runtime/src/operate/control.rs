//! Orders: given to the control topic, and read back with what came of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rdkafka::producer::FutureRecord;
use serde::Serialize;

use super::OperateError;
use crate::kafka::{EventProducer, TopicReader};
use crate::state::{Act, Command, ControlRecord, Progress, control_topic};

/// A command, and what its owners have made of it.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// The command; its dead letters are counted and left out, since there may be many.
    #[serde(flatten)]
    pub command: Command,
    /// How many dead letters it names.
    pub letters: usize,
    /// What owners say, by consumer and partition. Nothing yet, while none has read it.
    pub progress: Vec<Progress>,
}

/// Gives an order, and waits until it is durable.
///
/// # Errors
/// When it is too large, or not acknowledged.
pub async fn order(events: &EventProducer, bus: &str, command: &Command) -> Result<(), OperateError> {
    let (topic, key, value) = (control_topic(bus), command.key(), command.encode()?);
    let record = FutureRecord::to(&topic).partition(0).key(key.as_slice()).payload(value.as_slice());
    events.put(record).await?;
    Ok(())
}

/// The newest commands, oldest first, at most so many; blocks.
///
/// # Errors
/// When the topic cannot be read.
pub fn asked(reader: &mut TopicReader, bus: &str, max: usize) -> Result<Vec<Asked>, OperateError> {
    let topic = control_topic(bus);
    let spans = reader.spans(&topic)?;
    let mut commands: Vec<Asked> = Vec::new();
    let mut progress: BTreeMap<Vec<u8>, Progress> = BTreeMap::new();
    reader.read(&topic, &spans, |record| {
        let (key, value) = (record.key.as_deref().unwrap_or_default(), record.value.as_deref());
        match value.map(|value| ControlRecord::decode(key, value)) {
            Some(Ok(ControlRecord::Command(command))) => {
                if commands.len() >= max.max(1) {
                    let oldest = commands.remove(0);
                    progress.retain(|_, p| p.command != oldest.command.id);
                }
                commands.push(Asked::of(command));
            }
            Some(Ok(ControlRecord::Progress(at))) if commands.iter().any(|c| c.command.id == at.command) => {
                progress.insert(key.to_vec(), at);
            }
            // Of a command that is not shown, or ended.
            Some(Ok(ControlRecord::Progress(_))) | None => {}
            // What another release asks for does not hide what this one can read.
            Some(Err(error)) => tracing::warn!(offset = record.offset, %error, "passed over"),
        }
        ControlFlow::Continue(())
    })?;
    for at in progress.into_values() {
        if let Some(asked) = commands.iter_mut().find(|c| c.command.id == at.command) {
            asked.progress.push(at);
        }
    }
    Ok(commands)
}

impl Asked {
    fn of(mut command: Command) -> Self {
        let letters = command.act.letters();
        match &mut command.act {
            Act::Discard { lots, .. } | Act::Redrive { lots, .. } | Act::Bury { lots, .. } => lots.clear(),
            Act::Edit { value, .. } => *value = None,
            Act::Pause { .. } | Act::Resume { .. } | Act::Replay(_) | Act::Cancel { .. } => {}
        }
        Self { command, letters, progress: Vec::new() }
    }
}
