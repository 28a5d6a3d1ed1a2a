//! The flagship's mappings, from the datum to the request: what the repository's own bus shows is what the language does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use apache_avro::types::Value as AvroValue;
use serde_json::{Value, json};
use tieline_mapping::yaml::{self, Node};
use tieline_mapping::{
    Bounds, Compiler, Diagnostic, Examined, Filter, Given, Layout, Mapping, Promise, Severity, Target, Verdict,
};
use tieline_schema::avro::EventSchema;
use tieline_schema::contract::{Contract, Validator};
use tieline_schema::types::{Kind, Type};

fn file(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

fn event(name: &str) -> EventSchema {
    EventSchema::parse(&file(&format!("schemas/{name}.avsc"))).unwrap()
}

struct Line {
    layout: Layout,
    when: Option<Filter>,
    body: Option<Mapping>,
    problems: Vec<Diagnostic>,
    validator: Validator,
}

fn line(consumer: &str) -> Line {
    let definition = yaml::parse(&file(&format!("consumers/{consumer}/consumer.yaml"))).unwrap();
    compile(&definition)
}

fn text(node: Option<&Node>) -> String {
    node.unwrap().to_json().as_str().unwrap().to_owned()
}

fn compile(definition: &Node) -> Line {
    let source = event(&text(definition.get("subscribe")));
    let mut compiler = Compiler::new(source.ty.clone(), "the event".to_owned());
    if let Some(tables) = definition.get("tables") {
        compiler.tables(tables);
    }
    let when = definition.get("when").and_then(|w| compiler.filter(w));
    if let Some(Value::Object(look_ups)) = definition.get("look_up").map(Node::to_json) {
        for (name, look_up) in &look_ups {
            let operation = operation(look_up["system"].as_str().unwrap(), look_up["operation"].as_str().unwrap());
            compiler.bind(name, operation.success_type().unwrap(), "its contract");
        }
    }
    let call = definition.get("call").unwrap();
    let operation = operation(&text(call.get("system")), &text(call.get("operation")));
    let payload = operation.request.as_ref().unwrap();
    let target = Target::Contract(&payload.ty, "the contract");
    let body = compiler.mapping(call.get("body").unwrap(), target, call.get("residual"));
    if let Some(emit) = definition.get("emit") {
        compiler.bind("response", operation.success_type().unwrap(), "the response");
        let target = event(&text(emit.get("event")));
        compiler.expression(emit.get("key").unwrap(), &Type::text(), "key");
        let _ =
            compiler.mapping(emit.get("payload").unwrap(), Target::Avro(&target.avro, &target.ty, "the event"), None);
    }
    let (layout, problems) = compiler.finish();
    let validator = Validator::compile(payload.validator.schema.clone()).unwrap();
    Line { layout, when, body, problems, validator }
}

fn operation(system: &str, name: &str) -> std::sync::Arc<tieline_schema::contract::Operation> {
    let document = yaml::parse(&file(&format!("systems/{system}/openapi.yaml"))).unwrap().to_json();
    Contract::parse(document).unwrap().operation(name).unwrap().clone()
}

fn decimal(cents: i64) -> AvroValue {
    AvroValue::Decimal(apache_avro::Decimal::from(cents.to_be_bytes()))
}

fn union(at: u32, value: AvroValue) -> AvroValue {
    AvroValue::Union(at, Box::new(value))
}

/// A won deal with a line.
fn won() -> Vec<u8> {
    let record = |fields: Vec<(&str, AvroValue)>| {
        AvroValue::Record(fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())
    };
    let text = |t: &str| AvroValue::String(t.to_owned());
    let null = || union(0, AvroValue::Null);
    let deal = record(vec![
        ("id", text("d-1")),
        ("title", text("Überholung \"Halle 3\"")),
        ("stage", AvroValue::Enum(4, "CLOSED_WON".to_owned())),
        ("previous_stage", null()),
        ("amount", decimal(12_500_050)),
        ("currency", AvroValue::Enum(0, "EUR".to_owned())),
        ("closed_at", union(1, AvroValue::TimestampMillis(1_774_996_200_000))),
        ("signed_at", null()),
        ("expected_close_on", null()),
        ("description", null()),
        ("owner_id", text("u-7")),
    ]);
    let account = record(vec![
        ("id", text("a-9")),
        ("name", text("Hafenwerk GmbH")),
        ("language", AvroValue::Enum(0, "DE".to_owned())),
        ("country", union(1, text("DE"))),
        ("contact_name", union(1, text("Ada"))),
        ("contact_email", union(1, text("ada@example.com"))),
    ]);
    let line = record(vec![
        ("sku", text("CRANE-1")),
        ("description", null()),
        ("quantity", AvroValue::Int(3)),
        ("unit_price", decimal(1_999)),
        ("billing", AvroValue::Enum(1, "MONTHLY".to_owned())),
    ]);
    let value = record(vec![
        ("deal", deal),
        ("account", account),
        ("lines", AvroValue::Array(vec![line])),
        ("changed_at", AvroValue::TimestampMillis(1_774_996_200_000)),
    ]);
    let schema = event("crm.deal_stage_changed").avro;
    apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

fn request(line: &Line, datum: &[u8], names: &[(&str, &Value)]) -> Value {
    let avro = event("crm.deal_stage_changed").avro;
    let reader = line.layout.reader(&avro, &avro).unwrap();
    let bounds = Bounds::default();
    let frame = reader.read(datum, &bounds).unwrap();
    assert!(line.when.as_ref().unwrap().holds(&frame, names).unwrap());
    let mut out = Vec::new();
    line.body.as_ref().unwrap().write(&frame, names, &bounds, &mut out).unwrap();
    let body = serde_json::from_slice(&out).unwrap();
    assert_eq!(line.validator.violations(&body), []);
    body
}

#[test]
fn every_consumer_of_the_flagship_is_without_problems() {
    for consumer in ["erp-project", "billing-contract", "welcome-email", "crm-invoice-note"] {
        let line = line(consumer);
        assert!(line.problems.is_empty(), "{consumer}: {:#?}", line.problems);
        assert!(line.body.is_some(), "{consumer}");
    }
}

#[test]
fn no_example_of_the_flagship_breaks_a_contract() {
    for consumer in ["erp-project", "billing-contract", "crm-invoice-note"] {
        let line = line(consumer);
        let definition = yaml::parse(&file(&format!("consumers/{consumer}/consumer.yaml"))).unwrap();
        let event = event(&text(definition.get("subscribe")));
        let examined = Examined {
            event: Given::Event(&event),
            layout: &line.layout,
            when: line.when.as_ref(),
            mapping: line.body.as_ref().unwrap(),
            names: &[],
            promise: Promise::Contract(&line.validator),
        };
        assert_eq!(examined.verdict(), Verdict::Kept, "{consumer}");
    }
}

#[test]
fn a_won_deal_becomes_a_project() {
    let line = line("erp-project");
    let body = request(&line, &won(), &[]);
    assert_eq!(body["externalId"], "d-1");
    assert_eq!(body["name"], "Hafenwerk GmbH – Überholung \"Halle 3\"");
    assert_eq!(body["budget"], json!(125_000.50));
    assert_eq!(body["startDate"], "2026-04-01", "half past ten in the evening, UTC, is the next day in Berlin");
    assert_eq!(body["priority"], 1);
    assert_eq!(body.get("note"), None, "null is left out where the contract does not take it");
    assert_eq!(body["lines"][0]["cycle"], "month");
    assert_eq!(body["lines"][0]["unitPrice"], json!(19.99));
    let reads = line.layout.reads();
    assert!(reads.contains(&"lines[].unit_price".to_owned()), "{reads:?}");
    assert!(!reads.iter().any(|r| r.contains("contact_email")), "what nobody asks for is not read: {reads:?}");
}

#[test]
fn a_welcome_names_the_account_manager() {
    let manager = json!({ "id": "u-7", "display_name": "Grace Hopper", "email": "grace@example.com", "active": true });
    let body = request(&line("welcome-email"), &won(), &[("manager", &manager)]);
    assert!(body["text"].as_str().unwrap().contains("Grace Hopper"), "{body}");
    assert_eq!(body["language"], "de-DE");
}

#[test]
fn every_producer_of_the_flagship_is_without_errors() {
    for producer in ["crm-webhooks", "billing-webhooks", "helpdesk-webhooks"] {
        let definition = yaml::parse(&file(&format!("producers/{producer}/producer.yaml"))).unwrap();
        let contract = serde_json::from_str(&file(&format!("producers/{producer}/webhook.schema.json"))).unwrap();
        let contract = Validator::compile(contract).unwrap();
        let mut compiler = Compiler::new(contract.ty.clone(), "the contract".to_owned());
        compiler.bind("header", Type::of(Kind::Map(Box::new(Type::text()))), "the headers");
        compiler.tables(definition.get("tables").unwrap());
        let yaml::NodeValue::Sequence(rules) = &definition.get("publish").unwrap().value else { panic!() };
        for rule in rules {
            let target = event(&text(rule.get("event")));
            compiler.filter(rule.get("when").unwrap()).unwrap();
            compiler.expression(rule.get("time").unwrap(), &Type::of(Kind::Timestamp), "time");
            compiler.mapping(rule.get("payload").unwrap(), Target::Avro(&target.avro, &target.ty, "the event"), None);
            compiler.forget();
        }
        let (_, problems) = compiler.finish();
        let errors: Vec<&Diagnostic> = problems.iter().filter(|p| p.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{producer}: {errors:#?}");
    }
}
