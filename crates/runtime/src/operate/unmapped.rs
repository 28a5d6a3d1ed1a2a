//! The bodies that a producer could not map, as they stand now.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;

use super::OperateError;
use crate::kafka::TopicReader;
use crate::state::{LETTERS_MAX, UnmappedBody};

/// A body in a list: all but its bytes.
#[derive(Debug, Clone, Serialize)]
pub struct ListedBody {
    /// The id of its delivery, as its sender gave it.
    pub delivery_id: String,
    /// When it was received, milliseconds since the Unix epoch.
    pub received_ms: i64,
    /// Why it could not be mapped, as a sentence.
    pub reason: String,
    /// Where it lies: partition and offset in the topic.
    #[serde(skip)]
    pub at: (i32, i64),
}

/// Reads the bodies of a topic that were received in this time, oldest first. A delivery that came again is there once.
///
/// # Errors
/// When the topic cannot be read, or there are too many.
pub fn unmapped(
    reader: &mut TopicReader,
    topic: &str,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
) -> Result<Vec<ListedBody>, OperateError> {
    let mut found: BTreeMap<Vec<u8>, ListedBody> = BTreeMap::new();
    let spans = reader.spans(topic)?;
    reader.read(topic, &spans, |record| {
        let key = record.key.as_deref().unwrap_or_default().to_vec();
        match record.value.as_deref().map(UnmappedBody::decode) {
            Some(Ok(body)) => {
                let (delivery_id, reason) = (body.delivery_id.into_owned(), body.reason.into_owned());
                let at = (record.partition, record.offset);
                found.insert(key, ListedBody { delivery_id, received_ms: body.received_ms, reason, at });
            }
            Some(Err(error)) => tracing::warn!(topic, offset = record.offset, %error, "passed over"),
            None => {
                found.remove(&key);
            }
        }
        if found.len() > LETTERS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if found.len() > LETTERS_MAX {
        return Err(OperateError::TooMany);
    }
    let in_time = |body: &ListedBody| {
        since_ms.is_none_or(|since| body.received_ms >= since) && until_ms.is_none_or(|until| body.received_ms < until)
    };
    let mut bodies: Vec<ListedBody> = found.into_values().filter(in_time).collect();
    bodies.sort_by_key(|body| body.received_ms);
    Ok(bodies)
}

/// The whole of a body that was listed; none where it is gone meanwhile.
///
/// # Errors
/// When the topic cannot be read.
pub fn body_of(
    reader: &mut TopicReader,
    topic: &str,
    listed: &ListedBody,
) -> Result<Option<UnmappedBody<'static>>, OperateError> {
    let (partition, offset) = listed.at;
    let record = reader.record(topic, partition, offset)?;
    let value = record.as_ref().and_then(|record| record.value.as_deref());
    value.map(UnmappedBody::decode).transpose().map_err(OperateError::from)
}
