//! What a record costs from datum to JSON: 13 fields and three lines of five. Run it alone and in release:
//! `cargo run --release -p tieline-mapping --example throughput`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use tieline_mapping::{Bounds, Compiler, Target, yaml};
use tieline_schema::avro::EventSchema;
use tieline_schema::types::{Kind, Type};

const EVENT: &str = r#"{"type": "record", "name": "Deal", "fields": [
  {"name": "id", "type": "string"},
  {"name": "title", "type": "string"},
  {"name": "stage", "type": {"type": "enum", "name": "Stage", "symbols": ["OPEN", "CLOSED_WON"]}},
  {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
  {"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR", "USD"]}},
  {"name": "closed_at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
  {"name": "description", "type": ["null", "string"]},
  {"name": "account", "type": {"type": "record", "name": "Account", "fields": [
    {"name": "id", "type": "string"}, {"name": "name", "type": "string"}, {"name": "notes", "type": "string"}]}},
  {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
    {"name": "sku", "type": "string"}, {"name": "text", "type": ["null", "string"]}, {"name": "quantity", "type": "int"},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
    {"name": "billing", "type": {"type": "enum", "name": "Billing", "symbols": ["ONCE", "MONTHLY"]}}]}}}
]}"#;

const MAPPING: &str = r#"
externalId: .id
name: "{.account.name | truncate(38)} – {.title | truncate(38)}"
status: "ACTIVE"
stage: .stage
currency: .currency
budget: .amount
cents: .amount | cents
startDate: .closed_at | date(Europe/Berlin)
closedAt: .closed_at
customer: { externalId: .account.id, name: .account.name | truncate(120) }
priority: if .amount >= 50000 then 1 else 3
note: .description ?? '' | truncate(500)
lines:
  - for: $line in .lines
    sku: $line.sku | truncate(40)
    text: $line.text
    quantity: $line.quantity
    unitPrice: $line.price
    cycle: $line.billing | translate(cycle)
"#;

fn main() {
    let event = EventSchema::parse(EVENT).unwrap();
    let mut compiler = Compiler::new(event.ty.clone(), "event".to_owned());
    compiler.tables(&yaml::parse("cycle: { ONCE: one_time, MONTHLY: month }").unwrap());
    let any = Type::of(Kind::Any);
    let mapping = compiler.mapping(&yaml::parse(MAPPING).unwrap(), Target::Contract(&any, "contract"), None);
    let (layout, problems) = compiler.finish();
    let mapping = mapping.unwrap_or_else(|| unreachable!("{problems:#?}"));
    let reader = layout.reader(&event.avro, &event.avro).unwrap();
    let datum = GenericDatumWriter::builder(&event.avro).build().unwrap().write_value_to_vec(deal()).unwrap();
    let bounds = Bounds::default();

    let mut out = Vec::with_capacity(4_096);
    let whole = measure(|| {
        out.clear();
        let frame = reader.read(&datum, &bounds).unwrap();
        mapping.write(&frame, &[], &bounds, &mut out).unwrap();
    });
    let reading = measure(|| {
        std::hint::black_box(reader.read(&datum, &bounds).unwrap());
    });
    println!("{} bytes of datum, {} bytes of JSON", datum.len(), out.len());
    println!("read  {:>6} ns a record", reading.as_nanos());
    println!("whole {:>6} ns a record", whole.as_nanos());
}

/// The best of several rounds: what else runs on the machine only ever adds.
fn measure(mut once: impl FnMut()) -> Duration {
    const TIMES: u32 = 20_000;
    let mut best = Duration::MAX;
    for _ in 0..15 {
        let start = Instant::now();
        for _ in 0..TIMES {
            once();
        }
        best = best.min(start.elapsed() / TIMES);
    }
    best
}

fn deal() -> Value {
    let record =
        |fields: Vec<(&str, Value)>| Value::Record(fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect());
    let text = |t: &str| Value::String(t.to_owned());
    let some = |v: Value| Value::Union(1, Box::new(v));
    let money = |cents: i64| Value::Decimal(apache_avro::Decimal::from(cents.to_be_bytes()));
    let line = |sku: &str| {
        record(vec![
            ("sku", text(sku)),
            ("text", some(text("Maintenance, first year"))),
            ("quantity", Value::Int(3)),
            ("price", money(199_900)),
            ("billing", Value::Enum(1, "MONTHLY".to_owned())),
        ])
    };
    let account = record(vec![
        ("id", text("acc-4711")),
        ("name", text("Hafenwerk Logistik GmbH")),
        ("notes", text("Nobody reads this here.")),
    ]);
    record(vec![
        ("id", text("deal-0815")),
        ("title", text("Overhaul of hall three and its cranes, second lot")),
        ("stage", Value::Enum(1, "CLOSED_WON".to_owned())),
        ("amount", money(12_500_050)),
        ("currency", Value::Enum(0, "EUR".to_owned())),
        ("closed_at", some(Value::TimestampMillis(1_774_996_200_000))),
        ("description", some(text("To be delivered before the summer."))),
        ("account", account),
        ("lines", Value::Array(vec![line("CRANE-1"), line("CRANE-2"), line("HALL-3")])),
    ])
}
