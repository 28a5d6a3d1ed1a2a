//! The values of a type that are worth a try: an ordinary one first, then what people forget (nothing at all, the
//! longest, the least, a leap day, a night that is tomorrow elsewhere).

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Value, json};
use tieline_schema::types::{Bounds, Kind, Text, Type};

use crate::calendar;
use crate::condition::Literal;
use crate::decimal::Decimal;
use crate::value::Val;

/// Length of a long text where nothing bounds it, in characters: longer than the fields of most systems.
const LONG_TEXT: u32 = 300;

/// Most characters that a text gets because its contract wants so many, or repetitions of a part of it; a contract that
/// wants more refuses the example.
const REPEATED_MAX: u32 = 1_000;

/// Most items of a list because a condition counts them.
const NAMED_ITEMS_MAX: u32 = 100;

/// Digits before the point of the greatest decimal that is tried: what 64 bits surely hold.
const WHOLE_DIGITS_MAX: u32 = 12;

/// An ordinary value of a type; not null where it need not be.
pub(super) fn ordinary(ty: &Type) -> Value {
    match &ty.kind {
        Kind::Record(record) => record.fields.iter().map(|f| (f.name.clone(), ordinary(&f.ty))).collect(),
        Kind::List { item, min_items, .. } => (0..(*min_items).max(1)).map(|_| ordinary(item)).collect(),
        Kind::Map(_) => json!({}),
        _single => of_type(ty).into_iter().next().unwrap_or(Value::Null),
    }
}

/// The values of a type, an ordinary one first and null last. Of a record only null: its fields have their own.
pub(super) fn of_type(ty: &Type) -> Vec<Value> {
    let mut values: Vec<Value> = match &ty.kind {
        Kind::Text(text) => texts(text).into_iter().map(Value::String).collect(),
        Kind::Integer { min, max } => {
            let ordinary = 7.clamp(*min, *max);
            [ordinary, 0, 1, -1, *min, *max].into_iter().filter(|n| (min..=max).contains(&n)).map(Value::from).collect()
        }
        Kind::Decimal { precision, scale, bounds } => numbers(bounds, &decimals(*precision, *scale)),
        Kind::Float { bounds } => numbers(bounds, &["7.5", "0", "1", "-1.5"].map(str::to_owned)),
        Kind::Boolean => vec![json!(true), json!(false)],
        Kind::Date => vec![json!("2026-06-15"), json!("2024-02-29"), json!("2026-12-31")],
        Kind::Timestamp => vec![json!("2026-06-15T12:00:00Z"), json!("2026-12-31T23:30:00Z")],
        Kind::Bytes => vec![json!("dGllbGluZQ=="), json!("")],
        Kind::List { item, min_items, max_items } => {
            let counts = [1, 0, 3].into_iter().filter(|n| n >= min_items && max_items.is_none_or(|m| *n <= m));
            counts.map(|n| (0..n).map(|_| ordinary(item)).collect()).collect()
        }
        Kind::Record(_) | Kind::Map(_) => Vec::new(),
        Kind::Null | Kind::Any => vec![Value::Null],
    };
    if ty.nullable && !values.contains(&Value::Null) {
        values.push(Value::Null);
    }
    values
}

/// The values of a type that are, or lie just beside, those that a condition names: it changes its mind there.
pub(super) fn near(ty: &Type, literals: &[Literal]) -> Vec<Value> {
    let of_literal = |literal: &Literal| match (literal, &ty.kind) {
        (Literal::Pattern(pattern), Kind::Text(Text { values: None, .. })) => {
            matching(pattern).map(Value::String).into_iter().collect()
        }
        (Literal::Value(value), kind) => beside(value, kind),
        (Literal::Pattern(_), _) => Vec::new(),
    };
    literals.iter().flat_map(of_literal).collect()
}

fn beside(value: &Val<'_>, kind: &Kind) -> Vec<Value> {
    let around = |n: i64| [n, n.saturating_add(1), n.saturating_sub(1)];
    match (kind, value) {
        (Kind::Text(Text { values: None, .. }), Val::Text(text)) => vec![json!(text)],
        (Kind::Integer { min, max }, number) => {
            let whole = number.decimal().and_then(|d| d.round(0)).and_then(Decimal::to_integer);
            let around = whole.into_iter().flat_map(around);
            around.filter(|n| (min..=max).contains(&n)).map(Value::from).collect()
        }
        (Kind::Decimal { scale, bounds, .. }, number) => numbers(bounds, &decimals_around(number, *scale)),
        (Kind::Float { bounds }, number) => numbers(bounds, &decimals_around(number, 0)),
        (Kind::Date, Val::Date(day)) => around(i64::from(*day)).into_iter().filter_map(shown_date).collect(),
        (Kind::Timestamp, Val::Timestamp(micros)) => {
            let second = 1_000_000;
            let around = [*micros, micros.saturating_add(second), micros.saturating_sub(second)];
            around.into_iter().filter_map(shown_timestamp).collect()
        }
        (Kind::List { item, min_items, max_items }, Val::Integer(n)) => {
            let counts = around(*n).into_iter().filter_map(|n| u32::try_from(n).ok());
            let fits = |n: &u32| n >= min_items && *n <= max_items.unwrap_or(NAMED_ITEMS_MAX).min(NAMED_ITEMS_MAX);
            counts.filter(fits).map(|n| (0..n).map(|_| ordinary(item)).collect()).collect()
        }
        (_, _) => Vec::new(),
    }
}

/// A number and its neighbours with so many digits after the point.
fn decimals_around(value: &Val<'_>, scale: u32) -> Vec<String> {
    let Some(number) = value.decimal() else { return Vec::new() };
    let step = |unit: i128| number.add(Decimal::new(unit, scale)?);
    let rounded = number.round(scale);
    let all = [
        (scale == 0).then_some(number),
        rounded,
        step(1).and_then(|n| n.round(scale)),
        step(-1).and_then(|n| n.round(scale)),
    ];
    all.into_iter().flatten().map(|n| n.to_string()).collect()
}

fn shown_date(day: i64) -> Option<Value> {
    let mut text = Vec::new();
    calendar::write_date(day, &mut text).then(|| String::from_utf8(text).ok().map(Value::String))?
}

fn shown_timestamp(micros: i64) -> Option<Value> {
    let mut text = Vec::new();
    calendar::write_timestamp(micros, &mut text).then(|| String::from_utf8(text).ok().map(Value::String))?
}

fn decimals(precision: u32, scale: u32) -> Vec<String> {
    let most = "9".repeat(precision.saturating_sub(scale).clamp(1, WHOLE_DIGITS_MAX) as usize);
    let mut decimals = vec!["7".to_owned(), "0".to_owned(), "1".to_owned(), most.clone(), format!("-{most}")];
    if scale > 0 {
        decimals.push(format!("0.{}1", "0".repeat(scale as usize - 1)));
    }
    decimals
}

/// Those that lie within the bounds, and the bounds themselves.
fn numbers(bounds: &Bounds, candidates: &[String]) -> Vec<Value> {
    let number = |text: &String| serde_json::from_str::<serde_json::Number>(text).ok();
    let float = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<f64>().ok());
    let (min, max) = (float(&bounds.min), float(&bounds.max));
    let within = |n: &serde_json::Number| {
        n.as_f64().is_some_and(|n| min.is_none_or(|min| n >= min) && max.is_none_or(|max| n <= max))
    };
    let all = candidates.iter().chain(&bounds.min).chain(&bounds.max);
    all.filter_map(number).filter(within).map(Value::Number).collect()
}

fn texts(text: &Text) -> Vec<String> {
    if let Some(values) = &text.values {
        return values.clone();
    }
    if let Some(text) = text.pattern.as_deref().and_then(matching) {
        return vec![text];
    }
    let of_format = match text.format.as_deref() {
        Some("email") => Some("ada@example.com"),
        Some("uuid") => Some("0190a6e4-0000-7000-8000-000000000000"),
        Some("uri" | "uri-reference") => Some("https://example.com/"),
        Some("hostname") => Some("example.com"),
        Some("ipv4") => Some("192.0.2.1"),
        Some("time") => Some("12:00:00Z"),
        Some(_) | None => None,
    };
    if let Some(one) = of_format {
        return vec![one.to_owned()];
    }
    let most = text.max_length.unwrap_or(u32::MAX).min(LONG_TEXT.max(text.min_length.min(REPEATED_MAX)));
    let fits = |t: &String| (text.min_length as usize..=most as usize).contains(&t.chars().count());
    let long = "x".repeat(most as usize);
    let all = ["Ordinary text", "", &long, "Ünï \"quoted\" 文字", "ada@example.com"].map(str::to_owned);
    let fitting: Vec<String> = all.into_iter().filter(fits).collect();
    if fitting.is_empty() { vec![long] } else { fitting }
}

/// The shortest text that a pattern matches; none for what only backtracking can match (look-ahead, back-references).
fn matching(pattern: &str) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    append(&hir, &mut text)?;
    Some(text)
}

/// The recursion is bounded by the parser's own limit on nesting.
fn append(hir: &Hir, text: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            let has = |c: &char| class.ranges().iter().any(|r| (r.start()..=r.end()).contains(c));
            // A 1 rather than a 0, so that what looks like a date is one.
            let usual = ['1', 'a', 'A'].into_iter().find(has);
            text.push(usual.or_else(|| class.ranges().first().map(|r| r.start()))?);
        }
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min.min(REPEATED_MAX) {
                append(&repetition.sub, text)?;
            }
        }
        HirKind::Capture(capture) => append(&capture.sub, text)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| append(part, text))?,
        HirKind::Alternation(branches) => append(branches.first()?, text)?,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_text_is_made_from_its_pattern() {
        let check = |pattern: &str, expect: Option<&str>| assert_eq!(matching(pattern).as_deref(), expect, "{pattern}");
        check("^[A-Z]{2}$", Some("AA"));
        check(r"^P-\d{4}-[0-9]+$", Some("P-1111-1"));
        check(r"^[0-9]{2}\.[0-9]{2}\.[0-9]{4}$", Some("11.11.1111"));
        check("^(de|en)?x*$", Some(""));
        check("^(?!x)y$", None);
    }

    #[test]
    fn values_stay_within_the_bounds_of_their_type() {
        let kind = Kind::Decimal {
            precision: 12,
            scale: 2,
            bounds: Bounds { min: Some("100".to_owned()), max: Some("100.5".to_owned()) },
        };
        assert_eq!(of_type(&Type::of(kind)), [json!(100), json!(100.5)]);
        let text = Text { min_length: 400, ..Text::default() };
        assert_eq!(texts(&text), ["x".repeat(400)]);
        let text = Text { max_length: Some(5), ..Text::default() };
        assert_eq!(texts(&text), ["", "xxxxx"]);
    }
}
