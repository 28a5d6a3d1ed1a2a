//! What a consumer would send for a record, without sending or asking anything: for a dry run.

use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use tieline_bus::{Batch, Consumer};
use tieline_mapping::{Frame, Reader};

use super::prepare::{BOUNDS, Delivered, Step, TOMBSTONE, bury, names, undecodable, unmappable, written};
use crate::kafka::Record;

/// What a consumer would do with a record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "would", rename_all = "kebab-case")]
pub enum Preview {
    /// Make this call.
    Call {
        /// `erp.createProject`.
        operation: String,
        /// The values of the operation's parameters.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parameters: Vec<(String, String)>,
        /// The body.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<Value>,
    },
    /// Look these up first, so that its request is not known here.
    LookUp {
        /// `erp.createProject`.
        operation: String,
        /// By their names.
        look_ups: Vec<String>,
    },
    /// Pass it by.
    Skip,
    /// Make it a dead letter.
    Refuse {
        /// Why.
        why: String,
    },
}

/// What a consumer would do with this record. `reader` reads what was written with its schema; none for a tombstone.
#[must_use]
pub fn preview(consumer: &Consumer, reader: Option<&Reader>, datum: &[u8], record: Record) -> Preview {
    match try_preview(consumer, reader, datum, record) {
        Ok(preview) => preview,
        Err(Step::Refused(reason)) => Preview::Refuse { why: format!("{}: {}", reason.code, reason.detail) },
        // Nothing else is missing where nothing is asked.
        Err(Step::Call(_) | Step::Skip | Step::NotNow(..)) => Preview::Skip,
    }
}

fn try_preview(consumer: &Consumer, reader: Option<&Reader>, datum: &[u8], record: Record) -> Result<Preview, Step> {
    let ty = record.headers.last("ce_type").unwrap_or(TOMBSTONE.as_bytes());
    if ty != consumer.event.name.as_bytes() && ty != TOMBSTONE.as_bytes() {
        return Ok(Preview::Skip);
    }
    let (call, prepared) = match (reader, &consumer.on_tombstone) {
        (None, None) => return Ok(Preview::Skip),
        (None, Some(tombstone)) => (&tombstone.call, bury(tombstone, &Delivered::new(record))?),
        (Some(reader), _) => {
            let frame: Frame<'_> = reader.read(datum, &BOUNDS).map_err(|e| undecodable(&e))?;
            let passes = match &consumer.when {
                Some(when) => when.holds(&frame, &[]).map_err(|e| unmappable("when", &e))?,
                None => true,
            };
            if !passes {
                return Ok(Preview::Skip);
            }
            if !consumer.look_ups.is_empty() {
                let look_ups = consumer.look_ups.iter().map(|look_up| look_up.name.clone()).collect();
                return Ok(Preview::LookUp { operation: operation(&consumer.call), look_ups });
            }
            // Which key it will be is of no account here.
            let key = [(Batch::KEY.to_owned(), Arc::new(Value::String("the idempotency key".to_owned())))];
            (&consumer.call, written(&consumer.call, &frame, &names(&key))?)
        }
    };
    let body = prepared.body.as_deref().map(|body| serde_json::from_slice(body).unwrap_or(Value::Null));
    Ok(Preview::Call { operation: operation(call), parameters: prepared.parameters, body })
}

fn operation(call: &tieline_bus::Call) -> String {
    format!("{}.{}", call.system.name, call.operation.id)
}
