//! The event that follows from an effect: made from what the system answered, and published before its cause is done.

use std::time::Duration;

use serde_json::Value;
use tieline_bus::Emit;
use tieline_delivery::{Answer, Reason};
use tieline_schema::cloudevents::Attributes;
use tieline_schema::wire::{VALUE_SCHEMA_HEADER, split, v0_header};

use super::prepare::{BOUNDS, Delivered, PreparedCall, Step, names, reason};
use super::send::Sender;
use crate::happening::What;
use crate::kafka::PublishError;
use crate::system::Came;
use crate::trace;

/// How long to wait before a follow-up event that was not acknowledged is published again.
const PUBLISH_AGAIN: Duration = Duration::from_secs(1);

impl Sender {
    /// Publishes what follows from an effect. Only then is its cause done.
    pub(super) async fn follow_up(
        &self,
        delivered: &Delivered,
        cause: &Attributes,
        request: &PreparedCall,
        came: Came,
    ) -> Answer {
        let (Some(emit), Some(schema)) = (&self.preparer.consumer.emit, self.follow_up_schema) else {
            return Answer::Applied;
        };
        let made = self.make_follow_up(emit, schema, delivered, cause, request, came).await;
        match made {
            Ok((key, attributes, value)) => self.publish(delivered, emit, &key, &attributes, &value).await,
            Err(reason) => Answer::AppliedUnreadable(reason),
        }
    }

    async fn make_follow_up(
        &self,
        emit: &Emit,
        schema: u32,
        delivered: &Delivered,
        cause: &Attributes,
        request: &PreparedCall,
        came: Came,
    ) -> Result<(Vec<u8>, Attributes, Vec<u8>), Reason> {
        let record = &delivered.record;
        let not_emitted = |detail: String| reason("follow-up", detail);
        let value = record.value.as_deref().unwrap_or_default();
        let (writer, datum) =
            split(value, record.headers.last(VALUE_SCHEMA_HEADER)).map_err(|e| not_emitted(e.to_string()))?;
        let reader = self.preparer.reader(writer).await.map_err(|step| match step {
            Step::Refused(reason) | Step::NotNow(Answer::NotApplied(reason), _) => reason,
            Step::Call(_) | Step::Skip | Step::NotNow(..) => not_emitted("the event cannot be read".to_owned()),
        })?;
        let frame = reader.read(datum, &BOUNDS).map_err(|e| not_emitted(e.to_string()))?;
        let (follow_up, response) = match came {
            Came::Answered(response) => (&emit.of_answer, response.unwrap_or(Value::Null)),
            Came::Found(effect) => {
                let of_found = emit.of_found.as_ref();
                (of_found.ok_or_else(|| not_emitted("what was found cannot be read".to_owned()))?, effect)
            }
        };
        let mut names = names(&request.looked_up);
        names.push(("response", &response));

        let key = follow_up.key.text(&frame, &names).map_err(|e| not_emitted(format!("emit.key: {e}")))?;
        let key = key.ok_or_else(|| not_emitted("emit.key is null".to_owned()))?;
        let mut value = v0_header(schema).to_vec();
        follow_up
            .payload
            .write(&frame, &names, &BOUNDS, &mut value)
            .map_err(|e| not_emitted(format!("emit.payload: {e}")))?;
        let attributes = self.follow_up_attributes(emit, cause, &key);
        attributes.check().map_err(|e| not_emitted(e.to_string()))?;
        Ok((key.into_bytes(), attributes, value))
    }

    fn follow_up_attributes(&self, emit: &Emit, cause: &Attributes, key: &str) -> Attributes {
        let (bus, consumer) = (&self.preparer.wiring.bus.name, &self.preparer.consumer.name);
        Attributes {
            id: self.cause("emit", cause, 0).key().to_string(),
            source: format!("/{bus}/{consumer}"),
            ty: emit.event.name.clone(),
            time_ms: Some(crate::now_ms()),
            subject: Some(key.to_owned()),
            causation_id: Some(cause.id.clone()),
            traceparent: Some(trace::child_of(cause.traceparent.as_deref())),
            tracestate: cause.tracestate.clone(),
        }
    }

    /// Publishes until it is acknowledged: the effect exists, so nothing else can be made of its cause.
    async fn publish(
        &self,
        delivered: &Delivered,
        emit: &Emit,
        key: &[u8],
        attributes: &Attributes,
        value: &[u8],
    ) -> Answer {
        loop {
            match self.preparer.wiring.events.publish(&emit.event.topic, key, attributes, value).await {
                Ok(_) => {
                    self.tell(delivered, || What::Followed { event: emit.event.name.clone() });
                    return Answer::Applied;
                }
                Err(refused @ PublishError::Refused { .. }) => {
                    return Answer::AppliedUnreadable(reason("follow-up", refused.to_string()));
                }
                Err(error @ PublishError::NotAcknowledged { .. }) => {
                    tracing::warn!(consumer = self.preparer.consumer.name, event_id = attributes.id, %error,
                        "the follow-up event was not acknowledged; it is published again");
                    tokio::time::sleep(PUBLISH_AGAIN).await;
                }
            }
        }
    }
}
