//! `${NAME}`, `${NAME:-default}` and `secret:name`: put in on parsed leaves, so that no value can change the shape of a
//! file, and so that no message can show one.

use tieline_mapping::Span;
use tieline_mapping::yaml::{Node, NodeValue};

use crate::Secret;
use crate::folder::{DefinitionFile, is};

/// Puts the variables of a whole file in. A leaf whose variable is missing is reported and remembered, so that nobody
/// complains of it again.
pub(crate) fn fill(file: &DefinitionFile<'_>, node: &Node) -> Node {
    let value = match &node.value {
        NodeValue::Scalar { text, quoted } => {
            let filled = fill_text(file, node.span, text);
            if filled.is_none() {
                file.mark_unfilled(node.span);
            }
            NodeValue::Scalar { text: filled.unwrap_or_default(), quoted: *quoted }
        }
        NodeValue::Sequence(items) => NodeValue::Sequence(items.iter().map(|item| fill(file, item)).collect()),
        NodeValue::Mapping(entries) => {
            NodeValue::Mapping(entries.iter().map(|(key, value)| (key.clone(), fill(file, value))).collect())
        }
    };
    Node { span: node.span, value }
}

/// Puts variables in below one path of fields, and refuses them elsewhere.
pub(crate) fn fill_below(file: &DefinitionFile<'_>, node: &Node, path: &[&str]) -> Node {
    let Some((first, rest)) = path.split_first() else { return fill(file, node) };
    let NodeValue::Mapping(entries) = &node.value else {
        refuse(file, node);
        return node.clone();
    };
    let entries = entries.iter().map(|(key, value)| {
        if is(key, first) {
            return (key.clone(), fill_below(file, value, rest));
        }
        refuse(file, value);
        (key.clone(), value.clone())
    });
    Node { span: node.span, value: NodeValue::Mapping(entries.collect()) }
}

/// Reads a secret: `secret:name`, a variable, or, with a warning, the value itself.
pub(crate) fn secret(file: &DefinitionFile<'_>, node: &Node) -> Option<Secret> {
    let NodeValue::Scalar { text, .. } = &node.value else {
        file.error("bus/wrong-type", node.span, "this has to be a secret", "write `secret:NAME`");
        return None;
    };
    if let Some(name) = secret_name(text) {
        return named_secret(file, node.span, name);
    }
    if stands_in_file(file, node) {
        let help = "write `secret:NAME`, and give the value by the environment";
        file.warning("bus/secret-in-file", node.span, "a secret stands in the open here", help);
    }
    Some(Secret::new(text.clone()))
}

/// Whether a secret's value stands in the definition itself.
pub(crate) fn stands_in_file(file: &DefinitionFile<'_>, node: &Node) -> bool {
    let source = file.text.get(node.span.start..node.span.end).unwrap_or_default();
    let named = matches!(&node.value, NodeValue::Scalar { text, .. } if secret_name(text).is_some());
    !named && !source.contains("${")
}

/// Reads a value that may be a secret or not, such as a setting of librdkafka.
pub(crate) fn setting(file: &DefinitionFile<'_>, node: &Node) -> Option<Secret> {
    let NodeValue::Scalar { text, .. } = &node.value else {
        file.error("bus/wrong-type", node.span, "this has to be a text or a number", "");
        return None;
    };
    match secret_name(text) {
        Some(name) => named_secret(file, node.span, name),
        None => Some(Secret::new(text.clone())),
    }
}

/// The name in `secret:name`.
pub(crate) fn secret_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix("secret:")?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    is_name.then_some(name)
}

/// Refuses variables in a definition that has none, and says why.
pub(crate) fn refuse(file: &DefinitionFile<'_>, node: &Node) {
    match &node.value {
        NodeValue::Scalar { text, .. } if text.contains("${") => {
            file.mark_unfilled(node.span);
            let span = place(file, node.span, "${");
            let help = "variables go into tieline.yaml and system.yaml; a mapping gives the same bytes everywhere";
            file.error("bus/variable-here", span, "a variable cannot stand here", help);
        }
        NodeValue::Scalar { .. } => {}
        NodeValue::Sequence(items) => items.iter().for_each(|item| refuse(file, item)),
        NodeValue::Mapping(entries) => entries.iter().for_each(|(_, value)| refuse(file, value)),
    }
}

fn named_secret(file: &DefinitionFile<'_>, span: Span, name: &str) -> Option<Secret> {
    let environment = file.folder.environment;
    let value = environment.secret(name);
    if value.is_none() {
        let message = format!("secret `{name}` is not there");
        file.error("bus/missing-secret", span, message, environment.secret_help(name));
    }
    value.map(Secret::new)
}

fn fill_text(file: &DefinitionFile<'_>, span: Span, text: &str) -> Option<String> {
    let mut filled = String::new();
    let mut rest = text;
    let mut whole = true;
    while let Some(start) = rest.find("${") {
        filled.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}') else {
            let help = "write `${NAME}` or `${NAME:-default}`";
            file.error("bus/bad-variable", place(file, span, &rest[start..]), "`${` without its `}`", help);
            return None;
        };
        let variable = &rest[start..=start + end];
        match value(file, span, variable) {
            Some(value) => filled.push_str(&value),
            None => whole = false,
        }
        rest = &rest[start + end + 1..];
    }
    filled.push_str(rest);
    whole.then_some(filled)
}

/// The value of `${NAME}` or `${NAME:-default}`. As in a shell, the default also stands in for an empty value.
fn value(file: &DefinitionFile<'_>, span: Span, variable: &str) -> Option<String> {
    let inner = &variable[2..variable.len() - 1];
    let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        let help = "write `${NAME}` or `${NAME:-default}`, with letters, digits and `_`";
        file.error("bus/bad-variable", place(file, span, variable), "this is no name of a variable", help);
        return None;
    }
    let environment = file.folder.environment;
    match (environment.variable(name), default) {
        (Some(value), _) if !value.is_empty() => Some(value),
        (_, Some(default)) => Some(default.to_owned()),
        (Some(value), None) => Some(value),
        (None, None) => {
            let message = format!("variable `{name}` is not set");
            let help = environment.variable_help(name);
            file.error("bus/missing-variable", place(file, span, variable), message, help);
            None
        }
    }
}

/// Where a part of a leaf stands; the whole leaf where escapes hide it.
fn place(file: &DefinitionFile<'_>, span: Span, part: &str) -> Span {
    let source = file.text.get(span.start..span.end).unwrap_or_default();
    source.find(part).map_or(span, |at| Span { start: span.start + at, end: span.start + at + part.len() })
}
