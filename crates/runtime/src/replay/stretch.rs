//! The records of a stretch, one after another, and which of them are to be sent.

use std::ops::ControlFlow;
use std::sync::Arc;

use tieline_bus::Event;

use super::shown::{Shown, Was};
use crate::kafka::{ReadError, Record, Span, TopicReader};
use crate::operate::{Condition, ConditionError, Payload};
use crate::registry::{RegistryClient, RegistryError};
use crate::state::{Range, Replay, Tally};

/// How many records are passed over in one step at most: so often it is heard of that it goes on.
const PASSED_MAX: u64 = 4_096;

/// Why a stretch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StretchError {
    /// The topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The registry cannot be asked for the schema that an event was written with.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A step through a stretch.
#[derive(Debug)]
pub struct Step {
    /// What was passed over before its record.
    pub tally: Tally,
    /// A record that is to be sent.
    pub record: Option<Record>,
    /// The step has come to this offset.
    pub to: i64,
}

/// Says of which events a replay is meant.
#[derive(Debug)]
pub struct Judge {
    condition: Condition,
    payload: Payload,
}

impl Judge {
    /// Compiles the condition of a replay, if it has one. To be made on a thread of the runtime.
    ///
    /// # Errors
    /// When it is none on this event.
    pub fn of(replay: &Replay, event: &Arc<Event>, registry: &RegistryClient) -> Result<Option<Self>, ConditionError> {
        let Some(text) = &replay.condition else { return Ok(None) };
        Ok(Some(Self { condition: Condition::compile(text, event)?, payload: Payload::new(registry.clone()) }))
    }

    fn means(&mut self, record: &Record) -> Result<bool, RegistryError> {
        Ok(self.payload.holds_of(&self.condition, record)?.unwrap_or(false))
    }
}

/// Reads a stretch, and gives its steps until there are no more, or nobody wants one.
///
/// # Errors
/// When the topic or the registry cannot be read.
pub fn steps(
    reader: &mut TopicReader,
    replay: &Replay,
    range: Range,
    shown: &Shown,
    judge: &mut Option<Judge>,
    mut give: impl FnMut(Step) -> ControlFlow<()>,
) -> Result<(), StretchError> {
    let (mut tally, mut failed, mut wanted) = (Tally::default(), None, true);
    let span = Span { partition: range.partition, from: range.from, to: range.to };
    reader.read(&replay.topic, &[span], |record| {
        let to = record.offset + 1;
        match passed_over(replay, shown, judge, &record) {
            Ok(None) => {
                wanted = give(Step { tally: std::mem::take(&mut tally), record: Some(record), to }).is_continue();
            }
            Ok(Some(passed)) => {
                tally += passed;
                if tally.total() >= PASSED_MAX {
                    wanted = give(Step { tally: std::mem::take(&mut tally), record: None, to }).is_continue();
                }
            }
            Err(error) => failed = Some(error),
        }
        if wanted && failed.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if wanted {
        let _ = give(Step { tally, record: None, to: range.to });
    }
    Ok(())
}

/// What a record counts as that is not to be sent.
fn passed_over(
    replay: &Replay,
    shown: &Shown,
    judge: &mut Option<Judge>,
    record: &Record,
) -> Result<Option<Tally>, RegistryError> {
    let none = Tally::default();
    if let Some(ended) = shown.ended(record.offset) {
        return Ok(Some(ended));
    }
    match shown.was(record.offset) {
        Was::Done if !replay.again => return Ok(Some(Tally { done_before: 1, ..none })),
        Was::SetAside => return Ok(Some(Tally { set_aside: 1, ..none })),
        Was::Missing | Was::Done => {}
    }
    let meant = judge.as_mut().map_or(Ok(true), |judge| judge.means(record))?;
    Ok((!meant).then_some(Tally { not_meant: 1, ..none }))
}
