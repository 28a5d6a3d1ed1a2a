//! Readers of single values: each takes a node and gives the value, or reports what it should have been. No message
//! repeats the value, which may have come from the environment; the line that is shown holds what its author wrote.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use tieline_mapping::suggest;
use tieline_mapping::yaml::{Node, NodeValue};
use url::Url;

use crate::folder::DefinitionFile;
use crate::{quantity, variables};

/// Any text on one leaf. A secret cannot stand where a text is expected.
pub(crate) fn text(file: &DefinitionFile<'_>, node: &Node) -> Option<String> {
    let text = scalar(file, node, "a text")?;
    if variables::secret_name(text).is_some() {
        let help = "secrets go where a credential is asked for; everywhere else they could be shown";
        file.error("bus/secret-here", node.span, "a secret cannot stand here", help);
        return None;
    }
    Some(text.to_owned())
}

/// A whole number within a range.
pub(crate) fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&DefinitionFile<'_>, &Node) -> Option<T>
where
    T: FromStr + PartialOrd + Display,
{
    move |file, node| {
        let what = format!("a whole number from {} to {}", range.start(), range.end());
        let number = scalar(file, node, &what)?.parse().ok().filter(|n| range.contains(n));
        or_wrong(file, node, number, &what)
    }
}

/// A number above 0.
pub(crate) fn rate(file: &DefinitionFile<'_>, node: &Node) -> Option<f64> {
    let number = scalar(file, node, "a number above 0")?.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
    or_wrong(file, node, number, "a number above 0")
}

/// `true` or `false`.
pub(crate) fn boolean(file: &DefinitionFile<'_>, node: &Node) -> Option<bool> {
    let value = scalar(file, node, "true or false")?.parse().ok();
    or_wrong(file, node, value, "true or false")
}

/// A duration within a range that is given in the definition's own units.
pub(crate) fn duration(range: RangeInclusive<&'static str>) -> impl Fn(&DefinitionFile<'_>, &Node) -> Option<Duration> {
    move |file, node| {
        let what = format!("a duration from {} to {}, such as `30s`, `10m`, `72h`", range.start(), range.end());
        let (min, max) = (quantity::duration(range.start())?, quantity::duration(range.end())?);
        let value = quantity::duration(scalar(file, node, &what)?).filter(|d| (min..=max).contains(d));
        or_wrong(file, node, value, &what)
    }
}

/// A size from 1 byte up.
pub(crate) fn bytes(max: &'static str) -> impl Fn(&DefinitionFile<'_>, &Node) -> Option<usize> {
    move |file, node| {
        let what = format!("a size up to {max}, such as `64KiB`, `1MiB`");
        let most = quantity::bytes(max)?;
        let value = quantity::bytes(scalar(file, node, &what)?).filter(|n| (1..=most).contains(n));
        or_wrong(file, node, value, &what)
    }
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(
    choices: &'static [(&'static str, T)],
) -> impl Fn(&DefinitionFile<'_>, &Node) -> Option<T> {
    move |file, node| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let word = scalar(file, node, "a word")?;
        let found = choices.iter().find(|(w, _)| *w == word).map(|(_, value)| *value);
        if found.is_none() {
            let message = format!("this has to be one of {}", suggest::list(words.iter().copied()));
            let help = suggest::nearest(word, words).map(|w| format!("did you mean `{w}`?"));
            file.error("bus/wrong-value", node.span, message, help.unwrap_or_default());
        }
        found
    }
}

/// An `http` or `https` address without query, fragment and user; given without a trailing slash.
pub(crate) fn address(file: &DefinitionFile<'_>, node: &Node) -> Option<String> {
    let what = "an address, such as `https://erp.example.com/api`";
    let text = text(file, node)?;
    let text = text.trim_end_matches('/');
    let url = Url::parse(text).ok().filter(|url| {
        let bare = url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && bare && anonymous
    });
    or_wrong(file, node, url.map(|_| text.to_owned()), what)
}

/// A status of HTTP, which is the name of a field.
pub(crate) fn status(file: &DefinitionFile<'_>, key: &Node, name: &str) -> Option<u16> {
    let status = name.parse().ok().filter(|status| (100..=599).contains(status));
    if status.is_none() {
        file.error("bus/wrong-value", key.span, "this has to be a status from 100 to 599", "");
    }
    status
}

/// The name of an HTTP header (a token, RFC 9110, section 5.6.2).
pub(crate) fn header(file: &DefinitionFile<'_>, node: &Node) -> Option<String> {
    let text = text(file, node)?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let name = (!text.is_empty() && text.chars().all(token)).then_some(text);
    or_wrong(file, node, name, "the name of a header, such as `Idempotency-Key`")
}

/// A name of ours: of a bus, a system, a look-up.
pub(crate) fn name(file: &DefinitionFile<'_>, node: &Node) -> Option<String> {
    let text = text(file, node)?;
    let name = is_name(&text).then_some(text);
    or_wrong(file, node, name, "a name of small letters, digits and `-` that starts with a letter")
}

/// Whether a name has only small letters, digits and `-`, and starts with a letter: names are parts of topics, groups and
/// metrics.
pub(crate) fn is_name(text: &str) -> bool {
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(part) && text.len() <= 80
}

/// A list, each item read alike.
pub(crate) fn list<'a, T>(
    read: impl Fn(&'a DefinitionFile<'a>, &'a Node) -> Option<T>,
) -> impl Fn(&'a DefinitionFile<'a>, &'a Node) -> Option<Vec<T>> {
    move |file, node| match &node.value {
        NodeValue::Sequence(items) => {
            // All of them, so that each reports what is wrong with it.
            let items: Vec<Option<T>> =
                items.iter().map(|item| if file.is_unfilled(item) { None } else { read(file, item) }).collect();
            items.into_iter().collect()
        }
        NodeValue::Scalar { .. } | NodeValue::Mapping(_) => or_wrong(file, node, None, "a list"),
    }
}

/// Names that the author chooses, each with a value that is read alike. Each comes with the node of its name.
pub(crate) fn named<'a, T>(
    read: impl Fn(&'a DefinitionFile<'a>, &'a Node, &str) -> Option<T>,
) -> impl Fn(&'a DefinitionFile<'a>, &'a Node) -> Option<Vec<(String, &'a Node, T)>> {
    move |file, node| match &node.value {
        NodeValue::Mapping(entries) => {
            let entries: Vec<_> = entries.iter().map(|(key, value)| entry(file, key, value, &read)).collect();
            entries.into_iter().collect()
        }
        NodeValue::Scalar { .. } | NodeValue::Sequence(_) => {
            or_wrong(file, node, None, "a mapping, each as `name: value`")
        }
    }
}

fn entry<'a, T>(
    file: &'a DefinitionFile<'a>,
    key: &'a Node,
    value: &'a Node,
    read: &impl Fn(&'a DefinitionFile<'a>, &'a Node, &str) -> Option<T>,
) -> Option<(String, &'a Node, T)> {
    let NodeValue::Scalar { text: name, .. } = &key.value else { return None };
    if file.is_unfilled(value) {
        return None;
    }
    if value.is_null() {
        file.error("bus/empty-field", key.span, format!("`{name}` is empty"), "give it a value, or remove it");
        return None;
    }
    read(file, value, name).map(|value| (name.clone(), key, value))
}

fn scalar<'n>(file: &DefinitionFile<'_>, node: &'n Node, what: &str) -> Option<&'n str> {
    match &node.value {
        NodeValue::Scalar { text, .. } => Some(text),
        NodeValue::Sequence(_) | NodeValue::Mapping(_) => or_wrong(file, node, None, what),
    }
}

pub(crate) fn or_wrong<T>(file: &DefinitionFile<'_>, node: &Node, value: Option<T>, what: &str) -> Option<T> {
    if value.is_none() {
        let code = match &node.value {
            NodeValue::Scalar { .. } => "bus/wrong-value",
            NodeValue::Sequence(_) | NodeValue::Mapping(_) => "bus/wrong-type",
        };
        file.error(code, node.span, format!("this has to be {what}"), "");
    }
    value
}
