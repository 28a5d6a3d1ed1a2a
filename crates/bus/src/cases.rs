//! Cases: examples that the author of a consumer or a producer writes beside it, run without network.
//!
//! What differs is reported at the line of the case that expected it, in the form of every other problem.

mod compare;
mod consumer;
mod producer;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tieline_mapping::yaml::{Node, NodeValue};
use tieline_mapping::{Bounds, Expression, Frame, Names, RunError, Severity};
use tieline_schema::contract::{Operation, Payload, Validator};

use crate::folder::{DefinitionFile, Folder};
use crate::{Bus, Environment, Problem};

/// The bounds of a case: far above what somebody writes by hand.
const BOUNDS: Bounds = Bounds { items_max: 10_000, depth_max: 64, output_bytes_max: 4 * 1024 * 1024 };

/// What came of running cases.
#[derive(Debug)]
pub struct CasesReport {
    /// Each case, by file.
    pub cases: Vec<CaseRun>,
}

/// What came of one case.
#[derive(Debug)]
pub struct CaseRun {
    /// Whose case it is: `consumers/erp-project`.
    pub definition: String,
    /// Its file, relative to the bus.
    pub file: PathBuf,
    /// What it shows; empty where the file could not be read.
    pub purpose: String,
    /// What differs from what it expects, and what is wrong in it. None where it holds.
    pub problems: Vec<Problem>,
}

impl CasesReport {
    /// Those that do not hold.
    pub fn failed(&self) -> impl Iterator<Item = &CaseRun> {
        self.cases.iter().filter(|case| !case.holds())
    }

    /// All problems, by file and place; for [`crate::render`].
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.cases.iter().flat_map(|case| case.problems.clone()).collect()
    }
}

impl CaseRun {
    /// Whether it holds: nothing in it is an error.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.problems.iter().all(|p| p.diagnostic.severity < Severity::Error)
    }
}

/// Runs the cases of all consumers and producers, or of those that a name means: `erp-project`, `consumers/erp-project`
/// or the path of one case.
#[must_use]
pub fn run_cases(bus: &Bus, only: Option<&str>) -> CasesReport {
    let consumers = bus.consumers.keys().map(|name| ("consumers", name));
    let producers = bus.producers.keys().map(|name| ("producers", name));
    let cases = consumers.chain(producers).flat_map(|(kind, name)| files(bus, kind, name, only));
    CasesReport { cases: cases.map(|(kind, name, path)| run(bus, kind, name, path)).collect() }
}

/// The files with the cases of one definition that are meant.
fn files<'b>(
    bus: &Bus,
    kind: &'static str,
    name: &'b str,
    only: Option<&str>,
) -> Vec<(&'static str, &'b str, PathBuf)> {
    let folder = format!("{kind}/{name}/cases");
    let files = Folder::new(&bus.dir, &NoEnvironment).names(&folder).into_iter();
    let paths = files
        .filter(|(file, is_dir)| !is_dir && file.ends_with(".yaml"))
        .map(|(file, _)| Path::new(&folder).join(file));
    let meant = |path: &PathBuf| match only.map(|o| o.trim_end_matches('/')) {
        None => true,
        Some(only) => only == name || only == format!("{kind}/{name}") || Path::new(only) == path,
    };
    paths.filter(meant).map(|path| (kind, name, path)).collect()
}

fn run(bus: &Bus, kind: &str, name: &str, path: PathBuf) -> CaseRun {
    let folder = Folder::new(&bus.dir, &NoEnvironment);
    let purpose = folder.definition(path.clone()).and_then(|(file, node)| {
        let case = Case { file: &file };
        match (bus.consumers.get(name).filter(|_| kind == "consumers"), bus.producers.get(name)) {
            (Some(consumer), _) => case.run_consumer(&node, consumer),
            (None, Some(producer)) => case.run_producer(&node, producer),
            (None, None) => None,
        }
    });
    let mut problems = folder.into_problems();
    problems.sort_by_key(|p| p.diagnostic.span.start);
    CaseRun { definition: format!("{kind}/{name}"), file: path, purpose: purpose.unwrap_or_default(), problems }
}

/// Cases have no variables and no secrets.
struct NoEnvironment;

impl Environment for NoEnvironment {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn secret(&self, _name: &str) -> Option<String> {
        None
    }
}

/// A case that is being run.
struct Case<'a> {
    file: &'a DefinitionFile<'a>,
}

/// What came of the definition, or why it refused.
type Outcome<T> = Result<T, Refusal>;

/// Why an event or a body is refused, as it would stand in a dead letter.
struct Refusal(String);

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        Self(error.to_string())
    }
}

impl Case<'_> {
    /// Reports where the case expects something else than a refusal, or another reason.
    fn check_refusal(&self, at: &Node, expected: Option<&str>, refusal: &Refusal) {
        match expected {
            Some(reason) if refusal.0.contains(reason) => {}
            Some(_) => self.differs(at, &format!("the reason is: {}", refusal.0)),
            None => self.differs(at, &format!("it is refused: {}", refusal.0)),
        }
    }

    /// Reports what came instead of what the case expects here.
    fn differs(&self, at: &Node, what: &str) {
        compare::differs(self.file, at.span, what);
    }

    /// A body that a system answers with, which has to be what its contract promises.
    fn answer(&self, node: &Node, operation: &Operation, label: &str) -> Value {
        let value = node.to_json();
        if let Some(payload) = success(operation) {
            self.check_contract(node, &value, &payload.validator, &format!("the contract of {label}"));
        }
        value
    }

    /// Reports the places of a value in the case that break a contract.
    fn check_contract(&self, node: &Node, value: &Value, validator: &Validator, whose: &str) -> bool {
        let violations = validator.violations(value);
        for violation in &violations {
            let span = crate::folder::place(node, &violation.pointer);
            let pointer = if violation.pointer.is_empty() { "this" } else { &violation.pointer };
            self.file.error("case/contract", span, format!("{pointer} breaks {whose}: {}", violation.message), "");
        }
        violations.is_empty()
    }
}

/// The value of an expression that has to have one.
fn required(expression: &Expression, frame: &Frame<'_>, names: Names<'_>, what: &str) -> Outcome<String> {
    expression.text(frame, names)?.ok_or_else(|| Refusal(format!("{what} is null")))
}

/// The same node with each leaf as text, since parameters, keys and ids are texts however a case writes them.
fn texts(node: &Node) -> Node {
    let value = match &node.value {
        NodeValue::Scalar { text, .. } => NodeValue::Scalar { text: text.clone(), quoted: true },
        NodeValue::Sequence(items) => NodeValue::Sequence(items.iter().map(texts).collect()),
        NodeValue::Mapping(entries) => {
            NodeValue::Mapping(entries.iter().map(|(key, value)| (key.clone(), texts(value))).collect())
        }
    };
    Node { span: node.span, value }
}

/// A path as mappings name it, `.deal.lines[0].sku`, as a JSON pointer.
fn pointer(path: &str) -> String {
    path.trim_end_matches('.').replace(['.', '['], "/").replace(']', "")
}

/// The first 2xx answer that has a body.
fn success(operation: &Operation) -> Option<&Payload> {
    operation.responses.iter().filter(|r| r.status.starts_with('2')).find_map(|r| r.payload.as_ref())
}
