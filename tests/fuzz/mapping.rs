//! Any text as an expression or a mapping: problems with their places, or a program that ends and writes what its target
//! takes.

use std::sync::LazyLock;

use apache_avro::Schema;
use tieline_mapping::yaml::{self, Node, NodeValue};
use tieline_mapping::{Bounds, Compiler, Diagnostic, Layout, Severity, Span, Target};
use tieline_schema::avro::EventSchema;
use tieline_schema::contract::Validator;
use tieline_schema::friendly::VALUES_MAX;
use tieline_schema::types::{Kind, Type};

/// What expressions read.
static EVENT: LazyLock<EventSchema> = LazyLock::new(|| {
    EventSchema::parse(
        r#"{"type": "record", "name": "E", "fields": [
        {"name": "a", "type": ["null", "string"], "default": null}, {"name": "n", "type": "long"},
        {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "e", "type": {"type": "enum", "name": "S", "symbols": ["X", "Y"]}},
        {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "f", "type": "double"}, {"name": "b", "type": "boolean"},
        {"name": "l", "type": {"type": "array", "items": {"type": "record", "name": "L", "fields": [
            {"name": "x", "type": ["null", "long"]}, {"name": "s", "type": "string"}]}}}]}"#,
    )
    .expect("an event")
});

/// Data of that event: all at its least, and all at odd values.
static DATA: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let of = |text: &str| EVENT.datum_from_json(&serde_json::from_str(text).expect("JSON")).expect("fits");
    vec![
        of(r#"{"a": null, "n": 0, "d": "0", "e": "X", "t": "1970-01-01T00:00:00Z", "f": 0, "b": false, "l": []}"#),
        of(
            r#"{"a": "\u0001ä\u20ac'\"{", "n": -9223372036854775808, "d": "-9999999999.99", "e": "Y", "t": "1969-12-31T23:59:59.999Z", "f": "NaN",
            "b": true, "l": [{"x": null, "s": ""}, {"x": 9223372036854775807, "s": "\ud83d\ude00"}]}"#,
        ),
    ]
});

/// A contract with something to prove in it.
static CONTRACT: LazyLock<Validator> = LazyLock::new(|| {
    let schema = r#"{"type": "object", "additionalProperties": false, "required": ["s"], "properties": {
        "s": {"type": "string", "maxLength": 8}, "n": {"type": "integer", "minimum": 0, "maximum": 99},
        "e": {"type": "string", "enum": ["X", "Z"]}, "d": {"type": ["string", "null"], "format": "date"},
        "l": {"type": "array", "maxItems": 3, "items": {"type": "object", "properties": {"x": {"type": "integer"}}}}}}"#;
    Validator::compile(serde_json::from_str(schema).expect("JSON")).expect("a contract")
});

/// The first byte chooses what the text is read as.
pub fn run(bytes: &[u8]) {
    let [how, text @ ..] = bytes else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match how % 4 {
        0 | 1 => expression(text, how % 4 == 1),
        2 => mapping(text, &Type::of(Kind::Any), None),
        _ => mapping(text, &CONTRACT.ty, Some(&CONTRACT)),
    }
}

fn expression(text: &str, quoted: bool) {
    let span = Span { start: 0, end: text.len() + if quoted { 2 } else { 0 } };
    let node = Node { span, value: NodeValue::Scalar { text: text.to_owned(), quoted } };
    let mut compiler = Compiler::new(EVENT.ty.clone(), "E".to_owned());
    let filter = compiler.filter(&node);
    compiler.forget();
    let expression = compiler.expression(&node, &Type::of(Kind::Any).or_null(), "x");
    let (layout, problems) = compiler.finish();
    assert!(expression.is_some() || !problems.is_empty(), "refused without a word");
    assert_placed(&problems, span.end);
    each_datum(&layout, |frame| {
        if let Some(filter) = &filter {
            let _ = filter.holds(frame, &[]);
        }
        if let Some(expression) = &expression {
            let _ = expression.text(frame, &[]);
        }
    });
}

fn mapping(text: &str, ty: &Type, contract: Option<&Validator>) {
    let tree = match yaml::parse(text) {
        Ok(tree) => tree,
        Err(problems) => return assert_placed(&problems, text.len()),
    };
    let mut compiler = Compiler::new(EVENT.ty.clone(), "E".to_owned());
    let mapping = compiler.mapping(&tree, Target::Contract(ty, "the contract"), None);
    let (layout, problems) = compiler.finish();
    assert!(mapping.is_some() || !problems.is_empty(), "refused without a word");
    assert_placed(&problems, text.len());
    let sound = problems.iter().all(|problem| problem.severity < Severity::Error);
    let Some(mapping) = mapping.filter(|_| sound) else { return };
    each_datum(&layout, |frame| {
        let mut out = Vec::new();
        if mapping.write(frame, &[], &Bounds::default(), &mut out).is_err() {
            return assert!(out.is_empty(), "half a body was left");
        }
        let body = serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out)));
        let broken = contract.map(|contract| contract.violations(&body)).unwrap_or_default();
        assert!(broken.is_empty(), "{text:?} passed the check and breaks its contract: {broken:?} {body}");
    });
}

fn each_datum(layout: &Layout, check: impl Fn(&tieline_mapping::Frame<'_>)) {
    let schema: &Schema = &EVENT.avro;
    let reader = layout.reader(schema, schema).expect("an event is read as itself");
    for datum in DATA.iter() {
        debug_assert!(EVENT.json_from_datum(datum, VALUES_MAX).is_ok());
        check(&reader.read(datum, &Bounds::default()).expect("it is one of its schema"));
    }
}

/// What is wrong stands in the text, and says something.
fn assert_placed(problems: &[Diagnostic], end: usize) {
    for problem in problems {
        let Span { start, end: until } = problem.span;
        assert!(start <= until && until <= end, "{problem:?} stands outside of {end} bytes");
        assert!(!problem.message.is_empty() && !problem.code.is_empty(), "{problem:?}");
    }
}
