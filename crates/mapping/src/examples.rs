//! The second line of checking: events made from the event's type, run through the mapping and held against the whole of
//! what the target promises.
//!
//! What types do not model (`oneOf`, conditional schemas, exotic formats) shows here, as a counter-example. Values of one
//! field at a time come first, so that the first failure names the field that makes it; then rows in which any two
//! values of any two fields that are read meet. An example that a run-time check refuses is a dead letter, as its author
//! wanted, and no counter-example. Examples sample, they do not prove.

mod fields;
mod pairs;
mod steer;
mod values;

use serde_json::Value;
use tieline_schema::avro::EventSchema;
use tieline_schema::contract::Validator;
use tieline_schema::friendly::VALUES_MAX;
use tieline_schema::types::Type;

use crate::{Bounds, Diagnostic, Filter, Frame, Layout, Mapping, Names, Reader, Span};
use fields::{Choice, Field, World};
use pairs::rows;

/// An event that satisfies its schema, and becomes what its target does not promise to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterExample {
    /// What is special about the event, `.deal.stage = "NEGOTIATION"`; empty where an ordinary one does it.
    pub when: String,
    /// Where what it becomes breaks the promise, as a JSON pointer; empty for the whole.
    pub pointer: String,
    /// What is wrong there, and with which value.
    pub message: String,
}

/// What the examples of a mapping have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Each becomes what its target promises to take, or is refused at run time.
    Kept,
    /// None could be made that concerns the definition: nothing was tried.
    Untried,
    /// One does not.
    Broken(CounterExample),
}

/// What is run.
#[derive(Debug, Clone)]
pub struct Examined<'a> {
    /// What is mapped.
    pub event: Given<'a>,
    /// The layout of the definition.
    pub layout: &'a Layout,
    /// Which events concern it.
    pub when: Option<&'a Filter>,
    /// What becomes of them.
    pub mapping: &'a Mapping,
    /// What `$names` are.
    pub names: &'a [(&'a str, Given<'a>)],
    /// What it has to be.
    pub promise: Promise<'a>,
}

/// What an example is made from.
#[derive(Debug, Clone)]
pub enum Given<'a> {
    /// An event of this schema.
    Event(&'a EventSchema),
    /// JSON of this type that one of these contracts accepts; any, where there is none.
    Json(Type, Vec<&'a Validator>),
}

/// What the outcome of a mapping is held against.
#[derive(Debug, Clone, Copy)]
pub enum Promise<'a> {
    /// The JSON satisfies this contract.
    Contract(&'a Validator),
    /// The JSON, put between these bytes as the only item of a list, satisfies this contract.
    Within {
        /// The contract of the whole.
        contract: &'a Validator,
        /// The whole before and after it.
        around: (&'a [u8], &'a [u8]),
        /// Where the list lies in the whole, as a JSON pointer.
        at: &'a str,
    },
    /// The datum can be read back with this schema.
    Event(&'a EventSchema),
}

/// What became of an example.
enum Outcome {
    /// It cannot be, or does not concern the definition.
    Elsewhere,
    /// A check at run time refused it.
    DeadLetter,
    /// As promised.
    Kept,
    /// The counter-example, but for what is special about it.
    Broken { pointer: String, message: String },
}

/// Runs the examples of one mapping.
struct Examples<'a> {
    examined: &'a Examined<'a>,
    /// Reads events as a consumer does.
    reader: Option<Reader>,
    fields: Vec<Field>,
    /// What all examples differ from.
    base: World,
}

impl CounterExample {
    /// The same as a problem at the mapping's place.
    #[must_use]
    pub fn diagnostic(&self, span: Span) -> Diagnostic {
        let place = if self.pointer.is_empty() { "the whole".to_owned() } else { format!("`{}`", self.pointer) };
        let message = format!("the contract refuses an example: {place} {}", self.message);
        let when = if self.when.is_empty() { "an ordinary event does it" } else { &format!("when {}", self.when) };
        let help = format!("{when}: filter such events out with `when`, or map them to what is accepted");
        Diagnostic::error("mapping/example-refused", span, message).help(help)
    }
}

impl Verdict {
    /// The same as a problem: what is broken stands at the mapping's place, what lets nothing through at the filter's.
    #[must_use]
    pub fn diagnostic(&self, mapping: impl FnOnce(&str) -> Span, filter: Option<Span>) -> Option<Diagnostic> {
        match (self, filter) {
            (Self::Kept, _) => None,
            (Self::Broken(example), _) => Some(example.diagnostic(mapping(&example.pointer))),
            (Self::Untried, Some(filter)) => {
                let message = "no generated event satisfies this filter, so that nothing was tried";
                let help = "write a case with an event that it takes, for `tieline test`".to_owned();
                Some(Diagnostic::warning("mapping/no-example", filter, message).help(help))
            }
            (Self::Untried, None) => {
                let message = "no event could be generated that its contract accepts, so that nothing was tried";
                let help = "write a case, for `tieline test`".to_owned();
                Some(Diagnostic::warning("mapping/no-example", mapping(""), message).help(help))
            }
        }
    }
}

impl Given<'_> {
    fn ty(&self) -> &Type {
        match self {
            Self::Event(schema) => &schema.ty,
            Self::Json(ty, _) => ty,
        }
    }

    fn can_be(&self, value: &Value) -> bool {
        match self {
            // Whether it fits shows when it is encoded.
            Self::Event(_) => true,
            Self::Json(_, contracts) => {
                contracts.is_empty() || contracts.iter().any(|c| c.violations(value).is_empty())
            }
        }
    }
}

impl Promise<'_> {
    /// Where what was written breaks it.
    fn broken_by(self, written: &[u8]) -> Outcome {
        let broken = |pointer: String, message: String| Outcome::Broken { pointer, message };
        match self {
            Self::Contract(contract) => {
                let Ok(body) = serde_json::from_slice::<Value>(written) else {
                    return broken(String::new(), "is not JSON".to_owned());
                };
                let Some(violation) = contract.violations(&body).into_iter().next() else { return Outcome::Kept };
                let value = body.pointer(&violation.pointer).filter(|v| !v.is_object() && !v.is_array());
                let but = value.map_or_else(String::new, |v| format!(", but is {}", fields::shortened(v)));
                broken(violation.pointer, format!("{}{but}", violation.message))
            }
            Self::Within { contract, around: (before, after), at } => {
                let whole = [before, written, after].concat();
                match Promise::Contract(contract).broken_by(&whole) {
                    // What is shown is the item, which is what was mapped.
                    Outcome::Broken { pointer, message } => {
                        let within = pointer.strip_prefix(at).and_then(|p| p.strip_prefix("/0")).map(str::to_owned);
                        broken(within.unwrap_or_default(), message)
                    }
                    other => other,
                }
            }
            Self::Event(schema) => match schema.json_from_datum(written, VALUES_MAX) {
                Ok(_) => Outcome::Kept,
                Err(error) => broken(String::new(), format!("cannot be read back: {error}")),
            },
        }
    }
}

impl Examined<'_> {
    /// Runs the examples, up to the first that breaks the promise.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut examples = Examples::new(self);
        let singles = fields::singles(&examples.fields);
        let starts = examples.starts(&singles);
        if starts.is_empty() {
            return Verdict::Untried;
        }
        // Choices are what differs from the base, which each start changes.
        let ordinary = examples.base.clone();
        for start in starts {
            examples.base = ordinary.clone();
            let Some(found) = examples.find(start, &singles) else { continue };
            let found = examples.without_what_does_not_matter(found);
            if let Outcome::Broken { pointer, message } = examples.outcome(&found) {
                let when = found.iter().map(|c| examples.describe(*c)).collect::<Vec<_>>().join(" and ");
                return Verdict::Broken(CounterExample { when, pointer, message });
            }
        }
        Verdict::Kept
    }
}

impl<'a> Examples<'a> {
    fn new(examined: &'a Examined<'a>) -> Self {
        let reader = match &examined.event {
            Given::Event(schema) => examined.layout.reader(&schema.avro, &schema.avro).ok(),
            Given::Json(_, _) => None,
        };
        let (fields, base) = fields::read(examined);
        Self { examined, reader, fields, base }
    }

    /// The choices of the first counter-example, as they differ from what is then the base: the start, or the event that
    /// is ordinary where it already fails.
    fn find(&mut self, start: Vec<Choice>, singles: &[Choice]) -> Option<Vec<Choice>> {
        if matches!(self.outcome(&start), Outcome::Broken { .. }) {
            return Some(start);
        }
        self.base = self.base.with(&self.fields, &start);
        let mut kept = vec![Vec::new(); self.fields.len()];
        for choice in singles {
            match self.outcome(&[*choice]) {
                Outcome::Broken { .. } => return Some(vec![*choice]),
                Outcome::Kept => kept[choice.field].push(*choice),
                // With others it would only hide what they do.
                Outcome::Elsewhere | Outcome::DeadLetter => {}
            }
        }
        rows(&kept).into_iter().find(|row| matches!(self.outcome(row), Outcome::Broken { .. }))
    }

    /// The events that all others differ from: one for each alternative of the filter, or else one that is stumbled
    /// upon.
    fn starts(&self, singles: &[Choice]) -> Vec<Vec<Choice>> {
        let steered = steer::steered(self, singles);
        if steered.is_empty() {
            return self.stumbled_upon(singles).into_iter().collect();
        }
        steered.into_iter().map(|start| self.undisputed(start, singles)).collect()
    }

    /// The same, but for one choice that keeps it from being refused at run time, where there is such a one.
    fn undisputed(&self, start: Vec<Choice>, singles: &[Choice]) -> Vec<Choice> {
        if !matches!(self.outcome(&start), Outcome::DeadLetter) {
            return start;
        }
        let other = singles.iter().map(|choice| fields::and(&start, *choice));
        let tried = |choices: &Vec<Choice>| matches!(self.outcome(choices), Outcome::Kept | Outcome::Broken { .. });
        other.into_iter().find(tried).unwrap_or(start)
    }

    /// By as few choices as can be: the first that is not refused at run time, or else the first that concerns the
    /// definition at all.
    fn stumbled_upon(&self, singles: &[Choice]) -> Option<Vec<Choice>> {
        let mut by_field = vec![Vec::new(); self.fields.len()];
        singles.iter().for_each(|c| by_field[c.field].push(*c));
        let few = std::iter::once(Vec::new()).chain(singles.iter().map(|c| vec![*c]));
        let mut dead = None;
        for choices in few.chain(std::iter::once_with(|| rows(&by_field)).flatten()) {
            match self.outcome(&choices) {
                Outcome::Kept | Outcome::Broken { .. } => return Some(choices),
                Outcome::DeadLetter => dead = dead.or(Some(choices)),
                Outcome::Elsewhere => {}
            }
        }
        dead
    }

    fn without_what_does_not_matter(&self, mut choices: Vec<Choice>) -> Vec<Choice> {
        let mut at = 0;
        while at < choices.len() {
            let mut fewer = choices.clone();
            fewer.remove(at);
            if matches!(self.outcome(&fewer), Outcome::Broken { .. }) {
                choices = fewer;
            } else {
                at += 1;
            }
        }
        choices
    }

    fn describe(&self, choice: Choice) -> String {
        self.fields[choice.field].describe(choice.value)
    }

    fn outcome(&self, choices: &[Choice]) -> Outcome {
        let examined = self.examined;
        let outcome = self.seen(choices, |frame, names| {
            if !examined.when.is_none_or(|when| when.holds(frame, names).unwrap_or(false)) {
                return Outcome::Elsewhere;
            }
            let mut written = Vec::new();
            match examined.mapping.write(frame, names, &Bounds::default(), &mut written) {
                Ok(()) => examined.promise.broken_by(&written),
                Err(_refused) => Outcome::DeadLetter,
            }
        });
        outcome.unwrap_or(Outcome::Elsewhere)
    }

    /// Looks at the base with these choices as a definition would see it; nothing where that cannot be.
    fn seen<T>(&self, choices: &[Choice], look: impl FnOnce(&Frame<'_>, Names<'_>) -> T) -> Option<T> {
        let examined = self.examined;
        let world = self.base.with(&self.fields, choices);
        let names = world.names(examined.names);
        let possible = examined.event.can_be(&world.event)
            && examined.names.iter().zip(&names).all(|((_, given), (_, value))| given.can_be(value));
        if !possible {
            return None;
        }
        let bounds = Bounds::default();
        let datum;
        let frame = match (&examined.event, &self.reader) {
            (Given::Event(schema), Some(reader)) => {
                datum = schema.datum_from_json(&world.event).ok()?;
                reader.read(&datum, &bounds)
            }
            (_, _) => examined.layout.read_json(&world.event, &bounds),
        };
        Some(look(&frame.ok()?, &names))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::{Compiler, Target, yaml};

    /// What the examples say of a mapping of an event with some fields of this webhook's contract.
    #[track_caller]
    fn verdict(event: Value, contract: Value, when: &str, body: &str) -> Verdict {
        let (event, contract) = (Validator::compile(event).unwrap(), Validator::compile(contract).unwrap());
        let mut compiler = Compiler::new(event.ty.clone(), "event".to_owned());
        compiler.tables(&yaml::parse("kind: { A: first, B: second, C: third }").unwrap());
        let when = yaml::parse(&format!("when: {when}")).unwrap();
        let when = compiler.filter(when.get("when").unwrap());
        let mapping = compiler.mapping(&yaml::parse(body).unwrap(), Target::Contract(&contract.ty, "contract"), None);
        let (layout, problems) = compiler.finish();
        assert!(problems.iter().all(|p| p.severity < crate::Severity::Error), "{problems:#?}");
        let examined = Examined {
            event: Given::Json(event.ty.clone(), vec![&event]),
            layout: &layout,
            when: when.as_ref(),
            mapping: &mapping.unwrap(),
            names: &[],
            promise: Promise::Contract(&contract),
        };
        examined.verdict()
    }

    /// The counter-example.
    #[track_caller]
    fn check(event: Value, contract: Value, when: &str, body: &str) -> Option<CounterExample> {
        match verdict(event, contract, when, body) {
            Verdict::Broken(found) => Some(found),
            Verdict::Kept => None,
            Verdict::Untried => panic!("no example satisfies {when}"),
        }
    }

    fn deal() -> Value {
        json!({ "type": "object", "required": ["stage", "kind", "note"], "properties": {
            "stage": { "enum": ["OPEN", "WON"] }, "kind": { "enum": ["A", "B", "C"] },
            "note": { "type": ["string", "null"] }, "code": { "type": "string", "pattern": "^[A-Z]{2}$" } } })
    }

    /// A note is wanted of what is won.
    fn conditional() -> Value {
        json!({ "type": "object", "properties": { "stage": { "type": "string" }, "note": { "type": "string" } },
            "if": { "properties": { "stage": { "const": "WON" } } }, "then": { "required": ["note"] } })
    }

    #[test]
    fn what_types_do_not_model_shows_as_a_counter_example() {
        let found = check(deal(), conditional(), ".stage == 'WON'", "{ stage: .stage, note: .note }").unwrap();
        assert_eq!(found.when, ".note = null");
        let problem = found.diagnostic(Span::default());
        assert_eq!(problem.code, "mapping/example-refused");
        assert_eq!(problem.message, "the contract refuses an example: the whole must have `note`");
    }

    #[test]
    fn a_right_mapping_has_no_counter_example() {
        let right = "{ stage: .stage, note: .note ?? 'none' }";
        assert_eq!(check(deal(), conditional(), ".stage == 'WON'", right), None);
        assert_eq!(check(deal(), conditional(), ".stage == 'OPEN'", "{ stage: .stage, note: .note }"), None);
    }

    #[test]
    fn what_two_values_do_together_is_found_and_named_without_the_others() {
        let found = check(deal(), conditional(), "true", "{ stage: .stage, note: .note, kind: .kind }").unwrap();
        assert_eq!(found.when, ".note = null and .stage = \"WON\"");
    }

    #[test]
    fn a_filter_of_several_conditions_is_satisfied() {
        let when = ".stage == 'WON' and .kind == 'C'";
        let found = check(deal(), conditional(), when, "{ stage: .stage, note: .note }").unwrap();
        assert_eq!(found.when, ".note = null");
    }

    #[test]
    fn a_text_that_the_filter_names_is_tried() {
        let when = ".note == 'urgent' or .note in ['late', 'never']";
        let contract = json!({ "type": "object", "properties": { "n": { "not": { "const": "late" } } } });
        assert_eq!(check(deal(), contract, when, "{ n: .note }").unwrap().when, ".note = \"late\"");
    }

    /// An order, of which no ordinary one satisfies much.
    fn order() -> Value {
        json!({ "type": "object", "required": ["id", "n", "amount", "day", "at", "tags", "kind", "a", "b"], "properties": {
            "id": { "type": "string" }, "n": { "type": "integer" }, "amount": { "type": "number", "multipleOf": 0.01 },
            "day": { "type": "string", "format": "date" }, "at": { "type": "string", "format": "date-time" },
            "tags": { "type": "array", "items": { "type": "string" } }, "kind": { "enum": ["A", "B", "C"] },
            "a": { "type": "string" }, "b": { "type": ["string", "null"] }, "free": { "type": "string" },
            "lines": { "type": "array", "items": { "type": "object", "required": ["sku"], "properties": {
                "sku": { "type": ["string", "null"] } } } } } })
    }

    #[test]
    fn a_filter_is_satisfied_by_construction() {
        // What comes through is refused, so that an example shows itself.
        let refusing = || json!({ "type": "object", "properties": { "id": { "not": {} } } });
        let satisfied = |when: &str| {
            let found = verdict(order(), refusing(), when, "{ id: .id }");
            assert!(matches!(found, Verdict::Broken(_)), "{when}: {found:?}");
        };
        satisfied(".n == 4711");
        satisfied(".n > 4711 and .n < 4713");
        satisfied(".n * 2 >= 10000 and .amount == 0.07 and not (.amount < 0.06)");
        satisfied(".amount > 125000.50 and .kind in ['B', 'C'] and .kind != 'B'");
        satisfied(".day == '2031-05-17' and .at < '1999-12-31T23:59:59Z'");
        satisfied(".a == .b and .b == 'x-1'");
        satisfied(".a != .id and .b == null");
        satisfied(".free == null and (.id == 'one' or .id == 'two') and .kind == 'C'");
        satisfied("not (.kind == 'A' or .b == null) and .b != 'Ordinary text'");
        satisfied(".id | starts_with('deal-')");
        satisfied("(.id | contains('deal.')) and (.a | matches('^[A-Z]{3}-[0-9]{2}$'))");
        satisfied("(.a | lower) == 'won' and (.kind | translate(kind)) == 'third'");
        satisfied("(.tags | count) == 7");
        satisfied("(.lines | where($item.sku == 'K-7') | count) > 0");
        satisfied("if .kind == 'A' then .n == 99 else .b == null");
        satisfied("true");
    }

    #[test]
    fn each_alternative_of_a_filter_has_its_examples() {
        let contract = json!({ "type": "object", "properties": { "b": { "not": { "const": "never" } } } });
        let when = "(.kind == 'A' and .b == null) or (.kind == 'C' and .n == 43 and .b == 'never')";
        let found = check(order(), contract, when, "{ b: .b ?? '' }").unwrap();
        assert_eq!(found.when, ".b = \"never\" and .kind = \"C\" and .n = 43");
    }

    #[test]
    fn a_filter_that_nothing_satisfies_is_said() {
        let contract = || json!({ "type": "object", "properties": { "id": { "type": "string" } } });
        let found = verdict(order(), contract(), "(.id | hash) == 'ab'", "{ id: .id }");
        assert_eq!(found, Verdict::Untried);
        let filter = Span { start: 3, end: 5 };
        let problem = found.diagnostic(|_| Span::default(), Some(filter)).unwrap();
        assert_eq!(
            (problem.code, problem.severity, problem.span),
            ("mapping/no-example", crate::Severity::Warning, filter)
        );
        let nothing = json!({ "type": "object", "properties": { "id": { "type": "string" } }, "not": {} });
        assert_eq!(verdict(nothing, contract(), "true", "{ id: .id }"), Verdict::Untried);
        assert_eq!(verdict(order(), contract(), "true", "{ id: .id }").diagnostic(|_| Span::default(), None), None);
    }

    #[test]
    fn a_field_that_is_not_there_is_tried_too() {
        let contract = json!({ "type": "object", "properties": { "code": { "type": "string" }, "a": { "enum": ["A"] } },
            "dependentRequired": { "a": ["code"] } });
        let found = check(deal(), contract, "true", "{ code: .code, a: 'A' }".replace("'A'", "\"A\"").as_str());
        assert_eq!(found.unwrap().when, ".code is absent");
    }

    #[test]
    fn an_event_that_its_own_contract_refuses_is_no_example() {
        // Same pattern on both sides: a text that does not match it cannot come.
        let contract = json!({ "type": "object",
            "properties": { "code": { "allOf": [{ "pattern": "^[A-Z]{2}$" }, { "maxLength": 2 }] } } });
        assert_eq!(check(deal(), contract, "true", "{ code: .code }"), None);
    }

    #[test]
    fn what_cannot_be_read_back_with_its_schema_breaks_the_promise() {
        let schema =
            EventSchema::parse(r#"{ "type": "record", "name": "e", "fields": [{ "name": "a", "type": "long" }] }"#);
        let schema = schema.unwrap();
        let promise = Promise::Event(&schema);
        assert!(matches!(promise.broken_by(&[2]), Outcome::Kept));
        assert!(matches!(promise.broken_by(&[]), Outcome::Broken { .. }));
        assert!(matches!(promise.broken_by(&[2, 2]), Outcome::Broken { .. }));
    }
}
