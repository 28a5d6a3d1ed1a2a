//! An expression after it is checked: what the evaluator runs. It cannot go wrong but for the values.

use std::fmt;
use std::sync::Arc;

use crate::ast::{Arithmetic, Comparison};
use crate::layout::Layout;
use crate::value::Val;

/// The texts of an enum's values, by their place.
pub(crate) type Symbols = Option<Arc<[Box<str>]>>;

/// A checked expression.
#[derive(Debug)]
pub(crate) enum Program {
    /// A literal.
    Constant(Val<'static>),
    /// A part of the event, of a name, or of a loop's item.
    Slot(Slot),
    /// The items of a list, or one slot of each, taken out of the frame.
    Items { list: Box<Program>, slot: u32, symbols: Symbols },
    /// How many items a list has.
    Count(Box<Program>),
    /// A list made of another, item by item.
    PerItem(Box<PerItem>),
    /// The first that is not null.
    Coalesce(Box<[Program; 2]>),
    /// Both.
    And(Box<[Program; 2]>),
    /// Either.
    Or(Box<[Program; 2]>),
    /// Not.
    Not(Box<Program>),
    /// A comparison.
    Compare(Comparison, Box<[Program; 2]>),
    /// Whether it is one of these.
    In(Box<Program>, Vec<Val<'static>>),
    /// The negative.
    Negate(Box<Program>),
    /// Arithmetic on whole and exact numbers.
    Arithmetic(Arithmetic, Quotient, Box<[Program; 2]>),
    /// A choice.
    If(Box<[Program; 3]>),
    /// A text with holes.
    Template(Vec<TemplatePiece>),
    /// A look in a table.
    Translate(Box<Program>, Arc<Rows>),
    /// A function.
    Call(Box<Call>),
}

/// A list made of another, item by item: a turn of a loop for each.
#[derive(Debug)]
pub(crate) struct PerItem {
    /// What its body says of each item.
    pub(crate) how: How,
    /// The list.
    pub(crate) list: Program,
    /// What is asked of each item.
    pub(crate) body: Program,
}

/// What the body of a [`PerItem`] says of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Whether it stays.
    Where,
    /// What it is sorted by, the least or the greatest first. What has no such value comes last.
    SortBy { descending: bool },
    /// What takes its place.
    Each,
}

/// A slot of a frame.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// Where counting begins.
    pub(crate) scope: Scope,
    /// The slot from there.
    pub(crate) slot: u32,
    /// The texts of a value that lies there as [`Val::Symbol`].
    pub(crate) symbols: Symbols,
}

/// What a slot belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The event.
    Event,
    /// A `$name`, by its place in the unit.
    Name(usize),
    /// The item of a loop, counted from the outermost.
    Loop(usize),
}

/// What a quotient is rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quotient {
    /// Digits after the point that a division adds to those of its dividend.
    pub(crate) digits: u32,
}

/// A part of a text with holes.
#[derive(Debug)]
pub(crate) enum TemplatePiece {
    /// As it is.
    Text(Box<str>),
    /// A value.
    Hole(Program),
}

/// The rows of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// What each text becomes, in the order of the file.
    pub(crate) rows: Vec<(String, String)>,
    /// What any other becomes.
    pub(crate) otherwise: Option<String>,
}

impl Rows {
    /// What a text becomes. Tables are short, so that looking along them is the fastest way.
    pub(crate) fn get(&self, text: &str) -> Option<&str> {
        let row = self.rows.iter().find(|(from, _)| from == text).map(|(_, to)| to.as_str());
        row.or(self.otherwise.as_deref())
    }
}

/// A function, applied. Null goes through every function untouched.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its name, for messages.
    pub(crate) name: &'static str,
    /// What it is applied to.
    pub(crate) input: Program,
    /// The arguments that are written out, which its code has inside.
    pub(crate) given: Vec<Val<'static>>,
    /// An argument that is not known before the event is.
    pub(crate) argument: Option<Program>,
    /// Its code.
    pub(crate) code: Code,
}

/// What is wrong with a value, as the end of a sentence: "is not a date".
pub(crate) type Fault = std::borrow::Cow<'static, str>;

type One = dyn for<'v> Fn(Val<'v>) -> Result<Val<'v>, Fault> + Send + Sync;
type Two = dyn for<'v> Fn(Val<'v>, Val<'v>) -> Result<Val<'v>, Fault> + Send + Sync;

/// The code of a function, with its constant arguments inside.
#[derive(Clone)]
pub(crate) enum Code {
    /// Of its input alone.
    One(Arc<One>),
    /// Of its input and one argument.
    Two(Arc<Two>),
}

impl Code {
    /// Code that reads its input alone.
    pub(crate) fn one(f: impl for<'v> Fn(Val<'v>) -> Result<Val<'v>, Fault> + Send + Sync + 'static) -> Self {
        Self::One(Arc::new(f))
    }

    /// Code that reads its input and one argument.
    pub(crate) fn two(f: impl for<'v> Fn(Val<'v>, Val<'v>) -> Result<Val<'v>, Fault> + Send + Sync + 'static) -> Self {
        Self::Two(Arc::new(f))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(_) => "Code::One",
            Self::Two(_) => "Code::Two",
        })
    }
}

/// The names that one expression or tree reads, in the order of its scopes.
#[derive(Debug, Default)]
pub(crate) struct NamesRead {
    /// Each name and what is read of it.
    pub(crate) names: Vec<(String, Layout)>,
}

impl NamesRead {
    /// The fields of `$name` that are read, as paths from its top.
    pub(crate) fn reads_of(&self, name: &str) -> Vec<String> {
        self.names.iter().find(|(n, _)| n == name).map(|(_, layout)| layout.reads()).unwrap_or_default()
    }
}
