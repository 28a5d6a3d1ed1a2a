//! Whether a value of one type fits a place of another: proven, refuted, or left to run time (a *residual*).

use std::sync::Arc;

use serde_json::json;
use tieline_schema::contract::Validator;
use tieline_schema::types::{Bounds, Kind, Text};

use super::describe;
use super::join::length;
use super::number::{Range, scale};
use crate::decimal::Decimal;
use crate::value::Val;

/// Formats that a validator checks; any other is a remark.
const FORMATS: [&str; 15] = [
    "email",
    "idn-email",
    "hostname",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uri-reference",
    "iri",
    "iri-reference",
    "uuid",
    "time",
    "duration",
    "regex",
    "json-pointer",
];

/// What becomes of a null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NullRule {
    /// The field is left out.
    Omit,
    /// It is sent.
    Write,
    /// The target does not take it.
    Refuse,
}

/// What a place demands of a value, checked when the value is there.
#[derive(Debug, Clone)]
pub(crate) enum Constraint {
    /// So many characters.
    Length { min: u32, max: Option<u32> },
    /// A number in this range.
    Within { min: Option<Decimal>, max: Option<Decimal> },
    /// One of these texts.
    OneOf(Vec<String>),
    /// A text that this schema takes: a pattern, a format.
    Schema { what: String, validator: Arc<Validator> },
}

/// Why a value does not fit.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    /// What follows the name of the place: "takes 64 characters at most, …".
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// What is not proven: the refusal that it is unless it is owned, and the check that it becomes.
#[derive(Debug)]
pub(crate) struct Residual {
    pub(crate) refusal: Refusal,
    pub(crate) constraint: Constraint,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>, help: impl Into<Option<String>>) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }
}

impl Constraint {
    /// Whether both are of one demand of a place.
    pub(super) fn demands_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Schema { what, .. }, Self::Schema { what: other, .. }) => what == other,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }

    /// Checks a value; what is wrong never holds the value itself.
    pub(crate) fn check(&self, value: &Val<'_>) -> Result<(), String> {
        match (self, value) {
            (_, Val::Null) => Ok(()),
            (Self::Length { min, max }, Val::Text(text)) => {
                let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
                match max {
                    Some(max) if chars > *max => Err(format!("has {chars} characters, and {max} are the most")),
                    _within if chars < *min => Err(format!("has {chars} characters, and {min} are the fewest")),
                    _within => Ok(()),
                }
            }
            (Self::OneOf(values), Val::Text(text)) => {
                if values.iter().any(|v| v == text) {
                    return Ok(());
                }
                Err(format!("is none of {}", describe::list(values)))
            }
            (Self::Schema { what, validator }, Val::Text(text)) => {
                let fits = validator.violations(&serde_json::Value::String(text.to_string())).is_empty();
                if fits { Ok(()) } else { Err(format!("does not {what}")) }
            }
            (Self::Within { min, max }, value) => {
                let Some(number) = value.decimal() else { return Err("is not a number".to_owned()) };
                match (min, max) {
                    (Some(min), _) if number.compare(*min).is_lt() => Err(format!("is less than {min}")),
                    (_, Some(max)) if number.compare(*max).is_gt() => Err(format!("is greater than {max}")),
                    (_, _) => Ok(()),
                }
            }
            (Self::Length { .. } | Self::OneOf(_) | Self::Schema { .. }, _) => Err("is not a text".to_owned()),
        }
    }
}

/// What is left to run time where a value of `source` goes to a place of `target`; neither is null.
pub(super) fn accept(source: &Kind, target: &Kind) -> Result<Vec<Residual>, Refusal> {
    match (source, target) {
        (Kind::Bytes, Kind::Any) => Err(wrong(source, target, Some("write it as text: `… | base64`"))),
        (_, Kind::Any) | (Kind::Null, _) => Ok(Vec::new()),
        (Kind::Text(from), Kind::Text(to)) => texts(from, to),
        (Kind::Integer { .. } | Kind::Decimal { .. } | Kind::Float { .. }, Kind::Integer { .. }) => {
            if scale(source) == Some(0) {
                return Ok(within(source, target)?.into_iter().collect());
            }
            Err(wrong(source, target, Some("round it: `… | round`")))
        }
        (Kind::Integer { .. } | Kind::Decimal { .. }, Kind::Decimal { scale: to, .. }) => {
            if scale(source).is_some_and(|s| s > *to) {
                return Err(wrong(source, target, Some(&format!("round it: `… | round({to})`"))));
            }
            Ok(within(source, target)?.into_iter().collect())
        }
        (Kind::Float { .. }, Kind::Decimal { scale, .. }) => {
            Err(wrong(source, target, Some(&format!("round it: `… | round({scale})`"))))
        }
        (Kind::Integer { .. } | Kind::Decimal { .. } | Kind::Float { .. }, Kind::Float { .. }) => {
            Ok(within(source, target)?.into_iter().collect())
        }
        (Kind::Boolean, Kind::Boolean)
        | (Kind::Bytes, Kind::Bytes)
        | (Kind::Date, Kind::Date)
        | (Kind::Timestamp, Kind::Timestamp) => Ok(Vec::new()),
        (Kind::Timestamp, Kind::Date) => Err(Refusal::new(
            "mapping/timestamp-as-date",
            "must be a date, but this is a timestamp",
            "in which zone? `… | date(Europe/Berlin)`".to_owned(),
        )),
        (Kind::Date, Kind::Timestamp) => {
            Err(wrong(source, target, Some("when does it begin? `… | timestamp(Europe/Berlin)`")))
        }
        (Kind::Text(_), Kind::Date) => Err(wrong(source, target, Some("read it: `… | parse_date('yyyy-MM-dd')`"))),
        (Kind::Text(_), Kind::Timestamp) => Err(wrong(source, target, Some("read it: `… | timestamp`"))),
        (Kind::Integer { .. }, Kind::Timestamp) => {
            Err(wrong(source, target, Some("read it: `… | from_unix`, or `… | from_unix_ms`")))
        }
        (Kind::Timestamp, Kind::Integer { .. }) => {
            Err(wrong(source, target, Some("count it: `… | unix`, or `… | unix_ms`")))
        }
        (Kind::Text(_), Kind::Integer { .. }) => Err(wrong(source, target, Some("read it: `… | integer`"))),
        (Kind::Text(_), Kind::Decimal { .. } | Kind::Float { .. }) => {
            Err(wrong(source, target, Some("read it: `… | decimal(2)`")))
        }
        (Kind::Bytes, Kind::Text(_)) => Err(wrong(source, target, Some("write it as text: `… | base64`"))),
        (
            Kind::Integer { .. }
            | Kind::Decimal { .. }
            | Kind::Float { .. }
            | Kind::Boolean
            | Kind::Date
            | Kind::Timestamp,
            Kind::Text(_),
        ) => Err(wrong(source, target, Some("write it as text: `… | text`"))),
        (_, _) => Err(wrong(source, target, None)),
    }
}

fn wrong(source: &Kind, target: &Kind, help: Option<&str>) -> Refusal {
    let message = format!("must be {}, but this is {}", describe::wanted(target), describe::kind(source));
    Refusal::new("mapping/wrong-type", message, help.map(str::to_owned))
}

fn texts(from: &Text, to: &Text) -> Result<Vec<Residual>, Refusal> {
    let mut residuals = Vec::new();
    if let Some(accepted) = &to.values {
        match &from.values {
            Some(values) => {
                let refused: Vec<String> = values.iter().filter(|v| !accepted.contains(v)).cloned().collect();
                if !refused.is_empty() {
                    return Err(not_accepted(&refused, accepted));
                }
            }
            None => {
                let message = format!("takes {} only, but this is any text", describe::list(accepted));
                let help = "translate it: `… | translate(table)`".to_owned();
                let refusal = Refusal::new("mapping/not-accepted", message, help);
                residuals.push(Residual { refusal, constraint: Constraint::OneOf(accepted.clone()) });
            }
        }
        return Ok(residuals);
    }
    residuals.extend(lengths(from, to)?);
    if let Some(pattern) = &to.pattern
        && from.pattern.as_ref() != Some(pattern)
    {
        let schema = json!({ "type": "string", "pattern": pattern });
        let help = format!("filter such events out: `when: … | matches('{}')`", pattern.replace('\'', "''"));
        residuals.extend(schema_residual(from, format!("match {pattern}"), Some(help), schema)?);
    }
    if let Some(format) = &to.format
        && FORMATS.contains(&format.as_str())
        && from.format.as_ref() != Some(format)
    {
        let schema = json!({ "type": "string", "format": format });
        residuals.extend(schema_residual(from, format!("have the format {format}"), None, schema)?);
    }
    Ok(residuals)
}

fn not_accepted(refused: &[String], accepted: &[String]) -> Refusal {
    let message = format!("does not accept {}", describe::list(refused));
    let help = format!("it accepts {}", describe::list(accepted));
    Refusal::new("mapping/not-accepted", message, help)
}

fn lengths(from: &Text, to: &Text) -> Result<Option<Residual>, Refusal> {
    let (least, most) = length(from);
    let too_long = to.max_length.filter(|max| most.is_none_or(|m| m > *max));
    let too_short = Some(to.min_length).filter(|min| least < *min);
    let constraint = Constraint::Length { min: to.min_length, max: to.max_length };
    let (refusal, refuted) = match (too_long, too_short) {
        (None, None) => return Ok(None),
        (Some(max), _) => {
            let can = if least > max { "is always longer" } else { "can be longer" };
            let help = format!("`… | truncate({max})`");
            let message = format!("takes {max} characters at most, but this {can}");
            (Refusal::new("mapping/too-long", message, help), least > max)
        }
        (None, Some(min)) => {
            let refuted = most.is_some_and(|m| m < min);
            let can = if refuted { "is always shorter" } else { "can be shorter" };
            let message = format!("takes {min} characters at least, but this {can}");
            (Refusal::new("mapping/too-short", message, None), refuted)
        }
    };
    if refuted { Err(refusal) } else { Ok(Some(Residual { refusal, constraint })) }
}

/// A pattern or a format: known values are tried now, others when they come.
fn schema_residual(
    from: &Text,
    what: String,
    help: Option<String>,
    schema: serde_json::Value,
) -> Result<Option<Residual>, Refusal> {
    // A pattern that does not compile is the contract's own problem, and is reported there.
    let Ok(validator) = Validator::compile(schema) else { return Ok(None) };
    let validator = Arc::new(validator);
    let constraint = Constraint::Schema { what: what.clone(), validator };
    if let Some(values) = &from.values {
        let fails = |v: &&String| constraint.check(&Val::text(v)).is_err();
        let refused: Vec<String> = values.iter().filter(fails).cloned().collect();
        if refused.is_empty() {
            return Ok(None);
        }
        let message = format!("does not accept {}", describe::list(&refused));
        return Err(Refusal::new("mapping/not-accepted", message, format!("it has to {what}")));
    }
    let message = format!("has to {what}, which this need not");
    Ok(Some(Residual { refusal: Refusal::new("mapping/not-proven", message, help), constraint }))
}

fn within(source: &Kind, target: &Kind) -> Result<Option<Residual>, Refusal> {
    let (Some(from), Some(to)) = (Range::of(source), Range::of(target)) else { return Ok(None) };
    // The widest type that we have stands for "no bound": what does not fit 38 digits fails before it gets here.
    let unbounded = matches!(target, Kind::Decimal { precision: 38, bounds: Bounds { min: None, max: None }, .. });
    if unbounded {
        return Ok(None);
    }
    let low = to.min.filter(|min| from.min.is_none_or(|m| m.compare(*min).is_lt()));
    let high = to.max.filter(|max| from.max.is_none_or(|m| m.compare(*max).is_gt()));
    let refuted = from.is_disjoint(to);
    let can = if refuted { "is always" } else { "can be" };
    let message = match (low, high) {
        (None, None) => return Ok(None),
        (Some(min), None) => format!("takes {min} at least, but this {can} less"),
        (None, Some(max)) => format!("takes {max} at most, but this {can} greater"),
        (Some(min), Some(max)) => format!("takes {min} to {max}, but this {can} beyond"),
    };
    let refusal = Refusal::new("mapping/out-of-range", message, None);
    if refuted {
        return Err(refusal);
    }
    Ok(Some(Residual { refusal, constraint: Constraint::Within { min: to.min, max: to.max } }))
}
