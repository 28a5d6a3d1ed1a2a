//! YAML with the place of each node, and whether a scalar was quoted.
//!
//! Definitions are YAML 1.2 (core schema) without what makes YAML hard to read: anchors, aliases, tags, several
//! documents, and keys that are not plain names are refused. YAML's own error texts are bare, so the commonest mistakes
//! get the place where they were made, and what to do.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::{Diagnostic, Severity, Span};

/// Deepest nesting of a document. Contracts nest some twenty levels; walks over a tree recurse, and this bounds them.
const DEPTH_MAX: usize = 96;

/// Longest document, in bytes: contracts of large systems have some megabytes.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// A node of a YAML document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands. A value that is left empty stands where its key does.
    pub span: Span,
    /// What it is.
    pub value: NodeValue,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeValue {
    /// A scalar, as text; an empty plain one is null.
    Scalar {
        /// Its text.
        text: String,
        /// Quoted, or a block scalar: text and nothing else.
        quoted: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values, in the order of the file; no key twice, each key a scalar.
    Mapping(Vec<(Node, Node)>),
}

/// Reads one YAML 1.2 document. Anchors, aliases, tags and several documents are refused.
///
/// An empty document is an empty plain scalar.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Node, Vec<Diagnostic>> {
    if text.len() > BYTES_MAX {
        let message = format!("this file has {} bytes, and {BYTES_MAX} are the most", text.len());
        return Err(vec![problem("yaml/too-large", Span::default(), message, "")]);
    }
    let bom = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    Builder::new(text, bom).build()
}

impl Node {
    /// The value of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            NodeValue::Mapping(entries) => entries.iter().find_map(|(k, v)| match &k.value {
                NodeValue::Scalar { text, .. } if text == key => Some(v),
                NodeValue::Scalar { .. } | NodeValue::Sequence(_) | NodeValue::Mapping(_) => None,
            }),
            NodeValue::Scalar { .. } | NodeValue::Sequence(_) => None,
        }
    }

    /// Whether it is null: an empty plain scalar, `~` or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, NodeValue::Scalar { text, quoted: false } if is_null(text))
    }

    /// The same as JSON, with scalars by the core schema of YAML 1.2 (section 10.3.2).
    ///
    /// What JSON cannot say stays a text: `.inf`, `.nan`. An integer beyond 64 bits becomes a floating-point number.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            NodeValue::Scalar { text, quoted: true } => serde_json::Value::String(text.clone()),
            NodeValue::Scalar { text, quoted: false } => plain_to_json(text),
            NodeValue::Sequence(items) => items.iter().map(Node::to_json).collect(),
            NodeValue::Mapping(entries) => {
                let entries = entries.iter().filter_map(|(key, value)| match &key.value {
                    NodeValue::Scalar { text, .. } => Some((text.clone(), value.to_json())),
                    NodeValue::Sequence(_) | NodeValue::Mapping(_) => None,
                });
                serde_json::Value::Object(entries.collect())
            }
        }
    }
}

/// Makes a tree of the parser's events.
struct Builder<'a> {
    text: &'a str,
    /// The byte offset of each character, since the parser counts characters, and of the end.
    offsets: Vec<usize>,
    /// Collections that are not closed yet, outermost first.
    open: Vec<Open>,
    root: Option<Node>,
    /// Where the last event ended: an error lies after it.
    seen: usize,
    problems: Vec<Diagnostic>,
}

/// A collection that is not closed yet.
struct Open {
    span: Span,
    flow: bool,
    parts: Parts,
    /// The scalar whose `(` is not closed, where this is a flow collection.
    unclosed_call: Option<Span>,
}

enum Parts {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Node, Node)>, key: Option<Node>, seen: HashSet<String> },
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, bom: usize) -> Self {
        let mut offsets: Vec<usize> = text[bom..].char_indices().map(|(at, _)| at + bom).collect();
        offsets.push(text.len());
        Self { text, offsets, open: Vec::new(), root: None, seen: bom, problems: Vec::new() }
    }

    fn build(mut self) -> Result<Node, Vec<Diagnostic>> {
        let bom = self.offsets.first().copied().unwrap_or(0);
        let mut parser = Parser::new_from_str(&self.text[bom..]);
        while let Some(next) = parser.next_event() {
            match next {
                Ok((event, span)) => {
                    let span = Span { start: self.byte(span.start.index()), end: self.byte(span.end.index()) };
                    if !self.take(event, span) {
                        break;
                    }
                    self.seen = self.seen.max(span.end);
                }
                Err(error) => {
                    let at = self.byte(error.marker().index());
                    self.problems.push(explain(self.text, &error, at, self.seen));
                    break;
                }
            }
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        Ok(self.root.unwrap_or_else(|| empty(Span::default())))
    }

    /// Takes an event; false where nothing after it could be understood.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => true,
            Event::DocumentStart(_) => self.one_document(span),
            Event::Alias(_) => {
                let help = "write the value out; a text that starts with `*` needs quotes";
                self.problems.push(problem("yaml/alias", span, "aliases are not read here".into(), help));
                self.put(empty(span), false);
                true
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.bare(span, anchor, tag.is_some());
                self.scalar(text.into_owned(), style, span);
                true
            }
            Event::SequenceStart(anchor, tag) => {
                self.bare(span, anchor, tag.is_some());
                self.start(span, Parts::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.bare(span, anchor, tag.is_some());
                self.start(span, Parts::Mapping { entries: Vec::new(), key: None, seen: HashSet::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(span);
                true
            }
        }
    }

    fn one_document(&mut self, span: Span) -> bool {
        if self.root.is_none() {
            return true;
        }
        let help = "keep one document in a file: remove this `---` and what follows, or what is before it";
        self.problems.push(problem("yaml/documents", span, "a second document starts here".into(), help));
        false
    }

    /// Refuses anchors and tags.
    fn bare(&mut self, span: Span, anchor: usize, tagged: bool) {
        if anchor != 0 {
            let help = "remove it and write the value out where it is needed; a text that starts with `&` needs quotes";
            self.problems.push(problem("yaml/anchor", span, "anchors are not read here".into(), help));
        }
        if tagged {
            let help = "remove it; a text that starts with `!` needs quotes";
            self.problems.push(problem("yaml/tag", span, "tags are not read here".into(), help));
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, span: Span) {
        let (quoted, span) = match style {
            ScalarStyle::Plain => (false, self.trimmed(span)),
            ScalarStyle::Literal | ScalarStyle::Folded => (true, self.trimmed(span)),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (true, self.to_closing_quote(span)),
        };
        if !quoted {
            self.watch_calls(&text, span);
        }
        let span = if text.is_empty() && !quoted { self.key_span().unwrap_or(span) } else { span };
        self.put(Node { span, value: NodeValue::Scalar { text, quoted } }, true);
    }

    /// In flow style a comma inside a call splits the entry: `{ a: .x | replace(b, c) }` has the keys `a` and `c)`.
    fn watch_calls(&mut self, text: &str, span: Span) {
        let Some(open) = self.open.last_mut().filter(|o| o.flow) else { return };
        let balance = balance(text);
        if balance > 0 && open.unclosed_call.is_none() {
            open.unclosed_call = Some(span);
        } else if balance < 0
            && let Some(start) = open.unclosed_call.take()
        {
            let span = Span { start: start.start, end: span.end };
            let message = "the comma inside this call ends the entry, since this is in `{…}` or `[…]`".to_owned();
            let help = "write this in block style: each field on a line of its own";
            self.problems.push(problem("yaml/flow-comma", span, message, help));
        }
    }

    fn start(&mut self, span: Span, parts: Parts) -> bool {
        if self.open.len() == DEPTH_MAX {
            let message = format!("this is nested deeper than {DEPTH_MAX} levels");
            self.problems.push(problem("yaml/too-deep", span, message, ""));
            return false;
        }
        // A block collection starts without a character of its own.
        let flow = span.end > span.start && matches!(self.text.as_bytes().get(span.start), Some(b'{' | b'['));
        self.open.push(Open { span, flow, parts, unclosed_call: None });
        true
    }

    fn end(&mut self, span: Span) {
        let Some(open) = self.open.pop() else { return };
        let last = match &open.parts {
            Parts::Sequence(items) => items.last().map(|n| n.span.end),
            Parts::Mapping { entries, .. } => entries.last().map(|(k, v)| v.span.end.max(k.span.end)),
        };
        // The end of a block collection is found only at what follows it.
        let end = if open.flow { span.end } else { last.unwrap_or(open.span.end) };
        let span = Span { start: open.span.start, end };
        let value = match open.parts {
            Parts::Sequence(items) => NodeValue::Sequence(items),
            Parts::Mapping { entries, .. } => NodeValue::Mapping(entries),
        };
        self.put(Node { span, value }, true);
    }

    /// Puts a finished node into the innermost open collection. Keys are checked unless one was already refused.
    fn put(&mut self, node: Node, check: bool) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.parts {
            Parts::Sequence(items) => items.push(node),
            Parts::Mapping { entries, key, seen } => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    if check && let Some(problem) = refuse_key(&node, seen, entries) {
                        self.problems.push(problem);
                    }
                    *key = Some(node);
                }
            },
        }
    }

    /// Where the key stands whose value comes next.
    fn key_span(&self) -> Option<Span> {
        match &self.open.last()?.parts {
            Parts::Mapping { key, .. } => key.as_ref().map(|k| k.span),
            Parts::Sequence(_) => None,
        }
    }

    fn byte(&self, character: usize) -> usize {
        self.offsets.get(character).copied().unwrap_or(self.text.len())
    }

    /// The parser's span of a quoted scalar takes in what follows it in the line, comments included.
    fn to_closing_quote(&self, span: Span) -> Span {
        let text = self.text.get(span.start..span.end).unwrap_or_default();
        let mut chars = text.char_indices();
        let Some((_, quote)) = chars.next() else { return span };
        let mut chars = chars.peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\\' && quote == '"' {
                chars.next();
            } else if c == quote && (quote == '"' || chars.next_if(|(_, next)| *next == '\'').is_none()) {
                return Span { start: span.start, end: span.start + at + c.len_utf8() };
            }
        }
        span
    }

    /// Without the white space that follows a block scalar.
    fn trimmed(&self, span: Span) -> Span {
        let text = self.text.get(span.start..span.end).unwrap_or_default();
        Span { start: span.start, end: span.start + text.trim_end().len() }
    }
}

fn refuse_key(node: &Node, seen: &mut HashSet<String>, entries: &[(Node, Node)]) -> Option<Diagnostic> {
    let NodeValue::Scalar { text, quoted } = &node.value else {
        let help = "a key is a name; a value that starts with `{` or `[` and goes on after it needs quotes";
        return Some(problem("yaml/key", node.span, "a list or a mapping cannot be a key".into(), help));
    };
    if text.is_empty() && !quoted {
        return Some(problem("yaml/key", node.span, "a key is missing before this `:`".into(), ""));
    }
    if seen.insert(text.clone()) {
        return None;
    }
    let first = entries.iter().find(|(k, _)| matches!(&k.value, NodeValue::Scalar { text: t, .. } if t == text));
    debug_assert!(first.is_some(), "a key that was seen is among the entries");
    let help = "keep one of them";
    Some(problem("yaml/duplicate-key", node.span, format!("`{text}` is here twice"), help))
}

/// Says what a parser's error means, where it was made, and what to do.
fn explain(text: &str, error: &ScanError, at: usize, seen: usize) -> Diagnostic {
    let line_start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let here =
        Span { start: at, end: at + text[at..].chars().next().filter(|c| !c.is_control()).map_or(0, char::len_utf8) };
    let syntax = |span, message: String, help: &str| problem("yaml/syntax", span, message, help);

    let info = error.info();
    let indentation = line.len() - line.trim_start().len();
    if let Some(tab) = line[..indentation].find('\t') {
        let start = line_start + tab;
        let help = "indent with spaces: YAML knows no tabs there";
        return syntax(Span { start, end: start + 1 }, "a tab in the indentation".into(), help);
    }
    if let Some(start) = unclosed_quote(text, seen, at) {
        let quote = &text[start..=start];
        let end = start + text[start..].lines().next().unwrap_or_default().trim_end().len();
        let message = "the quoted text that starts here has no end in its line".to_owned();
        return syntax(Span { start, end }, message, &format!("close it with {quote}, or open it later"));
    }
    if info == "recursion limit exceeded" {
        return problem("yaml/too-deep", here, format!("this is nested deeper than {DEPTH_MAX} levels"), "");
    }
    if let Some(start) = variable_in_flow(text, seen, at) {
        let end = text[start..].find('}').map_or(start + 2, |n| start + n + 1);
        let help = format!("quote it: \"{}\"", &text[start..end]);
        return syntax(Span { start, end }, "inside `{…}` or `[…]`, `${` has to be quoted".into(), &help);
    }
    if info.contains("mapping values are not allowed") {
        let help = "a text with `: ` in it needs quotes; a field needs a line of its own and the same indentation as its neighbours";
        return syntax(here, "a second `:` in what is already a value".into(), help);
    }
    if info.contains("quoted scalar") || after_quote(text, at) {
        let help = "a value that starts with a quote is a text as a whole, and ends with its second quote; start an \
                    expression with a path, a number or a function";
        return syntax(here, "something follows a quoted text".into(), help);
    }
    let help = match info {
        i if i.contains("'}'") => "is a `,` or the closing `}` missing before this?",
        i if i.contains("']'") || i.contains("illegal placement of ':'") => {
            "is a `,` or the closing `]` missing before this?"
        }
        i if i.contains("expected key") || i.contains("simple key") || i.contains("invalid indentation") => {
            "fields of one level start in the same column, each as `name: value`"
        }
        i if i.contains("'-'") || i.contains("block sequence entries") => {
            "items of one list start in the same column, each with `- `"
        }
        i if i.contains("start any token") || i.contains("unexpected character") => {
            "a text that starts with this character needs quotes"
        }
        _ => "",
    };
    syntax(here, format!("this is not YAML: {info}"), help)
}

/// Where a quote opens, after what was understood and before the error, that is not closed in its line.
fn unclosed_quote(text: &str, seen: usize, at: usize) -> Option<usize> {
    let from = seen.min(at);
    let line_start = text[..from].rfind('\n').map_or(0, |n| n + 1);
    let mut start = line_start;
    for line in text[line_start..].split_inclusive('\n') {
        if start > at {
            return None;
        }
        if let Some(column) = unclosed_in_line(line)
            && start + column >= from.saturating_sub(1)
        {
            return Some(start + column);
        }
        start += line.len();
    }
    None
}

fn unclosed_in_line(line: &str) -> Option<usize> {
    let mut open: Option<(usize, char)> = None;
    let mut before = ' ';
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match open {
            Some((_, '"')) if escaped => escaped = false,
            Some((_, '"')) if c == '\\' => escaped = true,
            Some((_, quote)) if c == quote => open = None,
            Some(_) => {}
            None if c == '#' && before.is_whitespace() => return None,
            // Elsewhere a quote is a part of a plain scalar.
            None if matches!(c, '"' | '\'') && matches!(before, ' ' | '[' | '{' | ',' | '\'') => open = Some((at, c)),
            None => {}
        }
        before = c;
    }
    open.map(|(at, _)| at)
}

/// Where `${` stands unquoted between what was understood and the error.
fn variable_in_flow(text: &str, seen: usize, at: usize) -> Option<usize> {
    let from = text[..seen.min(at)].rfind(['\n', ',', ' ']).map_or(0, |n| n + 1);
    let end = (at + 2).min(text.len());
    let found = text.get(from..end)?.find("${")? + from;
    let quoted = text[..found].ends_with(['"', '\'']);
    (!quoted).then_some(found)
}

/// Whether a quoted text ends before this place, with nothing but spaces between.
fn after_quote(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches(' ');
    before.len() > 1 && before.ends_with(['"', '\''])
}

/// Open brackets less closed ones, outside quotes.
fn balance(text: &str) -> i32 {
    let mut balance = 0;
    let mut open: Option<char> = None;
    for c in text.chars() {
        match (open, c) {
            (Some(quote), _) if c == quote => open = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => open = Some(c),
            (None, '(') => balance += 1,
            (None, ')') => balance -= 1,
            (None, _) => {}
        }
    }
    balance
}

fn empty(span: Span) -> Node {
    Node { span, value: NodeValue::Scalar { text: String::new(), quoted: false } }
}

fn problem(code: &'static str, span: Span, message: String, help: &str) -> Diagnostic {
    let help = (!help.is_empty()).then(|| help.to_owned());
    Diagnostic { severity: Severity::Error, code, message, span, label: String::new(), help }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn plain_to_json(text: &str) -> serde_json::Value {
    use serde_json::Value;
    match text {
        _ if is_null(text) => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// Reads a number as the core schema writes it: `[-+]?[0-9]+`, `0o…`, `0x…`, and decimals with an exponent.
fn number(text: &str) -> Option<serde_json::Number> {
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned.is_empty() || !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let canonical = text.strip_prefix('+').unwrap_or(text);
        let small = canonical.parse::<i64>().map(Into::into).or_else(|_| canonical.parse::<u64>().map(Into::into));
        return small.ok().or_else(|| float(text));
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let exponent_is_one = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    let is_float = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_is_one;
    if is_float { float(text) } else { None }
}

fn radix(digits: &str, radix: u32) -> Option<serde_json::Number> {
    let bare = !digits.starts_with(['+', '-']);
    bare.then(|| u64::from_str_radix(digits, radix).ok()).flatten().map(Into::into)
}

fn float(text: &str) -> Option<serde_json::Number> {
    text.parse::<f64>().ok().and_then(serde_json::Number::from_f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// All scalars with the text that their span covers.
    fn scalars<'a>(text: &'a str, node: &Node, into: &mut Vec<(String, &'a str)>) {
        match &node.value {
            NodeValue::Scalar { text: t, .. } => into.push((t.clone(), &text[node.span.start..node.span.end])),
            NodeValue::Sequence(items) => items.iter().for_each(|n| scalars(text, n, into)),
            NodeValue::Mapping(entries) => entries.iter().for_each(|(k, v)| {
                scalars(text, k, into);
                scalars(text, v, into);
            }),
        }
    }

    #[track_caller]
    fn check_spans(text: &str, expect: &[(&str, &str)]) {
        let mut found = Vec::new();
        scalars(text, &parse(text).unwrap(), &mut found);
        let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (a.as_str(), *b)).collect();
        assert_eq!(found, expect);
    }

    /// The one problem of a text: its code, what its span covers, its message, its help.
    #[track_caller]
    fn check_problem(text: &str, code: &str, covers: &str, says: &str) {
        let problems = parse(text).unwrap_err();
        let p = &problems[0];
        let whole = format!("{}\n{}", p.message, p.help.as_deref().unwrap_or_default());
        assert_eq!(p.code, code, "{problems:#?}");
        assert_eq!(&text[p.span.start..p.span.end], covers, "{problems:#?}");
        assert!(whole.contains(says), "{whole}");
        assert_eq!(problems.len(), 1, "{problems:#?}");
    }

    #[test]
    fn spans_are_bytes_also_after_wide_characters() {
        check_spans(
            "# – €\nnäme: \"ü – {.a}\"  # c\nb: .x ?? ''  # c\nc: 'it''s'\n",
            &[
                ("näme", "näme"),
                ("ü – {.a}", "\"ü – {.a}\""),
                ("b", "b"),
                (".x ?? ''", ".x ?? ''"),
                ("c", "c"),
                ("it's", "'it''s'"),
            ],
        );
        check_spans("\u{feff}a: b\r\nc: d\r\n", &[("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")]);
        check_spans("a: {b: c, d: [e,f]}", &[("a", "a"), ("b", "b"), ("c", "c"), ("d", "d"), ("e", "e"), ("f", "f")]);
        check_spans("a: |\n  x\n  y\n\nb: 1", &[("a", "a"), ("x\ny\n", "x\n  y"), ("b", "b"), ("1", "1")]);
    }

    #[test]
    fn an_empty_value_stands_where_its_key_does() {
        check_spans("a:\nb: 1\nc:\n", &[("a", "a"), ("", "a"), ("b", "b"), ("1", "1"), ("c", "c"), ("", "c")]);
    }

    #[test]
    fn collections_end_where_their_last_part_does() {
        let text = "a:\n  b: 1\n  c: { d: 2 }\n\n# comment\ne:\n  - 1\n  - 2\n\n";
        let node = parse(text).unwrap();
        let of = |n: &Node| text[n.span.start..n.span.end].to_owned();
        assert_eq!(of(node.get("a").unwrap()), "b: 1\n  c: { d: 2 }");
        assert_eq!(of(node.get("a").unwrap().get("c").unwrap()), "{ d: 2 }");
        assert_eq!(of(node.get("e").unwrap()), "- 1\n  - 2");
    }

    #[test]
    fn quoted_and_block_scalars_are_texts_and_plain_ones_are_not() {
        let node = parse("a: x\nb: 'x'\nc: \"x\"\nd: |\n  x\ne: >\n  x\n").unwrap();
        let quoted = |k: &str| matches!(node.get(k).unwrap().value, NodeValue::Scalar { quoted: true, .. });
        assert_eq!(["a", "b", "c", "d", "e"].map(quoted), [false, true, true, true, true]);
    }

    #[test]
    fn scalars_become_json_by_the_core_schema() {
        let text = "[~, null, , Null, true, FALSE, yes, 1, -7, +7, 0o17, 0x1F, 1.5, .5, 5., 1e3, -1.5E-2, 2026-01, 1_000, .inf, 1.2.3, 0x, e5, '1', \"true\", 18446744073709551615, 99999999999999999999, 007]"
            .replace(", ,", ", '',");
        let got = parse(&text).unwrap().to_json();
        let expect = json!([
            null,
            null,
            "",
            null,
            true,
            false,
            "yes",
            1,
            -7,
            7,
            15,
            31,
            1.5,
            0.5,
            5.0,
            1000.0,
            -0.015,
            "2026-01",
            "1_000",
            ".inf",
            "1.2.3",
            "0x",
            "e5",
            "1",
            "true",
            18_446_744_073_709_551_615_u64,
            1e20,
            7
        ]);
        assert_eq!(got, expect);
        assert_eq!(parse("a:\n  201: x\nb:\n").unwrap().to_json(), json!({"a": {"201": "x"}, "b": null}));
        assert_eq!(parse("").unwrap().to_json(), json!(null));
        assert_eq!(parse("# nothing\n").unwrap().to_json(), json!(null));
    }

    #[test]
    fn what_makes_yaml_hard_to_read_is_refused() {
        check_problem("a: 1\nb: 2\na: 3\n", "yaml/duplicate-key", "a", "`a` is here twice");
        check_problem("a: &x 1\n", "yaml/anchor", "&x 1", "anchors are not read here");
        check_problem("a: !!str 1\n", "yaml/tag", "!!str 1", "tags are not read here");
        check_problem("a: 1\n---\nb: 2\n", "yaml/documents", "---", "a second document");
        check_problem("? [a]\n: 1\n", "yaml/key", "[a]", "cannot be a key");
        check_problem(": 1\n", "yaml/key", "", "a key is missing");
        let codes: Vec<_> = parse("a: &x 1\nb: *x\n").unwrap_err().iter().map(|p| p.code).collect();
        assert_eq!(codes, ["yaml/anchor", "yaml/alias"]);
    }

    #[test]
    fn the_commonest_mistakes_say_where_and_what_to_do() {
        check_problem("a:\n\tb: 1\n", "yaml/syntax", "\t", "indent with spaces");
        check_problem("a: \"x\nb: 2\n", "yaml/syntax", "\"x", "close it with \"");
        check_problem("a: \"x\nb: \"y\"\n", "yaml/syntax", "\"x", "close it with \"");
        check_problem("a: { b: 'x }\n", "yaml/syntax", "'x }", "close it with '");
        check_problem("purpose: a deal: a project\n", "yaml/syntax", ":", "needs quotes");
        check_problem("a: { b: ${X}, c: d }\n", "yaml/syntax", "${X}", "quote it: \"${X}\"");
        check_problem("a: { b: .x | replace(y, z), c: 1 }\n", "yaml/flow-comma", ".x | replace(y, z)", "block style");
        check_problem("a: 'x' | upper\n", "yaml/syntax", "|", "a text as a whole");
        check_problem("a: { b: 1\nc: 2\n", "yaml/syntax", ":", "`}`");
        check_problem("a: [ b, 1\nc: 2\n", "yaml/syntax", ":", "`]`");
        check_problem("a: 1\n  b: 2\n", "yaml/syntax", ":", "same indentation");
        check_problem("a:\n    b: 1\n  c: 2\n", "yaml/syntax", "c", "same column");
        check_problem("a: @x\n", "yaml/syntax", "@", "needs quotes");
        check_problem("a: `x`\n", "yaml/syntax", "`", "needs quotes");
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse(&deep).unwrap_err()[0].code, "yaml/too-deep");
        let fits = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert!(parse(&fits).is_ok());
        let block: String = (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        assert_eq!(parse(&block).unwrap_err()[0].code, "yaml/too-deep");
    }

    proptest! {
        #[test]
        fn any_text_gives_a_tree_or_problems_whose_spans_lie_on_characters(text in r#"([ \n\t]|[a-c:#'"&*!|>%@`{}\[\],?$-]|– |é|: |- |---\n|a: ){0,40}"#) {
            match parse(&text) {
                Ok(node) => {
                    let mut found = Vec::new();
                    scalars(&text, &node, &mut found); // slices by span: panics off a character
                    let _ = node.to_json();
                }
                Err(problems) => {
                    prop_assert!(!problems.is_empty());
                    for p in problems {
                        prop_assert!(p.span.start <= p.span.end && text.get(p.span.start..p.span.end).is_some(), "{p:?}");
                    }
                }
            }
        }

        #[test]
        fn plain_scalars_are_what_their_span_covers(parts in prop::collection::vec("[a-zé–][a-z é–€.|()]{0,9}[a-zé]", 1..8)) {
            let text: String = parts.iter().enumerate().map(|(n, v)| format!("{}k{n}: {v}  # é\n", "# ü\n")).collect();
            let mut found = Vec::new();
            scalars(&text, &parse(&text).unwrap(), &mut found);
            for (value, covered) in found {
                prop_assert_eq!(value, covered);
            }
        }
    }
}
