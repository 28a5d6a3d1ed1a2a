//! What the checker has proven holds: over made-up types of both sides and all kinds of expressions, no example breaks a
//! contract that the types can say. One that does is a mistake of the checker, or of the examples.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value, json};
use tieline_mapping::{Compiler, Examined, Given, Promise, Severity, Target, Verdict, yaml};
use tieline_schema::contract::Validator;

/// Expressions of `.x`, whatever its type is; most fit few types.
const EXPRESSIONS: [&str; 43] = [
    ".x",
    ".x | truncate(3)",
    ".x | upper",
    ".x | lower",
    ".x | trim",
    ".x | replace('x', 'yy')",
    ".x | text",
    "\"{.x}\"",
    "\"<{.x}>\"",
    ".x ?? 'none'",
    ".x ?? 0",
    ".x ?? '' | truncate(2)",
    "if .x == null then 'a' else 'bcd'",
    "if .x > 1 then 1 else 2",
    ".x * 2",
    ".x + 1",
    ".x - .x",
    "0 - .x",
    "-.x",
    ".x / 2",
    ".x | abs",
    ".x | round",
    ".x | round(1)",
    ".x | decimal(2)",
    ".x | cents",
    ".x | from_cents",
    ".x | length",
    ".x | first",
    ".x | last",
    ".x | distinct",
    ".x | sum",
    ".x | join(', ')",
    ".x | where($item != null)",
    ".x | where($item != 'none') | first",
    ".x | where($item == 'a')",
    ".x | where($item > 1) | sort_by($item)",
    ".x | sort_by($item) | first",
    ".x | each($item ?? 'none' | truncate(2))",
    ".x | each($item > 1)",
    "if .x | matches('^[A-Z]{2}$') then .x else 'DE'",
    "if .x in ['bcd', 'A'] then .x else 'none'",
    ".x | date(Europe/Berlin)",
    ".x | hash",
];

/// Bounds of a number or a length, either of which may be missing.
fn bounds(keys: [&'static str; 2], range: std::ops::Range<i32>) -> impl Strategy<Value = Value> {
    (prop::option::of(range.clone()), prop::option::of(range)).prop_map(move |(a, b)| {
        let (least, most) = match (a, b) {
            (Some(a), Some(b)) => (Some(a.min(b)), Some(a.max(b))),
            other => other,
        };
        let given = [(keys[0], least), (keys[1], most)];
        given.into_iter().filter_map(|(key, n)| Some((key.to_owned(), json!(n?)))).collect()
    })
}

fn with(ty: Value, more: Value) -> Value {
    let mut schema = ty;
    schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    schema
}

/// The kinds of single values, those with bounds more often.
const KINDS: [usize; 16] = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 7, 8];

fn kind() -> impl Strategy<Value = usize> {
    prop::sample::select(&KINDS[..])
}

/// A schema of a single value of one kind.
fn single(kind: usize) -> BoxedStrategy<Value> {
    let numeric = |ty: Value| {
        let bounds = bounds(["minimum", "maximum"], -5..10);
        bounds.prop_map(move |more| with(ty.clone(), more)).boxed()
    };
    let symbols = || prop::sample::subsequence(vec!["a", "bcd", "none", "<a>", "A", "x"], 1..=4);
    match kind {
        0 => bounds(["minLength", "maxLength"], 0..6).prop_map(|more| with(json!({ "type": "string" }), more)).boxed(),
        1 => symbols().prop_map(|symbols| json!({ "enum": symbols })).boxed(),
        2 => numeric(json!({ "type": "integer" })),
        3 => numeric(json!({ "type": "number", "multipleOf": 0.01 })),
        4 => numeric(json!({ "type": "number" })),
        5 => Just(json!({ "type": "boolean" })).boxed(),
        6 => Just(json!({ "type": "string", "format": "date" })).boxed(),
        7 => Just(json!({ "type": "string", "format": "date-time" })).boxed(),
        _pattern => Just(json!({ "type": "string", "pattern": "^[A-Z]{2}$" })).boxed(),
    }
}

/// A schema of a field: a value of one kind, or a list of such, perhaps null.
fn field(kind: usize, list: bool) -> impl Strategy<Value = Value> {
    let counts = bounds(["minItems", "maxItems"], 0..4);
    (single(kind), counts, prop::bool::weighted(0.2)).prop_map(move |(schema, counts, nullable)| {
        let schema = if list { with(json!({ "type": "array", "items": schema }), counts) } else { schema };
        if nullable { json!({ "anyOf": [schema, { "type": "null" }] }) } else { schema }
    })
}

/// Both sides: mostly of one kind with different bounds, since unlike ones seldom fit.
fn sides() -> impl Strategy<Value = (Value, Value)> {
    let alike =
        (kind(), prop::bool::weighted(0.3)).prop_flat_map(|(kind, list)| (field(kind, list), field(kind, list)));
    let any = (kind(), prop::bool::weighted(0.3), kind(), prop::bool::weighted(0.1))
        .prop_flat_map(|(a, list_a, b, list_b)| (field(a, list_a), field(b, list_b)));
    prop_oneof![alike, any]
}

/// What the examples say of a mapping that the checker accepts; nothing where it does not accept it.
fn examined(source: &Value, target: &Value, required: bool, expression: &str) -> Option<Verdict> {
    let required: &[&str] = if required { &["a"] } else { &[] };
    let event = json!({ "type": "object", "required": ["x"], "properties": { "x": source } });
    let contract = json!({ "type": "object", "required": required, "properties": { "a": target } });
    let (event, contract) = (Validator::compile(event).unwrap(), Validator::compile(contract).unwrap());
    let mut compiler = Compiler::new(event.ty.clone(), "the event".to_owned());
    let body = yaml::parse(&format!("a: {expression}")).unwrap();
    let mapping = compiler.mapping(&body, Target::Contract(&contract.ty, "the contract"), None);
    let (layout, problems) = compiler.finish();
    let mapping = mapping.filter(|_| problems.iter().all(|p| p.severity < Severity::Error))?;
    let examined = Examined {
        event: Given::Json(event.ty.clone(), vec![&event]),
        layout: &layout,
        when: None,
        mapping: &mapping,
        names: &[],
        promise: Promise::Contract(&contract),
    };
    Some(examined.verdict())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_example_breaks_what_was_proven((source, target) in sides(), required: bool) {
        for expression in EXPRESSIONS {
            let found = examined(&source, &target, required, expression).unwrap_or(Verdict::Kept);
            prop_assert_eq!(found, Verdict::Kept, "{} to {} by {}", &source, &target, expression);
        }
    }
}

#[test]
fn the_expressions_are_accepted_where_they_fit() {
    let check = |source: Value, target: Value, expression: &str| {
        assert_eq!(examined(&source, &target, true, expression), Some(Verdict::Kept), "{expression}");
    };
    check(json!({ "type": "string" }), json!({ "type": "string", "maxLength": 3 }), ".x | truncate(3)");
    check(
        json!({ "type": "integer", "minimum": 1, "maximum": 4 }),
        json!({ "type": "integer", "maximum": 8 }),
        ".x * 2",
    );
    let several = |n: u32| json!({ "type": "array", "minItems": n, "items": { "type": "string" } });
    check(several(3), several(1), ".x | distinct");
    check(several(3), several(3), ".x | sort_by($item, descending) | each($item | upper)");
    assert_eq!(examined(&several(3), &several(1), true, ".x | where($item != '')"), None);
    // Three items can be one and the same.
    assert_eq!(examined(&several(3), &several(2), true, ".x | distinct"), None);
}
