//! Functions of texts.

use std::borrow::Cow;

use tieline_schema::contract::Validator;
use tieline_schema::types::{Kind, Text, Type};

use super::{Applied, Body, Function, Given, Misuse, Use, on_text};
use crate::check::{displayed, text_length};
use crate::program::{Code, Fault};
use crate::value::Val;

/// Functions of texts.
pub(super) const TEXT: &[Function] = &[
    Function {
        name: "text",
        signature: "any scalar | text → text",
        doc: "Writes a number, a date, an instant or a truth value as text: what a hole in a text would show.",
        example: ("125000.50 | text", "125000.50"),
        body: Body::Plain(text),
    },
    Function {
        name: "lower",
        signature: "text | lower → text",
        doc: "Writes all letters small, by Unicode's rules. The values of an enum stay known.",
        example: ("'Ada@Example.COM' | lower", "ada@example.com"),
        body: Body::Plain(|u| plain(u, |t| Cow::Owned(t.to_lowercase()))),
    },
    Function {
        name: "upper",
        signature: "text | upper → text",
        doc: "Writes all letters large, by Unicode's rules. The values of an enum stay known.",
        example: ("'eur' | upper", "EUR"),
        body: Body::Plain(|u| plain(u, |t| Cow::Owned(t.to_uppercase()))),
    },
    Function {
        name: "trim",
        signature: "text | trim → text",
        doc: "Takes white space off both ends.",
        example: ("'  Ada ' | trim", "Ada"),
        body: Body::Plain(trim),
    },
    Function {
        name: "truncate",
        signature: "text | truncate(characters) → text",
        doc: "Keeps the first characters (Unicode scalar values, as JSON Schema counts them). Proves a `maxLength`.",
        example: ("'Überführung' | truncate(4)", "Über"),
        body: Body::Plain(truncate),
    },
    Function {
        name: "replace",
        signature: "text | replace('what', 'by what') → text",
        doc: "Puts another text in the place of each occurrence of one.",
        example: ("'a-b-c' | replace('-', ' ')", "a b c"),
        body: Body::Plain(replace),
    },
    Function {
        name: "split",
        signature: "text | split('at') → list of texts",
        doc: "Cuts a text at each occurrence of another.",
        example: ("'a,b' | split(',') | join('+')", "a+b"),
        body: Body::Plain(split),
    },
    Function {
        name: "contains",
        signature: "text | contains('part') → true or false",
        doc: "Whether a text has another in it.",
        example: ("'invoice.paid' | contains('paid')", "true"),
        body: Body::Plain(|u| about(u, |t, part| t.contains(part))),
    },
    Function {
        name: "starts_with",
        signature: "text | starts_with('start') → true or false",
        doc: "Whether a text begins with another.",
        example: ("'invoice.paid' | starts_with('invoice.')", "true"),
        body: Body::Plain(|u| about(u, |t, start| t.starts_with(start))),
    },
    Function {
        name: "matches",
        signature: "text | matches('pattern') → true or false",
        doc: "Whether a text matches a pattern as contracts write them (ECMA-262; anywhere in the text, unless it says `^` \
              and `$`). Where a condition says so, a contract's demand for the same pattern is proven.",
        example: ("'DE' | matches('^[A-Z]{2}$')", "true"),
        body: Body::Plain(matches),
    },
    Function {
        name: "translate",
        signature: "text | translate(table) → text",
        doc: "Looks a text up in a table of the definition. Each value that can come needs a row, or the table an \
              `otherwise`.",
        example: ("'MONTHLY' | translate(cycle)", "month"),
        body: Body::Translate,
    },
];

fn text(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.none()?;
    let Some(ty) = displayed(&u.input.kind) else {
        return Err(u.wants("a text, a number, a date, a timestamp, true or false"));
    };
    let code = Code::one(|value| {
        let mut out = Vec::new();
        if let Val::Text(_) = value {
            return Ok(value);
        }
        value.display(&mut out).map_err(Fault::Borrowed)?;
        String::from_utf8(out).map(|t| Val::Text(t.into())).map_err(|_| Fault::Borrowed("is not UTF-8"))
    });
    Ok(Applied { kind: Kind::Text(ty), nullable: false, code })
}

/// A function that gives any text, of a length that can be another.
fn plain(u: &Use<'_>, f: fn(&str) -> Cow<'_, str>) -> Result<Applied, Misuse> {
    u.none()?;
    u.wants_text()?;
    let Kind::Text(before) = &u.input.kind else { return Err(Misuse::Arguments) };
    // Case can change how many characters there are, but never to none.
    let kind = Kind::Text(Text { min_length: before.min_length.min(1), ..Text::default() });
    Ok(Applied { kind, nullable: false, code: on_text(move |t| Ok(Cow::Owned(f(&t).into_owned()))) })
}

fn trim(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.none()?;
    u.wants_text()?;
    let most = most(u.input);
    let code = on_text(|t| {
        Ok(match t {
            Cow::Borrowed(t) => Cow::Borrowed(t.trim()),
            Cow::Owned(t) => Cow::Owned(t.trim().to_owned()),
        })
    });
    Ok(Applied { kind: Kind::Text(Text { max_length: most, ..Text::default() }), nullable: false, code })
}

fn truncate(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.wants_text()?;
    let n = u.whole(0, 1_000_000)?;
    let limit = u32::try_from(n).unwrap_or(u32::MAX);
    let Kind::Text(before) = &u.input.kind else { return Err(Misuse::Arguments) };
    let (least, most) = text_length(before);
    let keeps = most.is_some_and(|m| m <= limit);
    let ty = if keeps {
        before.clone()
    } else {
        Text { min_length: least.min(limit), max_length: Some(most.map_or(limit, |m| m.min(limit))), ..Text::default() }
    };
    let limit = limit as usize;
    let code = on_text(move |t| {
        // Bytes are never fewer than characters, so that short texts need no counting.
        let end = if t.len() <= limit { None } else { t.char_indices().nth(limit).map(|(at, _)| at) };
        Ok(match (end, t) {
            (None, t) => t,
            (Some(end), Cow::Borrowed(t)) => Cow::Borrowed(&t[..end]),
            (Some(end), Cow::Owned(mut t)) => {
                t.truncate(end);
                Cow::Owned(t)
            }
        })
    });
    Ok(Applied { kind: Kind::Text(ty), nullable: false, code })
}

fn replace(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.wants_text()?;
    let [Given::Constant(Val::Text(what), span), Given::Constant(Val::Text(by), _)] = u.given else {
        return Err(Misuse::Arguments);
    };
    if what.is_empty() {
        let message = "an empty text cannot be replaced".to_owned();
        return Err(Misuse::Argument { message, span: *span, help: None });
    }
    // Not longer where what is put in is not longer than what it replaces.
    let max_length = if by.chars().count() <= what.chars().count() { most(u.input) } else { None };
    let (what, by) = (what.to_string(), by.to_string());
    let code = on_text(move |t| Ok(if t.contains(&*what) { Cow::Owned(t.replace(&*what, &by)) } else { t }));
    Ok(Applied { kind: Kind::Text(Text { max_length, ..Text::default() }), nullable: false, code })
}

/// By the contracts' own engine, so that what matches here matches there.
fn matches(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.wants_text()?;
    let [Given::Constant(Val::Text(pattern), span)] = u.given else { return Err(Misuse::Arguments) };
    let schema = serde_json::json!({ "type": "string", "pattern": pattern });
    let validator = Validator::compile(schema).map_err(|_| {
        let help = Some("contracts write them so, ECMA-262: `'^[A-Z]{2}$'`".to_owned());
        Misuse::Argument { message: "this is no pattern".to_owned(), span: *span, help }
    })?;
    let code = Code::one(move |value| match value {
        Val::Text(text) => {
            Ok(Val::Boolean(validator.violations(&serde_json::Value::String(text.into_owned())).is_empty()))
        }
        other => Ok(other),
    });
    Ok(Applied { kind: Kind::Boolean, nullable: false, code })
}

fn split(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.wants_text()?;
    let at = u.text()?;
    if at.is_empty() {
        return Err(Misuse::Arguments);
    }
    let item = Type::of(Kind::Text(Text { max_length: most(u.input), ..Text::default() }));
    let kind = Kind::List { item: Box::new(item), min_items: 1, max_items: None };
    let code = Code::one(move |value| {
        Ok(match value {
            Val::Text(Cow::Borrowed(t)) => Val::Items(t.split(&*at).map(Val::text).collect()),
            Val::Text(Cow::Owned(t)) => Val::Items(t.split(&*at).map(|p| Val::Text(p.to_owned().into())).collect()),
            other => other,
        })
    });
    Ok(Applied { kind, nullable: false, code })
}

fn about(u: &Use<'_>, f: fn(&str, &str) -> bool) -> Result<Applied, Misuse> {
    u.wants_text()?;
    let part = u.text()?;
    let code = Code::one(move |value| match value {
        Val::Text(t) => Ok(Val::Boolean(f(&t, &part))),
        other => Ok(other),
    });
    Ok(Applied { kind: Kind::Boolean, nullable: false, code })
}

fn most(input: &Type) -> Option<u32> {
    match &input.kind {
        Kind::Text(text) => text_length(text).1,
        _other => None,
    }
}
