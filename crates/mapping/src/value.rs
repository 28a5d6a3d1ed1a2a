//! A value while an expression is evaluated. Texts and bytes are borrowed from the event wherever they can be.

use std::borrow::Cow;

use crate::calendar;
use crate::decimal::{DECIMAL_BYTES_MAX, Decimal};

/// A value of an event, of a name, or of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Val<'a> {
    /// Null, or absent.
    Null,
    /// A record that is there. Its fields lie in slots of their own.
    Present,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// An exact number.
    Decimal(Decimal),
    /// A binary floating-point number.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// One of the values of an enum, by its place. Lies in slots only: reading a slot makes text of it.
    Symbol(u32),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A day, counted from 1970-01-01.
    Date(i32),
    /// An instant, in microseconds since the Unix epoch.
    Timestamp(i64),
    /// A list whose items lie in slots.
    List(List),
    /// A list that an expression made.
    Items(Vec<Val<'a>>),
    /// An item of a list whose parts lie in slots, where an expression made another list of some of them.
    Item(ItemAt),
    /// A JSON value that no type is known of.
    Json(&'a serde_json::Value),
}

/// Where the items of a list lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct List {
    /// Which frame: 0 the event, then the names. Filled in when its slot is read.
    pub(crate) frame: u32,
    /// The level of the frame.
    pub(crate) level: u32,
    /// The first slot of the first item.
    pub(crate) start: u32,
    /// How many items there are.
    pub(crate) len: u32,
}

/// Where the slots of an item begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemAt {
    /// Which frame: 0 the event, then the names.
    pub(crate) frame: u32,
    /// The level of the frame.
    pub(crate) level: u32,
    /// Its first slot.
    pub(crate) base: u32,
}

impl<'a> Val<'a> {
    /// Borrowed text.
    pub(crate) fn text(text: &'a str) -> Self {
        Val::Text(Cow::Borrowed(text))
    }

    /// Whether it is null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Val::Null)
    }

    /// The number that it is, exactly.
    pub(crate) fn decimal(&self) -> Option<Decimal> {
        match self {
            Val::Integer(n) => Some(Decimal::integer(*n)),
            Val::Decimal(d) => Some(*d),
            Val::Float(f) => Decimal::from_float(*f),
            Val::Null
            | Val::Present
            | Val::Boolean(_)
            | Val::Text(_)
            | Val::Symbol(_)
            | Val::Bytes(_)
            | Val::Date(_)
            | Val::Timestamp(_)
            | Val::List(_)
            | Val::Items(_)
            | Val::Item(_)
            | Val::Json(_) => None,
        }
    }

    /// Appends it as a person would write it: what a hole in a text shows.
    ///
    /// # Errors
    /// For a value that has no text.
    pub(crate) fn display(&self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match self {
            Val::Text(text) => out.extend_from_slice(text.as_bytes()),
            Val::Integer(n) => write_integer(*n, out),
            Val::Decimal(d) => out.extend_from_slice(d.write(&mut [0; DECIMAL_BYTES_MAX])),
            Val::Float(f) => write_float(*f, out)?,
            Val::Boolean(true) => out.extend_from_slice(b"true"),
            Val::Boolean(false) => out.extend_from_slice(b"false"),
            Val::Date(days) => {
                if !calendar::write_date(i64::from(*days), out) {
                    return Err("is a date beyond the years 0 to 9999");
                }
            }
            Val::Timestamp(micros) => {
                if !calendar::write_timestamp(*micros, out) {
                    return Err("is an instant beyond the years 0 to 9999");
                }
            }
            Val::Null => return Err("is null"),
            Val::Present
            | Val::Symbol(_)
            | Val::Bytes(_)
            | Val::List(_)
            | Val::Items(_)
            | Val::Item(_)
            | Val::Json(_) => return Err("has no text"),
        }
        Ok(())
    }
}

/// Appends a whole number.
pub(crate) fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut buffer = [0u8; 20];
    let mut at = buffer.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        // A remainder by ten fits a byte.
        buffer[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&buffer[at..]);
}

/// Appends a float in its shortest form that reads back as the same.
///
/// # Errors
/// For what JSON cannot write.
pub(crate) fn write_float(value: f64, out: &mut Vec<u8>) -> Result<(), &'static str> {
    if !value.is_finite() {
        return Err("is not a finite number");
    }
    serde_json::to_writer(out, &value).map_err(|_| "is not a finite number")
}
