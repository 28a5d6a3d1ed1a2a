//! docs/reference/mapping-language.md, sentence by sentence, where no test nearer to the code holds it. Each test has the
//! sentence's words for a name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use tieline_mapping::{Bounds, Compiler, Severity, Target, yaml};
use tieline_schema::avro::EventSchema;
use tieline_schema::contract::Validator;

/// What events are made of.
fn event() -> Value {
    json!({ "type": "object", "required": ["id", "title", "n", "amount", "at", "lines", "stage"], "properties": {
        "id": { "type": "string" }, "title": { "type": "string" }, "odd name": { "type": "string" },
        "n": { "type": "integer" }, "big": { "type": "integer" },
        "amount": { "type": "number", "multipleOf": 0.01 }, "code": { "type": "string" }, "note": { "type": ["string", "null"] },
        "at": { "type": "string", "format": "date-time" }, "later": { "type": ["string", "null"], "format": "date-time" },
        "stage": { "enum": ["OPEN", "WON", "LOST"] },
        "lines": { "type": "array", "items": { "type": "object", "required": ["sku", "quantity"], "properties": {
            "sku": { "type": "string" }, "quantity": { "type": "integer" } } } } } })
}

fn an_event() -> Value {
    json!({ "id": "d-1", "title": "Größe", "odd name": "odd", "n": 7, "big": i64::MAX, "amount": 125_000.5, "code": "DE", "note": null,
        "at": "2026-03-31T22:30:00Z", "later": null, "stage": "WON",
        "lines": [{ "sku": "a", "quantity": 1 }, { "sku": "b", "quantity": 0 }, { "sku": "a", "quantity": 3 }] })
}

/// A definition: a mapping to a contract with these properties, all optional, and what stands beside it.
struct Definition<'a> {
    when: &'a str,
    properties: Value,
    body: &'a str,
    residual: &'a str,
}

/// The codes of what is wrong, or what comes of the event.
fn run(definition: &Definition<'_>) -> Result<Result<Value, String>, Vec<&'static str>> {
    let event = Validator::compile(event()).unwrap();
    let required: Vec<&String> = Vec::new();
    let properties = &definition.properties;
    let contract =
        json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties });
    let contract = Validator::compile(contract).unwrap();
    let mut compiler = Compiler::new(event.ty.clone(), "the event".to_owned());
    compiler.tables(&yaml::parse("stage: { OPEN: open, WON: won }\nall: { WON: won, otherwise: other }").unwrap());
    let when = yaml::parse(&format!("when: {}", definition.when)).unwrap();
    let _ = compiler.filter(when.get("when").unwrap());
    let residual = yaml::parse(definition.residual).unwrap();
    let body = yaml::parse(definition.body).unwrap();
    let target = Target::Contract(&contract.ty, "the contract");
    let mapping = compiler.mapping(&body, target, Some(&residual).filter(|_| !definition.residual.is_empty()));
    let (layout, problems) = compiler.finish();
    let errors: Vec<&'static str> = problems.iter().filter(|p| p.severity == Severity::Error).map(|p| p.code).collect();
    let Some(mapping) = mapping.filter(|_| errors.is_empty()) else { return Err(errors) };
    let event = an_event();
    let bounds = Bounds::default();
    let frame = layout.read_json(&event, &bounds).unwrap();
    let mut out = Vec::new();
    let written = mapping.write(&frame, &[], &bounds, &mut out).map_err(|e| e.to_string());
    Ok(written.map(|()| serde_json::from_slice(&out).unwrap()))
}

/// What a mapping to one property makes.
#[track_caller]
fn check(property: Value, body: &str, expect: Value) {
    let definition = Definition { when: "true", properties: json!({ "a": property }), body, residual: "" };
    assert_eq!(run(&definition), Ok(Ok(expect)), "{body}");
}

/// What is wrong with it.
#[track_caller]
fn check_error(property: Value, body: &str, code: &str) {
    let definition = Definition { when: "true", properties: json!({ "a": property }), body, residual: "" };
    let problems = run(&definition).expect_err(body);
    assert!(problems.contains(&code), "{body}: {problems:?}");
}

fn text() -> Value {
    json!({ "type": "string" })
}

#[test]
fn a_plain_scalar_is_an_expression_and_a_quoted_or_block_scalar_is_text() {
    check(text(), "a: .id", json!({ "a": "d-1" }));
    check(text(), "a: \".id\"", json!({ "a": ".id" }));
    check(text(), "a: '.id'", json!({ "a": ".id" }));
    check(text(), "a: |\n  .id\n  and more\n", json!({ "a": ".id\nand more\n" }));
    check_error(text(), "a: planned", "mapping/syntax");
}

#[test]
fn a_hole_is_an_expression_and_a_brace_itself_is_written_twice() {
    check(text(), "a: \"{.id}: {.title | upper}\"", json!({ "a": "d-1: GRÖSSE" }));
    check(text(), "a: \"{{{.id}}}\"", json!({ "a": "{d-1}" }));
}

#[test]
fn fields_below_make_a_record_and_a_loop_makes_a_list() {
    let record = json!({ "type": "object", "properties": { "b": { "type": "string" } } });
    check(record.clone(), "a: { b: .id }", json!({ "a": { "b": "d-1" } }));
    let list = json!({ "type": "array", "items": record });
    let looped = "a:\n  - for: $line in .lines\n    b: $line.sku";
    check(list.clone(), looped, json!({ "a": [{ "b": "a" }, { "b": "b" }, { "b": "a" }] }));
    let some = "a:\n  - for: $line in .lines\n    when: $line.quantity > 0\n    b: $line.sku";
    check(list, some, json!({ "a": [{ "b": "a" }, { "b": "a" }] }));
}

#[test]
fn for_and_when_are_fields_where_they_are_quoted() {
    let record =
        json!({ "type": "object", "properties": { "for": { "type": "string" }, "when": { "type": "string" } } });
    check(record.clone(), "a: { \"for\": .id, 'when': .id }", json!({ "a": { "for": "d-1", "when": "d-1" } }));
    check_error(record, "a: { for: .id }", "mapping/syntax");
}

#[test]
fn a_path_is_quoted_where_its_name_is_odd_and_a_dash_belongs_to_a_name() {
    let definition =
        |body| Definition { when: ".'odd name' != null", properties: json!({ "a": text() }), body, residual: "" };
    assert_eq!(run(&definition("a: .'odd name'")), Ok(Ok(json!({ "a": "odd" }))));
    check_error(json!({ "type": "integer" }), "a: .n-1", "mapping/unknown-field");
    check(json!({ "type": "integer" }), "a: .n - 1", json!({ "a": 6 }));
}

#[test]
fn brackets_take_a_field_of_each_item() {
    check(json!({ "type": "array", "items": text() }), "a: .lines[].sku", json!({ "a": ["a", "b", "a"] }));
    check(text(), "a: .lines[].sku | distinct | join('+')", json!({ "a": "a+b" }));
}

#[test]
fn a_function_of_items_names_the_item_at_hand() {
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let list = || {
        json!({ "type": "array", "items": { "type": "object", "properties": {
            "sku": { "type": "string" }, "quantity": { "type": "integer" } } } })
    };
    // A list of records stays one: it can be looped over, copied, counted, and a field of each taken.
    let looped = "a:\n  - for: $line in .lines | where($line.quantity > 0)\n    sku: $line.sku";
    check_error(list(), looped, "mapping/unknown-name");
    let looped = "a:\n  - for: $line in .lines | where($item.quantity > 0)\n    sku: $line.sku";
    check(list(), looped, json!({ "a": [{ "sku": "a" }, { "sku": "a" }] }));
    let copied = json!({ "a": [{ "sku": "a", "quantity": 1 }, { "sku": "a", "quantity": 3 }] });
    check(list(), "a: .lines | where($item.quantity > 0)", copied);
    check(json!({ "type": "integer" }), "a: .lines | where($item.sku == 'a') | count", json!({ "a": 2 }));
    check(texts(), "a: .lines | where($item.quantity == 0) | each($item.sku)", json!({ "a": ["b"] }));
    // Stable, both ways.
    let quantities = || json!({ "type": "array", "items": { "type": "integer" } });
    check(quantities(), "a: .lines | sort_by($item.sku) | each($item.quantity)", json!({ "a": [1, 3, 0] }));
    check(quantities(), "a: .lines | sort_by($item.sku, descending) | each($item.quantity)", json!({ "a": [0, 1, 3] }));
    let nulls =
        "a: .lines | sort_by(if $item.quantity == 3 then null else $item.quantity, descending) | each($item.quantity)";
    check(quantities(), nulls, json!({ "a": [1, 0, 3] }));
    // The event is the event inside of it, too.
    check(
        quantities(),
        "a: .lines | where($item.quantity < .n) | each($item.quantity + .n)",
        json!({ "a": [8, 7, 10] }),
    );
    check(quantities(), "a: .lines[].quantity | where($item != 0)", json!({ "a": [1, 3] }));
    check(
        texts(),
        "a: .title | split('r') | where($item != 'ö') | sort_by($item, descending)",
        json!({ "a": ["öße", "G"] }),
    );
    // Inside of a loop, of its item's list.
    let inner = "a:\n  - for: $line in .lines\n    sku: .lines | where($item.sku == $line.sku) | each($item.quantity | text) | join('+')";
    check(list(), inner, json!({ "a": [{ "sku": "1+3" }, { "sku": "0" }, { "sku": "1+3" }] }));
}

#[test]
fn what_where_proves_holds_of_the_items_that_stay() {
    let list = |item: Value| json!({ "type": "array", "items": item });
    let wanted = list(json!({ "type": "string", "pattern": "^[a-z]$" }));
    check_error(wanted.clone(), "a: .lines | each($item.sku)", "mapping/not-proven");
    let kept = "a: .lines | where($item.sku | matches('^[a-z]$')) | each($item.sku)";
    check(wanted, kept, json!({ "a": ["a", "b", "a"] }));
    let looped = "a:\n  - for: $line in .lines | where($item.sku in ['a', 'c'])\n    item: $line.sku";
    check(list(json!({ "enum": ["a", "c"] })), looped, json!({ "a": ["a", "a"] }));
}

#[test]
fn functions_of_items_do_not_nest_and_take_what_can_be_decided_or_ordered() {
    let any = || json!({});
    check_error(any(), "a: .lines | where((.lines | where($item.quantity > 0) | count) > 0)", "mapping/name-taken");
    check_error(any(), "a: .lines | where($item.quantity)", "mapping/wrong-type");
    check_error(any(), "a: .lines | sort_by($item)", "mapping/wrong-type");
    check_error(any(), "a: .lines | each($item)", "mapping/wrong-type");
    check_error(any(), "a: .n | where($item > 0)", "mapping/wrong-type");
    check_error(any(), "a: .lines | sort_by($item.sku, upwards)", "mapping/wrong-argument");
    check_error(any(), "a: .lines | where(.quantity > 0)", "mapping/unknown-field");
    let looped = "a:\n  - for: $item in .lines\n    b: .lines | where($item.quantity > 0) | count";
    check_error(any(), looped, "mapping/name-taken");
}

#[test]
fn each_branch_of_a_choice_is_proven_by_itself() {
    let code = || json!({ "type": "string", "pattern": "^[A-Z]{2}$" });
    let coded = "if .code != null and (.code | matches('^[A-Z]{2}$')) then .code else";
    check(code(), &format!("a: {coded} 'XX'"), json!({ "a": "DE" }));
    check(code(), &format!("a: {coded} (if .n > 3 then 'FR' else 'ES')"), json!({ "a": "DE" }));
    check_error(code(), &format!("a: {coded} 'none'"), "mapping/not-proven");
    check_error(code(), &format!("a: {coded} .id"), "mapping/not-proven");
    check_error(code(), &format!("a: ({coded} 'XX') | lower"), "mapping/not-proven");
    // What the branches have in common is proven as before, and what one of them is not stays open.
    let short = json!({ "type": "string", "pattern": "^[A-Z]{2}$", "maxLength": 2 });
    check_error(short, &format!("a: {coded} 'XX'"), "mapping/too-long");
}

#[test]
fn a_list_of_a_choice_is_the_list_that_was_chosen() {
    let quantities = json!({ "type": "array", "items": { "type": "integer" } });
    let chosen = "a: if .n > 3 then .lines[].quantity else (.lines[].quantity | where($item > 0))";
    check(quantities, chosen, json!({ "a": [1, 0, 3] }));
}

#[test]
fn literals_are_texts_numbers_truth_values_and_null() {
    for (literal, value) in [
        ("42", json!(42)),
        ("0.19", json!(0.19)),
        ("true", json!(true)),
        ("false", json!(false)),
        ("null", Value::Null),
        // A quote at the front would make the scalar a text.
        ("('it''s')", json!("it's")),
    ] {
        check(json!({}), &format!("a: {literal}"), json!({ "a": value }));
    }
}

#[test]
fn the_bar_binds_weakest_then_or_and_not_comparisons_defaults_sums_and_products() {
    let whole = json!({ "type": "integer" });
    check(whole.clone(), "a: .n + 2 * 3", json!({ "a": 13 }));
    check(whole.clone(), "a: (.n + 2) * 3", json!({ "a": 27 }));
    check(text(), "a: .note ?? 'Ab' | lower", json!({ "a": "ab" }));
    check(whole.clone(), "a: if not .n > 5 or .n == 7 and .id == 'd-1' then 1 else 2", json!({ "a": 1 }));
    check(whole.clone(), "a: if .n ?? 1 == 7 then 1 else 2", json!({ "a": 1 }));
    check_error(whole.clone(), "a: if 1 < .n < 9 then 1 else 2", "mapping/syntax");
    check_error(whole, "a: if .stage == 'WUN' then 1 else 2", "mapping/never-equal");
    check(text(), "a: .later ?? .at | date(Europe/Berlin) | text", json!({ "a": "2026-04-01" }));
}

#[test]
fn arithmetic_is_exact_and_what_overflows_is_a_dead_letter() {
    check(json!({ "type": "number" }), "a: .amount * 3 + 0.01", json!({ "a": 375_001.51 }));
    let definition = |body| Definition {
        when: ".big != null",
        properties: json!({ "a": { "type": "integer" } }),
        body,
        residual: "a: dead-letter",
    };
    let refused = run(&definition("a: .big + .n")).unwrap().unwrap_err();
    assert!(refused.contains("beyond the numbers"), "{refused}");
}

#[test]
fn null_is_left_out_written_or_an_error_as_the_target_has_it() {
    check(text(), "a: .note", json!({}));
    check(json!({ "type": ["string", "null"] }), "a: .note", json!({ "a": null }));
    let inner = |body: &str| format!("a: {{ b: {body} }}");
    let required = json!({ "type": "object", "required": ["b"], "properties": { "b": { "type": "string" } } });
    check_error(required.clone(), &inner(".note"), "mapping/null-refused");
    check(required.clone(), &inner(".note ?? 'none'"), json!({ "a": { "b": "none" } }));
    let narrowed =
        |when| Definition { when, properties: json!({ "a": required.clone() }), body: "a: { b: .note }", residual: "" };
    assert!(run(&narrowed(".note != null")).is_ok());
    assert!(run(&narrowed(".note == 'x'")).is_ok());
    assert!(run(&narrowed(".note in ['x', 'y'] and .n > 0")).is_ok());
    assert!(run(&narrowed(".note != null or .n > 0")).is_err());
}

#[test]
fn null_goes_through_every_function_untouched() {
    check(json!({ "type": ["string", "null"] }), "a: .note | upper | truncate(3) | trim", json!({ "a": null }));
}

#[test]
fn each_value_that_can_come_needs_a_row_or_the_table_an_otherwise() {
    check_error(text(), "a: .stage | translate(stage)", "mapping/no-translation");
    check(text(), "a: .stage | translate(all)", json!({ "a": "won" }));
    check_error(json!({ "enum": ["won"] }), "a: .stage | translate(all)", "mapping/not-accepted");
}

#[test]
fn a_constraint_is_proven_refuted_or_residual_and_a_residual_that_is_owned_is_checked_on_each_event() {
    let short = json!({ "type": "string", "maxLength": 2 });
    check(short.clone(), "a: .title | truncate(2)", json!({ "a": "Gr" }));
    check_error(short.clone(), "a: \"long\"", "mapping/too-long");
    check_error(short.clone(), "a: .title", "mapping/too-long");
    let owned =
        |body| Definition { when: "true", properties: json!({ "a": short.clone() }), body, residual: "a: dead-letter" };
    assert_eq!(run(&owned("a: .title")), Ok(Err("`a` has 5 characters, and 2 are the most".to_owned())));
    let list = json!({ "type": "array", "items": { "type": "object", "properties": { "q": { "type": "integer", "minimum": 1 } } } });
    let definition = Definition {
        when: "true",
        properties: json!({ "a": list }),
        body: "a:\n  - for: $line in .lines\n    q: $line.quantity",
        residual: "a[].q: dead-letter",
    };
    assert_eq!(run(&definition), Ok(Err("`a[].q` is less than 1".to_owned())));
}

#[test]
fn a_condition_that_matches_a_pattern_proves_it() {
    let properties = || json!({ "a": { "type": "string", "pattern": "^[A-Z]{2}$" } });
    let narrowed = |when| Definition { when, properties: properties(), body: "a: .code", residual: "" };
    assert_eq!(run(&narrowed(".code != null and (.code | matches('^[A-Z]{2}$'))")), Ok(Ok(json!({ "a": "DE" }))));
    assert_eq!(run(&narrowed(".code != null and (.code | matches('^[A-Z]$'))")), Err(vec!["mapping/not-proven"]));
    assert_eq!(
        run(&narrowed(".code != null and not (.code | matches('^[A-Z]{2}$'))")),
        Err(vec!["mapping/not-proven"])
    );
    check_error(text(), "a: if (.id | matches('(')) then 'AA' else 'BB'", "mapping/wrong-argument");
}

#[test]
fn types_never_convert_by_themselves() {
    check(json!({ "type": "string", "format": "date-time" }), "a: .at", json!({ "a": "2026-03-31T22:30:00Z" }));
    check(json!({ "type": "number" }), "a: .amount", json!({ "a": 125_000.5 }));
    check_error(json!({ "type": "string", "format": "date" }), "a: .at", "mapping/timestamp-as-date");
    check_error(text(), "a: .n", "mapping/wrong-type");
    check_error(json!({ "type": "integer" }), "a: .id", "mapping/wrong-type");
    check_error(json!({ "type": "integer" }), "a: .amount", "mapping/wrong-type");
}

#[test]
fn an_expression_has_at_most_16_kib_and_64_operators_and_nests_at_most_32_deep() {
    let whole = || json!({ "type": "integer" });
    // The expression itself is the first level.
    let nested = |parentheses: usize| format!("a: {}.n{}", "(".repeat(parentheses), ")".repeat(parentheses));
    check(whole(), &nested(31), json!({ "a": 7 }));
    check_error(whole(), &nested(32), "mapping/syntax");
    check(whole(), &format!("a: .n{}", " + 0".repeat(64)), json!({ "a": 7 }));
    check_error(whole(), &format!("a: .n{}", " + 0".repeat(65)), "mapping/syntax");
    check(text(), &format!("a: if true then '{}' else ''", "x".repeat(16_000)), json!({ "a": "x".repeat(16_000) }));
    check_error(text(), &format!("a: if true then '{}' else ''", "x".repeat(16 * 1024)), "mapping/syntax");
}

#[test]
fn functions_of_items_read_a_datum_and_write_one() {
    let schema = r#"{"type": "record", "name": "E", "fields": [
        {"name": "tags", "type": {"type": "array", "items": {"type": "enum", "name": "T", "symbols": ["A", "B", "C"]}}},
        {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "L", "fields": [
            {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["X", "Y"]}},
            {"name": "price", "type": ["null", "double"], "default": null}]}}}]}"#;
    let event = EventSchema::parse(schema).unwrap();
    let given = json!({ "tags": ["C", "A", "B", "A"],
        "lines": [{ "kind": "X", "price": 2.5 }, { "kind": "Y", "price": null }, { "kind": "X", "price": -1.0 }] });
    let datum = event.datum_from_json(&given).unwrap();
    let copied = |body: &str| {
        let mut compiler = Compiler::new(event.ty.clone(), "the event".to_owned());
        let target = Target::Avro(&event.avro, &event.ty, "the event");
        let mapping = compiler.mapping(&yaml::parse(body).unwrap(), target, None);
        let (layout, problems) = compiler.finish();
        let mapping = mapping.unwrap_or_else(|| panic!("{problems:#?}"));
        let reader = layout.reader(&event.avro, &event.avro).unwrap();
        let mut out = Vec::new();
        let frame = reader.read(&datum, &Bounds::default()).unwrap();
        mapping.write(&frame, &[], &Bounds::default(), &mut out).unwrap();
        event.json_from_datum(&out, 100).unwrap()
    };
    assert_eq!(
        copied("tags: .tags | where($item != 'A') | sort_by($item)\nlines: .lines | sort_by($item.price)"),
        json!({ "tags": ["B", "C"],
            "lines": [{ "kind": "X", "price": -1.0 }, { "kind": "X", "price": 2.5 }, { "kind": "Y", "price": null }] })
    );
    let looped = "tags: .lines | where($item.price == null) | each('B')\nlines:\n  - for: $line in .lines | where($item.kind == 'X')\n    \
        kind: $line.kind\n    price: $line.price";
    assert_eq!(
        copied(looped),
        json!({ "tags": ["B"], "lines": [{ "kind": "X", "price": 2.5 }, { "kind": "X", "price": -1.0 }] })
    );
    // What narrows the items narrows what is written of them.
    let narrowed =
        "tags: .lines | where($item.kind in ['X']) | each(if $item.kind == 'X' then 'A' else 'C')\nlines: []";
    assert_eq!(copied(narrowed), json!({ "tags": ["A", "A"], "lines": [] }));
}
