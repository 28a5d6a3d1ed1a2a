//! What a condition proves: `!= null`, `== 'X'`, `in […]`, `matches`, joined by `and`, hold in all that it guards.

use std::sync::Arc;

use tieline_schema::types::{Kind, Type};

use super::Checker;
use crate::ast::{Argument, Call, Comparison, Expr, ExprKind, Path, Step};

/// What is known of the value at a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fact {
    /// `$name`, or the event.
    pub(crate) name: Option<String>,
    /// The fields from there.
    pub(crate) steps: Vec<String>,
    /// What is known.
    pub(crate) known: Known,
}

/// What is known of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    /// It is not null, nor is anything above it.
    NotNull,
    /// It is one of these, and not null.
    OneOf(Vec<String>),
    /// It is none of these.
    NoneOf(Vec<String>),
    /// It matches this pattern, and is not null.
    Matches(String),
}

impl Checker {
    /// Learns what holds where this condition is true, or false.
    pub(super) fn learn(&mut self, condition: &Expr, truth: bool) {
        collect(condition, truth, &mut self.facts);
    }

    /// Checks something with what holds where this condition is true, or false, and forgets it again.
    pub(super) fn knowing<T>(&mut self, condition: &Expr, truth: bool, check: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.facts.len();
        self.learn(condition, truth);
        let result = check(self);
        self.facts.truncate(before);
        result
    }

    /// Whether the value at this path is known not to be null.
    pub(super) fn is_not_null(&self, name: Option<&str>, steps: &[String]) -> bool {
        self.facts.iter().any(|fact| {
            // What lies below a thing that is there has all above it there.
            fact.name.as_deref() == name
                && fact.steps.starts_with(steps)
                && match fact.known {
                    Known::NotNull | Known::OneOf(_) | Known::Matches(_) => true,
                    Known::NoneOf(_) => false,
                }
        })
    }

    /// The values that are left of an enum at this path.
    pub(super) fn narrow(&self, name: Option<&str>, steps: &[String], ty: &mut Type) {
        let Kind::Text(text) = &mut ty.kind else { return };
        for fact in self.facts.iter().filter(|f| f.name.as_deref() == name && f.steps == steps) {
            match (&fact.known, &mut text.values) {
                (Known::OneOf(only), Some(values)) => values.retain(|v| only.contains(v)),
                (Known::OneOf(only), none) => *none = Some(only.clone()),
                (Known::NoneOf(without), Some(values)) => values.retain(|v| !without.contains(v)),
                (Known::Matches(pattern), None) => text.pattern = Some(pattern.clone()),
                (Known::NoneOf(_) | Known::NotNull | Known::Matches(_), _) => {}
            }
        }
    }
}

impl Checker {
    /// The type of a value with all that is known of it and of its parts.
    pub(super) fn narrowed(&self, name: &str, steps: &mut Vec<String>, mut ty: Type) -> Type {
        if !self.facts.iter().any(|fact| fact.name.as_deref() == Some(name) && fact.steps.starts_with(steps)) {
            return ty;
        }
        ty.nullable &= !self.is_not_null(Some(name), steps);
        self.narrow(Some(name), steps, &mut ty);
        if let Kind::Record(record) = &mut ty.kind {
            for field in &mut Arc::make_mut(record).fields {
                steps.push(field.name.clone());
                field.required |= self.is_not_null(Some(name), steps);
                field.ty = self.narrowed(name, steps, field.ty.clone());
                steps.pop();
            }
        }
        ty
    }
}

fn collect(condition: &Expr, truth: bool, facts: &mut Vec<Fact>) {
    match &condition.kind {
        ExprKind::And(a, b) if truth => {
            collect(a, true, facts);
            collect(b, true, facts);
        }
        ExprKind::Or(a, b) if !truth => {
            collect(a, false, facts);
            collect(b, false, facts);
        }
        ExprKind::Not(inner) => collect(inner, !truth, facts),
        ExprKind::Compare(how, a, b) => compare(*how, a, b, truth, facts),
        ExprKind::In(value, list) => {
            let texts: Option<Vec<String>> = list.iter().map(text).collect();
            let (Some(path), Some(texts)) = (path(value), texts) else { return };
            push(path, if truth { Known::OneOf(texts) } else { Known::NoneOf(texts) }, facts);
        }
        ExprKind::Call(call) if truth => matches(call, facts),
        _proves_nothing => {}
    }
}

/// `.code | matches('^[A-Z]{2}$')`
fn matches(call: &Call, facts: &mut Vec<Fact>) {
    if let ("matches", Some(path), [Argument::Expr(pattern)]) =
        (call.name.as_str(), path(&call.input), &*call.arguments)
        && let Some(pattern) = text(pattern)
    {
        push(path, Known::Matches(pattern), facts);
    }
}

fn compare(how: Comparison, a: &Expr, b: &Expr, truth: bool, facts: &mut Vec<Fact>) {
    let (place, other) = match (path(a), path(b)) {
        (Some(place), None) => (place, b),
        (None, Some(place)) => (place, a),
        (Some(_), Some(_)) | (None, None) => return,
    };
    let equal = match how {
        Comparison::Equal => truth,
        Comparison::NotEqual => !truth,
        // What is less or greater than something is there.
        Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual => {
            if truth {
                push(place, Known::NotNull, facts);
            }
            return;
        }
    };
    match (&other.kind, equal) {
        (ExprKind::Null, false) => push(place, Known::NotNull, facts),
        (ExprKind::Null, true) => {}
        (ExprKind::Text(text), true) => push(place, Known::OneOf(vec![text.clone()]), facts),
        (ExprKind::Text(text), false) => push(place, Known::NoneOf(vec![text.clone()]), facts),
        (ExprKind::Integer(_) | ExprKind::Decimal(_) | ExprKind::Boolean(_), true) => {
            push(place, Known::NotNull, facts);
        }
        (_, _) => {}
    }
}

fn push(path: &Path, known: Known, facts: &mut Vec<Fact>) {
    let steps: Option<Vec<String>> = path
        .segments
        .iter()
        .map(|s| match &s.step {
            Step::Field(name) => Some(name.clone()),
            Step::Items => None,
        })
        .collect();
    if let Some(steps) = steps {
        facts.push(Fact { name: path.name.clone(), steps, known });
    }
}

fn path(expr: &Expr) -> Option<&Path> {
    match &expr.kind {
        ExprKind::Path(path) => Some(path),
        _other => None,
    }
}

fn text(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Text(text) => Some(text.clone()),
        _other => None,
    }
}
