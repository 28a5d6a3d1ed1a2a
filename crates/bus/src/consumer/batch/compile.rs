//! Checks a batch against the contract of its operation: where items go, what they share, and what the answer says of each.

use std::sync::Arc;

use serde_json::Value;
use tieline_mapping::yaml::{Node, NodeValue};
use tieline_mapping::{Bounds, Compiler, Mapping, Severity, Span, Target as TreeTarget};
use tieline_schema::contract::Payload;
use tieline_schema::types::{Field, Kind, Record, Text, Type};

use super::read::{DeclaredBatch, DeclaredOutcomes, Pointer};
use super::{Batch, Outcomes};
use crate::consumer::Call;
use crate::consumer::read::{DeclaredCall, Target};
use crate::folder::DefinitionFile;
use crate::place::{pointed_at, steps};
use crate::{Means, certain};

/// All lists that say what became of items, and the type of what they say of one that is applied.
pub(in crate::consumer) type AllOutcomes = (Vec<Outcomes>, Type);

/// The bounds of what all items share: it is written once, when the definition is read.
const BOUNDS: Bounds = Bounds { items_max: 10_000, depth_max: 64, output_bytes_max: 1024 * 1024 };

/// What stands for the items where what they share is written. No text of a definition holds it: YAML has no such character.
const ITEMS: &str = "\u{1}items";

impl DeclaredCall<'_> {
    /// Compiles a call whose records are sent together.
    pub(in crate::consumer) fn compile_batch(
        &self,
        file: &DefinitionFile<'_>,
        compiler: &mut Compiler,
        (target, batch): (&Target<'_>, &DeclaredBatch),
        outcomes: Option<&AllOutcomes>,
    ) -> Option<Call> {
        let label = target.asked().label();
        let Some(request) = &target.operation.request else {
            let help = "describe it in the contract, or remove `batch`";
            file.error("bus/unexpected-body", batch.at, format!("{label} takes no body, so no items"), help);
            return None;
        };
        batch.check_effect(file, target);
        let item_type = batch.item_type(file, request, &label)?;
        let whose = format!("an item of {label}");
        compiler.bind(Batch::KEY, key_type(), "what a record gives to its item");
        let mapping = compiler.mapping(self.item?, TreeTarget::Contract(&item_type, &whose), self.residual);
        let keyed = compiler.reads_name(Batch::KEY);
        if mapping.is_some() {
            self.warn_of_batches(file, target, keyed);
        }
        if let Some((pointer, at)) = &batch.id {
            pointed_at(file, &item_type, (pointer, *at), &whose)?;
        }
        let (with, around) = self.shared(file, target, request, batch)?;
        let ((outcomes, response), mapping) = (outcomes?.clone(), mapping?);
        let batch = Batch {
            max: batch.max.0,
            linger: batch.linger,
            with,
            around,
            items_at: batch.items_at.as_ref().map(|(pointer, _)| pointer.clone()).unwrap_or_default(),
            id: batch.id.as_ref().map(|(pointer, _)| pointer.clone()),
            outcomes,
            keyed,
            response,
        };
        let (system, operation) = (Arc::clone(&target.system), Arc::clone(&target.operation));
        Some(Call { system, operation, with: Default::default(), body: Some(mapping), batch: Some(batch) })
    }

    /// The lists that say what became of items, where they go out in batches; reports where nobody could tell.
    pub(in crate::consumer) fn outcomes(&self, file: &DefinitionFile<'_>) -> Option<AllOutcomes> {
        self.batch.as_ref()?.as_ref()?.outcomes(file, self.target.as_ref()?)
    }

    /// Says so where an item may have its effect twice. A batch that is made again need not have the same items, so that a
    /// key of the whole request recognises nothing.
    fn warn_of_batches(&self, file: &DefinitionFile<'_>, target: &Target<'_>, keyed: bool) {
        let repeats = matches!(target.operation.method.as_str(), "POST" | "PATCH");
        let upserts = matches!(target.system.idempotency.means, Means::Upsert { .. });
        if !repeats || upserts || keyed {
            return;
        }
        let label = target.asked().label();
        let message = format!(
            "items of {label} may be done twice: one whose outcome is unknown comes again among others, under another key"
        );
        let help = format!(
            "where an item can hold a key that the system recognises, give it `$idempotency_key`; where it is set as a \
             whole by an id of ours, say `idempotency: upsert` in systems/{}/system.yaml",
            target.system.name
        );
        file.warning("bus/at-least-once", target.at, message, help);
    }

    /// The parameters, and the body around the items: the same for all, so that neither reads the event.
    #[allow(clippy::type_complexity, reason = "two parts of one request")]
    fn shared(
        &self,
        file: &DefinitionFile<'_>,
        target: &Target<'_>,
        request: &Payload,
        batch: &DeclaredBatch,
    ) -> Option<(Vec<(String, String)>, (Vec<u8>, Vec<u8>))> {
        let nothing = Record { name: None, fields: Vec::new(), open: false };
        let what = "what all items of a batch share";
        let mut compiler = Compiler::new(Type::of(Kind::Record(Arc::new(nothing))), what.to_owned());
        let with = target.asked().parameters(file, &mut compiler, None);
        let body = self.shared_body(file, &mut compiler, request, batch, &target.asked().label());
        let (layout, problems) = compiler.finish();
        let sound = problems.iter().all(|p| p.severity < Severity::Error);
        certain::report(file, problems, true);
        let (with, body) = (with?, body.filter(|_| sound)?);

        // Neither can fail: nothing is read.
        let frame = layout.read_json(&Value::Null, &BOUNDS).ok()?;
        let texts = with.iter().filter_map(|(name, value)| Some((name.clone(), value.text(&frame, &[]).ok()??)));
        let mut written = Vec::new();
        match body {
            Some(mapping) => mapping.write(&frame, &[], &BOUNDS, &mut written).ok()?,
            None => written.extend_from_slice(b"null"),
        }
        let around = around(serde_json::from_slice(&written).ok()?, batch.items_at.as_ref().map_or("", |(p, _)| p))?;
        Some((texts.collect(), around))
    }

    /// The body without its items; none, where they are all of it.
    fn shared_body(
        &self,
        file: &DefinitionFile<'_>,
        compiler: &mut Compiler,
        request: &Payload,
        batch: &DeclaredBatch,
        label: &str,
    ) -> Option<Option<Mapping>> {
        let Some((pointer, _)) = &batch.items_at else {
            if self.body.is_some() {
                let help = "say where in the body they lie: `items_at: /…`";
                file.error("bus/unexpected-body", self.body_at, "the items are the whole body", help);
                return None;
            }
            return Some(None);
        };
        let nothing = Node { span: self.at, value: NodeValue::Mapping(Vec::new()) };
        let steps: Vec<String> = steps(pointer).collect();
        let ty = without(&request.ty, &steps);
        let whose = format!("the contract of {label}");
        let target = TreeTarget::Contract(&ty, &whose);
        compiler.mapping(self.body.unwrap_or(&nothing), target, None).map(Some)
    }
}

impl DeclaredBatch {
    /// What finds or guards one effect at a time cannot do so for many.
    fn check_effect(&self, file: &DefinitionFile<'_>, target: &Target<'_>) {
        let (profile, operation) = (&target.system.idempotency, &target.operation);
        let way = if profile.look_ups.contains_key(&operation.id) {
            "`look_up` finds the effect of one call"
        } else if profile.means == (Means::Upsert { if_match: true }) {
            "`if_match` guards one thing"
        } else {
            return;
        };
        let message = format!("{way}, and {} has many", target.asked().label());
        let help = "send its records one by one, or call an operation that needs neither";
        file.error("bus/batch-effect", self.at, message, help);
    }

    fn item_type(&self, file: &DefinitionFile<'_>, request: &Payload, label: &str) -> Option<Type> {
        let whose = format!("the body of {label}");
        let ty = list(file, &request.ty, self.items_at.as_ref(), self.at, &whose)?;
        let Kind::List { item, max_items, .. } = ty.kind else { return Some(Type::of(Kind::Any)) };
        if let Some(most) = max_items.filter(|most| self.max.0 > *most as usize) {
            let message = format!("{label} takes {most} items at most");
            file.error("bus/batch-max", self.max.1, message, format!("say `max: {most}`, or less"));
        }
        Some(*item)
    }

    /// The lists that say what became of items, and the type of what is said of one that is applied.
    fn outcomes(&self, file: &DefinitionFile<'_>, target: &Target<'_>) -> Option<AllOutcomes> {
        let label = target.asked().label();
        let Some(answer) = target.operation.success_type() else {
            let message = format!("the contract of {label} promises no answer that could be read");
            file.error("bus/no-answer", target.at, message, "describe its 2xx response as `application/json`");
            return None;
        };
        let whose = format!("the answer of {label}");
        let types: Vec<Option<Type>> =
            self.outcomes.iter().map(|declared| self.outcome(file, &answer, declared, &whose)).collect();
        let id = self.id.as_ref().map(|(pointer, _)| &**pointer);
        let outcomes: Vec<Outcomes> = self.outcomes.iter().map(|declared| declared.outcomes(id)).collect();
        let types: Vec<Type> = types.into_iter().collect::<Option<_>>()?;
        let applied: Vec<usize> = (0..outcomes.len()).filter(|n| outcomes[*n].can_mean_applied()).collect();
        let problem = match (applied.as_slice(), id) {
            ([_], None) if outcomes.len() > 1 => "items are found by their position, which only one list can have",
            ([_], _) => "",
            ([], _) => "no item can ever be applied",
            (_, _) => "an applied item can lie in two lists, so that nobody knows what `$response` is",
        };
        if !problem.is_empty() {
            let help = "one list says which items are applied (`means: applied`, or a value of a field); others say what \
                        became of the rest, by `id`";
            file.error("bus/batch-outcomes", self.at, problem, help);
            return None;
        }
        let response = types.into_iter().nth(*applied.first()?)?;
        Some((outcomes, response))
    }

    /// The type of an outcome in this list, whose fields have to be there.
    fn outcome(
        &self,
        file: &DefinitionFile<'_>,
        answer: &Type,
        declared: &DeclaredOutcomes,
        whose: &str,
    ) -> Option<Type> {
        let ty = list(file, answer, declared.at.as_ref(), declared.span, whose)?;
        let item = match ty.kind {
            Kind::List { item, .. } => *item,
            _any => Type::of(Kind::Any),
        };
        let part = format!("an outcome in {whose}");
        let item = Type { nullable: false, ..item };
        if let Some((pointer, at)) = declared.id.as_ref().or(self.id.as_ref()) {
            pointed_at(file, &item, (pointer, *at), &part)?;
        }
        for (pointer, at) in &declared.means_at {
            pointed_at(file, &item, (pointer, *at), &part)?;
        }
        Some(item)
    }
}

/// The type at a pointer, the whole without one; reports where that is no list.
fn list(file: &DefinitionFile<'_>, whole: &Type, pointer: Option<&Pointer>, at: Span, whose: &str) -> Option<Type> {
    let (ty, at) = match pointer {
        Some((pointer, at)) => (pointed_at(file, whole, (pointer, *at), whose)?, *at),
        None => (whole.clone(), at),
    };
    if matches!(ty.kind, Kind::List { .. } | Kind::Any) {
        return Some(ty);
    }
    let place = pointer.map_or_else(|| whose.to_owned(), |(pointer, _)| format!("`{pointer}` of {whose}"));
    let help = "name the list by its JSON pointer, such as `/inputs`";
    file.error("bus/batch-place", at, format!("{place} is no list"), help);
    None
}

/// An idempotency key, as text.
fn key_type() -> Type {
    let text = Text { format: Some("uuid".to_owned()), min_length: 36, max_length: Some(36), ..Text::default() };
    Type::of(Kind::Text(text))
}

/// The same type without what lies there: the batch puts it in. What is only around it need not be given either.
fn without(ty: &Type, steps: &[String]) -> Type {
    let (Kind::Record(record), Some((step, rest))) = (&ty.kind, steps.split_first()) else { return ty.clone() };
    let part = |field: &Field| match (field.name == *step, rest.is_empty()) {
        (false, _) => Some(field.clone()),
        (true, true) => None,
        (true, false) => Some(Field { ty: without(&field.ty, rest), required: false, ..field.clone() }),
    };
    let fields = record.fields.iter().filter_map(part).collect();
    Type { kind: Kind::Record(Arc::new(Record { fields, ..Record::clone(record) })), nullable: ty.nullable }
}

/// What stands before the items, and after them.
fn around(mut shared: Value, items_at: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut place = &mut shared;
    for step in steps(items_at) {
        if !place.is_object() {
            *place = Value::Object(serde_json::Map::new());
        }
        place = place.as_object_mut()?.entry(step).or_insert(Value::Null);
    }
    *place = Value::Array(vec![Value::String(ITEMS.to_owned())]);
    let (written, mark) = (serde_json::to_string(&shared).ok()?, serde_json::to_string(ITEMS).ok()?);
    let (before, after) = written.split_once(&mark)?;
    Some((before.as_bytes().to_vec(), after.as_bytes().to_vec()))
}
