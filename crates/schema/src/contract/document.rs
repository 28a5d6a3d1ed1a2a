//! A JSON document, and what its `$ref`s stand for.

use std::borrow::Cow;

use serde_json::Value;

use super::ContractError;

/// Most references that may follow each other (`a` is `b`, `b` is `c`, …) before it is a circle.
const HOPS_MAX: usize = 32;

/// A value of a document, and where it is.
#[derive(Clone)]
pub(super) struct Place<'d> {
    /// A JSON pointer from the document's root.
    pub pointer: String,
    pub value: &'d Value,
}

impl<'d> Place<'d> {
    pub(super) fn root(document: &'d Value) -> Self {
        Self { pointer: String::new(), value: document }
    }

    /// The member of this name, if there is one.
    pub(super) fn get(&self, name: &str) -> Option<Place<'d>> {
        let value = self.value.get(name)?;
        Some(Place { pointer: format!("{}/{}", self.pointer, escape(name)), value })
    }

    /// All members, in the document's order.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'d str, Place<'d>)> + use<'d> {
        let pointer = self.pointer.clone();
        let members = self.value.as_object().into_iter().flatten();
        members
            .map(move |(name, value)| (name.as_str(), Place { pointer: format!("{pointer}/{}", escape(name)), value }))
    }

    /// All items of a list.
    pub(super) fn items(&self) -> impl Iterator<Item = Place<'d>> + use<'d> {
        let pointer = self.pointer.clone();
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(move |(index, value)| Place { pointer: format!("{pointer}/{index}"), value })
    }

    /// The text of a member.
    pub(super) fn text(&self, name: &str) -> Option<&'d str> {
        self.value.get(name)?.as_str()
    }

    pub(super) fn problem(&self, problem: impl Into<String>) -> ContractError {
        ContractError { pointer: self.pointer.clone(), problem: problem.into() }
    }

    /// What a `$ref` here stands for, followed to the end; this place itself where there is none.
    pub(super) fn follow(&self, document: &'d Value) -> Result<Place<'d>, ContractError> {
        let mut here = self.clone();
        for _ in 0..HOPS_MAX {
            match here.get("$ref") {
                Some(reference) => here = target(document, &reference)?,
                None => return Ok(here),
            }
        }
        Err(self.problem("is a circle of references"))
    }
}

/// The place that the value of a `$ref` names.
pub(super) fn target<'d>(document: &'d Value, reference: &Place<'_>) -> Result<Place<'d>, ContractError> {
    let Some(text) = reference.value.as_str() else { return Err(reference.problem("must be a text")) };
    let Some(fragment) = text.strip_prefix('#') else {
        return Err(reference.problem(format!("refers to `{text}`, outside of this document")));
    };
    let pointer = percent_decode(fragment);
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(reference.problem(format!("refers to `{text}`; only JSON pointers (`#/…`) are followed")));
    }
    match document.pointer(&pointer) {
        Some(value) => Ok(Place { pointer: pointer.into_owned(), value }),
        None => Err(reference.problem(format!("refers to `{text}`, which is not there"))),
    }
}

/// A name as a step of a JSON pointer (RFC 6901, section 3).
pub(super) fn escape(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) { name.replace('~', "~0").replace('/', "~1").into() } else { name.into() }
}

/// The fragment of a URI without its percent-encoding; a fragment that is not UTF-8 after it names nothing.
fn percent_decode(fragment: &str) -> Cow<'_, str> {
    if !fragment.contains('%') {
        return fragment.into();
    }
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex(*high) << 4 | hex(*low));
                after
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _letter => (digit | 0x20) - b'a' + 10,
    }
}
