//! What the tests of several files share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use tieline_schema::types::{Field, Kind, Record, Type};

use crate::{Bounds, Compiler, Severity, yaml};

/// The value of an expression over a small event, as text.
pub(crate) fn evaluate(expression: &str) -> String {
    let quantity = field("quantity", Type::of(Kind::Integer { min: 0, max: 1_000 }));
    let item = Type::of(Kind::Record(Record { name: None, fields: vec![quantity], open: false }.into()));
    let lines = field("lines", Type::of(Kind::List { item: Box::new(item), min_items: 0, max_items: None }));
    let record = Record { name: None, fields: vec![lines], open: true };
    let mut compiler = Compiler::new(Type::of(Kind::Record(record.into())), "test".to_owned());
    compiler.tables(&yaml::parse("cycle: { ONCE: one_time, MONTHLY: month }").unwrap());
    let node = yaml::Node {
        span: crate::Span { start: 0, end: expression.len() },
        value: yaml::NodeValue::Scalar { text: expression.to_owned(), quoted: false },
    };
    let compiled = compiler.expression(&node, &Type::of(Kind::Any).or_null(), "value");
    let (layout, problems) = compiler.finish();
    let errors: Vec<_> = problems.iter().filter(|p| p.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{expression}: {errors:?}");
    let event: Value = json!({ "lines": [{ "quantity": 2 }, { "quantity": 3 }] });
    let frame = layout.read_json(&event, &Bounds::default()).unwrap();
    let text = compiled.unwrap().text(&frame, &[]).unwrap_or_else(|e| panic!("{expression}: {e}"));
    text.unwrap_or_else(|| "null".to_owned())
}

fn field(name: &str, ty: Type) -> Field {
    Field { name: name.to_owned(), ty, required: true, doc: None }
}
