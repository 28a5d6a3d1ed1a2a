//! A case of a producer: headers and a body, and the event that comes of them.
//!
//! ```yaml
//! purpose: A paid invoice; cents become money.
//! headers: { x-delivery: del_1 }
//! body: { … }
//! expect: { event: billing.invoice_paid, id: del_1, key: inv_1, payload: { … } }     # or { ignored: true } or
//!                                                                                    # { refused: part of the reason }
//! ```

use jiff::Timestamp;
use serde_json::Value;
use tieline_mapping::Frame;
use tieline_mapping::yaml::{Node, NodeValue};
use tieline_schema::friendly::VALUES_MAX;

use super::{BOUNDS, Case, Outcome, Refusal, compare, required, texts};
use crate::fields::Fields;
use crate::producer::{Producer, Publish, Source};
use crate::values::{boolean, named, text};

enum Expectation<'a> {
    Ignored,
    Refused(String),
    Event(ExpectedEvent<'a>),
}

struct ExpectedEvent<'a> {
    event: &'a Node,
    id: &'a Node,
    key: &'a Node,
    time: Option<&'a Node>,
    payload: &'a Node,
}

/// What a producer would publish.
struct Published {
    event: String,
    id: String,
    key: String,
    time_ms: Option<i64>,
    payload: Value,
}

impl Case<'_> {
    /// Runs a case; its purpose, where the file can be read.
    pub(super) fn run_producer(&self, node: &Node, producer: &Producer) -> Option<String> {
        let mut fields = Fields::of(self.file, node, "a producer's case")?;
        let purpose = fields.required("purpose", text);
        let headers = fields.optional("headers", named(|file, node, _: &str| text(file, node))).unwrap_or_default();
        let body = fields.required_node("body");
        let expect = fields.required_node("expect");
        fields.finish();
        let (body, at) = (body?, expect?);
        let expectation = self.read_published(at)?;
        let headers = headers.into_iter().map(|(name, _, value)| (name.to_ascii_lowercase(), Value::String(value)));
        match (publish(producer, &body.to_json(), &Value::Object(headers.collect())), &expectation) {
            (Err(refusal), Expectation::Refused(reason)) => self.check_refusal(at, Some(reason), &refusal),
            (Err(refusal), Expectation::Ignored | Expectation::Event(_)) => self.check_refusal(at, None, &refusal),
            (Ok(None), Expectation::Ignored) => {}
            (Ok(None), Expectation::Refused(_) | Expectation::Event(_)) => self.differs(at, "no rule takes this body"),
            (Ok(Some(got)), Expectation::Event(expected)) => self.check_event(expected, &got),
            (Ok(Some(got)), Expectation::Ignored | Expectation::Refused(_)) => {
                self.differs(at, &format!("it is published as {}", got.event));
            }
        }
        purpose
    }

    fn read_published<'n>(&'n self, node: &'n Node) -> Option<Expectation<'n>> {
        let mut fields = Fields::of(self.file, node, "`expect`")?;
        if let Some(ignored) = fields.optional("ignored", boolean) {
            fields.finish();
            return ignored.then_some(Expectation::Ignored);
        }
        if let Some(reason) = fields.optional("refused", text) {
            fields.finish();
            return Some(Expectation::Refused(reason));
        }
        let (event, id) = (fields.required_node("event"), fields.required_node("id"));
        let (key, time) = (fields.required_node("key"), fields.node("time"));
        let payload = fields.required_node("payload");
        fields.finish();
        Some(Expectation::Event(ExpectedEvent { event: event?, id: id?, key: key?, time, payload: payload? }))
    }

    fn check_event(&self, expected: &ExpectedEvent<'_>, got: &Published) {
        let parts =
            [(expected.event, &got.event, "event"), (expected.id, &got.id, "id"), (expected.key, &got.key, "key")];
        for (node, got, name) in parts {
            compare::compare(self.file, &texts(node), &Value::String(got.clone()), name);
        }
        if let Some(node) = expected.time {
            let time = got.time_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
            if instant(node) != time {
                let got = time.map_or("the time of receipt".to_owned(), |t| t.to_string());
                self.differs(node, &format!("`time` is {got}"));
            }
        }
        compare::compare_payload(self.file, expected.payload, &got.payload);
    }
}

fn instant(node: &Node) -> Option<Timestamp> {
    match &node.value {
        NodeValue::Scalar { text, .. } => text.parse().ok(),
        NodeValue::Sequence(_) | NodeValue::Mapping(_) => None,
    }
}

/// What the producer would do: the first rule whose `when` holds.
fn publish(producer: &Producer, body: &Value, headers: &Value) -> Outcome<Option<Published>> {
    let Source::Webhook(webhook) = &producer.source;
    if let Some(violation) = webhook.contract.violations(body).first() {
        return Err(Refusal(format!("`{}` {}", violation.pointer, violation.message)));
    }
    let frame = producer.layout.read_json(body, &BOUNDS)?;
    let names = [("header", headers)];
    for rule in &producer.publish {
        let takes = match &rule.when {
            Some(filter) => filter.holds(&frame, &names)?,
            None => true,
        };
        if takes {
            return make(rule, &frame, &names).map(Some);
        }
    }
    Ok(None)
}

fn make(rule: &Publish, frame: &Frame<'_>, names: &[(&str, &Value)]) -> Outcome<Published> {
    let id = required(&rule.id, frame, names, "the id")?;
    let key = required(&rule.key, frame, names, "the key")?;
    let time_ms = match &rule.time {
        Some(time) => time.timestamp_ms(frame, names)?,
        None => None,
    };
    let mut datum = Vec::new();
    rule.payload.write(frame, names, &BOUNDS, &mut datum)?;
    let payload = rule.event.schema.json_from_datum(&datum, VALUES_MAX).map_err(|error| Refusal(error.to_string()))?;
    Ok(Published { event: rule.event.name.clone(), id, key, time_ms, payload })
}
