//! Reads `consumers/NAME/consumer.yaml`, as far as it can be understood without the types of both sides.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tieline_mapping::Span;
use tieline_mapping::yaml::{Node, NodeValue};
use tieline_schema::contract::Operation;

use super::batch::DeclaredBatch;
use super::{Concurrency, Consumer, Deliver, OnDeadLetter, Order, Start};
use crate::fields::Fields;
use crate::folder::DefinitionFile;
use crate::known::{self, Everything};
use crate::values::{choice, duration, is_name, list, named, text, whole};
use crate::{Event, System, variables};

/// A consumer as it is declared: names resolved, expressions not yet compiled.
pub(super) struct Declared<'a> {
    pub file: &'a DefinitionFile<'a>,
    pub name: &'a str,
    pub purpose: Option<String>,
    pub owner: Option<String>,
    pub event: Option<Arc<Event>>,
    pub when: Option<&'a Node>,
    pub look_ups: Option<Vec<DeclaredLookUp<'a>>>,
    pub tables: Option<&'a Node>,
    pub call: Option<DeclaredCall<'a>>,
    /// `Some(None)` where it is declared and could not be read.
    pub on_tombstone: Option<Option<DeclaredCall<'a>>>,
    /// `Some(None)` where it is declared and could not be read.
    pub emit: Option<Option<DeclaredEmit<'a>>>,
    pub deliver: Deliver,
    /// What decides the bytes of a request, for the fingerprint.
    pub sources: Vec<&'a Node>,
}

/// A look-up or a call: whom it asks what.
pub(super) struct Target<'a> {
    pub system: Arc<System>,
    pub operation: Arc<Operation>,
    /// Where the operation is named.
    pub at: Span,
    /// The parameters: name, place of the name, expression.
    pub with: Vec<(String, Span, &'a Node)>,
}

pub(super) struct DeclaredLookUp<'a> {
    pub name: String,
    /// Where it is named.
    pub at: Span,
    /// Whom it asks; nothing where that was reported.
    pub target: Option<Target<'a>>,
    pub residual: Option<&'a Node>,
    pub keep: Duration,
}

pub(super) struct DeclaredCall<'a> {
    pub target: Option<Target<'a>>,
    pub body: Option<&'a Node>,
    /// Where `body` is named.
    pub body_at: Span,
    pub residual: Option<&'a Node>,
    /// Where `call` stands.
    pub at: Span,
    /// `Some(None)` where it is declared and could not be read.
    pub batch: Option<Option<DeclaredBatch>>,
    /// What becomes of a record in a batch.
    pub item: Option<&'a Node>,
}

pub(super) struct DeclaredEmit<'a> {
    pub event: Option<Arc<Event>>,
    pub key: Option<&'a Node>,
    pub payload: Option<&'a Node>,
    pub residual: Option<&'a Node>,
}

impl Consumer {
    /// Reads and compiles the file.
    pub(crate) fn read(file: &DefinitionFile<'_>, node: &Node, name: &str, all: &Everything) -> Option<Self> {
        variables::refuse(file, node);
        Declared::read(file, node, name, all)?.compile()
    }
}

impl<'a> Declared<'a> {
    fn read(file: &'a DefinitionFile<'a>, node: &'a Node, name: &'a str, all: &Everything) -> Option<Self> {
        let mut fields = Fields::of(file, node, "a consumer")?;
        let purpose = fields.required("purpose", text);
        let owner = fields.required("owner", text);
        let event = fields.required("subscribe", |file, node| all.events.named(file, node));
        let when = fields.node("when");
        let look_up_node = fields.node("look_up");
        let look_ups = match look_up_node {
            None => Some(Vec::new()),
            Some(node) => DeclaredLookUp::read_all(file, node, all),
        };
        let tables = fields.node("tables");
        let call_at = fields.key("call");
        let call_node = fields.required_node("call");
        let call = call_node.and_then(|node| DeclaredCall::read(file, node, call_at, all));
        let tombstone_at = fields.key("on_tombstone");
        let tombstone_node = fields.node("on_tombstone");
        let system = call.as_ref().and_then(|call| call.target.as_ref()).map(|target| &target.system);
        let on_tombstone = tombstone_node.map(|node| DeclaredCall::read_tombstone(file, node, tombstone_at, system));
        let emit = fields.node("emit").map(|node| DeclaredEmit::read(file, node, all));
        let deliver = fields.optional("deliver", Deliver::read).unwrap_or_default();
        fields.finish();
        let sources = [look_up_node, tables, call_node, tombstone_node].into_iter().flatten().collect();
        Some(Self {
            file,
            name,
            purpose,
            owner,
            event,
            when,
            look_ups,
            tables,
            call,
            on_tombstone,
            emit,
            deliver,
            sources,
        })
    }
}

impl<'a> DeclaredLookUp<'a> {
    fn read_all(file: &'a DefinitionFile<'a>, node: &'a Node, all: &Everything) -> Option<Vec<Self>> {
        let look_ups = named(|file, node, name: &str| Self::read(file, node, name, all))(file, node)?;
        for (name, key, _) in &look_ups {
            if !is_look_up_name(name) {
                let help = "take small letters, digits and `_`: expressions say `$NAME`";
                file.error("bus/name", key.span, format!("`{name}` is no name of a look-up"), help);
            }
            if name == "response" {
                let help = "take another name";
                file.error("bus/name", key.span, "`$response` is the answer of the call", help);
            }
        }
        Some(look_ups.into_iter().map(|(_, key, look_up)| Self { at: key.span, ..look_up }).collect())
    }

    fn read(file: &'a DefinitionFile<'a>, node: &'a Node, name: &str, all: &Everything) -> Option<Self> {
        let mut fields = Fields::of(file, node, format!("look-up `{name}`"))?;
        let target = Target::read(&mut fields, file, all);
        let residual = fields.node("residual");
        let keep = fields.optional("keep", duration("0s"..="7d")).unwrap_or_default();
        fields.finish();
        Some(Self { name: name.to_owned(), at: node.span, target, residual, keep })
    }
}

impl<'a> DeclaredCall<'a> {
    fn read(file: &'a DefinitionFile<'a>, node: &'a Node, at: Span, all: &Everything) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`call`")?;
        let target = Target::read(&mut fields, file, all);
        let (body, body_at, residual) = (fields.node("body"), fields.key("body"), fields.node("residual"));
        let batch_at = fields.key("batch");
        let batch = fields.node("batch").map(|node| DeclaredBatch::read(file, node, batch_at));
        let item = batch.as_ref().and_then(|_| fields.required_node("item"));
        fields.finish();
        Some(Self { target, body, body_at, residual, at, batch, item })
    }

    /// The call of a tombstone, which goes to the system of the consumer's own call; nothing, where that is not known.
    fn read_tombstone(
        file: &'a DefinitionFile<'a>,
        node: &'a Node,
        at: Span,
        system: Option<&Arc<System>>,
    ) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`on_tombstone`")?;
        let target = Target::of(&mut fields, file, system.cloned());
        let (body, body_at, residual) = (fields.node("body"), fields.key("body"), fields.node("residual"));
        fields.finish();
        Some(Self { target, body, body_at, residual, at, batch: None, item: None })
    }
}

impl<'a> DeclaredEmit<'a> {
    fn read(file: &'a DefinitionFile<'a>, node: &'a Node, all: &Everything) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`emit`")?;
        let emit = Self {
            event: fields.required("event", |file, node| all.events.named(file, node)),
            key: fields.required_node("key"),
            payload: fields.required_node("payload"),
            residual: fields.node("residual"),
        };
        fields.finish();
        Some(emit)
    }
}

impl<'a> Target<'a> {
    fn read(fields: &mut Fields<'a>, file: &'a DefinitionFile<'a>, all: &Everything) -> Option<Self> {
        let system = fields.required("system", |file, node| all.systems.named(file, node));
        Self::of(fields, file, system)
    }

    /// An operation of this system, and its parameters.
    fn of(fields: &mut Fields<'a>, file: &'a DefinitionFile<'a>, system: Option<Arc<System>>) -> Option<Self> {
        let operation_node = fields.required_node("operation");
        let with = fields.optional("with", named(|_, node, _: &str| Some(node))).unwrap_or_default();
        let (system, node) = (system?, operation_node?);
        let operation = known::operation(file, node, &system)?;
        let with = with.into_iter().map(|(name, key, node)| (name, key.span, node)).collect();
        Some(Self { system, operation, at: node.span, with })
    }
}

fn is_look_up_name(name: &str) -> bool {
    is_name(&name.replace('_', "-"))
}

impl Default for Deliver {
    /// What DESIGN.md promises to who says nothing.
    fn default() -> Self {
        Self {
            order: Order::Key,
            in_flight: 64,
            concurrency: Concurrency::Adaptive,
            patience: Duration::from_secs(30),
            park_schedule: [60, 5 * 60, 30 * 60, 2 * 3600, 6 * 3600].map(Duration::from_secs).to_vec(),
            give_up_after: Duration::from_secs(72 * 3600),
            on_dead_letter: OnDeadLetter::Hold,
            start: Start::Now,
        }
    }
}

impl Deliver {
    fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let default = Self::default();
        let mut fields = Fields::of(file, node, "`deliver`")?;
        let on_dead_letter = fields.optional("on_dead_letter", choice(OnDeadLetter::WORDS));
        let deliver = Self {
            order: fields.optional("order", choice(Order::WORDS)).unwrap_or(default.order),
            in_flight: fields.optional("in_flight", whole(1..=4_096)).unwrap_or(default.in_flight),
            concurrency: fields.optional("concurrency", choice(Concurrency::WORDS)).unwrap_or(default.concurrency),
            patience: fields.optional("patience", duration("0s"..="1h")).unwrap_or(default.patience),
            park_schedule: fields
                .optional("park_schedule", list(duration("100ms"..="1d")))
                .unwrap_or(default.park_schedule),
            give_up_after: fields.optional("give_up_after", duration("0s"..="30d")).unwrap_or(default.give_up_after),
            on_dead_letter: on_dead_letter.unwrap_or(default.on_dead_letter),
            start: fields.optional("start", start).unwrap_or(default.start),
        };
        if deliver.give_up_after < deliver.patience {
            let help = "a record is tried for `patience`, then set aside and tried until `give_up_after`";
            let message = "`give_up_after` ends before `patience` does";
            file.error("bus/patience", fields.key("give_up_after"), message, help);
        }
        if deliver.park_schedule.is_empty() {
            let help = "say how long it waits before each attempt, such as `park_schedule: [1m, 5m, 30m, 2h, 6h]`";
            let message = "with an empty `park_schedule` a record that fails would never be tried again";
            file.error("bus/park-schedule", fields.key("park_schedule"), message, help);
        }
        if deliver.order == Order::None && on_dead_letter.is_some_and(|d| d != OnDeadLetter::Continue) {
            let help = "say `order: key`, or `on_dead_letter: continue`";
            let message = "with `order: none` no record waits for another, so a dead letter holds nothing";
            file.warning("bus/order-none", fields.key("on_dead_letter"), message, help);
        }
        fields.finish();
        Some(deliver)
    }
}

impl Order {
    const WORDS: &'static [(&'static str, Self)] =
        &[("key", Self::Key), ("partition", Self::Partition), ("none", Self::None)];
}

impl Concurrency {
    const WORDS: &'static [(&'static str, Self)] = &[("adaptive", Self::Adaptive), ("fixed", Self::Fixed)];
}

impl OnDeadLetter {
    const WORDS: &'static [(&'static str, Self)] =
        &[("hold", Self::Hold), ("continue", Self::Continue), ("supersede", Self::Supersede)];
}

fn start(file: &DefinitionFile<'_>, node: &Node) -> Option<Start> {
    let word = match &node.value {
        NodeValue::Scalar { text, .. } => text.as_str(),
        NodeValue::Sequence(_) | NodeValue::Mapping(_) => "",
    };
    match word {
        "now" => Some(Start::Now),
        "earliest" => Some(Start::Earliest),
        time => {
            let at = time.parse::<Timestamp>().ok().map(|t| Start::At(t.as_millisecond()));
            if at.is_none() {
                let message = "this has to be `now`, `earliest` or an instant, such as `2026-01-31T00:00:00Z`";
                file.error("bus/wrong-value", node.span, message, "");
            }
            at
        }
    }
}
