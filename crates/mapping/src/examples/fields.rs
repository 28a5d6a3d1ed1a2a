//! The fields that a mapping reads, the values that each takes in the examples, and an event and names with some of them.

use serde_json::Value;
use tieline_schema::types::{Kind, Type};

use super::{Examined, Given, values};
use crate::Filter;
use crate::condition::Literal;

/// A field that is read.
#[derive(Debug)]
pub(super) struct Field {
    /// Of which `$name`; of the event, without one.
    name: Option<usize>,
    /// What it is called in messages: `.deal.stage`, `$manager.phone`.
    label: String,
    steps: Vec<String>,
    /// What it can be; nothing for a field that is not there.
    values: Vec<Option<Value>>,
}

/// A value of a field, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) field: usize,
    pub(super) value: usize,
}

/// An event and what its names are.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) event: Value,
    names: Vec<Value>,
}

/// The fields of the event and of the names, and a world in which each is ordinary.
pub(super) fn read(examined: &Examined<'_>) -> (Vec<Field>, World) {
    let literals = examined.when.map(Filter::literals).unwrap_or_default();
    let mut fields = of_given(&examined.event, None, "", &examined.layout.reads(), &literals);
    for (at, (name, given)) in examined.names.iter().enumerate() {
        let mut paths = examined.mapping.reads_of(name);
        paths.extend(examined.when.map(|when| when.reads_of(name)).unwrap_or_default());
        paths.sort();
        paths.dedup();
        fields.extend(of_given(given, Some(at), &format!("${name}"), &paths, &literals));
    }
    let ordinary = |given: &Given<'_>| values::ordinary(given.ty());
    let names = examined.names.iter().map(|(_, given)| ordinary(given)).collect();
    let mut world = World { event: ordinary(&examined.event), names };
    // A map has no keys by itself: those that are read are there.
    for field in &fields {
        match field.values.first() {
            Some(Some(value)) if world.value(field).is_none() => world.set(field, Some(value)),
            Some(_) | None => {}
        }
    }
    (fields, world)
}

/// Each value of each field on its own.
pub(super) fn singles(fields: &[Field]) -> Vec<Choice> {
    let of_field = |(field, f): (usize, &Field)| (0..f.values.len()).map(move |value| Choice { field, value });
    fields.iter().enumerate().flat_map(of_field).collect()
}

/// The choices with one more, in the order of the fields; a field has one value.
pub(super) fn and(choices: &[Choice], more: Choice) -> Vec<Choice> {
    let mut all: Vec<Choice> = choices.iter().filter(|c| c.field != more.field).copied().collect();
    all.push(more);
    all.sort_unstable_by_key(|c| c.field);
    all
}

/// A value in a message, bounded.
pub(super) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("…".chars()).collect() }
}

/// The fields at these paths and those that hold them, which can be null, absent, or lists of another length.
///
/// `literals` are the values that the filter names: no event would concern it without them.
fn of_given(given: &Given<'_>, name: Option<usize>, top: &str, paths: &[String], literals: &[Literal]) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for path in paths {
        let all: Vec<String> = path.replace("[]", ".[]").split('.').map(str::to_owned).collect();
        for depth in 1..=all.len() {
            let steps = &all[..depth];
            if fields.iter().any(|f| f.steps == steps) {
                continue;
            }
            let Some((ty, can_be_absent)) = type_at(given, steps) else { continue };
            let mut values: Vec<Option<Value>> = values::of_type(&ty).into_iter().map(Some).collect();
            for value in values::near(&ty, literals).into_iter().map(Some) {
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            if can_be_absent {
                values.push(None);
            }
            let label = format!("{top}.{}", steps.join(".").replace(".[]", "[]"));
            fields.push(Field { name, label, steps: steps.to_vec(), values });
        }
    }
    fields
}

/// The type at a path, and whether JSON may lack it.
fn type_at(given: &Given<'_>, steps: &[String]) -> Option<(Type, bool)> {
    let (mut ty, mut can_be_absent) = (given.ty().clone(), false);
    for step in steps {
        (ty, can_be_absent) = match &ty.kind {
            Kind::List { item, .. } if step == "[]" => ((**item).clone(), false),
            Kind::Map(value) => ((**value).clone(), matches!(given, Given::Json(_, _))),
            Kind::Record(record) => {
                let field = record.field(step)?;
                (field.ty.clone(), !field.required && matches!(given, Given::Json(_, _)))
            }
            _single => return None,
        };
    }
    Some((ty, can_be_absent))
}

impl Field {
    /// `.deal.stage = "NEGOTIATION"`.
    pub(super) fn describe(&self, value: usize) -> String {
        match &self.values[value] {
            Some(value) => format!("{} = {}", self.label, shortened(value)),
            None => format!("{} is absent", self.label),
        }
    }
}

impl World {
    /// The same with these values; whoever holds another comes before it.
    pub(super) fn with(&self, fields: &[Field], choices: &[Choice]) -> Self {
        let mut world = self.clone();
        for choice in choices {
            let field = &fields[choice.field];
            world.set(field, field.values[choice.value].as_ref());
        }
        world
    }

    /// The names with their values.
    pub(super) fn names<'w>(&'w self, given: &'w [(&'w str, Given<'_>)]) -> Vec<(&'w str, &'w Value)> {
        given.iter().map(|(name, _)| *name).zip(&self.names).collect()
    }

    fn value(&self, field: &Field) -> Option<&Value> {
        let top = field.name.map_or(&self.event, |name| &self.names[name]);
        field.steps.iter().try_fold(top, |at, step| if step == "[]" { at.get(0) } else { at.get(step) })
    }

    /// Sets a field, or removes it; the first item of a list stands for all. What lies in null or in an empty list is
    /// not there to be set.
    fn set(&mut self, field: &Field, value: Option<&Value>) {
        let top = field.name.map_or(&mut self.event, |name| &mut self.names[name]);
        let Some((last, way)) = field.steps.split_last() else { return };
        let holder =
            way.iter().try_fold(top, |at, step| if step == "[]" { at.get_mut(0) } else { at.get_mut(step.as_str()) });
        match (holder, value) {
            (Some(Value::Array(items)), Some(value)) => {
                if let Some(item) = items.first_mut() {
                    *item = value.clone();
                }
            }
            (Some(Value::Object(object)), Some(value)) => {
                object.insert(last.clone(), value.clone());
            }
            (Some(Value::Object(object)), None) => {
                object.remove(last);
            }
            (_, _) => {}
        }
    }
}
