//! The mapping language: a tree that mirrors the target, with a small typed expression at each leaf. Parsed with
//! positions, checked against the types of both sides, compiled, and run straight from the datum to the bytes.
//!
//! The way of a definition: [`yaml`] → `lexer` → `parser` → `check` → `program`. The way of an event: `reader` or
//! `json_in` → [`Frame`] → `run` → `json_out` or `avro_out`.

mod ast;
mod avro_out;
mod avro_scalar;
mod bounds;
mod calendar;
mod check;
mod compiler;
mod condition;
mod decimal;
mod diagnostic;
mod examples;
mod frame;
mod functions;
mod item;
mod json_in;
mod json_out;
mod layout;
mod lexer;
mod parser;
mod program;
mod reader;
mod run;
pub mod suggest;
mod tables;
#[cfg(test)]
mod testing;
mod value;
pub mod yaml;

pub use bounds::Bounds;
pub use compiler::{Compiler, Expression, Filter, Mapping, Target};
pub use diagnostic::{Diagnostic, Severity, Span};
pub use examples::{CounterExample, Examined, Given, Promise, Verdict};
pub use frame::Frame;
pub use functions::{Family, Function, families, functions};
pub use layout::Layout;
pub use reader::{Reader, ResolveError};

/// The values of `$names`: look-ups, the response, headers.
pub type Names<'a> = &'a [(&'a str, &'a serde_json::Value)];

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

impl RunError {
    pub(crate) fn leaf(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Leaf { path: path.into(), problem: problem.into() }
    }
}
