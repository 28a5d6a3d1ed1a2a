//! A mapping of a definition, field by field: what is asked for is known, what is left over is a mistake.
//!
//! ```text
//! let mut fields = Fields::of(file, node, "a system")?;
//! let purpose = fields.required("purpose", text);
//! let deadline = fields.optional("deadline", duration);
//! fields.finish();
//! ```
//! All problems of one mapping are reported in one pass, so nothing is unwrapped before `finish`.

use tieline_mapping::Span;
use tieline_mapping::suggest;
use tieline_mapping::yaml::{Node, NodeValue};

use crate::folder::{DefinitionFile, is};

/// The fields of one mapping.
pub(crate) struct Fields<'a> {
    file: &'a DefinitionFile<'a>,
    entries: &'a [(Node, Node)],
    /// What this is, with an article: "a system", "`webhook`".
    what: String,
    /// Where a missing field is missed.
    at: Span,
    /// The names that were asked for: all that there are.
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of a node; reports where it has none.
    pub fn of(file: &'a DefinitionFile<'a>, node: &'a Node, what: impl Into<String>) -> Option<Self> {
        let what = what.into();
        let entries: &[(Node, Node)] = match &node.value {
            NodeValue::Mapping(entries) => entries,
            // An empty file: let each missing field be named.
            NodeValue::Scalar { .. } if node.is_null() => &[],
            NodeValue::Scalar { .. } | NodeValue::Sequence(_) => {
                file.error("bus/wrong-type", node.span, format!("{what} has fields, each as `name: value`"), "");
                return None;
            }
        };
        let at = entries.first().map_or(node.span, |(key, _)| key.span);
        Some(Self { file, entries, what, at, known: Vec::new() })
    }

    /// The value of a field that has to be there; reports where it is not.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a DefinitionFile<'a>, &'a Node) -> Option<T>,
    ) -> Option<T> {
        self.required_node(name).and_then(|node| read(self.file, node))
    }

    /// The value of a field that may be there.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a DefinitionFile<'a>, &'a Node) -> Option<T>,
    ) -> Option<T> {
        self.node(name).and_then(|node| read(self.file, node))
    }

    /// The node of a field that has to be there.
    pub fn required_node(&mut self, name: &'static str) -> Option<&'a Node> {
        if !self.has(name) {
            let message = format!("{} has no `{name}`", self.what);
            self.file.error("bus/missing-field", self.at, message, format!("add `{name}: …`"));
        }
        self.node(name)
    }

    /// The node of a field that may be there. A field without a value is a mistake; one whose variable is missing has
    /// been reported.
    pub fn node(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.push(name);
        let (key, value) = self.entries.iter().find(|(key, _)| is(key, name))?;
        if self.file.is_unfilled(value) {
            return None;
        }
        if value.is_null() {
            let help = "give it a value, or remove it";
            self.file.error("bus/empty-field", key.span, format!("`{name}` is empty"), help);
            return None;
        }
        Some(value)
    }

    /// The span of a field's name.
    pub fn key(&self, name: &str) -> Span {
        self.entries.iter().find(|(key, _)| is(key, name)).map_or(self.at, |(key, _)| key.span)
    }

    /// The one field that says which of several shapes this is.
    pub fn variant(&mut self, names: &[&'static str]) -> Option<(&'static str, &'a Node)> {
        let present: Vec<&'static str> = names.iter().copied().filter(|n| self.has(n)).collect();
        match present.as_slice() {
            [one] => self.node(one).map(|node| (*one, node)),
            [] => {
                self.known.extend(names);
                let message = format!("{} says none of {}", self.what, suggest::list(names.iter().copied()));
                self.file.error("bus/missing-field", self.at, message, "add one of them");
                None
            }
            [first, second, ..] => {
                self.known.extend(names);
                let message = format!("{} says both `{first}` and `{second}`", self.what);
                self.file.error("bus/both-fields", self.key(second), message, "keep one of them");
                None
            }
        }
    }

    /// Reports the fields that nobody asked for.
    pub fn finish(self) {
        for (key, _) in self.entries {
            let NodeValue::Scalar { text, .. } = &key.value else { continue };
            if !self.known.contains(&text.as_str()) {
                let help = suggest::help(text, self.known.iter().copied()).unwrap_or_default();
                self.file.error("bus/unknown-field", key.span, format!("{} has no field `{text}`", self.what), help);
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| is(key, name))
    }
}
