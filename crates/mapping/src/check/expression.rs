//! The type of each form of expression, and the program that it becomes.

use tieline_schema::types::{Bounds, Kind, Text, Type};

use super::join::{join, length, literal};
use super::number::{Range, scale};
use super::{Checker, Typed, describe};
use crate::ast::{Argument, Arithmetic, Call, Comparison, Expr, ExprKind, Piece};
use crate::decimal::Decimal;
use crate::functions::{self, Applied, Body, Given, Misuse, Use};
use crate::program::{self, Code, Program, Quotient, TemplatePiece};
use crate::value::Val;
use crate::{Diagnostic, Span, calendar, suggest};

/// Most values of a text with holes that are told apart: beyond, it is any text.
const TEMPLATE_VALUES_MAX: usize = 256;

/// Digits that a quotient without an exact form gets.
const QUOTIENT_DIGITS: u32 = 12;

impl Checker {
    /// The type and program of an expression; none once something was wrong with it.
    pub(super) fn check(&mut self, expr: &Expr) -> Option<Typed> {
        let span = expr.span;
        let constant = |value, kind| Some(Typed::new(Program::Constant(value), Type::of(kind), span));
        match &expr.kind {
            ExprKind::Null => {
                let ty = Type::of(Kind::Null).or_null();
                let mut typed = Typed::new(Program::Constant(Val::Null), ty, span);
                typed.null_because = Some("null".to_owned());
                Some(typed)
            }
            ExprKind::Boolean(b) => constant(Val::Boolean(*b), Kind::Boolean),
            ExprKind::Integer(n) => constant(Val::Integer(*n), Kind::Integer { min: *n, max: *n }),
            ExprKind::Decimal(d) => constant(Val::Decimal(*d), Range::exactly(*d).decimal(d.scale())),
            ExprKind::Text(text) => constant(Val::Text(text.clone().into()), Kind::Text(literal(text))),
            ExprKind::Path(path) => self.path(path, span),
            ExprKind::Template(pieces) => self.template(pieces, span),
            ExprKind::Coalesce(a, b) => self.coalesce(a, b, span),
            ExprKind::And(a, b) => self.logic(a, b, true, span),
            ExprKind::Or(a, b) => self.logic(a, b, false, span),
            ExprKind::Not(inner) => {
                let inner = self.check(inner)?;
                let program = self.boolean(inner, "what `not` turns round")?;
                Some(Typed::new(Program::Not(Box::new(program)), Type::of(Kind::Boolean), span))
            }
            ExprKind::Negate(inner) => self.negate(inner, span),
            ExprKind::Compare(how, a, b) => self.compare(*how, a, b, span),
            ExprKind::In(value, list) => self.is_in(value, list, span),
            ExprKind::Arithmetic(how, a, b) => self.arithmetic(*how, a, b, span),
            ExprKind::If(condition, yes, no) => self.branch(condition, yes, no, span),
            ExprKind::Call(call) => self.call(call, span),
        }
    }

    fn template(&mut self, pieces: &[Piece], span: Span) -> Option<Typed> {
        let mut programs = Vec::new();
        let mut ty = literal("");
        let mut whole = true;
        for piece in pieces {
            let part = match piece {
                Piece::Text(text) => {
                    programs.push(TemplatePiece::Text(text.as_str().into()));
                    literal(text)
                }
                Piece::Hole(expr) => match self.hole(expr) {
                    Some((program, text)) => {
                        programs.push(TemplatePiece::Hole(program));
                        text
                    }
                    None => {
                        whole = false;
                        continue;
                    }
                },
            };
            ty = concatenated(&ty, &part);
        }
        whole.then(|| Typed::new(Program::Template(programs), Type::of(Kind::Text(ty)), span))
    }

    fn hole(&mut self, expr: &Expr) -> Option<(Program, Text)> {
        let typed = self.check(expr)?;
        if typed.ty.nullable {
            let why = typed.null_because.as_deref().unwrap_or("it");
            let message = format!("a hole in a text has no place for null: `{why}` can be null");
            let help = "give a default: `… ?? ''`".to_owned();
            self.report(Diagnostic::error("mapping/null-in-text", typed.span, message).help(help));
            return None;
        }
        match displayed(&typed.ty.kind) {
            Some(text) => Some((typed.program, text)),
            None => {
                let message = format!("a hole in a text has no place for {}", describe::kind(&typed.ty.kind));
                self.report(Diagnostic::error("mapping/wrong-type", typed.span, message));
                None
            }
        }
    }

    fn coalesce(&mut self, a: &Expr, b: &Expr, span: Span) -> Option<Typed> {
        let left = self.check(a);
        let right = self.check(b);
        let (left, right) = (left?, right?);
        if !left.ty.nullable {
            let message = "this is never null, so that the default is never used";
            self.report(
                Diagnostic::warning("mapping/unused-default", right.span, message)
                    .help("remove the `??` and it".to_owned()),
            );
        }
        let not_null = Type { nullable: false, ..left.ty.clone() };
        let ty = if left.ty.kind == Kind::Null { Some(right.ty.clone()) } else { join(&not_null, &right.ty) };
        let Some(ty) = ty else {
            self.unlike(&left.ty.kind, &right.ty.kind, span);
            return None;
        };
        let because = right.null_because.clone();
        let branches = branches(&left, &right);
        let pair = [self.loose(left), self.loose(right)];
        let mut typed = Typed::new(Program::Coalesce(Box::new(pair)), ty, span);
        typed.null_because = because;
        typed.branches = branches;
        Some(typed)
    }

    fn unlike(&mut self, a: &Kind, b: &Kind, span: Span) {
        let message = format!("this is either {} or {}", describe::kind(a), describe::kind(b));
        let help = match (a, b) {
            (Kind::Timestamp, Kind::Date) | (Kind::Date, Kind::Timestamp) => {
                Some("make a date of the timestamp: `(… | date(Europe/Berlin))`".to_owned())
            }
            (_, _) => Some("make both the same, with `| text` for instance".to_owned()),
        };
        self.report(Diagnostic::error("mapping/unlike-types", span, message).help(help));
    }

    fn logic(&mut self, a: &Expr, b: &Expr, and: bool, span: Span) -> Option<Typed> {
        let what = if and { "what `and` joins" } else { "what `or` joins" };
        let left = self.check(a).and_then(|t| self.boolean(t, what));
        // The right side is only looked at where the left one has not decided.
        let right = self.knowing(a, and, |c| c.check(b).and_then(|t| c.boolean(t, what)));
        let pair = Box::new([left?, right?]);
        let program = if and { Program::And(pair) } else { Program::Or(pair) };
        Some(Typed::new(program, Type::of(Kind::Boolean), span))
    }

    fn negate(&mut self, inner: &Expr, span: Span) -> Option<Typed> {
        let typed = self.check(inner)?;
        let range = Range::of(&typed.ty.kind);
        let Some(range) = range else {
            let message = format!("a sign belongs to a number, and this is {}", describe::kind(&typed.ty.kind));
            self.report(Diagnostic::error("mapping/wrong-type", span, message));
            return None;
        };
        if let Program::Constant(value) = &typed.program {
            let negative = match value {
                Val::Integer(n) => Some(Val::Integer(-n)),
                Val::Decimal(d) => d.negate().map(Val::Decimal),
                _other => None,
            };
            if let Some(value) = negative {
                let range =
                    Range { min: range.max.and_then(Decimal::negate), max: range.min.and_then(Decimal::negate) };
                let kind =
                    scale(&typed.ty.kind).filter(|s| *s > 0).map_or_else(|| range.integer(), |s| range.decimal(s));
                return Some(Typed::new(Program::Constant(value), Type::of(kind), span));
            }
        }
        let range = Range { min: range.max.and_then(Decimal::negate), max: range.min.and_then(Decimal::negate) };
        let kind = number_kind(range, &typed.ty.kind, &typed.ty.kind);
        let ty = Type { kind, nullable: typed.ty.nullable };
        Some(typed.with(|p| Program::Negate(Box::new(p)), ty, span))
    }

    fn branch(&mut self, condition: &Expr, yes: &Expr, no: &Expr, span: Span) -> Option<Typed> {
        let decided = self.check(condition).and_then(|t| self.boolean(t, "a condition"));
        let left = self.knowing(condition, true, |c| c.check(yes));
        let right = self.knowing(condition, false, |c| c.check(no));
        let (left, right) = (left?, right?);
        let Some(ty) = join(&left.ty, &right.ty) else {
            self.unlike(&left.ty.kind, &right.ty.kind, span);
            return None;
        };
        let because = left.null_because.clone().or(right.null_because.clone());
        let branches = branches(&left, &right);
        let parts = [decided?, self.loose(left), self.loose(right)];
        let mut typed = Typed::new(Program::If(Box::new(parts)), ty, span);
        typed.null_because = because;
        typed.branches = branches;
        Some(typed)
    }

    /// The program of one of several values: a list comes out of its frame, since the others lie elsewhere.
    fn loose(&mut self, typed: Typed) -> Program {
        match &typed.ty.kind {
            Kind::List { item, .. } if is_single(&item.kind) => self.items(typed),
            _other => typed.program,
        }
    }

    fn compare(&mut self, how: Comparison, a: &Expr, b: &Expr, span: Span) -> Option<Typed> {
        let (left, right) = (self.check(a), self.check(b));
        let (mut left, mut right) = (left?, right?);
        literal_time(&left.ty.kind, &mut right);
        literal_time(&right.ty.kind, &mut left);
        let before = self.errors();
        self.comparable(how, &left, &right, span);
        if self.errors() > before {
            return None;
        }
        let program = Program::Compare(how, Box::new([left.program, right.program]));
        Some(Typed::new(program, Type::of(Kind::Boolean), span))
    }

    fn is_in(&mut self, value: &Expr, list: &[Expr], span: Span) -> Option<Typed> {
        let typed = self.check(value)?;
        let mut values = Vec::new();
        let before = self.errors();
        for item in list {
            let Some(mut checked) = self.check(item) else { continue };
            literal_time(&typed.ty.kind, &mut checked);
            self.comparable(Comparison::Equal, &typed, &checked, checked.span);
            match checked.program {
                Program::Constant(constant) => values.push(constant),
                _computed => {
                    let message = "a list after `in` holds values that are written out";
                    self.report(Diagnostic::error("mapping/wrong-type", checked.span, message));
                }
            }
        }
        let program = Program::In(Box::new(typed.program), values);
        (self.errors() == before).then(|| Typed::new(program, Type::of(Kind::Boolean), span))
    }

    /// Reports a comparison that has no meaning, or always the same outcome.
    fn comparable(&mut self, how: Comparison, a: &Typed, b: &Typed, span: Span) {
        let ordered = matches!(
            how,
            Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual
        );
        match (&a.ty.kind, &b.ty.kind) {
            (Kind::Null, _) | (_, Kind::Null) => {
                let other = if a.ty.kind == Kind::Null { b } else { a };
                if ordered {
                    let message = "null is neither less nor greater than anything";
                    self.report(Diagnostic::error("mapping/never-equal", span, message));
                } else if !other.ty.nullable {
                    let outcome = if how == Comparison::Equal { "never" } else { "always" };
                    let message = format!("this is never null, so that the comparison {outcome} holds");
                    self.report(Diagnostic::warning("mapping/never-null", span, message).help("remove it".to_owned()));
                }
            }
            (Kind::Any, _) | (_, Kind::Any) => {
                let message = "what has no known type cannot be compared";
                self.report(Diagnostic::error("mapping/wrong-type", span, message));
            }
            (Kind::Text(_), Kind::Text(_)) if ordered => {
                let message = "texts have no order here";
                self.report(Diagnostic::error("mapping/wrong-type", span, message));
            }
            (Kind::Text(x), Kind::Text(y)) => self.texts_meet(x, y, a, b, span),
            (Kind::Boolean, Kind::Boolean) if !ordered => {}
            (Kind::Date, Kind::Date) | (Kind::Timestamp, Kind::Timestamp) => {}
            (x, y) => match (Range::of(x), Range::of(y)) {
                (Some(p), Some(q)) => {
                    if !ordered && p.is_disjoint(q) {
                        let message = "this can never be equal: the two numbers have no value in common";
                        self.report(Diagnostic::error("mapping/never-equal", span, message));
                    }
                }
                (_, _) => {
                    let message = format!(
                        "this can never be equal: on the left stands {}, on the right {}",
                        describe::kind(x),
                        describe::kind(y)
                    );
                    let message = if ordered { message.replace("equal", "compared") } else { message };
                    self.report(Diagnostic::error("mapping/never-equal", span, message));
                }
            },
        }
    }

    fn texts_meet(&mut self, x: &Text, y: &Text, a: &Typed, b: &Typed, span: Span) {
        let (Some(left), Some(right)) = (&x.values, &y.values) else { return };
        if left.iter().any(|v| right.contains(v)) {
            return;
        }
        let (known, sought) =
            if matches!(b.program, Program::Constant(_)) { ((a, left), right) } else { ((b, right), left) };
        let what = known.0.null_because.clone();
        let subject = what.unwrap_or_else(|| "the other side".to_owned());
        let message = match self.text_at(known.0.span) {
            Some(path) => format!("this can never be equal: `{path}` is one of {}", describe::list(known.1)),
            None => format!("this can never be equal: {subject} is one of {}", describe::list(known.1)),
        };
        let near = sought.first().and_then(|word| suggest::nearest(word, known.1.iter().map(String::as_str)));
        let help = near.map(|near| format!("did you mean '{near}'?"));
        self.report(Diagnostic::error("mapping/never-equal", span, message).help(help));
    }

    fn text_at(&self, span: Span) -> Option<String> {
        self.paths.iter().rev().find(|(at, _)| *at == span).map(|(_, text)| text.clone())
    }

    fn arithmetic(&mut self, how: Arithmetic, a: &Expr, b: &Expr, span: Span) -> Option<Typed> {
        let (left, right) = (self.check(a), self.check(b));
        let (left, right) = (left?, right?);
        for side in [&left, &right] {
            if scale(&side.ty.kind).is_none() {
                let is = describe::kind(&side.ty.kind);
                let help = match &side.ty.kind {
                    Kind::Float { .. } => Some("make it exact first: `(… | decimal(2))`".to_owned()),
                    Kind::Text(_) if how == Arithmetic::Add => {
                        Some("texts are joined in a quoted one: \"{.a} {.b}\"".to_owned())
                    }
                    Kind::Text(_) => Some("make a number of it first: `(… | decimal(2))`".to_owned()),
                    _other => None,
                };
                let message = format!("this is {is}; arithmetic is for integers and decimals");
                self.report(Diagnostic::error("mapping/wrong-type", side.span, message).help(help));
                return None;
            }
        }
        let (kind, quotient) = self.result(how, &left, &right)?;
        let nullable = left.ty.nullable || right.ty.nullable;
        let because = left.null_because.or(right.null_because);
        let program = Program::Arithmetic(how, quotient, Box::new([left.program, right.program]));
        let mut typed = Typed::new(program, Type { kind, nullable }, span);
        typed.null_because = because;
        Some(typed)
    }

    fn result(&mut self, how: Arithmetic, left: &Typed, right: &Typed) -> Option<(Kind, Quotient)> {
        let (x, y) = (Range::of(&left.ty.kind)?, Range::of(&right.ty.kind)?);
        let (s, t) = (scale(&left.ty.kind)?, scale(&right.ty.kind)?);
        let exact = Quotient { digits: 0 };
        let whole = s == 0 && t == 0 && is_integer(&left.ty.kind) && is_integer(&right.ty.kind);
        let of = |range: Range, scale: u32| if whole { range.integer() } else { range.decimal(scale.min(38)) };
        Some(match how {
            Arithmetic::Add => (of(x.corners(y, Decimal::add), s.max(t)), exact),
            Arithmetic::Subtract => (of(x.corners(y, |a, b| b.negate().and_then(|b| a.add(b))), s.max(t)), exact),
            Arithmetic::Multiply => (of(x.corners(y, Decimal::multiply), s + t), exact),
            Arithmetic::Divide => {
                let zero = Range::exactly(Decimal::ZERO);
                if y == zero {
                    self.report(Diagnostic::error("mapping/division-by-zero", right.span, "this is always zero"));
                    return None;
                }
                let digits = match (&right.program, y.min) {
                    (Program::Constant(_), Some(divisor)) => exact_digits(divisor).unwrap_or(QUOTIENT_DIGITS),
                    (_, _) => QUOTIENT_DIGITS,
                };
                let scale = (s + digits).min(38);
                let range = if y.is_disjoint(zero) && y.min == y.max {
                    x.corners(y, |a, b| a.divide(b, scale))
                } else {
                    Range { min: None, max: None }
                };
                (range.decimal(scale), Quotient { digits })
            }
        })
    }

    fn call(&mut self, call: &Call, span: Span) -> Option<Typed> {
        let input = self.check(&call.input);
        let Some(function) = functions::find(&call.name) else {
            let names: Vec<&str> = functions::functions().iter().map(|f| f.name).collect();
            let near = suggest::nearest(&call.name, names).map(|near| format!("did you mean `{near}`?"));
            let help = near.unwrap_or_else(|| "the functions are in docs/reference/functions.md".to_owned());
            let message = format!("there is no function `{}`", call.name);
            self.report(Diagnostic::error("mapping/unknown-function", call.name_span, message).help(help));
            return None;
        };
        let input = input?;
        match function.body {
            Body::Translate => self.translate(input, call, span),
            Body::Count => self.count(input, call, span),
            Body::PerItem(how) => self.per_item(function, how, input, call, span),
            Body::Plain(compile) => {
                let (given, argument) = self.arguments(call)?;
                let bare = Type { nullable: false, ..input.ty.clone() };
                let applied = compile(&Use { input: &bare, given: &given });
                match applied {
                    Ok(applied) => {
                        let given = given.into_iter().filter_map(Given::constant).collect();
                        Some(self.apply(function.name, input, applied, (given, argument), span))
                    }
                    Err(misuse) => {
                        self.misuse(function, &input, call, misuse);
                        None
                    }
                }
            }
        }
    }

    /// The arguments of a call, and the program of the one that is not constant.
    fn arguments(&mut self, call: &Call) -> Option<(Vec<Given>, Option<Typed>)> {
        let mut given = Vec::new();
        let mut computed = None;
        let mut whole = true;
        for argument in &call.arguments {
            match argument {
                Argument::Word(word, span) => given.push(Given::Word(word.clone(), *span)),
                Argument::Expr(expr) => match self.check(expr) {
                    None => whole = false,
                    Some(Typed { program: Program::Constant(value), span, .. }) => {
                        given.push(Given::Constant(value, span))
                    }
                    Some(typed) => {
                        given.push(Given::Computed(typed.ty.clone()));
                        computed = Some(typed);
                    }
                },
            }
        }
        whole.then_some((given, computed))
    }

    fn apply(
        &mut self,
        name: &'static str,
        input: Typed,
        applied: Applied,
        (given, argument): (Vec<Val<'static>>, Option<Typed>),
        span: Span,
    ) -> Typed {
        let mut nullable = input.ty.nullable || applied.nullable;
        let mut because = input.null_because.clone();
        if argument.as_ref().is_some_and(|a| a.ty.nullable) {
            nullable = true;
            because = because.or_else(|| argument.as_ref().and_then(|a| a.null_because.clone()));
        }
        if applied.nullable && because.is_none() {
            because = Some(format!("… | {name}"));
        }
        let kind = through(&input.ty.kind, applied.kind, &applied.code);
        let program = if matches!(input.ty.kind, Kind::List { .. }) { self.items(input) } else { input.program };
        let argument = argument.map(|a| a.program);
        let program =
            Program::Call(Box::new(program::Call { name, input: program, given, argument, code: applied.code }));
        let mut typed = Typed::new(program, Type { kind, nullable }, span);
        typed.null_because = because;
        typed
    }

    pub(super) fn misuse(&mut self, function: &functions::Function, input: &Typed, call: &Call, misuse: Misuse) {
        let problem = match misuse {
            Misuse::Input { wants, help } => {
                let message =
                    format!("`{}` takes {wants}, but this is {}", function.name, describe::kind(&input.ty.kind));
                Diagnostic::error("mapping/wrong-type", input.span, message).help(help)
            }
            Misuse::Arguments => {
                let message = format!("`{}` is used as `{}`", function.name, function.signature);
                let help = format!("for example `{}`", function.example.0);
                Diagnostic::error("mapping/wrong-argument", call.name_span, message).help(help)
            }
            Misuse::Argument { message, span, help } => {
                Diagnostic::error("mapping/wrong-argument", span, message).help(help)
            }
        };
        self.report(problem);
    }

    fn translate(&mut self, input: Typed, call: &Call, span: Span) -> Option<Typed> {
        let [Argument::Word(name, name_span)] = call.arguments.as_slice() else {
            let message = "`translate` takes the name of a table: `translate(status)`";
            self.report(Diagnostic::error("mapping/wrong-argument", call.name_span, message));
            return None;
        };
        let Kind::Text(text) = &input.ty.kind else {
            let message = format!("`translate` takes a text, but this is {}", describe::kind(&input.ty.kind));
            let help = Some("make a text of it first: `… | text | translate(…)`".to_owned());
            self.report(Diagnostic::error("mapping/wrong-type", input.span, message).help(help));
            return None;
        };
        let Some(table) = self.tables.take_use(name) else {
            let names: Vec<String> = self.tables.names();
            let help = suggest::help(name, names.iter().map(String::as_str));
            let help = help.or_else(|| Some("tables are declared under `tables:`".to_owned()));
            let message = format!("there is no table `{name}`");
            self.report(Diagnostic::error("mapping/unknown-table", *name_span, message).help(help));
            return None;
        };
        let rows = table.rows.clone();
        let mut values: Vec<String> = Vec::new();
        match &text.values {
            Some(from) => {
                let missing: Vec<String> = from.iter().filter(|v| rows.get(v).is_none()).cloned().collect();
                if !missing.is_empty() {
                    let message = format!("no translation for {}", describe::list(&missing));
                    let help = format!("add it to table `{name}`, or an `otherwise` row");
                    self.report(Diagnostic::error("mapping/no-translation", input.span, message).help(help));
                    return None;
                }
                self.tables.use_rows(name, from);
                values.extend(from.iter().filter_map(|v| rows.get(v)).map(str::to_owned));
            }
            None => {
                if rows.otherwise.is_none() {
                    let message = "any text can come, and table `{}` has rows for some only".replace("{}", name);
                    let help = format!("add an `otherwise` row to table `{name}`");
                    self.report(Diagnostic::error("mapping/no-translation", input.span, message).help(help));
                    return None;
                }
                self.tables.use_all(name);
                values.extend(rows.rows.iter().map(|(_, to)| to.clone()).chain(rows.otherwise.clone()));
            }
        }
        dedup(&mut values);
        let kind = Kind::Text(Text { values: Some(values), ..Text::default() });
        let ty = Type { kind, nullable: input.ty.nullable };
        let mut typed = input.with(|p| Program::Translate(Box::new(p), rows), ty, span);
        typed.table = Some(name.clone());
        Some(typed)
    }

    fn count(&mut self, input: Typed, call: &Call, span: Span) -> Option<Typed> {
        if !call.arguments.is_empty() {
            let message = format!("`{}` takes no argument", call.name);
            self.report(Diagnostic::error("mapping/wrong-argument", call.name_span, message));
            return None;
        }
        let nullable = input.ty.nullable;
        match &input.ty.kind {
            Kind::List { .. } => {
                let kind = Kind::Integer { min: 0, max: i64::from(u32::MAX) };
                Some(input.with(|p| Program::Count(Box::new(p)), Type { kind, nullable }, span))
            }
            Kind::Text(text) => {
                let (least, most) = length(text);
                let kind = Kind::Integer { min: least.into(), max: most.unwrap_or(u32::MAX).into() };
                let code = Code::one(|v| match v {
                    Val::Text(t) => Ok(Val::Integer(i64::try_from(t.chars().count()).unwrap_or(i64::MAX))),
                    other => Ok(other),
                });
                let applied = Applied { kind, nullable: false, code };
                Some(self.apply("length", input, applied, (Vec::new(), None), span))
            }
            other => {
                let message = format!("`{}` takes a list or a text, but this is {}", call.name, describe::kind(other));
                self.report(Diagnostic::error("mapping/wrong-type", input.span, message));
                None
            }
        }
    }
}

/// The kinds of all values that a choice between two can be.
fn branches(a: &Typed, b: &Typed) -> Vec<Kind> {
    let of = |typed: &Typed| match typed.branches.as_slice() {
        [] if typed.ty.kind == Kind::Null => Vec::new(),
        [] => vec![typed.ty.kind.clone()],
        several => several.to_vec(),
    };
    [of(a), of(b)].concat()
}

/// Whether it has no parts.
pub(super) fn is_single(kind: &Kind) -> bool {
    !matches!(kind, Kind::Record(_) | Kind::List { .. } | Kind::Map(_))
}

/// A text that is written where a date or an instant is compared with it is one.
pub(super) fn literal_time(other: &Kind, typed: &mut Typed) {
    let Program::Constant(Val::Text(text)) = &typed.program else { return };
    let value = match other {
        Kind::Date => calendar::parse_date(text).map(|d| (Val::Date(d), Kind::Date)),
        Kind::Timestamp => calendar::parse_timestamp(text).map(|t| (Val::Timestamp(t), Kind::Timestamp)),
        _other => None,
    };
    if let Some((value, kind)) = value {
        typed.program = Program::Constant(value);
        typed.ty = Type::of(kind);
    }
}

/// The values of an enum go through a function of texts one by one.
fn through(input: &Kind, output: Kind, code: &Code) -> Kind {
    let (Kind::Text(Text { values: Some(values), .. }), Kind::Text(to), Code::One(f)) = (input, &output, code) else {
        return output;
    };
    let mapped: Option<Vec<String>> = values
        .iter()
        .map(|v| match f(Val::text(v)) {
            Ok(Val::Text(text)) => Some(text.into_owned()),
            Ok(_) | Err(_) => None,
        })
        .collect();
    match mapped {
        Some(mut values) => {
            dedup(&mut values);
            Kind::Text(Text { values: Some(values), ..to.clone() })
        }
        None => output,
    }
}

fn dedup(values: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    values.retain(|v| seen.insert(v.clone()));
}

/// What a value looks like as a text; none for what has no text.
pub(crate) fn displayed(kind: &Kind) -> Option<Text> {
    let between = |min_length, max_length| Text { min_length, max_length: Some(max_length), ..Text::default() };
    match kind {
        Kind::Text(text) => Some(text.clone()),
        Kind::Integer { min, max } => {
            let digits = |n: i64| n.to_string().len();
            Some(between(1, u32::try_from(digits(*min).max(digits(*max))).unwrap_or(20)))
        }
        // A sign, a zero before the point, the point.
        Kind::Decimal { precision, .. } => Some(between(1, precision + 3)),
        Kind::Float { .. } => Some(between(1, 32)),
        Kind::Boolean => Some(Text { values: Some(vec!["true".to_owned(), "false".to_owned()]), ..Text::default() }),
        Kind::Date => Some(Text { format: Some("date".to_owned()), ..between(10, 10) }),
        Kind::Timestamp => Some(Text { format: Some("date-time".to_owned()), ..between(20, 27) }),
        Kind::Bytes | Kind::List { .. } | Kind::Map(_) | Kind::Record(_) | Kind::Null | Kind::Any => None,
    }
}

fn concatenated(a: &Text, b: &Text) -> Text {
    let ((least_a, most_a), (least_b, most_b)) = (length(a), length(b));
    let values = match (&a.values, &b.values) {
        (Some(x), Some(y)) if x.len() * y.len() <= TEMPLATE_VALUES_MAX => {
            let mut all: Vec<String> = x.iter().flat_map(|x| y.iter().map(move |y| format!("{x}{y}"))).collect();
            dedup(&mut all);
            Some(all)
        }
        (_, _) => None,
    };
    // What is empty leaves the other as it is.
    let format = [(a, most_b), (b, most_a)].into_iter().find(|(_, other)| *other == Some(0)).map(|(t, _)| t.clone());
    Text {
        values,
        min_length: least_a.saturating_add(least_b),
        max_length: most_a.zip(most_b).map(|(a, b)| a.saturating_add(b)),
        format: format.as_ref().and_then(|t| t.format.clone()),
        pattern: format.and_then(|t| t.pattern),
    }
}

fn is_integer(kind: &Kind) -> bool {
    matches!(kind, Kind::Integer { .. })
}

/// The kind of a number in this range, like those that it is made of.
fn number_kind(range: Range, a: &Kind, b: &Kind) -> Kind {
    match (scale(a), scale(b)) {
        (Some(_), Some(_)) if is_integer(a) && is_integer(b) => range.integer(),
        (Some(s), Some(t)) => range.decimal(s.max(t)),
        (_, _) => {
            let text = |d: Option<Decimal>| d.map(|d| d.to_string());
            Kind::Float { bounds: Bounds { min: text(range.min), max: text(range.max) } }
        }
    }
}

/// Digits after the point that dividing by this number adds, where the quotient is always exact: its prime factors are
/// 2 and 5.
fn exact_digits(divisor: Decimal) -> Option<u32> {
    let mut rest = divisor.unscaled().unsigned_abs();
    let mut digits = 0;
    for prime in [2, 5] {
        let mut times = 0;
        while rest > 1 && rest.is_multiple_of(prime) {
            rest /= prime;
            times += 1;
        }
        digits = digits.max(times);
    }
    (rest == 1 && digits <= 18).then_some(digits)
}
