//! How a stand-in takes a request that comes a second time: systems differ in what they remember, and in what they say.

use serde_json::{Value, json};

use super::problem::Problem;

/// How a system takes a request that comes a second time. The default knows no second time: each call is an effect.
#[derive(Debug, Clone, Default)]
pub struct Repeats {
    /// The header under whose value it remembers an effect.
    pub header: Option<String>,
    /// It remembers failures too, and gives them again to whoever comes with the key.
    pub keeps_failures: bool,
    /// What it says to a key whose first request is not answered yet, which takes as long as the fault's latency. Without
    /// it, it answers as if the first were done.
    pub in_progress: Option<Refusal>,
    /// What it says to a key that came with another request before; 422 without it.
    pub mismatch: Option<Refusal>,
    /// A field by which there is one object only, and what it says to a second.
    pub unique: Option<(String, Refusal)>,
    /// It changes a thing only on a condition (`If-Match`, `If-None-Match`), and tells the version of one by its `ETag`.
    pub conditional: bool,
}

/// A refusal, in a system's own form.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// Fields of the body, beside those of problem details: by JSON pointer, so that `/error/type` makes an object.
    pub field: Option<(String, String)>,
}

impl Refusal {
    /// A refusal that its status alone tells apart.
    #[must_use]
    pub fn of(status: u16) -> Self {
        Self { status, field: None }
    }

    pub(super) fn problem(&self, detail: &str) -> Problem {
        let problem = Problem::new(self.status, detail);
        match &self.field {
            Some((pointer, value)) => problem.with_field(at(pointer, value)),
            None => problem,
        }
    }
}

/// A JSON value that has this text at the place of this pointer.
fn at(pointer: &str, value: &str) -> Value {
    pointer
        .split('/')
        .skip(1)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .fold(json!(value), |inner, step| if step == "0" { json!([inner]) } else { json!({ step: inner }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_makes_objects_and_lists() {
        assert_eq!(at("/error/type", "x"), json!({ "error": { "type": "x" } }));
        assert_eq!(at("/details/0/issue", "x"), json!({ "details": [{ "issue": "x" }] }));
    }
}
