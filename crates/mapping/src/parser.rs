//! Makes an expression of text. Binding, from the weakest: `|`, `or`, `and`, `not`, comparison and `in`, `??`, `+ -`,
//! `* /`, the sign.

use crate::Span;
use crate::ast::{Argument, Arithmetic, Call, Comparison, Expr, ExprKind, ForClause, Path, Piece, Segment, Step};
use crate::lexer::{PathStep, Source, SyntaxError, Token, TokenKind, tokens};

/// Deepest nesting of an expression: the parser and all that come after it recurse.
const DEPTH_MAX: u32 = 32;

/// Most bytes of an expression: a definition is written by hand.
const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// Most operators and functions of an expression: a chain of them is as deep as it is long.
const LINKS_MAX: u32 = 64;

/// Words that cannot be the start of a value.
const KEYWORDS: [&str; 10] = ["and", "or", "not", "in", "if", "then", "else", "null", "true", "false"];

/// Parses a plain scalar.
pub(crate) fn expression(source: Source<'_>) -> Result<Expr, SyntaxError> {
    let mut parser = Parser::new(source, 0, source.text.len())?;
    let expr = parser.pipe()?;
    parser.end()?;
    Ok(expr)
}

/// Parses a quoted scalar: text with holes. A brace is written twice.
pub(crate) fn template(source: Source<'_>) -> Result<Expr, SyntaxError> {
    bounded(source)?;
    let text = source.text;
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find(['{', '}']) {
        let brace = at + found;
        plain.push_str(&text[at..brace]);
        let twice = text[brace..].starts_with("{{") || text[brace..].starts_with("}}");
        if twice {
            plain.push_str(&text[brace..=brace]);
            at = brace + 2;
        } else if text[brace..].starts_with('}') {
            return Err(fault(
                brace,
                brace + 1,
                "this `}` closes nothing",
                Some("a brace itself is written twice: `}}`"),
            ));
        } else {
            let end = hole_end(text, brace)?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            let mut parser = Parser::new(source, brace + 1, end)?;
            let expr = parser.pipe()?;
            parser.end()?;
            pieces.push(Piece::Hole(expr));
            at = end + 1;
        }
    }
    plain.push_str(&text[at..]);
    let span = source.span(0, text.len());
    if pieces.is_empty() {
        return Ok(Expr { span, kind: ExprKind::Text(plain) });
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(Expr { span, kind: ExprKind::Template(pieces) })
}

/// Parses `$item in .list`.
pub(crate) fn for_clause(source: Source<'_>) -> Result<ForClause, SyntaxError> {
    let mut parser = Parser::new(source, 0, source.text.len())?;
    let token = parser.take();
    let TokenKind::Path { name: Some(name), steps } = &token.kind else {
        return Err(fault(token.start, token.end, "a loop is written `$item in .list`", None));
    };
    if !steps.is_empty() || !parser.accept_word("in") {
        return Err(fault(token.start, token.end, "a loop is written `$item in .list`", None));
    }
    let list = parser.pipe()?;
    parser.end()?;
    Ok(ForClause { name: name.clone(), list })
}

/// The brace that closes the hole; braces in single quotes do not count.
fn hole_end(text: &str, open: usize) -> Result<usize, SyntaxError> {
    let mut quoted = false;
    for (at, c) in text[open + 1..].char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '}' if !quoted => return Ok(open + 1 + at),
            _ => {}
        }
    }
    let help = "close it with `}`, or write `{{` for a brace itself";
    Err(fault(open, open + 1, "this hole has no end", Some(help)))
}

fn bounded(source: Source<'_>) -> Result<(), SyntaxError> {
    if source.text.len() > EXPRESSION_BYTES_MAX {
        return Err(fault(0, source.text.len(), "this is longer than 16 KiB", None));
    }
    Ok(())
}

fn fault(start: usize, end: usize, message: &str, help: Option<&str>) -> SyntaxError {
    SyntaxError { start, end, message: message.to_owned(), help: help.map(str::to_owned) }
}

struct Parser<'t> {
    source: Source<'t>,
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
    links: u32,
}

impl<'t> Parser<'t> {
    fn new(source: Source<'t>, start: usize, end: usize) -> Result<Self, SyntaxError> {
        bounded(source)?;
        let tokens = tokens(source.text, start, end)?;
        Ok(Self { source, tokens, at: 0, depth: 0, links: 0 })
    }

    /// `a | f | g(x)`
    fn pipe(&mut self) -> Result<Expr, SyntaxError> {
        self.enter()?;
        let start = self.here();
        let mut expr = self.or()?;
        while self.accept("|") {
            self.link()?;
            let token = self.take();
            let TokenKind::Word(name) = token.kind else {
                return Err(fault(token.start, token.end, "a function has to follow `|`", None));
            };
            let arguments = if self.accept("(") { self.arguments()? } else { Vec::new() };
            let name_span = self.source.span(token.start, token.end);
            let span = self.since(start);
            let call = Call { input: expr, name, name_span, arguments };
            expr = Expr { span, kind: ExprKind::Call(Box::new(call)) };
        }
        self.depth -= 1;
        Ok(expr)
    }

    fn arguments(&mut self) -> Result<Vec<Argument>, SyntaxError> {
        let mut arguments = Vec::new();
        if self.accept(")") {
            return Ok(arguments);
        }
        loop {
            let token = &self.tokens[self.at];
            let word = match &token.kind {
                TokenKind::Word(word) if !KEYWORDS.contains(&word.as_str()) => Some(word.clone()),
                _ => None,
            };
            arguments.push(match word {
                Some(word) => {
                    let span = self.source.span(token.start, token.end);
                    self.at += 1;
                    Argument::Word(word, span)
                }
                None => Argument::Expr(self.pipe()?),
            });
            if self.accept(")") {
                return Ok(arguments);
            }
            self.expect(",", "`,` or `)` has to follow")?;
        }
    }

    fn or(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.here();
        let mut left = self.and()?;
        while self.accept_word("or") {
            self.link()?;
            let right = self.and()?;
            left = self.node(start, ExprKind::Or(Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.here();
        let mut left = self.not()?;
        while self.accept_word("and") {
            self.link()?;
            let right = self.not()?;
            left = self.node(start, ExprKind::And(Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.here();
        if !self.accept_word("not") {
            return self.comparison();
        }
        self.enter()?;
        let inner = self.not()?;
        self.depth -= 1;
        Ok(self.node(start, ExprKind::Not(Box::new(inner))))
    }

    fn comparison(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.here();
        let left = self.coalesce()?;
        if self.accept_word("in") {
            let list = self.literals()?;
            return Ok(self.node(start, ExprKind::In(Box::new(left), list)));
        }
        if self.is_word("not") && self.tokens.get(self.at + 1).is_some_and(|t| t.kind == TokenKind::Word("in".into())) {
            self.at += 2;
            let list = self.literals()?;
            let inside = self.node(start, ExprKind::In(Box::new(left), list));
            return Ok(self.node(start, ExprKind::Not(Box::new(inside))));
        }
        let Some(comparison) = self.comparison_sign() else {
            return Ok(left);
        };
        let right = self.coalesce()?;
        let expr = self.node(start, ExprKind::Compare(comparison, Box::new(left), Box::new(right)));
        let again = self.tokens[self.at].clone();
        if self.comparison_sign().is_some() {
            let help = Some("join two with `and`");
            return Err(fault(again.start, again.end, "comparisons do not chain", help));
        }
        Ok(expr)
    }

    fn comparison_sign(&mut self) -> Option<Comparison> {
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        signs.into_iter().find(|(sign, _)| self.accept(sign)).map(|(_, c)| c)
    }

    /// `['X', 'Y']`
    fn literals(&mut self) -> Result<Vec<Expr>, SyntaxError> {
        self.expect("[", "a list has to follow `in`: `['A', 'B']`")?;
        let mut items = Vec::new();
        loop {
            if self.accept("]") {
                return Ok(items);
            }
            items.push(self.unary()?);
            if !self.accept(",") {
                self.expect("]", "`,` or `]` has to follow")?;
                return Ok(items);
            }
        }
    }

    fn coalesce(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.here();
        let mut left = self.sum()?;
        while self.accept("??") {
            self.link()?;
            let right = self.sum()?;
            left = self.node(start, ExprKind::Coalesce(Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.here();
        let mut left = self.product()?;
        loop {
            let sign = if self.accept("+") {
                Arithmetic::Add
            } else if self.accept("-") {
                Arithmetic::Subtract
            } else {
                return Ok(left);
            };
            self.link()?;
            let right = self.product()?;
            left = self.node(start, ExprKind::Arithmetic(sign, Box::new(left), Box::new(right)));
        }
    }

    fn product(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.here();
        let mut left = self.unary()?;
        loop {
            let sign = if self.accept("*") {
                Arithmetic::Multiply
            } else if self.accept("/") {
                Arithmetic::Divide
            } else {
                return Ok(left);
            };
            self.link()?;
            let right = self.unary()?;
            left = self.node(start, ExprKind::Arithmetic(sign, Box::new(left), Box::new(right)));
        }
    }

    fn unary(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.here();
        if !self.accept("-") {
            return self.primary();
        }
        self.enter()?;
        let inner = self.unary()?;
        self.depth -= 1;
        Ok(self.node(start, ExprKind::Negate(Box::new(inner))))
    }

    fn primary(&mut self) -> Result<Expr, SyntaxError> {
        let token = self.take();
        let span = self.source.span(token.start, token.end);
        let kind = match token.kind {
            TokenKind::Integer(n) => ExprKind::Integer(n),
            TokenKind::Decimal(d) => ExprKind::Decimal(d),
            TokenKind::Text(text) => ExprKind::Text(text),
            TokenKind::Path { name, steps } => ExprKind::Path(self.path(name, steps)),
            TokenKind::Symbol("(") => {
                let inner = self.pipe()?;
                self.expect(")", "`)` has to follow")?;
                return Ok(Expr { span: self.since(token.start), kind: inner.kind });
            }
            TokenKind::Symbol(symbol) => {
                let message = format!("a value has to stand before `{symbol}`");
                return Err(fault(token.start, token.end, &message, None));
            }
            TokenKind::Word(word) => return self.word(&word, token.start, token.end),
            TokenKind::End => {
                return Err(fault(token.start, token.end, "a value is missing here", None));
            }
        };
        Ok(Expr { span, kind })
    }

    fn word(&mut self, word: &str, start: usize, end: usize) -> Result<Expr, SyntaxError> {
        let kind = match word {
            "null" => ExprKind::Null,
            "true" => ExprKind::Boolean(true),
            "false" => ExprKind::Boolean(false),
            "if" => return self.branch(start),
            _ if KEYWORDS.contains(&word) => {
                return Err(fault(start, end, &format!("a value has to stand before `{word}`"), None));
            }
            _ => {
                let help = if self.tokens.len() == 2 {
                    format!("text is quoted: \"{word}\"; a field of the event is `.{word}`")
                } else {
                    format!("text is quoted: '{word}'; a field of the event is `.{word}`")
                };
                return Err(fault(start, end, &format!("`{word}` is neither a field nor a value"), Some(&help)));
            }
        };
        Ok(Expr { span: self.source.span(start, end), kind })
    }

    fn branch(&mut self, start: usize) -> Result<Expr, SyntaxError> {
        self.enter()?;
        let condition = self.or()?;
        self.expect_word("then")?;
        let yes = self.or()?;
        self.expect_word("else")?;
        let no = self.or()?;
        self.depth -= 1;
        Ok(self.node(start, ExprKind::If(Box::new(condition), Box::new(yes), Box::new(no))))
    }

    fn path(&self, name: Option<String>, steps: Vec<PathStep>) -> Path {
        let segment = |s: PathStep| Segment {
            span: self.source.span(s.start, s.end),
            step: s.field.map_or(Step::Items, Step::Field),
        };
        Path { name, segments: steps.into_iter().map(segment).collect() }
    }

    fn enter(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let at = self.here();
            return Err(fault(at, at, "this is nested too deeply", None));
        }
        Ok(())
    }

    /// Counts an operator or a function.
    fn link(&mut self) -> Result<(), SyntaxError> {
        self.links += 1;
        if self.links > LINKS_MAX {
            let at = self.here();
            let help = Some("translate by a table, or split the rule");
            return Err(fault(at, at, "this expression is too long", help));
        }
        Ok(())
    }

    fn here(&self) -> usize {
        self.tokens[self.at].start
    }

    /// From `start` to the end of the token taken last.
    fn since(&self, start: usize) -> Span {
        let end = self.at.checked_sub(1).map_or(start, |last| self.tokens[last].end);
        self.source.span(start, end)
    }

    fn node(&self, start: usize, kind: ExprKind) -> Expr {
        Expr { span: self.since(start), kind }
    }

    /// The next token; the end stays.
    fn take(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = matches!(self.tokens[self.at].kind, TokenKind::Symbol(s) if s == symbol);
        self.at += usize::from(found);
        found
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.tokens[self.at].kind, TokenKind::Word(w) if w == word)
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str, message: &str) -> Result<(), SyntaxError> {
        if self.accept(symbol) {
            return Ok(());
        }
        let token = &self.tokens[self.at];
        let help = (token.kind == TokenKind::End && symbol == ")")
            .then_some("in a `{ … }` of YAML a comma ends the entry: write it in block style, a line a field");
        Err(fault(token.start, token.end, message, help))
    }

    fn expect_word(&mut self, word: &str) -> Result<(), SyntaxError> {
        if self.accept_word(word) {
            return Ok(());
        }
        let token = &self.tokens[self.at];
        let help = "a choice is written `if … then … else …`";
        Err(fault(token.start, token.end, &format!("`{word}` has to follow"), Some(help)))
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let token = &self.tokens[self.at];
        let help = match &token.kind {
            TokenKind::End => return Ok(()),
            TokenKind::Symbol("==" | "!=" | "<" | "<=" | ">" | ">=" | "??" | "+" | "-" | "*" | "/") => {
                Some("`|` binds weakest: put what stands before this into parentheses")
            }
            TokenKind::Word(word) if matches!(word.as_str(), "and" | "or" | "in") => {
                Some("`|` binds weakest: put what stands before this into parentheses")
            }
            TokenKind::Word(_) | TokenKind::Path { .. } | TokenKind::Text(_) => {
                Some("text with values in it is quoted: \"{.a} {.b}\"")
            }
            TokenKind::Integer(_) | TokenKind::Decimal(_) | TokenKind::Symbol(_) => None,
        };
        Err(fault(token.start, token.end, "the expression has ended before this", help))
    }
}
