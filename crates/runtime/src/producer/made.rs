//! The event that a producer makes of a delivery: its contract, its rules, its mapping. No I/O, so that hostile bodies can
//! be tried on it by the million.

use std::collections::BTreeMap;

use serde_json::Value;
use tieline_bus::{Producer, Publish, Source};
use tieline_mapping::{Frame, RunError};
use tieline_schema::cloudevents::Attributes;
use tieline_schema::wire::v0_header;

use super::Delivery;
use crate::consumer::BOUNDS;
use crate::trace;

/// An event, made of a delivery.
#[derive(Debug)]
pub struct Made<'a> {
    /// The rule that took it.
    pub rule: &'a Publish,
    /// CloudEvents' attributes.
    pub attributes: Attributes,
    /// The record's key.
    pub key: String,
    /// The record's value: the wire format's header and the datum.
    pub value: Vec<u8>,
}

impl<'a> Made<'a> {
    /// The event that the first rule makes of a body whose `when` holds; `None` where no rule takes it. `schemas` are the
    /// registry's ids, by event.
    ///
    /// # Errors
    /// Why the body cannot become an event, for who reads its dead letter.
    pub fn of(
        producer: &'a Producer,
        schemas: &BTreeMap<String, u32>,
        delivery: &Delivery,
    ) -> Result<Option<Self>, String> {
        let Source::Webhook(webhook) = &producer.source;
        let violations = webhook.contract.violations(&delivery.json);
        if !violations.is_empty() {
            let places: Vec<String> = violations
                .iter()
                // The pointer to the whole body is empty.
                .map(|v| format!("{} {}", if v.pointer.is_empty() { "it" } else { &v.pointer }, v.message))
                .collect();
            return Err(format!("the body breaks its contract: {}", places.join("; ")));
        }
        let frame = producer.layout.read_json(&delivery.json, &BOUNDS).map_err(|e| e.to_string())?;
        let headers: Value = delivery
            .headers
            .iter()
            .map(|(k, v)| (k.clone(), Value::String(v.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let names = [("header", &headers)];
        for rule in &producer.publish {
            let takes = match &rule.when {
                Some(when) => when.holds(&frame, &names).map_err(|e| format!("when: {e}"))?,
                None => true,
            };
            if takes {
                let schema = *schemas.get(&rule.event.name).ok_or("the schema's id is not known")?;
                return Self::by(rule, &producer.event_source, schema, &frame, &names, delivery).map(Some);
            }
        }
        Ok(None)
    }

    fn by(
        rule: &'a Publish,
        source: &str,
        schema: u32,
        frame: &Frame<'_>,
        names: &[(&str, &Value)],
        delivery: &Delivery,
    ) -> Result<Self, String> {
        let told = |what: &str, e: RunError| format!("{what}: {e}");
        let id = rule.id.text(frame, names).map_err(|e| told("id", e))?.ok_or("id: is null")?;
        let key = rule.key.text(frame, names).map_err(|e| told("key", e))?.ok_or("key: is null")?;
        let time_ms = match &rule.time {
            Some(time) => time.timestamp_ms(frame, names).map_err(|e| told("time", e))?,
            None => None,
        };
        let mut value = v0_header(schema).to_vec();
        rule.payload.write(frame, names, &BOUNDS, &mut value).map_err(|e| told("payload", e))?;
        let attributes = Attributes {
            id,
            source: source.to_owned(),
            ty: rule.event.name.clone(),
            time_ms: Some(time_ms.unwrap_or(delivery.received_ms)),
            subject: Some(key.clone()),
            causation_id: None,
            traceparent: Some(trace::child_of(delivery.traceparent.as_deref())),
            tracestate: None,
        };
        // What breaks CloudEvents would be a dead letter of every consumer; here it is one, where it can be mended.
        attributes.check().map_err(|e| e.to_string())?;
        Ok(Self { rule, attributes, key, value })
    }
}
