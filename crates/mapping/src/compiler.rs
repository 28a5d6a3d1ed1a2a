//! The crate's face: compiles a definition's expressions together, and runs what came of them.

use tieline_schema::types::Type;

use crate::avro_out::Avro;
use crate::bounds::Bounds;
use crate::check::{Checker, Leaf};
use crate::condition::{self, Atom, Literal};
use crate::frame::Frame;
use crate::json_out::{self, Json};
use crate::layout::Layout;
use crate::program::{NamesRead, Program};
use crate::run::Env;
use crate::value::Val;
use crate::yaml::Node;
use crate::{Diagnostic, Names, RunError};

/// Compiles all expressions of one definition, which read one event together.
#[derive(Debug)]
pub struct Compiler {
    checker: Checker,
}

/// What a tree is written to.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// JSON that a contract describes. The text names the contract in messages ("the contract of erp.createProject").
    Contract(&'a Type, &'a str),
    /// A datum of this schema. The text names it in messages ("schemas/erp.project_created.avsc").
    Avro(&'a apache_avro::Schema, &'a Type, &'a str),
}

/// A condition.
#[derive(Debug)]
pub struct Filter {
    program: Program,
    names: NamesRead,
}

/// A single value.
#[derive(Debug)]
pub struct Expression {
    leaf: Leaf,
    names: NamesRead,
}

/// A tree of values.
#[derive(Debug)]
pub struct Mapping {
    tree: Written,
    names: NamesRead,
}

/// How a tree is written.
#[derive(Debug)]
enum Written {
    Json(Json),
    Avro(Avro),
}

impl Compiler {
    /// Starts with the type of `.`, and what to call it in messages (`schemas/crm.deal_stage_changed.avsc`).
    #[must_use]
    pub fn new(event: Type, label: String) -> Self {
        Self { checker: Checker::new(event, label) }
    }

    /// Binds `$name`; a name that was bound before is bound anew.
    pub fn bind(&mut self, name: &str, ty: Type, label: &str) {
        self.checker.bind(name, ty, label);
    }

    /// Whether anything compiled since it was bound reads `$name`: for a warning at the place where it is declared.
    #[must_use]
    pub fn reads_name(&self, name: &str) -> bool {
        self.checker.reads_name(name)
    }

    /// Takes `tables:`.
    pub fn tables(&mut self, node: &Node) {
        let problems = self.checker.tables.read(node);
        self.checker.problems.extend(problems);
    }

    /// Compiles a filter. What it proves (`!= null`, `== 'X'`, `in […]`, joined by `and`) holds in all that is compiled
    /// after it.
    pub fn filter(&mut self, node: &Node) -> Option<Filter> {
        let (program, names) = self.checker.unit(|c| c.condition(node))?;
        Some(Filter { program, names })
    }

    /// Forgets what filters have proven, for the next of several alternatives.
    pub fn forget(&mut self) {
        self.checker.forget();
    }

    /// Compiles one expression whose value has to fit `expected`; `what` names the place in messages.
    pub fn expression(&mut self, node: &Node, expected: &Type, what: &str) -> Option<Expression> {
        self.expression_or_dead_letter(node, expected, what, None)
    }

    /// The same, where `residual:` may say that the checks of `what` are left to run time.
    pub fn expression_or_dead_letter(
        &mut self,
        node: &Node,
        expected: &Type,
        what: &str,
        residual: Option<&Node>,
    ) -> Option<Expression> {
        let (leaf, names) = self.checker.unit(|c| c.value(node, expected, what, residual))?;
        Some(Expression { leaf, names })
    }

    /// Compiles a tree. `residual:` of the definition says which checks are left to run time.
    pub fn mapping(&mut self, node: &Node, target: Target<'_>, residual: Option<&Node>) -> Option<Mapping> {
        let (ty, label) = match target {
            Target::Contract(ty, label) | Target::Avro(_, ty, label) => (ty, label),
        };
        let (tree, names) = self.checker.unit(|c| c.mapping(node, ty, label, residual))?;
        let tree = match target {
            Target::Contract(_, _) => Written::Json(Json::new(tree)),
            Target::Avro(schema, _, _) => match Avro::new(tree, schema) {
                Ok(avro) => Written::Avro(avro),
                Err(problem) => {
                    self.checker.problems.push(Diagnostic::error("mapping/wrong-type", node.span, problem));
                    return None;
                }
            },
        };
        Some(Mapping { tree, names })
    }

    /// What all expressions read, and all that was wrong. Warns of what is never used.
    #[must_use]
    pub fn finish(self) -> (Layout, Vec<Diagnostic>) {
        let unused = self.checker.tables.unused().into_iter().chain(self.checker.unused_residuals());
        let mut problems: Vec<Diagnostic> = unused.collect();
        problems.extend(self.checker.problems);
        problems.sort_by_key(|p| (p.span.start, p.span.end));
        (self.checker.layout, problems)
    }
}

impl Filter {
    /// Whether it holds.
    ///
    /// # Errors
    /// When a function fails on the value that it got.
    pub fn holds(&self, event: &Frame<'_>, names: Names<'_>) -> Result<bool, RunError> {
        let bounds = Bounds::default();
        let frames = self.names.read(names, &bounds)?;
        self.program.holds(&Env::new(event, &frames, &bounds)).map_err(|fault| RunError::leaf("when", fault))
    }

    /// The values that it names.
    pub(crate) fn literals(&self) -> Vec<Literal> {
        condition::literals(&self.program)
    }

    /// What can make it hold.
    pub(crate) fn alternatives(&self) -> Vec<Vec<Atom<'_>>> {
        condition::alternatives(&self.program, true)
    }

    /// Whether these parts of it are as they have to be.
    pub(crate) fn agrees(&self, atoms: &[Atom<'_>], event: &Frame<'_>, names: Names<'_>) -> Result<bool, RunError> {
        let bounds = Bounds::default();
        let frames = self.names.read(names, &bounds)?;
        let env = Env::new(event, &frames, &bounds);
        Ok(atoms.iter().all(|(atom, truth)| atom.holds(&env).is_ok_and(|holds| holds == *truth)))
    }

    /// The fields of `$name` that it reads.
    pub(crate) fn reads_of(&self, name: &str) -> Vec<String> {
        self.names.reads_of(name)
    }
}

impl Expression {
    /// The value as text (numbers in their shortest form, instants as RFC 3339); `None` for null.
    ///
    /// # Errors
    /// When a function fails on the value that it got.
    pub fn text(&self, event: &Frame<'_>, names: Names<'_>) -> Result<Option<String>, RunError> {
        self.with_value(event, names, |value| match value {
            Val::Null => Ok(None),
            value => {
                let mut text = Vec::new();
                value.display(&mut text)?;
                String::from_utf8(text).map(Some).map_err(|_| "is not UTF-8")
            }
        })
    }

    /// The value of an expression of type timestamp, in milliseconds since the Unix epoch; `None` for null.
    ///
    /// # Errors
    /// When a function fails on the value that it got.
    pub fn timestamp_ms(&self, event: &Frame<'_>, names: Names<'_>) -> Result<Option<i64>, RunError> {
        self.with_value(event, names, |value| match value {
            Val::Null => Ok(None),
            Val::Timestamp(micros) => Ok(Some(micros.div_euclid(1_000))),
            _other => Err("is not a timestamp"),
        })
    }

    fn with_value<T>(
        &self,
        event: &Frame<'_>,
        names: Names<'_>,
        read: impl FnOnce(&Val<'_>) -> Result<T, &'static str>,
    ) -> Result<T, RunError> {
        let bounds = Bounds::default();
        let frames = self.names.read(names, &bounds)?;
        let env = Env::new(event, &frames, &bounds);
        let path = &*self.leaf.path;
        let value = self.leaf.program.eval(&env).map_err(|fault| RunError::leaf(path, fault))?;
        json_out::check(&self.leaf.checks, &value, path)?;
        if value.is_null() && self.leaf.null == crate::check::NullRule::Refuse {
            return Err(RunError::leaf(path, "is null, which its place does not take"));
        }
        read(&value).map_err(|problem| RunError::leaf(path, problem))
    }
}

impl Mapping {
    /// The fields of `$name` that it reads.
    pub(crate) fn reads_of(&self, name: &str) -> Vec<String> {
        self.names.reads_of(name)
    }

    /// Appends the tree to `out`, as JSON or as an Avro datum, as its target is.
    ///
    /// # Errors
    /// When a leaf has no value that the target takes; `out` is as long as before.
    pub fn write(
        &self,
        event: &Frame<'_>,
        names: Names<'_>,
        bounds: &Bounds,
        out: &mut Vec<u8>,
    ) -> Result<(), RunError> {
        let before = out.len();
        let written = self.write_to(event, names, bounds, out);
        let too_long = out.len() - before > bounds.output_bytes_max;
        let written = match written {
            Ok(()) if too_long => Err(RunError::leaf("", format!("is longer than {} bytes", bounds.output_bytes_max))),
            other => other,
        };
        if written.is_err() {
            out.truncate(before);
        }
        written
    }

    fn write_to(
        &self,
        event: &Frame<'_>,
        names: Names<'_>,
        bounds: &Bounds,
        out: &mut Vec<u8>,
    ) -> Result<(), RunError> {
        let frames = self.names.read(names, bounds)?;
        let mut env = Env::new(event, &frames, bounds);
        // The bound is on what this record adds.
        let limits = Bounds { output_bytes_max: bounds.output_bytes_max.saturating_add(out.len()), ..*bounds };
        match &self.tree {
            Written::Json(json) => {
                if !json.write(&mut env, &limits, out)? {
                    out.extend_from_slice(b"null");
                }
                Ok(())
            }
            Written::Avro(avro) => avro.write(&mut env, &limits, out),
        }
    }
}

impl Layout {
    /// Picks the parts out of a JSON value, such as a webhook's body.
    ///
    /// # Errors
    /// When a part has another type than the contract says.
    pub fn read_json<'a>(&self, value: &'a serde_json::Value, bounds: &Bounds) -> Result<Frame<'a>, RunError> {
        crate::json_in::read(self, value, bounds, "")
    }
}
