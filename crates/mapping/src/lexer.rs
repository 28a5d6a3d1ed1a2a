//! Cuts the text of an expression into tokens, each with its place in the file.

use crate::Span;
use crate::decimal::Decimal;

/// Where the text of an expression stands in its file.
///
/// A plain scalar and a quoted one without escapes lie in the file as they are read, so that each part has its own
/// place. Of a folded, escaped or block scalar only the whole has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'t> {
    /// The text.
    pub(crate) text: &'t str,
    /// Where its first byte stands, if its bytes stand in the file one for one.
    base: Option<usize>,
    whole: Span,
}

impl<'t> Source<'t> {
    /// The text of a scalar that covers `span`.
    pub(crate) fn new(text: &'t str, quoted: bool, span: Span) -> Self {
        let quote = usize::from(quoted);
        let exact = span.end.checked_sub(span.start) == Some(text.len() + 2 * quote);
        Self { text, base: exact.then_some(span.start + quote), whole: span }
    }

    /// The place of these bytes of the text.
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        self.base.map_or(self.whole, |base| Span { start: base + start, end: base + end })
    }
}

/// A token and its bytes in the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: TokenKind,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    /// A bare word: a keyword, a function, a table, a zone.
    Word(String),
    /// `.` or `$name`, and the steps after it.
    Path {
        name: Option<String>,
        steps: Vec<PathStep>,
    },
    Integer(i64),
    Decimal(Decimal),
    Text(String),
    /// `|`, `??`, `==`, `(` and the like.
    Symbol(&'static str),
    /// The end of the expression.
    End,
}

/// A step of a path and its bytes: a field, or `[]` without one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PathStep {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) field: Option<String>,
}

/// What is wrong with a text, and at which bytes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// Longest first, so that `==` is not taken for `=`.
const SYMBOLS: [&str; 17] = ["??", "==", "!=", "<=", ">=", "|", "<", ">", "+", "-", "*", "/", "(", ")", "[", "]", ","];

/// Cuts `text[start..end]` into tokens; the last one is [`TokenKind::End`].
pub(crate) fn tokens(text: &str, start: usize, end: usize) -> Result<Vec<Token>, SyntaxError> {
    let mut lexer = Lexer { text, at: start, end };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let last = token.kind == TokenKind::End;
        tokens.push(token);
        if last {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    end: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..self.end]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Result<Token, SyntaxError> {
        self.take_while(char::is_whitespace);
        let start = self.at;
        let kind = match self.peek() {
            None => TokenKind::End,
            Some('.' | '$') => self.path()?,
            Some('\'') => self.quoted()?,
            Some(c) if c.is_ascii_digit() => self.number()?,
            Some(c) if c.is_alphabetic() || c == '_' => self.word(),
            Some(c) => self.symbol(c)?,
        };
        Ok(Token { start, end: self.at, kind })
    }

    /// A dash or a slash inside a word belongs to it (`Europe/Berlin`): no operator can follow a word.
    fn word(&mut self) -> TokenKind {
        TokenKind::Word(self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '+')))
    }

    fn path(&mut self) -> Result<TokenKind, SyntaxError> {
        let mut name = None;
        if self.peek() == Some('$') {
            let start = self.at;
            self.at += 1;
            let word = self.take_while(is_segment);
            if word.is_empty() {
                return Err(self.error(start, "a name has to follow `$`", None));
            }
            name = Some(word);
        }
        let mut steps = Vec::new();
        loop {
            let start = self.at;
            if self.rest().starts_with("[]") {
                self.at += 2;
                steps.push(PathStep { start, end: self.at, field: None });
                continue;
            }
            if self.peek() != Some('.') {
                break;
            }
            self.at += 1;
            let from = self.at;
            let field = if self.peek() == Some('\'') { self.text()? } else { self.take_while(is_segment) };
            if field.is_empty() {
                if name.is_none() && steps.is_empty() {
                    break;
                }
                return Err(self.error(start, "a field's name has to follow the dot", None));
            }
            steps.push(PathStep { start: from, end: self.at, field: Some(field) });
        }
        Ok(TokenKind::Path { name, steps })
    }

    fn quoted(&mut self) -> Result<TokenKind, SyntaxError> {
        self.text().map(TokenKind::Text)
    }

    /// `'it''s'`: a quote inside is written twice, as in YAML.
    fn text(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            text.push_str(&self.take_while(|c| c != '\''));
            if self.peek().is_none() {
                return Err(self.error(start, "this text has no end", Some("close it with `'`")));
            }
            self.at += 1;
            if self.peek() != Some('\'') {
                return Ok(text);
            }
            self.at += 1;
            text.push('\'');
        }
    }

    fn number(&mut self) -> Result<TokenKind, SyntaxError> {
        let start = self.at;
        let mut digits = self.take_while(|c| c.is_ascii_digit());
        let fraction = self.rest().strip_prefix('.').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()));
        if fraction {
            self.at += 1;
            digits.push('.');
            digits.push_str(&self.take_while(|c| c.is_ascii_digit()));
        }
        if self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.take_while(|c| c.is_alphanumeric() || c == '_');
            return Err(self.error(start, "this is neither a number nor a name", Some("text stands in single quotes")));
        }
        let number = if fraction {
            Decimal::parse(&digits).map(TokenKind::Decimal)
        } else {
            digits.parse().ok().map(TokenKind::Integer)
        };
        number.ok_or_else(|| self.error(start, "this number is too large", None))
    }

    fn symbol(&mut self, c: char) -> Result<TokenKind, SyntaxError> {
        let start = self.at;
        if let Some(symbol) = SYMBOLS.into_iter().find(|s| self.rest().starts_with(s)) {
            self.at += symbol.len();
            return Ok(TokenKind::Symbol(symbol));
        }
        self.at += c.len_utf8();
        let help = match c {
            '=' => Some("equality is `==`"),
            '"' | '“' | '”' | '‘' | '’' => Some("text in an expression stands in single quotes: 'text'"),
            '&' => Some("write `and`"),
            '!' => Some("write `not`, or `!=`"),
            '?' => Some("a default for null is `??`"),
            '{' | '}' => Some("holes are for quoted text only: \"{.a} {.b}\""),
            _ => None,
        };
        Err(self.error(start, &format!("`{c}` has no meaning here"), help))
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let len = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        let taken = rest[..len].to_owned();
        self.at += len;
        taken
    }

    fn error(&self, start: usize, message: &str, help: Option<&str>) -> SyntaxError {
        SyntaxError { start, end: self.at.max(start), message: message.to_owned(), help: help.map(str::to_owned) }
    }
}

/// What a step of a path is made of; `$header.webhook-id` is one.
fn is_segment(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}
