//! Evaluates a checked expression over the frames of an event and its names.

use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;

use smallvec::SmallVec;

use crate::Names;
use crate::RunError;
use crate::ast::{Arithmetic, Comparison};
use crate::bounds::Bounds;
use crate::decimal::{Decimal, SCALE_MAX};
use crate::frame::Frame;
use crate::program::{Fault, How, NamesRead, PerItem, Program, Quotient, Scope, Slot, Symbols, TemplatePiece};
use crate::value::{ItemAt, List, Val};

/// All that an expression can see.
#[derive(Debug, Clone)]
pub(crate) struct Env<'e> {
    event: &'e Frame<'e>,
    names: &'e [Frame<'e>],
    loops: SmallVec<[Item<'e>; 4]>,
    /// Loops in loops multiply: how often their bodies may still run.
    turns_left: Cell<usize>,
}

/// The item that a loop is at.
#[derive(Debug, Clone)]
enum Item<'e> {
    /// In the slots of a frame.
    Slots(ItemAt),
    /// A value that an expression made.
    Value(Val<'e>),
}

impl<'e> Item<'e> {
    fn of(value: Val<'e>) -> Self {
        match value {
            Val::Item(at) => Self::Slots(at),
            value => Self::Value(value),
        }
    }

    fn into_value(self) -> Val<'e> {
        match self {
            Self::Slots(at) => Val::Item(at),
            Self::Value(value) => value,
        }
    }
}

impl NamesRead {
    /// Reads what is needed of each name.
    pub(crate) fn read<'a>(&self, names: Names<'a>, bounds: &Bounds) -> Result<SmallVec<[Frame<'a>; 2]>, RunError> {
        let read = |(name, layout): &(String, crate::Layout)| {
            let Some((_, value)) = names.iter().find(|(n, _)| n == name) else {
                return Err(RunError::leaf(format!("${name}"), "has no value here"));
            };
            crate::json_in::read(layout, value, bounds, &format!("${name}"))
        };
        self.names.iter().map(read).collect()
    }
}

impl<'e> Env<'e> {
    pub(crate) fn new(event: &'e Frame<'e>, names: &'e [Frame<'e>], bounds: &Bounds) -> Self {
        Self { event, names, loops: SmallVec::new(), turns_left: Cell::new(bounds.items_max) }
    }

    /// Runs a loop's body with this item.
    fn turn(
        &mut self,
        item: Item<'e>,
        body: &mut impl FnMut(&mut Self) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        self.spend(1).map_err(|fault| RunError::leaf("for", fault))?;
        self.loops.push(item);
        let done = body(self);
        self.loops.pop();
        done
    }

    /// Runs a loop's body for each item of a list; null has none.
    pub(crate) fn each(
        &mut self,
        list: &'e Program,
        mut body: impl FnMut(&mut Self) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        match list.eval(self).map_err(|fault| RunError::leaf("for", fault))? {
            Val::List(list) => {
                for at in 0..list.len {
                    self.turn(self.item(&list, at), &mut body)?;
                }
            }
            Val::Items(items) => {
                for item in items {
                    self.turn(Item::of(item), &mut body)?;
                }
            }
            _null => {}
        }
        Ok(())
    }

    /// Takes turns from those that are left.
    fn spend(&self, turns: usize) -> Result<(), Fault> {
        let left = self.turns_left.get().checked_sub(turns);
        self.turns_left.set(left.ok_or("has more items than are allowed")?);
        Ok(())
    }

    fn frame(&self, number: u32) -> &'e Frame<'e> {
        match number.checked_sub(1) {
            None => self.event,
            Some(name) => &self.names[name as usize],
        }
    }

    /// The item of a list; `at` is below its length.
    fn item(&self, list: &List, at: u32) -> Item<'e> {
        let stride = self.frame(list.frame).stride(list.level);
        Item::Slots(ItemAt { frame: list.frame, level: list.level, base: list.start + at * stride })
    }

    fn slot(&self, slot: &'e Slot) -> Val<'e> {
        let (frame, level, base) = match slot.scope {
            Scope::Event => (0, 0, 0),
            Scope::Name(at) => (u32::try_from(at).unwrap_or(u32::MAX - 1) + 1, 0, 0),
            Scope::Loop(depth) => match &self.loops[depth] {
                Item::Slots(at) => (at.frame, at.level, at.base),
                Item::Value(value) => return value.clone(),
            },
        };
        self.value(frame, level, base + slot.slot, &slot.symbols)
    }

    fn value(&self, frame: u32, level: u32, at: u32, symbols: &'e Symbols) -> Val<'e> {
        match self.frame(frame).slot(level, at) {
            Val::Symbol(n) => {
                let symbol = symbols.as_ref().and_then(|s| s.get(*n as usize));
                symbol.map_or(Val::Null, |s| Val::text(s))
            }
            Val::List(list) => Val::List(List { frame, ..*list }),
            Val::Text(text) => Val::Text(Cow::Borrowed(text)),
            other => other.clone(),
        }
    }
}

impl Program {
    /// The value.
    ///
    /// # Errors
    /// When a function fails on the value that it got, or a number overflows.
    pub(crate) fn eval<'e>(&'e self, env: &Env<'e>) -> Result<Val<'e>, Fault> {
        Ok(match self {
            Self::Constant(Val::Text(text)) => Val::Text(Cow::Borrowed(text)),
            Self::Constant(value) => value.clone(),
            Self::Slot(slot) => env.slot(slot),
            Self::Items { list, slot, symbols } => items(list.eval(env)?, *slot, symbols, env),
            Self::Count(list) => match list.eval(env)? {
                Val::List(list) => Val::Integer(i64::from(list.len)),
                Val::Items(items) => Val::Integer(i64::try_from(items.len()).unwrap_or(i64::MAX)),
                _null => Val::Null,
            },
            Self::PerItem(each) => return each.eval(env),
            Self::Coalesce(pair) => match pair[0].eval(env)? {
                Val::Null => pair[1].eval(env)?,
                value => value,
            },
            Self::And(pair) => Val::Boolean(pair[0].holds(env)? && pair[1].holds(env)?),
            Self::Or(pair) => Val::Boolean(pair[0].holds(env)? || pair[1].holds(env)?),
            Self::Not(inner) => Val::Boolean(!inner.holds(env)?),
            Self::Compare(how, pair) => Val::Boolean(compare(*how, &pair[0].eval(env)?, &pair[1].eval(env)?)),
            Self::In(value, list) => {
                let value = value.eval(env)?;
                Val::Boolean(list.iter().any(|item| compare(Comparison::Equal, &value, item)))
            }
            Self::Negate(inner) => negate(inner.eval(env)?)?,
            Self::Arithmetic(how, quotient, pair) => {
                arithmetic(*how, *quotient, pair[0].eval(env)?, pair[1].eval(env)?)?
            }
            Self::If(parts) => parts[if parts[0].holds(env)? { 1 } else { 2 }].eval(env)?,
            Self::Template(pieces) => template(pieces, env)?,
            Self::Translate(input, rows) => match input.eval(env)? {
                Val::Text(text) => Val::text(rows.get(&text).ok_or("has no translation")?),
                _null => Val::Null,
            },
            Self::Call(call) => return call.eval(env),
        })
    }

    /// Whether a condition holds; null does not.
    pub(crate) fn holds<'e>(&'e self, env: &Env<'e>) -> Result<bool, Fault> {
        Ok(matches!(self.eval(env)?, Val::Boolean(true)))
    }
}

impl crate::program::Call {
    fn eval<'e>(&'e self, env: &Env<'e>) -> Result<Val<'e>, Fault> {
        let input = self.input.eval(env)?;
        if input.is_null() {
            return Ok(Val::Null);
        }
        match (&self.code, &self.argument) {
            (crate::program::Code::One(code), _) => code(input),
            (crate::program::Code::Two(code), Some(argument)) => match argument.eval(env)? {
                Val::Null => Ok(Val::Null),
                argument => code(input, argument),
            },
            (crate::program::Code::Two(_), None) => Err(Fault::Borrowed("lacks its argument")),
        }
        .map_err(|fault| Fault::Owned(format!("{fault} (`{}`)", self.name)))
    }
}

impl PerItem {
    fn eval<'e>(&'e self, env: &Env<'e>) -> Result<Val<'e>, Fault> {
        let items: Vec<Item<'e>> = match self.list.eval(env)? {
            Val::List(list) => (0..list.len).map(|at| env.item(&list, at)).collect(),
            Val::Items(items) => items.into_iter().map(Item::of).collect(),
            _null => return Ok(Val::Null),
        };
        env.spend(items.len())?;
        // The body has no loop of its own that would have to count on.
        let mut inner = env.clone();
        let mut body = |item: &Item<'e>| {
            inner.loops.push(item.clone());
            let value = self.body.eval(&inner);
            inner.loops.pop();
            value
        };
        Ok(Val::Items(match self.how {
            How::Where => {
                let mut kept = Vec::new();
                for item in items {
                    if matches!(body(&item)?, Val::Boolean(true)) {
                        kept.push(item.into_value());
                    }
                }
                kept
            }
            How::Each => items.iter().map(body).collect::<Result<_, _>>()?,
            How::SortBy { descending } => {
                let keys: Vec<Val<'e>> = items.iter().map(body).collect::<Result<_, _>>()?;
                sorted(items, keys, descending)
            }
        }))
    }
}

/// The items by their keys; those with one key, and those without, stay in their order.
fn sorted<'e>(items: Vec<Item<'e>>, mut keys: Vec<Val<'e>>, descending: bool) -> Vec<Val<'e>> {
    // Of floats and exact numbers side by side there is no order in which all three of any three agree.
    if keys.iter().any(|key| matches!(key, Val::Float(_))) {
        for key in &mut keys {
            if let Some(number) = key.decimal() {
                *key = Val::Float(number.to_float());
            }
        }
    }
    let mut keyed: Vec<(Val<'e>, Item<'e>)> = keys.into_iter().zip(items).collect();
    keyed.sort_by(|(a, _), (b, _)| match (a, b) {
        (Val::Null, _) | (_, Val::Null) => a.is_null().cmp(&b.is_null()),
        (Val::Float(a), Val::Float(b)) if descending => b.total_cmp(a),
        (Val::Float(a), Val::Float(b)) => a.total_cmp(b),
        (a, b) if descending => order(b, a).unwrap_or(Ordering::Equal),
        (a, b) => order(a, b).unwrap_or(Ordering::Equal),
    });
    keyed.into_iter().map(|(_, item)| item.into_value()).collect()
}

fn items<'e>(list: Val<'e>, slot: u32, symbols: &'e Symbols, env: &Env<'e>) -> Val<'e> {
    match list {
        Val::List(list) => {
            let stride = env.frame(list.frame).stride(list.level);
            let at = |n: u32| env.value(list.frame, list.level, list.start + n * stride + slot, symbols);
            Val::Items((0..list.len).map(at).collect())
        }
        Val::Items(items) => {
            let part = |item: Val<'e>| match item {
                Val::Item(at) => env.value(at.frame, at.level, at.base + slot, symbols),
                value => value,
            };
            Val::Items(items.into_iter().map(part).collect())
        }
        other => other,
    }
}

fn template<'e>(pieces: &'e [TemplatePiece], env: &Env<'e>) -> Result<Val<'e>, Fault> {
    let mut text = Vec::new();
    for piece in pieces {
        match piece {
            TemplatePiece::Text(part) => text.extend_from_slice(part.as_bytes()),
            TemplatePiece::Hole(hole) => hole.eval(env)?.display(&mut text)?,
        }
    }
    String::from_utf8(text).map(|t| Val::Text(Cow::Owned(t))).map_err(|_| Fault::Borrowed("is not UTF-8"))
}

/// The order of two values that the checker found to be comparable.
fn order(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    match (a, b) {
        (Val::Null, Val::Null) => Some(Ordering::Equal),
        (Val::Text(a), Val::Text(b)) => Some(a.cmp(b)),
        (Val::Boolean(a), Val::Boolean(b)) => Some(a.cmp(b)),
        (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
        (Val::Date(a), Val::Date(b)) => Some(a.cmp(b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
        (Val::Integer(a), Val::Integer(b)) => Some(a.cmp(b)),
        (Val::Float(a), Val::Float(b)) => a.partial_cmp(b),
        (Val::Float(a), _) => b.decimal().and_then(|b| a.partial_cmp(&b.to_float())),
        (_, Val::Float(b)) => a.decimal().and_then(|a| a.to_float().partial_cmp(b)),
        _numbers => match (a.decimal(), b.decimal()) {
            (Some(a), Some(b)) => Some(a.compare(b)),
            _unlike => None,
        },
    }
}

/// Compares two values. Null equals null, and is neither less nor greater.
fn compare(how: Comparison, a: &Val<'_>, b: &Val<'_>) -> bool {
    match (how, order(a, b)) {
        (Comparison::Equal, order) => order == Some(Ordering::Equal),
        (Comparison::NotEqual, order) => order != Some(Ordering::Equal),
        (Comparison::Less, Some(order)) => order.is_lt(),
        (Comparison::LessOrEqual, Some(order)) => order.is_le() && !a.is_null(),
        (Comparison::Greater, Some(order)) => order.is_gt(),
        (Comparison::GreaterOrEqual, Some(order)) => order.is_ge() && !a.is_null(),
        (Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual, None) => false,
    }
}

const OVERFLOW: Fault = Fault::Borrowed("is beyond the numbers that can be counted exactly");

fn negate(value: Val<'_>) -> Result<Val<'_>, Fault> {
    match value {
        Val::Integer(n) => n.checked_neg().map(Val::Integer).ok_or(OVERFLOW),
        Val::Float(f) => Ok(Val::Float(-f)),
        Val::Decimal(d) => d.negate().map(Val::Decimal).ok_or(OVERFLOW),
        _null => Ok(Val::Null),
    }
}

fn arithmetic<'e>(how: Arithmetic, quotient: Quotient, a: Val<'e>, b: Val<'e>) -> Result<Val<'e>, Fault> {
    if let (Val::Integer(a), Val::Integer(b)) = (&a, &b) {
        let whole = match how {
            Arithmetic::Add => Some(a.checked_add(*b)),
            Arithmetic::Subtract => Some(a.checked_sub(*b)),
            Arithmetic::Multiply => Some(a.checked_mul(*b)),
            Arithmetic::Divide => None,
        };
        if let Some(whole) = whole {
            return whole.map(Val::Integer).ok_or(OVERFLOW);
        }
    }
    let (Some(x), Some(y)) = (a.decimal(), b.decimal()) else {
        return Ok(Val::Null);
    };
    let result = match how {
        Arithmetic::Add => x.add(y),
        Arithmetic::Subtract => y.negate().and_then(|y| x.add(y)),
        Arithmetic::Multiply => x.multiply(y),
        Arithmetic::Divide if y.unscaled() == 0 => return Err(Fault::Borrowed("is divided by zero")),
        Arithmetic::Divide => divide(x, y, quotient),
    };
    result.map(Val::Decimal).ok_or(OVERFLOW)
}

fn divide(x: Decimal, y: Decimal, quotient: Quotient) -> Option<Decimal> {
    x.divide(y, (x.scale() + quotient.digits).min(SCALE_MAX))
}
