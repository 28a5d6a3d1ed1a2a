//! An expression as it was written, with the place of each part. The parser makes it, the checker reads it.

use crate::Span;
use crate::decimal::Decimal;

/// An expression and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    /// Where it stands in the file.
    pub(crate) span: Span,
    /// What it is.
    pub(crate) kind: ExprKind,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExprKind {
    /// `null`
    Null,
    /// `true`
    Boolean(bool),
    /// `42`
    Integer(i64),
    /// `0.19`
    Decimal(Decimal),
    /// `'text'`
    Text(String),
    /// `.deal.amount`
    Path(Path),
    /// A quoted YAML scalar with holes: `"{.account.name} in {.account.city}"`
    Template(Vec<Piece>),
    /// `a ?? b`
    Coalesce(Box<Expr>, Box<Expr>),
    /// `a and b`
    And(Box<Expr>, Box<Expr>),
    /// `a or b`
    Or(Box<Expr>, Box<Expr>),
    /// `not a`
    Not(Box<Expr>),
    /// `-a`
    Negate(Box<Expr>),
    /// `a == b`
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// `a in ['X', 'Y']`
    In(Box<Expr>, Vec<Expr>),
    /// `a * b`
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    /// `if c then a else b`
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `a | function(b)`
    Call(Box<Call>),
}

/// A function, applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// What stands before the bar.
    pub(crate) input: Expr,
    /// The function's name.
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) name_span: Span,
    /// What stands in the parentheses.
    pub(crate) arguments: Vec<Argument>,
}

/// What stands in the parentheses of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Argument {
    /// A bare word: a zone, a table, a format.
    Word(String, Span),
    /// An expression.
    Expr(Expr),
}

/// A part of a text with holes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// As it is.
    Text(String),
    /// `{…}`
    Hole(Expr),
}

/// `.a.b`, `$name.a.b`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    /// `$name`; the event without one.
    pub(crate) name: Option<String>,
    /// What follows.
    pub(crate) segments: Vec<Segment>,
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Segment {
    /// Where it stands, without its dot.
    pub(crate) span: Span,
    /// What it is.
    pub(crate) step: Step,
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// `.name`
    Field(String),
    /// `[]`: each item of a list.
    Items,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What is done with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
}

/// `$line in .lines`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForClause {
    /// The name that each item is bound to.
    pub(crate) name: String,
    /// The list.
    pub(crate) list: Expr,
}

impl Path {
    /// The path as a person writes it.
    pub(crate) fn text(&self) -> String {
        self.text_of(self.segments.len())
    }

    /// The first steps of the path as a person writes them.
    pub(crate) fn text_of(&self, steps: usize) -> String {
        let mut text = self.name.as_ref().map(|n| format!("${n}")).unwrap_or_default();
        for segment in &self.segments[..steps] {
            match &segment.step {
                Step::Field(name) => {
                    text.push('.');
                    text.push_str(name);
                }
                Step::Items => text.push_str("[]"),
            }
        }
        if text.is_empty() { ".".to_owned() } else { text }
    }
}
