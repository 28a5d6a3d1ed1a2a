//! Reads slots out of a JSON value: a webhook's body, a look-up's answer, a response.

use serde_json::Value;
use tieline_schema::types::Kind;

use crate::bounds::Bounds;
use crate::decimal::Decimal;
use crate::frame::Frame;
use crate::layout::{Layout, ROOT, WantId};
use crate::value::Val;
use crate::{RunError, calendar};

/// Fills the slots of a layout. `top` is what the value is called in messages.
pub(crate) fn read<'a>(layout: &Layout, value: &'a Value, bounds: &Bounds, top: &str) -> Result<Frame<'a>, RunError> {
    let mut reading = Reading { layout, frame: Frame::new(layout), items_left: bounds.items_max };
    match reading.want(ROOT, 0, value) {
        Ok(()) => Ok(reading.frame),
        Err(Fault { steps, problem }) => {
            let path = steps.iter().rev().fold(top.to_owned(), |path, step| path + step);
            Err(RunError::Leaf { path, problem })
        }
    }
}

struct Reading<'l, 'a> {
    layout: &'l Layout,
    frame: Frame<'a>,
    items_left: usize,
}

/// What is wrong, and the way there, innermost step first.
struct Fault {
    steps: Vec<String>,
    problem: String,
}

impl Fault {
    fn new(problem: impl Into<String>) -> Self {
        Self { steps: Vec::new(), problem: problem.into() }
    }

    fn at(mut self, step: String) -> Self {
        self.steps.push(step);
        self
    }
}

impl<'a> Reading<'_, 'a> {
    /// The recursion follows the layout, not the value: no depth of the value can overflow the stack.
    fn want(&mut self, id: WantId, base: u32, value: &'a Value) -> Result<(), Fault> {
        let layout = self.layout;
        let want = layout.want(id);
        if value.is_null() {
            return Ok(());
        }
        match &want.ty.kind {
            Kind::Record(_) | Kind::Map(_) => {
                let Value::Object(object) = value else {
                    return Err(Fault::new("is not an object, as its contract says"));
                };
                if let Some(slot) = want.slot {
                    self.frame.put(want.level, base + slot, Val::Present);
                }
                for (name, field) in &want.fields {
                    if let Some(value) = object.get(name) {
                        self.want(*field, base, value).map_err(|f| f.at(format!(".{name}")))?;
                    }
                }
            }
            Kind::List { .. } => {
                let Value::Array(items) = value else {
                    return Err(Fault::new("is not a list, as its contract says"));
                };
                self.list(id, base, items)?;
            }
            Kind::Any => {
                if let Some(slot) = want.slot {
                    self.frame.put(want.level, base + slot, Val::Json(value));
                }
                for (name, field) in &want.fields {
                    if let Some(value) = value.get(name) {
                        self.want(*field, base, value).map_err(|f| f.at(format!(".{name}")))?;
                    }
                }
            }
            scalar => {
                if let Some(slot) = want.slot {
                    let value = read_scalar(scalar, value).map_err(Fault::new)?;
                    self.frame.put(want.level, base + slot, value);
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, id: WantId, base: u32, items: &'a [Value]) -> Result<(), Fault> {
        let layout = self.layout;
        let want = layout.want(id);
        let Some(item) = want.item else { return Ok(()) };
        let level = layout.want(item).level;
        self.items_left =
            self.items_left.checked_sub(items.len()).ok_or_else(|| Fault::new("has more items than are allowed"))?;
        let start = self.frame.start_list(level);
        for (at, value) in items.iter().enumerate() {
            let item_base = self.frame.add_item(level);
            self.want(item, item_base, value).map_err(|f| f.at(format!("[{at}]")))?;
        }
        if let Some(slot) = want.slot {
            let list = self.frame.end_list(level, start);
            self.frame.put(want.level, base + slot, Val::List(list));
        }
        Ok(())
    }
}

/// Reads a value that is not null as its contract says; the problem without the value itself.
fn read_scalar<'a>(kind: &Kind, value: &'a Value) -> Result<Val<'a>, &'static str> {
    match (kind, value) {
        (Kind::Text(_), Value::String(text)) => Ok(Val::text(text)),
        (Kind::Text(_), _) => Err("is not a text, as its contract says"),
        (Kind::Boolean, Value::Bool(b)) => Ok(Val::Boolean(*b)),
        (Kind::Boolean, _) => Err("is neither true nor false, as its contract says"),
        (Kind::Integer { .. }, Value::Number(number)) => {
            // JSON Schema takes 1.0 for an integer.
            let whole = number.as_i64().or_else(|| Decimal::parse(&number.to_string())?.to_integer());
            whole.map(Val::Integer).ok_or("is not an integer of 64 bits, as its contract says")
        }
        (Kind::Integer { .. }, _) => Err("is not an integer, as its contract says"),
        (Kind::Decimal { .. }, Value::Number(number)) => {
            // serde_json keeps the shortest text of a float, which is what the sender wrote up to 15 digits.
            Decimal::parse(&number.to_string()).map(Val::Decimal).ok_or("has more digits than can be kept exactly")
        }
        (Kind::Decimal { .. }, _) => Err("is not a number, as its contract says"),
        (Kind::Float { .. }, Value::Number(number)) => number.as_f64().map(Val::Float).ok_or("is not a number"),
        (Kind::Float { .. }, _) => Err("is not a number, as its contract says"),
        (Kind::Date, Value::String(text)) => {
            calendar::parse_date(text).map(Val::Date).ok_or("is not a date, as its contract says")
        }
        (Kind::Date, _) => Err("is not a date, as its contract says"),
        (Kind::Timestamp, Value::String(text)) => calendar::parse_timestamp(text)
            .map(Val::Timestamp)
            .ok_or("is not an RFC 3339 date-time, as its contract says"),
        (Kind::Timestamp, _) => Err("is not an RFC 3339 date-time, as its contract says"),
        (Kind::Null, _) => Err("is not null, as its contract says"),
        (Kind::Bytes | Kind::List { .. } | Kind::Map(_) | Kind::Record(_) | Kind::Any, _) => {
            Err("has an unknown shape")
        }
    }
}
