//! The type checker: from what was written to a program that can only fail on values, or to all that is wrong with it.

mod accept;
mod describe;
mod expression;
mod facts;
mod join;
mod number;
mod path;
mod per_item;
mod residual;
mod tree;

use std::collections::BTreeMap;

use tieline_schema::types::{Kind, Type};

pub(crate) use accept::{Constraint, NullRule};
pub(crate) use expression::displayed;
pub(crate) use join::length as text_length;
pub(crate) use number::{Range, scale as number_scale};
pub(crate) use tree::{Leaf, Tree, TreeField};

use crate::layout::{Layout, WantId};
use crate::lexer::{Source, SyntaxError};
use crate::program::{NamesRead, Program, Scope, Symbols};
use crate::tables::Tables;
use crate::yaml::{Node, NodeValue};
use crate::{Diagnostic, Span};
use facts::Fact;

/// Checks the expressions of one definition. What it learns from one holds for those after it.
#[derive(Debug)]
pub(crate) struct Checker {
    /// What the event is called in messages.
    label: String,
    /// What is read of the event.
    pub(crate) layout: Layout,
    names: BTreeMap<String, Name>,
    /// The translation tables.
    pub(crate) tables: Tables,
    /// What is known of values at this point.
    facts: Vec<Fact>,
    /// What the expression or tree at hand reads of names.
    unit: NamesRead,
    loops: Vec<LoopVar>,
    /// The paths of the expression at hand, as written, for messages.
    paths: Vec<(Span, String)>,
    /// What is left to run time.
    residuals: Vec<residual::Owned>,
    /// All that was wrong.
    pub(crate) problems: Vec<Diagnostic>,
}

/// A `$name`.
#[derive(Debug)]
struct Name {
    ty: Type,
    label: String,
    used: bool,
}

/// The variable of a loop.
#[derive(Debug, Clone)]
struct LoopVar {
    name: String,
    ty: Type,
    /// Where its fields are read; none for an item that an expression made.
    want: Option<(Root, WantId)>,
}

/// Which layout a want belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// The event's.
    Event,
    /// That of a name of the unit.
    Name(usize),
}

/// A checked expression and all that is known of its value.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) program: Program,
    pub(crate) ty: Type,
    pub(crate) span: Span,
    /// Why it can be null: the path that can be.
    pub(crate) null_because: Option<String>,
    /// The want of a record or list that lies in slots.
    want: Option<(Root, Scope, WantId)>,
    /// The want of the items of a list that does not lie in slots itself, where they do.
    item: Option<(Root, WantId)>,
    /// The kinds of the values that it is one of; empty where its type says all.
    branches: Vec<Kind>,
    /// The table that its value comes from.
    table: Option<String>,
}

impl Typed {
    fn new(program: Program, ty: Type, span: Span) -> Self {
        Self { program, ty, span, null_because: None, want: None, item: None, branches: Vec::new(), table: None }
    }

    /// The same program with another type; where it lies is forgotten.
    fn with(self, program: impl FnOnce(Program) -> Program, ty: Type, span: Span) -> Self {
        Self { null_because: self.null_because, ..Self::new(program(self.program), ty, span) }
    }
}

impl Checker {
    pub(crate) fn new(event: Type, label: String) -> Self {
        Self {
            label,
            layout: Layout::new(event),
            names: BTreeMap::new(),
            tables: Tables::default(),
            facts: Vec::new(),
            unit: NamesRead::default(),
            loops: Vec::new(),
            paths: Vec::new(),
            residuals: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Binds `$name`; a name bound before is bound anew, and what was known of it is forgotten.
    pub(crate) fn bind(&mut self, name: &str, ty: Type, label: &str) {
        self.facts.retain(|fact| fact.name.as_deref() != Some(name));
        self.names.insert(name.to_owned(), Name { ty, label: label.to_owned(), used: false });
    }

    /// Forgets what conditions have proven.
    pub(crate) fn forget(&mut self) {
        self.facts.clear();
    }

    /// Whether an expression has read `$name` since it was bound.
    pub(crate) fn reads_name(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|n| n.used)
    }

    /// Compiles one expression or tree: what is read of names is kept with it.
    pub(crate) fn unit<T>(&mut self, check: impl FnOnce(&mut Self) -> Option<T>) -> Option<(T, NamesRead)> {
        self.unit = NamesRead::default();
        self.loops.clear();
        self.paths.clear();
        let before = self.errors();
        let checked = check(self);
        let names = std::mem::take(&mut self.unit);
        // What was found wrong beside the checked part makes it unusable as a whole.
        checked.filter(|_| self.errors() == before).map(|c| (c, names))
    }

    /// Checks a filter, and learns from it.
    pub(crate) fn condition(&mut self, node: &Node) -> Option<Program> {
        let expr = self.parse(node)?;
        let typed = self.check(&expr)?;
        let program = self.boolean(typed, "a condition")?;
        self.learn(&expr, true);
        Some(program)
    }

    /// Parses the expression of a scalar.
    fn parse(&mut self, node: &Node) -> Option<crate::ast::Expr> {
        let NodeValue::Scalar { text, quoted } = &node.value else {
            self.report(Diagnostic::error("mapping/not-an-expression", node.span, "an expression has to stand here"));
            return None;
        };
        let source = Source::new(text, *quoted, node.span);
        if !quoted && text.trim().is_empty() {
            let help = "write `null` to send null, or leave the field out".to_owned();
            self.report(Diagnostic::error("mapping/empty", node.span, "nothing is written here").help(help));
            return None;
        }
        let parsed = if *quoted { crate::parser::template(source) } else { crate::parser::expression(source) };
        self.parsed(source, parsed)
    }

    fn parsed<T>(&mut self, source: Source<'_>, parsed: Result<T, SyntaxError>) -> Option<T> {
        parsed
            .map_err(|e| {
                let span = source.span(e.start, e.end);
                self.report(Diagnostic::error("mapping/syntax", span, e.message).help(e.help));
            })
            .ok()
    }

    /// A program whose value is true or false.
    fn boolean(&mut self, typed: Typed, what: &str) -> Option<Program> {
        match (&typed.ty.kind, typed.ty.nullable) {
            (Kind::Boolean, false) => Some(typed.program),
            (Kind::Boolean, true) => {
                let why = typed.null_because.as_deref().unwrap_or("it");
                let message = format!("{what} is true or false, but this can be null: `{why}` can be");
                let help = "say what null means: `… ?? false`".to_owned();
                self.report(Diagnostic::error("mapping/null-refused", typed.span, message).help(help));
                None
            }
            (_, _) => {
                let is = describe::kind(&typed.ty.kind);
                let message = format!("{what} is true or false, but this is {is}");
                self.report(Diagnostic::error("mapping/wrong-type", typed.span, message));
                None
            }
        }
    }

    fn report(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    fn errors(&self) -> usize {
        self.problems.iter().filter(|p| p.severity == crate::Severity::Error).count()
    }

    fn layout_of(&mut self, root: Root) -> &mut Layout {
        match root {
            Root::Event => &mut self.layout,
            Root::Name(at) => &mut self.unit.names[at].1,
        }
    }

    /// Where the items of a list lie; none for what is no list, and for items that an expression made.
    fn item_want(&mut self, typed: &Typed) -> Option<(Root, WantId)> {
        let Kind::List { item, .. } = &typed.ty.kind else { return None };
        match typed.want {
            Some((root, _, want)) => Some((root, self.layout_of(root).item(want, item))),
            None => typed.item,
        }
    }

    /// The program that takes the items of a list out of the frame, for a function to have.
    fn items(&mut self, typed: Typed) -> Program {
        let Some((root, item_want)) = self.item_want(&typed) else { return typed.program };
        let layout = self.layout_of(root);
        let slot = layout.slot(item_want);
        let symbols = symbols(&layout.want(item_want).ty);
        Program::Items { list: Box::new(typed.program), slot, symbols }
    }
}

/// The texts that a value of this type can be read as a number of.
fn symbols(ty: &Type) -> Symbols {
    match &ty.kind {
        Kind::Text(text) => text.values.as_ref().map(|values| values.iter().map(|v| v.as_str().into()).collect()),
        _other => None,
    }
}
