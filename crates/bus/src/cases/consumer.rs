//! A case of a consumer: an event, what the look-ups answer, and the request, the refusal or the follow-up event that
//! come of it.
//!
//! ```yaml
//! purpose: A won deal becomes a project.
//! event: { … }                           # the payload, in the JSON that people write; or tombstone: KEY
//! look_up: { manager: { … } }            # what each look-up answers
//! expect: { request: { with: { … }, body: { … } } }      # or { skipped: true } or { refused: part of the reason }
//! response: { … }                        # what the call answers
//! emits: { key: D-1, payload: { … } }    # the follow-up event
//! ```

use serde_json::Value;
use tieline_mapping::Frame;
use tieline_mapping::suggest;
use tieline_mapping::yaml::Node;
use tieline_schema::friendly::VALUES_MAX;

use super::{BOUNDS, Case, Outcome, Refusal, compare, pointer, required, texts};
use crate::consumer::{Batch, Call, Consumer, Emit, Tombstone};
use crate::fields::Fields;
use crate::folder;
use crate::values::{boolean, named, text};

/// What `$idempotency_key` is in a case, which has no event id that it could be made of.
const KEY_OF_A_CASE: &str = "00000000-0000-0000-0000-000000000000";

/// A case as it is written.
struct Written<'a> {
    given: Option<Given<'a>>,
    /// What each look-up answers.
    look_up: Vec<(String, &'a Node, &'a Node)>,
    expect: Option<(&'a Node, Expectation<'a>)>,
    response: Option<&'a Node>,
    emits: Option<Emits<'a>>,
}

/// What comes to the consumer.
#[derive(Clone, Copy)]
enum Given<'a> {
    Event(&'a Node),
    /// The key of a record without a value.
    Tombstone(&'a Node),
}

enum Expectation<'a> {
    Skipped,
    Refused(String),
    Request { with: Option<&'a Node>, body: Option<&'a Node> },
}

struct Emits<'a> {
    key: Option<&'a Node>,
    payload: Option<&'a Node>,
}

/// What a consumer would send.
struct Request {
    with: serde_json::Map<String, Value>,
    body: Option<Vec<u8>>,
}

impl Case<'_> {
    /// Runs a case; its purpose, where the file can be read.
    pub(super) fn run_consumer(&self, node: &Node, consumer: &Consumer) -> Option<String> {
        let (purpose, written) = self.read_consumer(node)?;
        match written.given? {
            Given::Event(event) => self.run_event(consumer, event, &written),
            Given::Tombstone(key) => self.run_tombstone(consumer, key, &written),
        };
        purpose
    }

    fn run_event(&self, consumer: &Consumer, event: &Node, written: &Written<'_>) {
        let Some((at, expectation)) = written.expect.as_ref() else { return };
        let datum = match consumer.event.schema.datum_from_json(&event.to_json()) {
            Ok(datum) => datum,
            Err(error) => {
                let span = folder::place(event, &pointer(&error.path));
                let message = format!("`{}` {}", error.path, error.problem);
                let help = format!("the event has to fit schemas/{}.avsc", consumer.event.name);
                self.file.error("case/event", span, message, help);
                return;
            }
        };
        let names = self.look_up_answers(written, consumer);
        self.check(consumer, &datum, written, names, at, expectation);
    }

    fn run_tombstone(&self, consumer: &Consumer, key: &Node, written: &Written<'_>) {
        let Some((at, expectation)) = written.expect.as_ref() else { return };
        let Some(key) = text(self.file, key).map(Value::String) else { return };
        if let Some((name, node, _)) = written.look_up.first() {
            let message = format!("a tombstone makes one call, so that `{name}` is not looked up");
            self.file.error("case/look-up", node.span, message, "remove `look_up`");
        }
        if let Some(key) = written.emits.as_ref().and_then(|emits| emits.key) {
            self.differs(key, "nothing follows from a tombstone");
        }
        let Some(tombstone) = &consumer.on_tombstone else {
            match expectation {
                Expectation::Skipped => {}
                Expectation::Refused(_) | Expectation::Request { .. } => {
                    self.differs(at, "the consumer has no `on_tombstone`, and skips it");
                }
            }
            return;
        };
        let made = tombstone.frame().map_err(Refusal::from);
        let made = made.and_then(|frame| request(&tombstone.call, &frame, &[(Tombstone::KEY, &key)]));
        match (made, expectation) {
            (Err(refusal), _) => self.check_refusal(at, expectation.refused(), &refusal),
            (Ok(_), Expectation::Skipped) => self.differs(at, "the consumer takes tombstones"),
            (Ok(_), Expectation::Refused(_)) => self.differs(at, "the request can be made"),
            (Ok(request), Expectation::Request { with, body }) => {
                self.check_request(&tombstone.call, at, &request, *with, *body);
            }
        }
    }

    fn read_consumer<'n>(&'n self, node: &'n Node) -> Option<(Option<String>, Written<'n>)> {
        let mut fields = Fields::of(self.file, node, "a consumer's case")?;
        let purpose = fields.required("purpose", text);
        let given = fields.variant(&["event", "tombstone"]).map(|(name, node)| match name {
            "tombstone" => Given::Tombstone(node),
            _ => Given::Event(node),
        });
        let look_up = fields.optional("look_up", named(|_, node, _: &str| Some(node))).unwrap_or_default();
        let look_up = look_up.into_iter().collect();
        let expect = fields.required_node("expect").and_then(|node| Some((node, self.read_expectation(node)?)));
        let response = fields.node("response");
        let emits = fields.node("emits").and_then(|node| self.read_emits(node));
        fields.finish();
        Some((purpose, Written { given, look_up, expect, response, emits }))
    }

    fn read_expectation<'n>(&'n self, node: &'n Node) -> Option<Expectation<'n>> {
        let mut fields = Fields::of(self.file, node, "`expect`")?;
        let variant = fields.variant(&["request", "skipped", "refused"]);
        fields.finish();
        match variant? {
            ("skipped", node) => boolean(self.file, node).map(|_| Expectation::Skipped),
            ("refused", node) => text(self.file, node).map(Expectation::Refused),
            (_, node) => {
                let mut fields = Fields::of(self.file, node, "`request`")?;
                let request = Expectation::Request { with: fields.node("with"), body: fields.node("body") };
                fields.finish();
                Some(request)
            }
        }
    }

    fn read_emits<'n>(&'n self, node: &'n Node) -> Option<Emits<'n>> {
        let mut fields = Fields::of(self.file, node, "`emits`")?;
        let emits = Emits { key: fields.required_node("key"), payload: fields.required_node("payload") };
        fields.finish();
        Some(emits)
    }

    /// What the case says that the look-ups answer, by name.
    fn look_up_answers(&self, written: &Written<'_>, consumer: &Consumer) -> Vec<(String, Value)> {
        let mut answers = Vec::new();
        for (name, key, node) in &written.look_up {
            match consumer.look_ups.iter().find(|l| l.name == *name) {
                Some(look_up) => {
                    let label = format!("{}.{}", look_up.system.name, look_up.operation.id);
                    answers.push((name.clone(), self.answer(node, &look_up.operation, &label)));
                }
                None => {
                    let names = consumer.look_ups.iter().map(|l| l.name.as_str());
                    let message = format!("the consumer has no look-up `{name}`");
                    self.file.error("case/look-up", key.span, message, suggest::help(name, names).unwrap_or_default());
                }
            }
        }
        answers
    }

    fn check(
        &self,
        consumer: &Consumer,
        datum: &[u8],
        written: &Written<'_>,
        answers: Vec<(String, Value)>,
        at: &Node,
        expectation: &Expectation<'_>,
    ) {
        let mut names: Vec<(&str, &Value)> = answers.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let key = Value::String(KEY_OF_A_CASE.to_owned());
        if consumer.call.batch.as_ref().is_some_and(|batch| batch.keyed) {
            names.push((Batch::KEY, &key));
        }
        let frame = match read(consumer, datum) {
            Ok(frame) => frame,
            Err(refusal) => return self.check_refusal(at, expectation.refused(), &refusal),
        };
        match (concerns(consumer, &frame), expectation) {
            (Err(refusal), _) => return self.check_refusal(at, expectation.refused(), &refusal),
            (Ok(false), Expectation::Skipped) => return,
            (Ok(false), Expectation::Refused(_) | Expectation::Request { .. }) => {
                return self.differs(at, "the consumer skips this event");
            }
            (Ok(true), Expectation::Skipped) => return self.differs(at, "the consumer takes this event"),
            (Ok(true), Expectation::Refused(_) | Expectation::Request { .. }) => {}
        }
        if let Some(missing) = consumer.look_ups.iter().find(|l| !answers.iter().any(|(name, _)| *name == l.name)) {
            let help = format!("add `look_up: {{ {}: {{ … }} }}`", missing.name);
            let message = format!("the case does not say what look-up `{}` answers", missing.name);
            return self.file.error("case/look-up", at.span, message, help);
        }
        match (request(&consumer.call, &frame, &names), expectation) {
            (Err(refusal), _) => self.check_refusal(at, expectation.refused(), &refusal),
            (Ok(_), Expectation::Skipped) => {}
            (Ok(_), Expectation::Refused(_)) => self.differs(at, "the request can be made"),
            (Ok(request), Expectation::Request { with, body }) => {
                self.check_request(&consumer.call, at, &request, *with, *body);
                self.check_emits(consumer, &frame, &names, written);
            }
        }
    }

    fn check_request(&self, call: &Call, at: &Node, request: &Request, with: Option<&Node>, body: Option<&Node>) {
        match with {
            Some(node) => compare::compare(self.file, &texts(node), &Value::Object(request.with.clone()), "with"),
            None if request.with.is_empty() => {}
            None => self.differs(at, &format!("`with` is {}", Value::Object(request.with.clone()))),
        }
        let Some(bytes) = &request.body else {
            if let Some(node) = body {
                self.differs(node, "the call has no body");
            }
            return;
        };
        let value: Value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(error) => return self.differs(at, &format!("the body is not JSON: {error}")),
        };
        match body {
            Some(node) => compare::compare(self.file, node, &value, "body"),
            None => self.differs(at, &format!("`body` is {value}")),
        }
        // The mapping has proven this or checked it; a body that gets here and breaks the contract is our own mistake.
        let violations = call.operation.request.as_ref().map(|r| r.validator.violations(&value));
        for violation in violations.iter().flatten() {
            let message = format!("the body breaks the contract at `{}`: {}", violation.pointer, violation.message);
            self.file.error("case/contract", at.span, message, "");
        }
    }

    fn check_emits(&self, consumer: &Consumer, frame: &Frame<'_>, names: &[(&str, &Value)], written: &Written<'_>) {
        let operation = &consumer.call.operation;
        let label = format!("{}.{}", consumer.call.system.name, operation.id);
        let response = written.response.map(|node| match consumer.call.batch {
            None => self.answer(node, operation, &label),
            // One item's part of an answer.
            Some(_) => node.to_json(),
        });
        let Some(expected) = &written.emits else { return };
        let Some(emit) = &consumer.emit else {
            return written
                .emits
                .iter()
                .filter_map(|e| e.key)
                .for_each(|key| self.differs(key, "the consumer emits nothing"));
        };
        let null = Value::Null;
        let mut names = names.to_vec();
        names.push(("response", response.as_ref().unwrap_or(&null)));
        let (Some(key), Some(payload)) = (expected.key, expected.payload) else { return };
        match follow_up(emit, frame, &names) {
            Err(refusal) => self.differs(payload, &format!("the event cannot be made: {}", refusal.0)),
            Ok((emitted_key, emitted)) => {
                compare::compare(self.file, &texts(key), &Value::String(emitted_key), "key");
                compare::compare_payload(self.file, payload, &emitted);
            }
        }
    }
}

impl Expectation<'_> {
    fn refused(&self) -> Option<&str> {
        match self {
            Self::Refused(reason) => Some(reason),
            Self::Skipped | Self::Request { .. } => None,
        }
    }
}

fn read<'d>(consumer: &Consumer, datum: &'d [u8]) -> Outcome<Frame<'d>> {
    let schema = &consumer.event.schema.avro;
    let reader = consumer.layout.reader(schema, schema).map_err(|error| Refusal(error.to_string()))?;
    Ok(reader.read(datum, &BOUNDS)?)
}

fn concerns(consumer: &Consumer, frame: &Frame<'_>) -> Outcome<bool> {
    match &consumer.when {
        Some(filter) => Ok(filter.holds(frame, &[])?),
        None => Ok(true),
    }
}

fn request(call: &Call, frame: &Frame<'_>, names: &[(&str, &Value)]) -> Outcome<Request> {
    let mut with = serde_json::Map::new();
    let shared = call.batch.iter().flat_map(|batch| &batch.with);
    with.extend(shared.map(|(name, value)| (name.clone(), Value::String(value.clone()))));
    for (name, expression) in &call.with {
        if let Some(text) = expression.text(frame, names)? {
            with.insert(name.clone(), Value::String(text));
        }
    }
    let body = match &call.body {
        None => None,
        Some(mapping) => {
            let mut bytes = Vec::new();
            mapping.write(frame, names, &BOUNDS, &mut bytes)?;
            // A batch of this event alone.
            Some(call.batch.as_ref().map_or_else(|| bytes.clone(), |batch| batch.body([bytes.as_slice()])))
        }
    };
    Ok(Request { with, body })
}

fn follow_up(emit: &Emit, frame: &Frame<'_>, names: &[(&str, &Value)]) -> Outcome<(String, Value)> {
    let key = required(&emit.of_answer.key, frame, names, "the key")?;
    let mut datum = Vec::new();
    emit.of_answer.payload.write(frame, names, &BOUNDS, &mut datum)?;
    let payload = emit.event.schema.json_from_datum(&datum, VALUES_MAX);
    Ok((key, payload.map_err(|error| Refusal(error.to_string()))?))
}
