//! The mapping language: a tree that mirrors the target, with a small typed expression at each leaf. Parsed with
//! positions, checked against the types of both sides, compiled, and run straight from the datum to the bytes.

mod diagnostic;
pub mod yaml;

pub use diagnostic::{Diagnostic, Severity, Span};

use serde_json::Value;
use tieline_schema::types::Type;
use yaml::Node;

/// Compiles all expressions of one definition, which read one event together.
#[derive(Debug)]
pub struct Compiler {}

/// What a tree is written to.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// JSON that a contract describes. The text names the contract in messages ("the contract of erp.createProject").
    Contract(&'a Type, &'a str),
    /// A datum of this schema. The text names it in messages ("schemas/erp.project_created.avsc").
    Avro(&'a apache_avro::Schema, &'a Type, &'a str),
}

impl Compiler {
    /// Starts with the type of `.`, and what to call it in messages (`schemas/crm.deal_stage_changed.avsc`).
    #[must_use]
    pub fn new(_event: Type, _label: String) -> Self {
        unimplemented!()
    }

    /// Binds `$name`.
    pub fn bind(&mut self, _name: &str, _ty: Type, _label: &str) {
        unimplemented!()
    }

    /// Takes `tables:`.
    pub fn tables(&mut self, _node: &Node) {
        unimplemented!()
    }

    /// Compiles a filter. What it proves (`!= null`, `== 'X'`, `in […]`, joined by `and`) holds in all that is compiled
    /// after it.
    pub fn filter(&mut self, _node: &Node) -> Option<Filter> {
        unimplemented!()
    }

    /// Compiles one expression whose value has to fit `expected`; `what` names the place in messages.
    pub fn expression(&mut self, _node: &Node, _expected: &Type, _what: &str) -> Option<Expression> {
        unimplemented!()
    }

    /// Compiles a tree. `residual:` of the definition says which checks are left to run time.
    pub fn mapping(&mut self, _node: &Node, _target: Target<'_>, _residual: Option<&Node>) -> Option<Mapping> {
        unimplemented!()
    }

    /// What all expressions read, and all that was wrong. Warns of what is never used.
    #[must_use]
    pub fn finish(self) -> (Layout, Vec<Diagnostic>) {
        unimplemented!()
    }
}

/// Which parts of an event are read, and in which slot each lies.
#[derive(Debug, Clone)]
pub struct Layout {}

/// How the data of one writer's schema are read for a layout.
#[derive(Debug)]
pub struct Reader {}

/// Bounds on what one datum may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most items of all lists and maps together.
    pub items_max: usize,
    /// Deepest nesting.
    pub depth_max: usize,
    /// Most bytes written for one record.
    pub output_bytes_max: usize,
}

/// The parts of one event, borrowed from its bytes.
#[derive(Debug)]
pub struct Frame<'a> {
    _event: std::marker::PhantomData<&'a ()>,
}

/// The values of `$names`: look-ups, the response, headers.
pub type Names<'a> = &'a [(&'a str, &'a Value)];

/// Why the data of one schema cannot be read as another (Avro 1.12, "Schema Resolution").
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {problem}")]
pub struct ResolveError {
    /// The field.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

/// Why one event could not be read or mapped. Never holds a value of the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The datum is not one of its schema, or beyond the bounds.
    #[error("datum cannot be read at byte {offset}: {problem}")]
    Datum {
        /// Where.
        offset: usize,
        /// What is wrong.
        problem: String,
    },
    /// A leaf has no value that the target takes.
    #[error("`{path}` {problem}")]
    Leaf {
        /// The leaf in the target.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

impl Layout {
    /// Plans how data of `writer` are read for this layout, which was compiled for `reader`.
    ///
    /// # Errors
    /// When the one cannot be resolved to the other.
    pub fn reader(&self, _writer: &apache_avro::Schema, _reader: &apache_avro::Schema) -> Result<Reader, ResolveError> {
        unimplemented!()
    }

    /// Picks the parts out of a JSON value, such as a webhook's body.
    ///
    /// # Errors
    /// When a part has another type than the contract says.
    pub fn read_json<'a>(&self, _value: &'a Value, _bounds: &Bounds) -> Result<Frame<'a>, RunError> {
        unimplemented!()
    }

    /// The fields that are read, as paths from the top, sorted.
    #[must_use]
    pub fn reads(&self) -> Vec<String> {
        unimplemented!()
    }
}

impl Reader {
    /// Reads what the layout needs of one datum, and checks that the rest is well-formed.
    ///
    /// # Errors
    /// When the datum is not one of its schema, or beyond the bounds.
    pub fn read<'a>(&self, _datum: &'a [u8], _bounds: &Bounds) -> Result<Frame<'a>, RunError> {
        unimplemented!()
    }
}

/// A condition.
#[derive(Debug)]
pub struct Filter {}

/// A single value.
#[derive(Debug)]
pub struct Expression {}

/// A tree of values.
#[derive(Debug)]
pub struct Mapping {}

impl Filter {
    /// Whether it holds.
    ///
    /// # Errors
    /// When a function fails on the value that it got.
    pub fn holds(&self, _event: &Frame<'_>, _names: Names<'_>) -> Result<bool, RunError> {
        unimplemented!()
    }
}

impl Expression {
    /// The value as text (numbers in their shortest form, instants as RFC 3339); `None` for null.
    ///
    /// # Errors
    /// When a function fails on the value that it got.
    pub fn text(&self, _event: &Frame<'_>, _names: Names<'_>) -> Result<Option<String>, RunError> {
        unimplemented!()
    }

    /// The value of an expression of type timestamp, in milliseconds since the Unix epoch; `None` for null.
    ///
    /// # Errors
    /// When a function fails on the value that it got.
    pub fn timestamp_ms(&self, _event: &Frame<'_>, _names: Names<'_>) -> Result<Option<i64>, RunError> {
        unimplemented!()
    }
}

impl Mapping {
    /// Appends the tree to `out`, as JSON or as an Avro datum, as its target is.
    ///
    /// # Errors
    /// When a leaf has no value that the target takes; `out` is as long as before.
    pub fn write(
        &self,
        _event: &Frame<'_>,
        _names: Names<'_>,
        _bounds: &Bounds,
        _out: &mut Vec<u8>,
    ) -> Result<(), RunError> {
        unimplemented!()
    }
}
