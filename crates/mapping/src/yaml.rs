//! YAML with the place of each node, and whether a scalar was quoted.

use crate::{Diagnostic, Span};

/// A node of a YAML document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: NodeValue,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeValue {
    /// A scalar, as text; an empty plain one is null.
    Scalar {
        /// Its text.
        text: String,
        /// Quoted, or a block scalar: text and nothing else.
        quoted: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values, in the order of the file; no key twice.
    Mapping(Vec<(Node, Node)>),
}

/// Reads one YAML 1.2 document. Anchors, aliases, tags and several documents are refused.
///
/// # Errors
/// What is wrong with it.
pub fn parse(_text: &str) -> Result<Node, Vec<Diagnostic>> {
    unimplemented!()
}

impl Node {
    /// The value of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            NodeValue::Mapping(entries) => entries.iter().find_map(|(k, v)| match &k.value {
                NodeValue::Scalar { text, .. } if text == key => Some(v),
                _ => None,
            }),
            NodeValue::Scalar { .. } | NodeValue::Sequence(_) => None,
        }
    }

    /// The same as JSON, with scalars by the core schema of YAML 1.2.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        unimplemented!()
    }
}
