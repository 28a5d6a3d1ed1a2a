//! Compares what a case expects with what came, and says at each leaf what differs.

use jiff::Timestamp;
use serde_json::Value;
use tieline_mapping::yaml::{Node, NodeValue};
use tieline_mapping::{Diagnostic, Severity, Span};

use crate::folder::{DefinitionFile, is};

/// Most characters of a value in a message.
const SHOWN_CHARS_MAX: usize = 120;

/// Reports each place where the payload of an event is not what `expect` says. An instant is the same however it is
/// written: Avro keeps no text of it.
pub(super) fn compare_payload(file: &DefinitionFile<'_>, expect: &Node, got: &Value) {
    compare_with(same_in_avro, file, expect.span, expect, got, "payload");
}

/// Reports each place where `got` is not what `expect` says. `path` is the name of the whole.
pub(super) fn compare(file: &DefinitionFile<'_>, expect: &Node, got: &Value, path: &str) {
    compare_with(same, file, expect.span, expect, got, path);
}

/// `at` is where this part is named.
fn compare_with(
    same: fn(&Value, &Value) -> bool,
    file: &DefinitionFile<'_>,
    at: Span,
    expect: &Node,
    got: &Value,
    path: &str,
) {
    match (&expect.value, got) {
        (NodeValue::Mapping(entries), Value::Object(fields)) => {
            for (key, value) in entries {
                let NodeValue::Scalar { text: name, .. } = &key.value else { continue };
                let path = format!("{path}.{name}");
                match fields.get(name) {
                    Some(got) => compare_with(same, file, key.span, value, got, &path),
                    None => differs(file, key.span, &format!("`{path}` is not there")),
                }
            }
            for (name, got) in fields.iter().filter(|(name, _)| !entries.iter().any(|(key, _)| is(key, name))) {
                unexpected(file, at, &format!("`{path}.{name}` is there: {}", shown(got)));
            }
        }
        (NodeValue::Sequence(items), Value::Array(values)) => {
            for (n, (item, got)) in items.iter().zip(values).enumerate() {
                compare_with(same, file, item.span, item, got, &format!("{path}[{n}]"));
            }
            for (n, item) in items.iter().enumerate().skip(values.len()) {
                differs(file, item.span, &format!("`{path}[{n}]` is not there"));
            }
            for (n, got) in values.iter().enumerate().skip(items.len()) {
                unexpected(file, at, &format!("`{path}[{n}]` is there: {}", shown(got)));
            }
        }
        _ if same(&expect.to_json(), got) => {}
        _ => differs(file, expect.span, &format!("`{path}` is {}", shown(got))),
    }
}

/// Reports what came where something else is expected.
pub(super) fn differs(file: &DefinitionFile<'_>, span: Span, message: &str) {
    report(file, span, message, "expected");
}

fn unexpected(file: &DefinitionFile<'_>, span: Span, message: &str) {
    report(file, span, message, "does not expect it");
}

fn report(file: &DefinitionFile<'_>, span: Span, message: &str, label: &str) {
    let (message, label) = (message.to_owned(), label.to_owned());
    file.report(Diagnostic { severity: Severity::Error, code: "case/differs", message, span, label, help: None });
}

/// Equal, where `1.50` equals `1.5` as JSON's numbers do.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn same_in_avro(a: &Value, b: &Value) -> bool {
    let instant = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    same(a, b) || instant(a).is_some_and(|a| instant(b) == Some(a))
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
