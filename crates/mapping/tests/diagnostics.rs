//! What the checker says of mistakes: each text has to be enough to mend the mistake without the docs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;
use tieline_mapping::{Compiler, Diagnostic, Target, yaml};
use tieline_schema::avro::EventSchema;
use tieline_schema::contract::Validator;

const EVENT: &str = r#"{"type": "record", "name": "crm.Deal", "fields": [
  {"name": "id", "type": "string"},
  {"name": "title", "type": ["null", "string"], "default": null},
  {"name": "stage", "type": {"type": "enum", "name": "Stage", "symbols": ["OPEN", "NEGOTIATION", "CLOSED_WON"]}},
  {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
  {"name": "closed_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
  {"name": "owner", "type": ["null", {"type": "record", "name": "Owner", "fields": [{"name": "email", "type": "string"}]}],
   "default": null},
  {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
    {"name": "sku", "type": "string"}, {"name": "quantity", "type": "int"}]}}}
]}"#;

/// The problems of a filter and a mapping, as `code at "source": message = help`.
fn problems(when: Option<&str>, source: &str) -> Vec<String> {
    let event = EventSchema::parse(EVENT).unwrap();
    let contract = Validator::compile(json!({
        "type": "object", "additionalProperties": false, "required": ["ref"],
        "properties": {
            "ref": { "type": "string", "maxLength": 64 },
            "status": { "enum": ["ACTIVE", "DRAFT"] },
            "priority": { "type": "integer", "minimum": 1, "maximum": 5 },
            "name": { "type": "string" },
            "start": { "type": "string", "format": "date" },
            "owner": { "type": "string" },
            "total": { "type": "number" },
            "lines": { "type": "array", "items": {
                "type": "object", "required": ["sku"], "additionalProperties": false,
                "properties": { "sku": { "type": "string" }, "quantity": { "type": "integer" } } } }
        }
    }))
    .unwrap();
    let node = yaml::parse(source).unwrap();
    let mut compiler = Compiler::new(event.ty.clone(), "schemas/crm.deal.avsc".to_owned());
    compiler.tables(
        &yaml::parse("status: { OPEN: DRAFT, NEGOTIATION: DRAFT, CLOSED_WON: RUNNING }\npart: { OPEN: DRAFT }")
            .unwrap(),
    );
    if let Some(when) = when {
        compiler.filter(&yaml::parse(&format!("\"x\": 1\nwhen: {when}")).unwrap().get("when").unwrap().clone());
    }
    let body = node.get("body").unwrap_or(&node);
    compiler.mapping(body, Target::Contract(&contract.ty, "the contract of erp.createProject"), node.get("residual"));
    let (_, problems) = compiler.finish();
    let problems: Vec<Diagnostic> =
        problems.into_iter().filter(|p| !matches!(p.code, "mapping/unused-table" | "mapping/unused-row")).collect();
    let place = |p: &Diagnostic| if when.is_some() { "" } else { source.get(p.span.start..p.span.end).unwrap_or("?") };
    problems
        .iter()
        .map(|p| format!("{} at \"{}\": {} = {}", p.code, place(p), p.message, p.help.clone().unwrap_or_default()))
        .collect()
}

/// The problem of one more field beside a right one.
fn field(line: &str) -> String {
    problems(None, &format!("ref: .id | truncate(64)\n{line}")).join("\n")
}

#[test]
fn each_mistake_says_where_what_and_what_to_do() {
    let cases = [
        "total: .ammount",
        "prioirty: 1",
        "status: .stage | translate(part)",
        "status: .stage | translate(status)",
        "status: .stage | translate(statsu)",
        "priority: .amount",
        "priority: 9",
        "status: active",
        "status: \"active\"",
        "start: .closed_at",
        "start: .closed_at | date(Europe/Berln)",
        "start: .closed_at | date",
        "name: .title | truncat(3)",
        "name: \"Deal {.title}\"",
        "name: if .stage == 'CLOSED_WIN' then 'a' else 'b'",
        "name: if .amount == 'x' then 'a' else 'b'",
        "name: .id ?? .amount",
        "name: .amount",
        "name: .owner.email.domain",
        "name: $owner.email",
        "name: .lines.sku",
        "name: .id | lower == 'x'",
        "name: .id .title",
        "name: .id == 'a",
        "name: .a = 1",
        "name:",
        "priority: .amount / 0 | round",
        "lines:\n  - for: $line in .line\n    sku: $line.sku",
        "lines:\n  - for: $line in .lines\n    quantity: $line.quantity",
        "lines:\n  - for: $line in .lines\n    sku: $line.quantity",
    ];
    let text: Vec<String> =
        cases.iter().map(|case| format!("{case}\n    {}", field(case).replace('\n', "\n    "))).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn what_is_never_set_or_can_be_null_or_too_long_is_said_at_its_place() {
    insta::assert_snapshot!(problems(None, "name: .id").join("\n"), @r#"mapping/missing-required at "name": required field `ref` is never set = add `ref: …` (the contract of erp.createProject wants a text)"#);
    insta::assert_snapshot!(problems(None, "ref: .owner.email | truncate(64)").join("\n"), @r#"mapping/null-refused at ".owner.email | truncate(64)": `ref` is required and refuses null, but this can be null: `.owner` can be = give a default: `… ?? …`, or filter such events out: `when: … != null`"#);
    insta::assert_snapshot!(problems(None, "ref: .id").join("\n"), @r#"mapping/too-long at ".id": `ref` takes 64 characters at most, but this can be longer = `… | truncate(64)`, or own it: `residual: { ref: dead-letter }`"#);
    assert_eq!(problems(None, "body: { ref: .id }\nresidual: { ref: dead-letter }"), [""; 0]);
    let unused = problems(None, "body: { ref: .id | truncate(64) }\nresidual: { ref: dead-letter }");
    assert!(unused[0].starts_with("mapping/unused-residual"), "{unused:?}");
}

#[test]
fn a_filter_narrows_what_comes_after_it() {
    assert_eq!(problems(Some(".owner != null"), "ref: .owner.email | truncate(64)"), [""; 0]);
    assert_eq!(problems(Some(".owner.email == 'a'"), "ref: .owner.email"), [""; 0]);
    assert_eq!(
        problems(Some("not (.owner == null or .title == null)"), "{ ref: .owner.email | truncate(64) , name: .title }"),
        [""; 0]
    );
    assert_eq!(
        problems(Some(".stage in ['OPEN', 'NEGOTIATION']"), "{ ref: \"x\", status: .stage | translate(status) }"),
        [""; 0]
    );
    assert_eq!(problems(Some(".stage == 'OPEN'"), "{ ref: \"x\", status: .stage | translate(part) }"), [""; 0]);
    assert_ne!(problems(Some(".owner != null or .amount > 5"), "ref: .owner.email | truncate(64)"), [""; 0]);
    assert_eq!(
        problems(None, "ref: if .owner != null then .owner.email | truncate(64) else 'none'").len(),
        1,
        "`|` ends the choice"
    );
    assert_eq!(problems(None, "ref: if .owner != null then (.owner.email | truncate(64)) else 'none'"), [""; 0]);
}

#[test]
fn all_problems_are_reported_and_not_only_the_first() {
    let found = problems(None, "status: .stag\nprioirty: 1\ntotal: .amount + .id\n");
    let codes: Vec<&str> = found.iter().map(|p| p.split(' ').next().unwrap()).collect();
    assert_eq!(
        codes,
        ["mapping/missing-required", "mapping/unknown-field", "mapping/unknown-target-field", "mapping/wrong-type"]
    );
}
