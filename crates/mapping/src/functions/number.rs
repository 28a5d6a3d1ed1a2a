//! Functions of numbers. All are exact: what has no exact result is an error, and rounding is said.

use tieline_schema::types::Kind;

use super::{Applied, Body, Function, Misuse, Use};
use crate::check::{Range, number_scale};
use crate::decimal::Decimal;
use crate::program::{Code, Fault};
use crate::value::Val;

const TOO_LARGE: Fault = Fault::Borrowed("is beyond the numbers that can be counted exactly");

/// Functions of numbers.
pub(super) const NUMBERS: &[Function] = &[
    Function {
        name: "round",
        signature: "number | round(digits) → decimal; number | round → integer",
        doc: "Rounds half away from zero, as prices are, to whole numbers or to digits after the point.",
        example: ("2.345 | round(2)", "2.35"),
        body: Body::Plain(round),
    },
    Function {
        name: "integer",
        signature: "number or text | integer → integer",
        doc: "A whole number, exactly: one with a fraction, or a text that is no number, is an error.",
        example: ("'42' | integer", "42"),
        body: Body::Plain(integer),
    },
    Function {
        name: "decimal",
        signature: "number or text | decimal(digits) → decimal",
        doc: "An exact number with so many digits after the point; one that has more is an error.",
        example: ("'12.5' | decimal(2)", "12.50"),
        body: Body::Plain(decimal),
    },
    Function {
        name: "cents",
        signature: "decimal | cents → integer",
        doc: "An amount in hundredths, exactly: one with more than two digits after the point is an error.",
        example: ("125000.50 | cents", "12500050"),
        body: Body::Plain(cents),
    },
    Function {
        name: "from_cents",
        signature: "integer | from_cents → decimal",
        doc: "An amount of hundredths as a decimal with two digits after the point.",
        example: ("12500050 | from_cents", "125000.50"),
        body: Body::Plain(from_cents),
    },
    Function {
        name: "abs",
        signature: "number | abs → number",
        doc: "The number without its sign.",
        example: ("-1.50 | abs", "1.50"),
        body: Body::Plain(abs),
    },
];

/// Applies a function to an exact number; a float is the shortest number that reads back as it.
fn on_number(f: impl Fn(Decimal) -> Result<Val<'static>, Fault> + Send + Sync + 'static) -> Code {
    Code::one(move |value| match value.decimal() {
        Some(d) => f(d),
        None if matches!(value, Val::Float(_)) => Err(TOO_LARGE),
        None => Ok(value),
    })
}

fn range(u: &Use<'_>) -> Result<Range, Misuse> {
    Range::of(&u.input.kind).ok_or_else(|| Misuse::Input {
        wants: "a number",
        help: Some("make one of it first: `… | decimal(2)`".to_owned()),
    })
}

fn whole(d: Decimal) -> Result<Val<'static>, Fault> {
    d.to_integer().map(Val::Integer).ok_or(TOO_LARGE)
}

fn round(u: &Use<'_>) -> Result<Applied, Misuse> {
    let range = range(u)?;
    if u.given.is_empty() {
        let kind = range.map(|d| d.round(0)).integer();
        return Ok(Applied { kind, nullable: false, code: on_number(|d| whole(d.round(0).ok_or(TOO_LARGE)?)) });
    }
    let digits = u32::try_from(u.whole(0, 18)?).unwrap_or(0);
    let kind = range.map(|d| d.round(digits)).decimal(digits);
    let code = on_number(move |d| d.round(digits).map(Val::Decimal).ok_or(TOO_LARGE));
    Ok(Applied { kind, nullable: false, code })
}

fn integer(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.none()?;
    let f = |d: Decimal| d.to_integer().map(Val::Integer).ok_or(Fault::Borrowed("is not a whole number of 64 bits"));
    let kind = match (&u.input.kind, Range::of(&u.input.kind)) {
        (Kind::Text(_), _) => Kind::Integer { min: i64::MIN, max: i64::MAX },
        (_, Some(range)) => range.integer(),
        (_, None) => return Err(u.wants("a number or a text")),
    };
    Ok(Applied { kind, nullable: false, code: parsed(f) })
}

fn decimal(u: &Use<'_>) -> Result<Applied, Misuse> {
    let digits = u32::try_from(u.whole(0, 18)?).unwrap_or(0);
    let f = move |d: Decimal| {
        let exact = d.rescale(digits).map(Val::Decimal);
        exact.ok_or_else(|| Fault::Owned(format!("has more than {digits} digits after the point")))
    };
    let kind = match (&u.input.kind, Range::of(&u.input.kind)) {
        (Kind::Text(_), _) => Range { min: None, max: None }.decimal(digits),
        (_, Some(range)) => range.map(|d| d.round(digits)).decimal(digits),
        (_, None) => return Err(u.wants("a number or a text")),
    };
    Ok(Applied { kind, nullable: false, code: parsed(f) })
}

/// Applies a function to a number, or to the number that a text says.
fn parsed(f: impl Fn(Decimal) -> Result<Val<'static>, Fault> + Send + Sync + 'static) -> Code {
    Code::one(move |value| match &value {
        Val::Text(text) => f(Decimal::parse(text.trim()).ok_or(Fault::Borrowed("is not a number"))?),
        number => match number.decimal() {
            Some(d) => f(d),
            None => Err(TOO_LARGE),
        },
    })
}

fn cents(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.none()?;
    let range = range(u)?;
    if number_scale(&u.input.kind).is_none_or(|s| s > 2) {
        let help = Some("round it first: `… | round(2) | cents`".to_owned());
        return Err(Misuse::Input { wants: "an amount with two digits after the point at most", help });
    }
    let hundred = Decimal::integer(100);
    let kind = range.map(|d| d.multiply(hundred)).integer();
    Ok(Applied { kind, nullable: false, code: on_number(move |d| whole(d.multiply(hundred).ok_or(TOO_LARGE)?)) })
}

fn from_cents(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.none()?;
    if !matches!(u.input.kind, Kind::Integer { .. }) {
        return Err(u.wants("an integer"));
    }
    let point = |d: Decimal| Decimal::new(d.unscaled(), 2);
    let kind = range(u)?.map(point).decimal(2);
    Ok(Applied { kind, nullable: false, code: on_number(move |d| point(d).map(Val::Decimal).ok_or(TOO_LARGE)) })
}

fn abs(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.none()?;
    let Range { min, max } = range(u)?;
    let magnitude = |d: Decimal| if d.unscaled() < 0 { d.negate() } else { Some(d) };
    let top =
        min.and_then(magnitude).zip(max.and_then(magnitude)).map(|(a, b)| if a.compare(b).is_lt() { b } else { a });
    let range = Range { min: Some(Decimal::ZERO), max: top };
    let (kind, code) = match number_scale(&u.input.kind) {
        Some(scale) if scale > 0 || !matches!(u.input.kind, Kind::Integer { .. }) => {
            (range.decimal(scale), on_number(move |d| magnitude(d).map(Val::Decimal).ok_or(TOO_LARGE)))
        }
        Some(_) => (range.integer(), on_number(move |d| whole(magnitude(d).ok_or(TOO_LARGE)?))),
        None => return Err(u.wants("an integer or a decimal")),
    };
    Ok(Applied { kind, nullable: false, code })
}
