//! Writes a checked tree as JSON, straight into the buffer that is sent.

use crate::bounds::Bounds;
use crate::check::{Constraint, Leaf, NullRule, Tree};
use crate::decimal::DECIMAL_BYTES_MAX;
use crate::item::Item;
use crate::program::{Program, TemplatePiece};
use crate::run::Env;
use crate::value::{self, Val};
use crate::{RunError, calendar};

/// A tree, ready to be written as JSON.
#[derive(Debug)]
pub(crate) enum Json {
    Record(Vec<JsonField>),
    List { items: Vec<Item<Json>>, min: u32, max: Option<u32>, path: Box<str> },
    Leaf(Leaf),
    Maybe { value: Program, null: NullRule, path: Box<str>, tree: Box<Json> },
}

/// A field and its key as it is written: `"name":`.
#[derive(Debug)]
pub(crate) struct JsonField {
    key: Box<[u8]>,
    tree: Json,
}

impl Json {
    /// Prepares a checked tree.
    pub(crate) fn new(tree: Tree) -> Self {
        match tree {
            Tree::Record(fields) => {
                let field = |f: crate::check::TreeField| {
                    let mut key = Vec::new();
                    write_text(&f.name, &mut key);
                    key.push(b':');
                    JsonField { key: key.into(), tree: Self::new(f.tree) }
                };
                Self::Record(fields.into_iter().map(field).collect())
            }
            Tree::List { items, min, max, path } => {
                let item = |i: Item<Tree>| Item { each: i.each, when: i.when, tree: Self::new(i.tree) };
                Self::List { items: items.into_iter().map(item).collect(), min, max, path }
            }
            Tree::Leaf(leaf) => Self::Leaf(leaf),
            Tree::Maybe { value, null, path, tree } => {
                Self::Maybe { value, null, path, tree: Box::new(Self::new(*tree)) }
            }
        }
    }

    /// Appends it; whether there was anything to write.
    pub(crate) fn write<'e>(&'e self, env: &mut Env<'e>, bounds: &Bounds, out: &mut Vec<u8>) -> Result<bool, RunError> {
        if out.len() > bounds.output_bytes_max {
            return Err(RunError::leaf("", format!("is longer than {} bytes", bounds.output_bytes_max)));
        }
        match self {
            Self::Record(fields) => {
                out.push(b'{');
                let mut first = true;
                for field in fields {
                    let before = out.len();
                    if !first {
                        out.push(b',');
                    }
                    out.extend_from_slice(&field.key);
                    if field.tree.write(env, bounds, out)? {
                        first = false;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(b'}');
                Ok(true)
            }
            Self::List { items, min, max, path } => {
                out.push(b'[');
                let mut count = 0;
                for item in items {
                    item.each(env, |tree, env| {
                        if count > 0 {
                            out.push(b',');
                        }
                        count += 1;
                        if !tree.write(env, bounds, out)? {
                            out.extend_from_slice(b"null");
                        }
                        Ok(())
                    })?;
                }
                out.push(b']');
                check_count(count, *min, *max, path)?;
                Ok(true)
            }
            Self::Leaf(leaf) => write_leaf(leaf, env, out),
            Self::Maybe { value, null, path, tree } => {
                let value = value.eval(env).map_err(|fault| RunError::leaf(&**path, fault))?;
                if value.is_null() { write_null(*null, path, out) } else { tree.write(env, bounds, out) }
            }
        }
    }
}

/// Checks how many items a list got.
pub(crate) fn check_count(count: u32, min: u32, max: Option<u32>, path: &str) -> Result<(), RunError> {
    match max {
        Some(max) if count > max => Err(RunError::leaf(path, format!("has {count} items, and {max} are the most"))),
        _enough if count < min => Err(RunError::leaf(path, format!("has {count} items, and {min} are the fewest"))),
        _enough => Ok(()),
    }
}

/// What becomes of a null: whether anything was written.
fn write_null(null: NullRule, path: &str, out: &mut Vec<u8>) -> Result<bool, RunError> {
    match null {
        NullRule::Omit => Ok(false),
        NullRule::Write => {
            out.extend_from_slice(b"null");
            Ok(true)
        }
        NullRule::Refuse => Err(RunError::leaf(path, "is null, which its place does not take")),
    }
}

fn write_leaf<'e>(leaf: &'e Leaf, env: &Env<'e>, out: &mut Vec<u8>) -> Result<bool, RunError> {
    if leaf.checks.is_empty()
        && let Program::Template(pieces) = &leaf.program
    {
        return write_template(pieces, env, out).map_err(|fault| RunError::leaf(&*leaf.path, fault)).map(|()| true);
    }
    let value = leaf.program.eval(env).map_err(|fault| RunError::leaf(&*leaf.path, fault))?;
    if value.is_null() {
        return write_null(leaf.null, &leaf.path, out);
    }
    check(&leaf.checks, &value, &leaf.path)?;
    write_value(&value, out).map_err(|fault| RunError::leaf(&*leaf.path, fault))?;
    Ok(true)
}

/// Checks what was left to run time.
pub(crate) fn check(checks: &[Constraint], value: &Val<'_>, path: &str) -> Result<(), RunError> {
    checks.iter().try_for_each(|check| check.check(value).map_err(|problem| RunError::leaf(path, problem)))
}

/// Writes a text with holes without making it first.
fn write_template<'e>(
    pieces: &'e [TemplatePiece],
    env: &Env<'e>,
    out: &mut Vec<u8>,
) -> Result<(), crate::program::Fault> {
    out.push(b'"');
    for piece in pieces {
        match piece {
            TemplatePiece::Text(text) => escape(text, out),
            TemplatePiece::Hole(hole) => match hole.eval(env)? {
                Val::Text(text) => escape(&text, out),
                // Nothing else has a character that JSON escapes.
                other => other.display(out)?,
            },
        }
    }
    out.push(b'"');
    Ok(())
}

fn write_value(value: &Val<'_>, out: &mut Vec<u8>) -> Result<(), &'static str> {
    match value {
        Val::Text(text) => write_text(text, out),
        Val::Integer(n) => value::write_integer(*n, out),
        Val::Decimal(d) => out.extend_from_slice(d.write(&mut [0; DECIMAL_BYTES_MAX])),
        Val::Float(f) => value::write_float(*f, out)?,
        Val::Boolean(true) => out.extend_from_slice(b"true"),
        Val::Boolean(false) => out.extend_from_slice(b"false"),
        Val::Null => out.extend_from_slice(b"null"),
        Val::Date(days) => {
            out.push(b'"');
            if !calendar::write_date(i64::from(*days), out) {
                return Err("is a date beyond the years 0 to 9999");
            }
            out.push(b'"');
        }
        Val::Timestamp(micros) => {
            out.push(b'"');
            if !calendar::write_timestamp(*micros, out) {
                return Err("is an instant beyond the years 0 to 9999");
            }
            out.push(b'"');
        }
        Val::Json(json) => serde_json::to_writer(out, json).map_err(|_| "cannot be written")?,
        Val::Items(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_value(item, out)?;
            }
            out.push(b']');
        }
        Val::Present | Val::Symbol(_) | Val::Bytes(_) | Val::List(_) | Val::Item(_) => {
            return Err("has no form in JSON");
        }
    }
    Ok(())
}

/// Appends a JSON string.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out);
    out.push(b'"');
}

/// Appends the inside of a JSON string (RFC 8259, section 7).
fn escape(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => *byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..=0x1f => b'u',
            _plain => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        plain = at + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_reads_back_from_json(text in any::<String>()) {
            let mut out = Vec::new();
            write_text(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
