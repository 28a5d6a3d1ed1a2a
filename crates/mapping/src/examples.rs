//! The second line of checking: events made from the event's type, run through the mapping and the contract's validator.
//!
//! What types do not model (`oneOf`, conditional schemas, exotic formats) shows here, as a counter-example. Values of one
//! field at a time come first, so that the first failure names the field that makes it; then all pairs of fields that
//! are read. An example that a run-time check refuses is a dead letter, as its author wanted, and no counter-example.

use serde_json::{Value, json};
use tieline_schema::contract::Validator;
use tieline_schema::types::{Kind, Text, Type};

use crate::{Bounds, Diagnostic, Filter, Layout, Mapping, Span};

/// Most examples that are run for one mapping: some milliseconds.
const EXAMPLES_MAX: usize = 2_000;

/// An event that satisfies its schema, and becomes a request that breaks the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterExample {
    /// What is special about the event: `deal.stage = "NEGOTIATION"`.
    pub when: String,
    /// Where the request breaks the contract, as a JSON pointer.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Examined<'a> {
    /// The type of the event.
    pub event: &'a Type,
    /// The layout of the definition.
    pub layout: &'a Layout,
    /// Which events concern it.
    pub when: Option<&'a Filter>,
    /// What becomes of them; its target is a contract.
    pub mapping: &'a Mapping,
    /// The types of `$names`.
    pub names: &'a [(&'a str, &'a Type)],
    /// The whole of what the contract promises.
    pub contract: &'a Validator,
}

/// A value of one field.
#[derive(Debug, Clone)]
struct Choice {
    path: String,
    value: Value,
}

impl CounterExample {
    /// The same as a problem at the mapping's place.
    #[must_use]
    pub fn diagnostic(&self, span: Span) -> Diagnostic {
        let message = format!("the contract refuses an example: `{}` {}", self.pointer, self.message);
        Diagnostic::error("mapping/example-refused", span, message).help(format!("when {}", self.when))
    }
}

impl Examined<'_> {
    /// The first example that the contract refuses.
    #[must_use]
    pub fn counter_example(&self) -> Option<CounterExample> {
        let base = base(self.event);
        let choices = self.choices();
        // The filter wants some event: the first that it takes is what all others differ from.
        let singles = choices.iter().map(std::slice::from_ref);
        let start: Vec<Choice> =
            std::iter::once(&[][..]).chain(singles).find(|c| self.concerns(&with(&base, c))).map(<[Choice]>::to_vec)?;
        let event = with(&base, &start);
        let singles = choices.iter().map(|c| vec![c.clone()]);
        let pairs = choices.iter().enumerate().flat_map(|(at, a)| {
            let others = choices[at + 1..].iter().filter(|b| b.path != a.path);
            others.map(|b| vec![a.clone(), b.clone()])
        });
        std::iter::once(start.clone())
            .chain(singles)
            .chain(pairs)
            .take(EXAMPLES_MAX)
            .find_map(|c| self.refused(&event, &c))
    }

    /// The values of each field that is read.
    fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for path in self.layout.reads() {
            let Some(ty) = type_at(self.event, &path) else { continue };
            choices.extend(values(&ty).into_iter().map(|value| Choice { path: path.clone(), value }));
        }
        choices
    }

    fn concerns(&self, event: &Value) -> bool {
        let Ok(frame) = self.layout.read_json(event, &Bounds::default()) else { return false };
        self.when.is_none_or(|when| when.holds(&frame, &[]).unwrap_or(false))
    }

    fn refused(&self, base: &Value, choices: &[Choice]) -> Option<CounterExample> {
        let event = with(base, choices);
        if !self.concerns(&event) {
            return None;
        }
        let names: Vec<(&str, Value)> = self.names.iter().map(|(name, ty)| (*name, self::base(ty))).collect();
        let names: Vec<(&str, &Value)> = names.iter().map(|(name, value)| (*name, value)).collect();
        let bounds = Bounds::default();
        let frame = self.layout.read_json(&event, &bounds).ok()?;
        let mut out = Vec::new();
        self.mapping.write(&frame, &names, &bounds, &mut out).ok()?;
        let body: Value = serde_json::from_slice(&out).ok()?;
        let violation = self.contract.violations(&body).into_iter().next()?;
        let when: Vec<String> = choices.iter().map(|c| format!("{} = {}", c.path, shortened(&c.value))).collect();
        let when = if when.is_empty() { "nothing is special".to_owned() } else { when.join(" and ") };
        Some(CounterExample { when, pointer: violation.pointer, message: violation.message })
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("…".chars()).collect() }
}

/// An event that differs in these fields; the first item of a list stands for all.
fn with(base: &Value, choices: &[Choice]) -> Value {
    let mut event = base.clone();
    for choice in choices {
        let mut place = Some(&mut event);
        for step in choice.path.replace("[]", ".[]").split('.').filter(|s| !s.is_empty()) {
            place = place.and_then(|p| if step == "[]" { p.get_mut(0) } else { p.get_mut(step) });
        }
        if let Some(place) = place {
            *place = choice.value.clone();
        }
    }
    event
}

fn type_at(event: &Type, path: &str) -> Option<Type> {
    let mut ty = event.clone();
    for step in path.replace("[]", ".[]").split('.').filter(|s| !s.is_empty()) {
        ty = match &ty.kind {
            Kind::List { item, .. } if step == "[]" => (**item).clone(),
            Kind::Map(value) => (**value).clone(),
            Kind::Record(record) => record.field(step)?.ty.clone(),
            _single => return None,
        };
    }
    Some(ty)
}

/// An ordinary value of a type; not null where it need not be.
fn base(ty: &Type) -> Value {
    match &ty.kind {
        Kind::Record(record) => record.fields.iter().map(|f| (f.name.clone(), base(&f.ty))).collect(),
        Kind::List { item, min_items, .. } => (0..(*min_items).max(1)).map(|_| base(item)).collect(),
        Kind::Map(_) => json!({}),
        Kind::Any => Value::Null,
        _single => values(ty).into_iter().next().unwrap_or(Value::Null),
    }
}

/// The values of a type that are worth a try, an ordinary one first.
fn values(ty: &Type) -> Vec<Value> {
    let mut values: Vec<Value> = match &ty.kind {
        Kind::Text(text) => texts(text).into_iter().map(Value::String).collect(),
        Kind::Integer { min, max } => {
            let ordinary = 7.clamp(*min, *max);
            [ordinary, 0, 1, -1, *min, *max].into_iter().filter(|n| (min..=max).contains(&n)).map(Value::from).collect()
        }
        Kind::Decimal { precision, scale, .. } => {
            let whole = precision.saturating_sub(*scale).clamp(1, 12) as usize;
            let most = "9".repeat(whole);
            ["7", "0", "1", &most, &format!("-{most}")]
                .iter()
                .filter_map(|n| n.parse::<i64>().ok())
                .map(Value::from)
                .collect()
        }
        Kind::Float { .. } => vec![json!(7.5), json!(0), json!(-1.5)],
        Kind::Boolean => vec![json!(true), json!(false)],
        Kind::Date => vec![json!("2026-06-15"), json!("2024-02-29"), json!("2026-12-31")],
        Kind::Timestamp => vec![json!("2026-06-15T12:00:00Z"), json!("2026-12-31T23:30:00Z")],
        Kind::List { item, min_items, max_items } => {
            let counts = [1, 0, 3].into_iter().filter(|n| n >= min_items && max_items.is_none_or(|m| *n <= m));
            counts.map(|n| (0..n).map(|_| base(item)).collect()).collect()
        }
        Kind::Record(_) | Kind::Map(_) => vec![base(ty)],
        Kind::Bytes | Kind::Null | Kind::Any => vec![Value::Null],
    };
    if ty.nullable {
        values.push(Value::Null);
    }
    values
}

fn texts(text: &Text) -> Vec<String> {
    if let Some(values) = &text.values {
        return values.clone();
    }
    match text.format.as_deref() {
        Some("email") => return vec!["ada@example.com".to_owned()],
        Some("uuid") => return vec!["0190a6e4-0000-7000-8000-000000000000".to_owned()],
        Some("uri") => return vec!["https://example.com/".to_owned()],
        Some(_) | None => {}
    }
    let most = text.max_length.map_or(300, |m| m.min(300)) as usize;
    let fits = |t: &String| t.chars().count() >= text.min_length as usize && t.chars().count() <= most;
    let all = ["Ordinary text".to_owned(), String::new(), "x".repeat(most), "Ünï \"quoted\" 文字".to_owned()];
    let fitting: Vec<String> = all.into_iter().filter(fits).collect();
    if fitting.is_empty() { vec!["x".repeat(text.min_length as usize)] } else { fitting }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{Compiler, Target, yaml};

    /// The counter-example of a mapping of `{ stage: OPEN | WON, note: text? }`.
    fn check(contract: Value, when: &str, body: &str) -> Option<CounterExample> {
        let event = Validator::compile(json!({ "type": "object", "required": ["stage"], "properties": {
            "stage": { "enum": ["OPEN", "WON"] }, "note": { "type": ["string", "null"] } } }))
        .unwrap();
        let contract = Validator::compile(contract).unwrap();
        let mut compiler = Compiler::new(event.ty.clone(), "event".to_owned());
        let when = yaml::parse(&format!("when: {when}")).unwrap();
        let when = compiler.filter(when.get("when").unwrap()).unwrap();
        let mapping = compiler.mapping(&yaml::parse(body).unwrap(), Target::Contract(&contract.ty, "contract"), None);
        let (layout, problems) = compiler.finish();
        let mapping = mapping.unwrap_or_else(|| panic!("{problems:#?}"));
        let examined = Examined {
            event: &event.ty,
            layout: &layout,
            when: Some(&when),
            mapping: &mapping,
            names: &[],
            contract: &contract,
        };
        examined.counter_example()
    }

    fn conditional() -> Value {
        json!({ "type": "object", "properties": { "stage": { "type": "string" }, "note": { "type": "string" } },
            "if": { "properties": { "stage": { "const": "WON" } } }, "then": { "required": ["note"] } })
    }

    #[test]
    fn what_types_do_not_model_shows_as_a_counter_example() {
        let found = check(conditional(), ".stage == 'WON'", "{ stage: .stage, note: .note }").unwrap();
        assert_eq!(found.when, "note = null");
        let problem = found.diagnostic(Span::default());
        assert_eq!(problem.code, "mapping/example-refused");
    }

    #[test]
    fn a_right_mapping_has_no_counter_example() {
        assert_eq!(check(conditional(), ".stage == 'WON'", "{ stage: .stage, note: .note ?? 'none' }"), None);
        assert_eq!(check(conditional(), ".stage == 'OPEN'", "{ stage: .stage, note: .note }"), None);
    }
}
