//! The folder of a bus while it is read: opens its files, and collects what is wrong in them.

use std::cell::RefCell;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use tieline_mapping::yaml::{self, Node, NodeValue};
use tieline_mapping::{Diagnostic, Severity, Span};

use crate::{Environment, Problem};

/// Longest file that is read, in bytes: contracts of large systems have some megabytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The folder of a bus.
pub(crate) struct Folder<'a> {
    pub dir: &'a Path,
    pub environment: &'a dyn Environment,
    problems: RefCell<Vec<Problem>>,
}

/// A file of the bus that could be opened.
pub(crate) struct DefinitionFile<'a> {
    pub folder: &'a Folder<'a>,
    /// Relative to the folder.
    pub path: PathBuf,
    pub text: String,
    /// Leaves whose variable is missing, or cannot stand there; reported already.
    unfilled: RefCell<Vec<Span>>,
}

/// A file that holds JSON or YAML as data: a contract, a schema.
pub(crate) struct DataFile<'a> {
    pub file: DefinitionFile<'a>,
    pub value: Value,
    /// The same with places.
    pub node: Node,
}

impl<'a> Folder<'a> {
    pub fn new(dir: &'a Path, environment: &'a dyn Environment) -> Self {
        Self { dir, environment, problems: RefCell::default() }
    }

    pub fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    /// The names of what lies in a folder, sorted; nothing where it is not there. Hidden files are passed over.
    pub fn names(&self, path: &str) -> Vec<(String, bool)> {
        let Ok(entries) = std::fs::read_dir(self.dir.join(path)) else { return Vec::new() };
        let mut names: Vec<(String, bool)> = entries
            .flatten()
            .filter_map(|e| Some((e.file_name().into_string().ok()?, e.path().is_dir())))
            .filter(|(name, _)| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    /// Opens a definition and reads its YAML.
    pub fn definition(&'a self, path: PathBuf) -> Option<(DefinitionFile<'a>, Node)> {
        let file = self.open(path, None)?;
        match yaml::parse(&file.text) {
            Ok(node) => Some((file, node)),
            Err(problems) => {
                problems.into_iter().for_each(|p| file.report(p));
                None
            }
        }
    }

    /// Opens a file of data, which is JSON where its name says so, and YAML else.
    pub fn data(&'a self, path: PathBuf, named_at: Option<(&DefinitionFile<'_>, Span)>) -> Option<DataFile<'a>> {
        let json = path.extension().is_some_and(|e| e == "json" || e == "avsc");
        let file = self.open(path, named_at)?;
        let tree = yaml::parse(&file.text);
        if json { file.json(tree) } else { file.yaml(tree) }
    }

    /// Opens a file; where it cannot be, the problem stands where the file is named.
    fn open(&'a self, path: PathBuf, named_at: Option<(&DefinitionFile<'_>, Span)>) -> Option<DefinitionFile<'a>> {
        match read_bounded(&self.dir.join(&path)) {
            Ok(text) => Some(DefinitionFile { folder: self, path, text, unfilled: RefCell::default() }),
            Err(error) => {
                let (code, message, help) = unreadable(&error, &path);
                let (file, span) =
                    named_at.map_or_else(|| (path.clone(), Span::default()), |(file, span)| (file.path.clone(), span));
                let diagnostic = diagnostic(Severity::Error, code, span, message, help);
                self.problems.borrow_mut().push(Problem { file, diagnostic });
                None
            }
        }
    }

    /// Reports a problem of the folder itself, or of a file that could not be opened.
    pub fn error(
        &self,
        path: impl Into<PathBuf>,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let diagnostic = diagnostic(Severity::Error, code, Span::default(), message.into(), help.into());
        self.problems.borrow_mut().push(Problem { file: path.into(), diagnostic });
    }
}

impl<'a> DefinitionFile<'a> {
    pub fn report(&self, diagnostic: Diagnostic) {
        self.folder.problems.borrow_mut().push(Problem { file: self.path.clone(), diagnostic });
    }

    /// Whether an error of this file was reported.
    pub fn has_errors(&self) -> bool {
        let problems = self.folder.problems.borrow();
        problems.iter().any(|p| p.file == self.path && p.diagnostic.severity == Severity::Error)
    }

    /// Reports what keeps the bus from running. An empty help is none.
    pub fn error(&self, code: &'static str, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.report(diagnostic(Severity::Error, code, span, message.into(), help.into()));
    }

    /// Reports what somebody should look at.
    pub fn warning(&self, code: &'static str, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.report(diagnostic(Severity::Warning, code, span, message.into(), help.into()));
    }

    /// Reports what somebody should know, and may be as it should be.
    pub fn note(&self, code: &'static str, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.report(diagnostic(Severity::Note, code, span, message.into(), help.into()));
    }

    pub fn mark_unfilled(&self, leaf: Span) {
        self.unfilled.borrow_mut().push(leaf);
    }

    /// Whether this is a leaf that was reported for its variable.
    pub fn is_unfilled(&self, node: &Node) -> bool {
        matches!(node.value, NodeValue::Scalar { .. }) && self.is_in_unfilled(node.span.start)
    }

    /// Whether a place lies in such a leaf.
    pub fn is_in_unfilled(&self, at: usize) -> bool {
        self.unfilled.borrow().iter().any(|leaf| (leaf.start..leaf.end).contains(&at))
    }

    /// A file that a definition names, relative to the definition's own folder, and inside the bus.
    pub fn beside(&self, node: &Node) -> Option<DataFile<'a>> {
        let NodeValue::Scalar { text, .. } = &node.value else {
            self.error("bus/wrong-type", node.span, "this has to be the name of a file", "");
            return None;
        };
        let inside = Path::new(text).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside {
            let help = "put the file into the definition's own folder";
            self.error("bus/file-outside", node.span, "this file lies outside of the definition's folder", help);
            return None;
        }
        let path = self.path.parent().unwrap_or(Path::new("")).join(text);
        self.folder.data(path, Some((self, node.span)))
    }

    fn yaml(self, tree: Result<Node, Vec<Diagnostic>>) -> Option<DataFile<'a>> {
        match tree {
            Ok(node) => Some(DataFile { value: node.to_json(), node, file: self }),
            Err(problems) => {
                problems.into_iter().for_each(|p| self.report(p));
                None
            }
        }
    }

    /// JSON is read by JSON's own rules; the YAML tree of the same text, which it nearly always is, gives the places,
    /// and finds names that stand twice.
    fn json(self, tree: Result<Node, Vec<Diagnostic>>) -> Option<DataFile<'a>> {
        let value = match serde_json::from_str(&self.text) {
            Ok(value) => value,
            Err(error) => {
                let at = offset(&self.text, error.line(), error.column());
                let message = format!("this is not JSON: {}", without_place(&error));
                self.error("json/syntax", Span { start: at, end: at }, message, "");
                return None;
            }
        };
        let node = tree.unwrap_or_else(|problems| {
            problems.into_iter().filter(|p| p.code == "yaml/duplicate-key").for_each(|p| self.report(p));
            Node { span: Span::default(), value: NodeValue::Mapping(Vec::new()) }
        });
        Some(DataFile { file: self, value, node })
    }
}

impl DataFile<'_> {
    /// Where a JSON pointer leads: the key of the deepest part of it that is there.
    pub fn place(&self, pointer: &str) -> Span {
        place(&self.node, pointer)
    }
}

/// Where a JSON pointer leads below a node: the key of the deepest part of it that is there.
pub(crate) fn place(mut node: &Node, pointer: &str) -> Span {
    let mut span = Span { start: node.span.start, end: node.span.start };
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let found = match &node.value {
            NodeValue::Mapping(entries) => entries.iter().find(|(k, _)| is(k, &step)).map(|(k, v)| (k.span, v)),
            NodeValue::Sequence(items) => step.parse::<usize>().ok().and_then(|n| items.get(n)).map(|n| (n.span, n)),
            NodeValue::Scalar { .. } => None,
        };
        let Some((at, next)) = found else { break };
        (span, node) = (at, next);
    }
    span
}

/// Whether a node is this text.
pub(crate) fn is(node: &Node, expect: &str) -> bool {
    matches!(&node.value, NodeValue::Scalar { text, .. } if text == expect)
}

fn diagnostic(severity: Severity, code: &'static str, span: Span, message: String, help: String) -> Diagnostic {
    let help = (!help.is_empty()).then_some(help);
    Diagnostic { severity, code, message, span, label: String::new(), help }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

fn unreadable(error: &std::io::Error, path: &Path) -> (&'static str, String, String) {
    let path = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            ("bus/missing-file", format!("there is no file {path}"), "write it, or correct its name".to_owned())
        }
        std::io::ErrorKind::InvalidData => {
            ("bus/unreadable-file", format!("{path} is not UTF-8 text"), "save it as UTF-8".to_owned())
        }
        std::io::ErrorKind::FileTooLarge => {
            ("bus/unreadable-file", format!("{path} has more than {FILE_BYTES_MAX} bytes"), String::new())
        }
        _ => ("bus/unreadable-file", format!("{path} cannot be read: {error}"), String::new()),
    }
}

/// The byte of a line (from 1) and a column in bytes (from 1), as `serde_json` counts.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// `serde_json` ends its messages with the place, which is shown on its own.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.rsplit_once(" at line ").map_or(message.clone(), |(m, _)| m.to_owned())
}
