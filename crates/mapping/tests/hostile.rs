//! Hostile input ends fast, in an error: bytes that are no datum, bombs, and text that is no expression.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use apache_avro::Schema;
use proptest::prelude::*;
use serde_json::json;
use tieline_mapping::yaml::{Node, NodeValue};
use tieline_mapping::{Bounds, Compiler, Layout, Span, Target};
use tieline_schema::avro::EventSchema;
use tieline_schema::types::{Kind, Type};

const EVENT: &str = r#"{"type": "record", "name": "E", "fields": [
  {"name": "a", "type": ["null", "string"], "default": null},
  {"name": "n", "type": "long", "default": 7},
  {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3}, "default": "\u0001"},
  {"name": "e", "type": {"type": "enum", "name": "S", "symbols": ["X", "Y"], "default": "X"}, "default": "Y"},
  {"name": "t", "type": {"type": "long", "logicalType": "timestamp-micros"}, "default": 0},
  {"name": "nulls", "type": {"type": "array", "items": "null"}, "default": []},
  {"name": "l", "type": {"type": "array", "items": {"type": "record", "name": "L", "fields": [
    {"name": "x", "type": "double"}, {"name": "m", "type": {"type": "map", "values": "string"}}]}}, "default": []}
]}"#;

fn scalar(text: &str, quoted: bool) -> Node {
    let quotes = if quoted { 2 } else { 0 };
    Node {
        span: Span { start: 0, end: text.len() + quotes },
        value: NodeValue::Scalar { text: text.to_owned(), quoted },
    }
}

fn layout(paths: &[&str]) -> Layout {
    let event = EventSchema::parse(EVENT).unwrap();
    let mut compiler = Compiler::new(event.ty, "E".to_owned());
    for path in paths {
        compiler
            .expression(&scalar(path, false), &Type::of(Kind::Any).or_null(), "x")
            .unwrap_or_else(|| panic!("{path}"));
    }
    compiler.finish().0
}

fn all() -> Layout {
    layout(&[".a", ".n", ".d", ".e", ".t", ".l | count", ".nulls | count"])
}

#[test]
fn bombs_end_at_once() {
    let reader_schema = Schema::parse_str(EVENT).unwrap();
    let recursive = r#"{"type": "record", "name": "E", "fields": [{"name": "z", "type":
        {"type": "record", "name": "Z", "fields": [{"name": "next", "type": ["null", "Z"]}]}}]}"#;
    let empty =
        r#"{"type": "record", "name": "E", "fields": [{"name": "nulls", "type": {"type": "array", "items": "null"}}]}"#;
    let wide = format!(
        r#"{{"type": "record", "name": "E", "fields": [{{"name": "q", "type": {{"type": "array", "items":
        {{"type": "record", "name": "Q", "fields": [{}]}}}}}}]}}"#,
        (0..500).map(|n| format!(r#"{{"name": "f{n}", "type": "null"}}"#)).collect::<Vec<_>>().join(",")
    );
    let many = [0xfe, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let deep = vec![0x02; 200_000];
    let cases: [(&str, &[u8]); 5] =
        [(recursive, &deep), (empty, &many), (&wide, &many), (empty, &[0xff; 12]), (empty, &[0x80, 0x80, 0x06, 0x00])];
    for (writer, datum) in cases {
        let writer = Schema::parse_str(writer).unwrap();
        let reader = all().reader(&writer, &reader_schema).unwrap();
        let start = Instant::now();
        assert!(reader.read(datum, &Bounds::default()).is_err());
        assert!(start.elapsed() < Duration::from_millis(200), "{:?} for {} bytes", start.elapsed(), datum.len());
    }
}

/// What is proven of a type rests on its data keeping to it; writers do not always.
#[test]
fn a_value_outside_of_its_logical_type_is_refused_where_it_is_read() {
    let zigzag = |n: i64| {
        let (mut rest, mut out) = (((n << 1) ^ (n >> 63)).cast_unsigned(), Vec::new());
        while rest > 0x7f {
            out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
        out
    };
    let text = |text: &str| [zigzag(text.len() as i64), text.as_bytes().to_vec()].concat();
    let bytes = |bytes: &[u8]| [zigzag(bytes.len() as i64), bytes.to_vec()].concat();
    let uuid = r#"{"type": "string", "logicalType": "uuid"}"#;
    let millis = r#"{"type": "int", "logicalType": "time-millis"}"#;
    let micros = r#"{"type": "long", "logicalType": "time-micros"}"#;
    let decimal = r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#;
    for (ty, datum, want) in [
        (uuid, text("b1c8a5e0-29ab-4f6c-9d67-0e6b4a3c2d1f"), Some("b1c8a5e0-29ab-4f6c-9d67-0e6b4a3c2d1f")),
        (uuid, text("b1c8a5e029ab4f6c9d670e6b4a3c2d1f"), Some("b1c8a5e0-29ab-4f6c-9d67-0e6b4a3c2d1f")),
        (uuid, text("b1c8a5e0-29ab-4f6c-9d67-0e6b4a3c2d1g"), None),
        (uuid, text(""), None),
        (millis, zigzag(86_399_999), Some("86399999")),
        (millis, zigzag(86_400_000), None),
        (millis, zigzag(-1), None),
        (micros, zigzag(86_399_999_999), Some("86399999999")),
        (micros, zigzag(86_400_000_000), None),
        (decimal, bytes(&[0x27, 0x0f]), Some("99.99")),
        (decimal, bytes(&[0x27, 0x10]), None),
        (decimal, bytes(&[0xd8, 0xf0]), None),
        (decimal, bytes(&[]), None),
    ] {
        let schema = format!(r#"{{"type": "record", "name": "E", "fields": [{{"name": "x", "type": {ty}}}]}}"#);
        let event = EventSchema::parse(&schema).unwrap();
        let mut compiler = Compiler::new(event.ty.clone(), "E".to_owned());
        let expression = compiler.expression(&scalar(".x", false), &Type::of(Kind::Any), "x").unwrap();
        let reader = compiler.finish().0.reader(&event.avro, &event.avro).unwrap();
        let read = reader.read(&datum, &Bounds::default());
        let read = read.ok().map(|frame| expression.text(&frame, &[]).unwrap().unwrap());
        assert_eq!(read.as_deref(), want, "{ty} {datum:?}");
        // Who does not read it is not concerned.
        let nothing =
            Compiler::new(event.ty.clone(), "E".to_owned()).finish().0.reader(&event.avro, &event.avro).unwrap();
        assert!(nothing.read(&datum, &Bounds::default()).is_ok());
    }
}

#[test]
fn what_the_writer_does_not_know_has_its_default() {
    let writer =
        Schema::parse_str(r#"{"type": "record", "name": "E", "fields": [{"name": "other", "type": "int"}]}"#).unwrap();
    let event = EventSchema::parse(EVENT).unwrap();
    let mut compiler = Compiler::new(event.ty, "E".to_owned());
    let all = scalar("{.n} {.d} {.e} {.t} {.l | count}", true);
    let expression = compiler.expression(&all, &Type::text(), "x").unwrap();
    let (layout, _) = compiler.finish();
    let reader = layout.reader(&writer, &Schema::parse_str(EVENT).unwrap()).unwrap();
    let frame = reader.read(&[0x54], &Bounds::default()).unwrap();
    assert_eq!(expression.text(&frame, &[]).unwrap().unwrap(), "7 0.001 Y 1970-01-01T00:00:00Z 0");
}

#[test]
fn what_cannot_be_resolved_is_said_with_its_path() {
    let writer =
        Schema::parse_str(r#"{"type": "record", "name": "E", "fields": [{"name": "n", "type": "string"}]}"#).unwrap();
    let error = layout(&[".n"]).reader(&writer, &Schema::parse_str(EVENT).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "`n` is string in the writer's schema, which cannot be read as long");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn any_bytes_are_a_datum_or_an_error(datum in proptest::collection::vec(any::<u8>(), 0..64)) {
        let schema = Schema::parse_str(EVENT).unwrap();
        let reader = all().reader(&schema, &schema).unwrap();
        let start = Instant::now();
        let _ = reader.read(&datum, &Bounds::default());
        prop_assert!(start.elapsed() < Duration::from_millis(200));
    }

    #[test]
    fn any_text_is_an_expression_or_a_problem(text in "[-.$a-z0-9 |?=!<>+*/()\\[\\],'{}né]{0,40}", quoted in any::<bool>()) {
        let event = EventSchema::parse(EVENT).unwrap();
        let mut compiler = Compiler::new(event.ty.clone(), "E".to_owned());
        let node = scalar(&text, quoted);
        let compiled = compiler.expression(&node, &Type::of(Kind::Any).or_null(), "x");
        let (_, problems) = compiler.finish();
        prop_assert!(compiled.is_some() || !problems.is_empty(), "{}", text);
        for problem in problems {
            prop_assert!(problem.span.start <= problem.span.end && problem.span.end <= node.span.end, "{:?}", problem);
        }
    }

    #[test]
    fn words_of_the_language_in_any_order_do_not_panic(words in proptest::collection::vec(prop_oneof![
        Just(".a"), Just(".n"), Just(".d"), Just(".e"), Just(".l"), Just(".l[].x"), Just("??"), Just("=="), Just("in"), Just("['X']"),
        Just("|"), Just("truncate(3)"), Just("round"), Just("unix"), Just("if"), Just("then"), Just("else"), Just("not"), Just("-"),
        Just("and"), Just("("), Just(")"), Just("*"), Just("/"), Just("99999999999"), Just("0.5"), Just("null"), Just("count"),
        Just("sum"), Just("'t'"), Just("first"), Just("join(',')"),
        Just("| where("), Just("| sort_by("), Just("| each("), Just("$item"), Just("$item.x")], 0..14)) {
        let event = EventSchema::parse(EVENT).unwrap();
        let mut compiler = Compiler::new(event.ty.clone(), "E".to_owned());
        let text = words.join(" ");
        let compiled = compiler.expression(&scalar(&text, false), &Type::of(Kind::Any).or_null(), "x");
        let (layout, _) = compiler.finish();
        if let Some(expression) = compiled {
            let schema = Schema::parse_str(EVENT).unwrap();
            let reader = layout.reader(&schema, &schema).unwrap();
            let datum = [0x02, 0x02, 0x61, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x02, 0x05, 0x02, 0x00, 0x00, 0x00];
            let frame = reader.read(&datum, &Bounds::default()).unwrap();
            let _ = expression.text(&frame, &[]);
        }
    }
}

#[test]
fn an_output_beyond_its_bound_is_refused_and_leaves_nothing() {
    let event = EventSchema::parse(EVENT).unwrap();
    let mut compiler = Compiler::new(event.ty, "E".to_owned());
    let tree = tieline_mapping::yaml::parse("{ a: .a, b: .n }").unwrap();
    let mapping = compiler.mapping(&tree, Target::Contract(&Type::of(Kind::Any), "the contract"), None).unwrap();
    let (layout, _) = compiler.finish();
    let body = json!({ "a": "x".repeat(100), "n": 1, "d": 1, "e": "X" });
    let frame = layout.read_json(&body, &Bounds::default()).unwrap();
    let mut out = b"before".to_vec();
    let bounds = Bounds { output_bytes_max: 64, ..Bounds::default() };
    assert!(mapping.write(&frame, &[], &bounds, &mut out).is_err());
    assert_eq!(out, b"before");
    mapping.write(&frame, &[], &Bounds::default(), &mut out).unwrap();
    assert!(out.ends_with(b"\"b\":1}"));
}

#[test]
fn loops_in_loops_are_bounded_also_where_they_write_nothing() {
    let event = EventSchema::parse(EVENT).unwrap();
    let compiler = Compiler::new(event.ty, "E".to_owned());
    let tree = "all:\n- for: $a in .l\n  inner:\n  - for: $b in .l\n    when: $a.x > $b.x\n    x: $b.x";
    ends_in_an_error(compiler, tree);
}

#[test]
fn functions_of_items_in_loops_count_as_loops() {
    for inner in ["where($item.x > $a.x)", "sort_by($item.x)", "each($item.x > $a.x)"] {
        let event = EventSchema::parse(EVENT).unwrap();
        let compiler = Compiler::new(event.ty, "E".to_owned());
        ends_in_an_error(compiler, &format!("all:\n- for: $a in .l\n  n: .l | {inner} | count"));
    }
}

/// Runs a tree over a list that is too long for what it does with it.
fn ends_in_an_error(mut compiler: Compiler, tree: &str) {
    let tree = tieline_mapping::yaml::parse(tree).unwrap();
    let mapping = compiler.mapping(&tree, Target::Contract(&Type::of(Kind::Any), "the contract"), None).unwrap();
    let (layout, _) = compiler.finish();
    let body = json!({ "l": vec![json!({ "x": 1.0 }); 20_000] });
    let frame = layout.read_json(&body, &Bounds::default()).unwrap();
    let start = Instant::now();
    assert!(mapping.write(&frame, &[], &Bounds::default(), &mut Vec::new()).is_err());
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_chain_of_any_length_does_not_overflow_the_stack() {
    for (link, operator) in [
        (".n", " + "),
        (".a", " ?? "),
        (".n > 1", " and "),
        (".n > 1", " or "),
        (".n", " | abs | "),
        ("-", ""),
        ("(", ""),
        ("not ", ""),
    ] {
        for links in [20, 31, 64, 250, 5_000] {
            let text = if operator.contains('|') {
                format!(".n{}", " | abs".repeat(links))
            } else {
                vec![link; links].join(operator)
            };
            let event = EventSchema::parse(EVENT).unwrap();
            let mut compiler = Compiler::new(event.ty, "E".to_owned());
            let expression = compiler.expression(&scalar(&text, false), &Type::of(Kind::Any).or_null(), "x");
            let (layout, problems) = compiler.finish();
            assert!(expression.is_some() || !problems.is_empty());
            if let Some(expression) = expression {
                let body = json!({ "n": 1, "a": null });
                let frame = layout.read_json(&body, &Bounds::default()).unwrap();
                expression.text(&frame, &[]).unwrap();
            }
        }
    }
}
