//! Writes problems as a person reads them, or as JSON for CI and editors.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use tieline_mapping::{Diagnostic, Severity, Span};

use crate::Problem;

/// Most characters that are shown of a line; a contract on one line may have thousands.
const LINE_CHARS_MAX: usize = 160;

/// As a person reads them: `error[code]: …`, `--> file:line:column`, the line, carets, `= help: …`. A blank line
/// between two. Lines and columns count from 1, columns in characters. Notes come last, each once with all its places:
/// there is nothing to mend in their lines.
#[must_use]
pub fn human(dir: &Path, problems: &[Problem]) -> String {
    let mut texts = Texts::new(dir);
    let (notes, others): (Vec<_>, Vec<_>) = problems.iter().partition(|p| p.diagnostic.severity == Severity::Note);
    let mut parts: Vec<String> = others.into_iter().map(|p| one(&mut texts, p)).collect();
    let mut by_text: Vec<(String, String)> = Vec::new();
    for note in notes {
        let (text, place) = (headline(note), arrow(&mut texts, note));
        match by_text.iter_mut().find(|(other, _)| *other == text) {
            Some((_, places)) => places.push_str(&place),
            None => by_text.push((text, place)),
        }
    }
    parts.extend(by_text.into_iter().map(|(text, places)| text + &places));
    parts.join("\n")
}

/// The same as a JSON array of objects `{severity, code, message, file, line, column, end_line, end_column, label, help}`.
#[must_use]
pub fn json(dir: &Path, problems: &[Problem]) -> String {
    let mut texts = Texts::new(dir);
    let objects: Vec<serde_json::Value> = problems
        .iter()
        .map(|p| {
            let d = &p.diagnostic;
            let text = texts.of(&p.file);
            let (start, end) = (Place::of(text, d.span.start), Place::of(text, d.span.end));
            json!({
                "severity": word(d.severity), "code": d.code, "message": d.message, "file": shown(&p.file),
                "line": start.line, "column": start.column, "end_line": end.line, "end_column": end.column,
                "label": d.label, "help": d.help,
            })
        })
        .collect();
    serde_json::Value::Array(objects).to_string()
}

fn one(texts: &mut Texts<'_>, problem: &Problem) -> String {
    let diagnostic = &problem.diagnostic;
    let mut out = headline(problem) + &arrow(texts, problem);
    let text = texts.of(&problem.file);
    let place = Place::of(text, diagnostic.span.start);
    let margin = " ".repeat(place.line.to_string().len());
    // Writing to a string cannot fail.
    if let Some(shown) = Shown::of(text, diagnostic.span, diagnostic.code == "bus/secret-in-file") {
        let label = if diagnostic.label.is_empty() { String::new() } else { format!(" {}", diagnostic.label) };
        let _ = writeln!(out, "{margin} |");
        let _ = writeln!(out, "{} | {}", place.line, shown.line);
        let _ = writeln!(out, "{margin} | {}{}{label}", " ".repeat(shown.before), "^".repeat(shown.carets));
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(out, "{margin} = help: {help}");
    }
    out
}

/// `error[code]: …`
fn headline(problem: &Problem) -> String {
    let Diagnostic { severity, code, message, .. } = &problem.diagnostic;
    format!("{}[{code}]: {message}\n", word(*severity))
}

/// `--> file:line:column`, behind the margin that the numbers of lines make.
fn arrow(texts: &mut Texts<'_>, problem: &Problem) -> String {
    let place = Place::of(texts.of(&problem.file), problem.diagnostic.span.start);
    let margin = " ".repeat(place.line.to_string().len());
    format!("{margin}--> {}:{}:{}\n", shown(&problem.file), place.line, place.column)
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// With `/` on every system, as in the messages.
fn shown(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|p| p.to_string_lossy()).collect();
    parts.join("/")
}

/// The texts of the files that have problems, read once each.
struct Texts<'a> {
    dir: &'a Path,
    texts: BTreeMap<PathBuf, String>,
}

impl<'a> Texts<'a> {
    fn new(dir: &'a Path) -> Self {
        Self { dir, texts: BTreeMap::new() }
    }

    /// The text of a file; nothing where it cannot be read, which is then the problem itself.
    fn of(&mut self, file: &Path) -> &str {
        let path = self.dir.join(file);
        self.texts.entry(file.to_owned()).or_insert_with(|| std::fs::read_to_string(path).unwrap_or_default())
    }
}

/// A place as people count: from 1, columns in characters.
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// The line of a problem, fit for a terminal.
struct Shown {
    line: String,
    before: usize,
    carets: usize,
}

impl Shown {
    /// The first line of a span; a part of it where it is long. Nothing where the file has no text.
    fn of(text: &str, span: Span, masked: bool) -> Option<Self> {
        let start = text.get(..span.start)?.rfind('\n').map_or(0, |n| n + 1);
        let line = text[start..].lines().next()?;
        let before = text[start..span.start].chars().count();
        let end = span.end.min(start + line.len()).max(span.start);
        let length = text.get(span.start..end)?.chars().count();
        let mut chars: Vec<char> = line.chars().map(printable).collect();
        if masked {
            chars.splice(before..before + length, "…".chars());
        }
        let length = if masked { 1 } else { length.max(1) };
        let cut = if chars.len() > LINE_CHARS_MAX { before.saturating_sub(LINE_CHARS_MAX / 4) } else { 0 };
        let shown: String = chars.iter().skip(cut).take(LINE_CHARS_MAX).collect();
        let line = if cut > 0 { format!("…{shown}") } else { shown };
        let before = before - cut + usize::from(cut > 0);
        Some(Self { line, before, carets: length.min(LINE_CHARS_MAX.saturating_sub(before).max(1)) })
    }
}

/// Tabs and control characters would move the carets, or the reader's terminal.
fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tieline_mapping::Diagnostic;

    /// What is shown of a file with this text for a problem at `at`, which is in it once.
    fn shown_of(text: &str, at: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.yaml"), text).unwrap();
        let start = text.find(at).unwrap();
        let span = Span { start, end: start + at.len() };
        let diagnostic = Diagnostic::error("x/y", span, "wrong").label("here");
        human(dir.path(), &[Problem { file: "x.yaml".into(), diagnostic }])
    }

    #[test]
    fn columns_and_carets_count_characters() {
        let expect = "error[x/y]: wrong\n --> x.yaml:2:5\n  |\n2 | ä: €uro\n  |    ^^^^ here\n";
        assert_eq!(shown_of("# –\nä: €uro\n", "€uro"), expect.replace("2:5", "2:4"));
    }

    #[test]
    fn a_span_over_lines_shows_its_first_and_control_characters_are_blanks() {
        let shown = shown_of("a:\n  b: 1\u{1b}[31m\n  c: 2\n", "b: 1\u{1b}[31m\n  c");
        assert_eq!(shown, "error[x/y]: wrong\n --> x.yaml:2:3\n  |\n2 |   b: 1 [31m\n  |   ^^^^^^^^^ here\n");
    }

    #[test]
    fn a_long_line_is_shown_around_its_problem() {
        let text = format!("{{\"a\": \"{}\", \"bad\": 1, \"b\": \"{}\"}}", "x".repeat(900), "y".repeat(900));
        let shown = shown_of(&text, "\"bad\"");
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.iter().all(|l| l.chars().count() < LINE_CHARS_MAX + 20), "{shown}");
        let caret = lines[4].find('^').unwrap();
        assert_eq!(lines[3].chars().skip(caret).take(5).collect::<String>(), "\"bad\"", "{shown}");
    }

    #[test]
    fn json_has_the_same_places() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.yaml"), "ä: b\n").unwrap();
        let diagnostic = Diagnostic::warning("x/y", Span { start: 4, end: 5 }, "m").help("h".to_owned());
        let json = json(dir.path(), &[Problem { file: "x.yaml".into(), diagnostic }]);
        let expect = json!([{
            "severity": "warning", "code": "x/y", "message": "m", "file": "x.yaml", "line": 1, "column": 4,
            "end_line": 1, "end_column": 5, "label": "", "help": "h",
        }]);
        assert_eq!(json.parse::<serde_json::Value>().unwrap(), expect);
    }
}
