//! What a filter asks for, so that examples can be made that it lets through: its alternatives, and the values that it
//! names.

use crate::program::{Call, Program};
use crate::value::Val;

/// Most alternatives of a filter that are looked at; people write fewer than ten.
const ALTERNATIVES_MAX: usize = 16;

/// A condition without `and`, `or`, `not` and `if`, and whether it has to hold.
pub(crate) type Atom<'p> = (&'p Program, bool);

/// A value that a condition names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    /// This one, or one beside it.
    Value(Val<'static>),
    /// A text of this pattern.
    Pattern(String),
}

/// What can make a condition true (or false): in each alternative, all of its atoms together.
pub(crate) fn alternatives(condition: &Program, truth: bool) -> Vec<Vec<Atom<'_>>> {
    match (condition, truth) {
        (Program::Not(inner), truth) => alternatives(inner, !truth),
        (Program::And(pair), true) | (Program::Or(pair), false) => {
            both(alternatives(&pair[0], truth), &alternatives(&pair[1], truth))
        }
        (Program::Or(pair), true) | (Program::And(pair), false) => {
            either(alternatives(&pair[0], truth), alternatives(&pair[1], truth))
        }
        (Program::If(parts), truth) => {
            let [condition, yes, no] = &**parts;
            let yes = both(alternatives(condition, true), &alternatives(yes, truth));
            either(yes, both(alternatives(condition, false), &alternatives(no, truth)))
        }
        (atom, truth) => vec![vec![(atom, truth)]],
    }
}

fn either<'p>(mut a: Vec<Vec<Atom<'p>>>, b: Vec<Vec<Atom<'p>>>) -> Vec<Vec<Atom<'p>>> {
    a.extend(b);
    a.truncate(ALTERNATIVES_MAX);
    a
}

fn both<'p>(a: Vec<Vec<Atom<'p>>>, b: &[Vec<Atom<'p>>]) -> Vec<Vec<Atom<'p>>> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| [x.as_slice(), y.as_slice()].concat()));
    pairs.take(ALTERNATIVES_MAX).collect()
}

/// The values that a condition names, in the order in which it does.
pub(crate) fn literals(program: &Program) -> Vec<Literal> {
    let mut found = Vec::new();
    collect(program, &mut found);
    found
}

fn collect(program: &Program, found: &mut Vec<Literal>) {
    match program {
        Program::Constant(value) => found.push(Literal::Value(value.clone())),
        Program::In(value, list) => {
            collect(value, found);
            found.extend(list.iter().cloned().map(Literal::Value));
        }
        Program::Coalesce(pair) | Program::And(pair) | Program::Or(pair) | Program::Compare(_, pair) => {
            pair.iter().for_each(|part| collect(part, found));
        }
        Program::Arithmetic(_, _, pair) => pair.iter().for_each(|part| collect(part, found)),
        Program::If(parts) => parts.iter().for_each(|part| collect(part, found)),
        Program::Not(inner) | Program::Negate(inner) | Program::Count(inner) => collect(inner, found),
        Program::PerItem(each) => {
            collect(&each.list, found);
            collect(&each.body, found);
        }
        // Whatever leads to a value that is compared with.
        Program::Translate(input, rows) => {
            collect(input, found);
            found.extend(rows.rows.iter().map(|(from, _)| Literal::Value(Val::Text(from.clone().into()))));
        }
        Program::Call(call) => named_by_call(call, found),
        Program::Slot(_) | Program::Items { .. } | Program::Template(_) => {}
    }
}

/// `contains`, `starts_with` and `matches` hold of the text that they name, or of one that matches it.
fn named_by_call(call: &Call, found: &mut Vec<Literal>) {
    collect(&call.input, found);
    match (call.name, call.given.as_slice()) {
        ("contains" | "starts_with", [value]) => found.push(Literal::Value(value.clone())),
        ("matches", [Val::Text(pattern)]) => found.push(Literal::Pattern(pattern.to_string())),
        (_, _) => {}
    }
}
