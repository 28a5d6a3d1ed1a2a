//! The functions of the language: one table with name, types, meaning, example and code. The examples run as tests.
//!
//! Each is pure: no clock, no randomness, no environment, so that a replay gives the same bytes. Null goes through
//! every function untouched.

mod digest;
mod list;
mod number;
mod text;
mod time;

use std::borrow::Cow;

use tieline_schema::types::{Kind, Type};

use crate::Span;
use crate::program::{Code, Fault, How};
use crate::value::Val;

/// A function of the language, for the reference.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it takes and gives: `text | truncate(characters) → text`.
    pub signature: &'static str,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
    /// An expression, and its value as text (`null` for null).
    pub example: (&'static str, &'static str),
    pub(crate) body: Body,
}

/// Functions that belong together in the reference.
#[derive(Debug)]
pub struct Family {
    /// What they are functions of.
    pub name: &'static str,
    /// Its functions, in the order of the reference.
    pub functions: &'static [Function],
}

/// How a use of a function is compiled.
#[derive(Debug)]
pub(crate) enum Body {
    /// By its own types alone.
    Plain(fn(&Use<'_>) -> Result<Applied, Misuse>),
    /// With the definition's tables: the checker does it.
    Translate,
    /// Of a list that stays where it lies: the checker does it.
    Count,
    /// With an expression of each item, `$item`: the checker does it.
    PerItem(How),
}

/// A use of a function.
#[derive(Debug)]
pub(crate) struct Use<'a> {
    /// The type of what it is applied to; null is taken care of.
    pub(crate) input: &'a Type,
    /// What stands in the parentheses.
    pub(crate) given: &'a [Given],
}

/// An argument.
#[derive(Debug)]
pub(crate) enum Given {
    /// A bare word.
    Word(String, Span),
    /// A literal.
    Constant(Val<'static>, Span),
    /// An expression of this type.
    Computed(Type),
}

/// A function with its arguments.
pub(crate) struct Applied {
    pub(crate) kind: Kind,
    /// Whether it can give null for a value that is not.
    pub(crate) nullable: bool,
    pub(crate) code: Code,
}

/// Why a function cannot be used so.
#[derive(Debug)]
pub(crate) enum Misuse {
    /// It takes another type.
    Input { wants: &'static str, help: Option<String> },
    /// It takes other arguments.
    Arguments,
    /// This argument is wrong.
    Argument { message: String, span: Span, help: Option<String> },
}

/// All functions, in the order of the reference.
static FAMILIES: [Family; 5] = [
    Family { name: "texts", functions: text::TEXT },
    Family { name: "numbers", functions: number::NUMBERS },
    Family { name: "dates and instants", functions: time::TIME },
    Family { name: "lists", functions: list::LISTS },
    Family { name: "digests", functions: digest::DIGESTS },
];

/// The functions of the language by family, in the order of the reference.
#[must_use]
pub fn families() -> &'static [Family] {
    &FAMILIES
}

/// The functions of the language, in the order of the reference.
#[must_use]
pub fn functions() -> Vec<&'static Function> {
    FAMILIES.iter().flat_map(|family| family.functions).collect()
}

/// The function of this name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FAMILIES.iter().flat_map(|family| family.functions).find(|f| f.name == name)
}

impl Given {
    /// The value, where it is written out.
    pub(crate) fn constant(self) -> Option<Val<'static>> {
        match self {
            Self::Constant(value, _) => Some(value),
            Self::Word(_, _) | Self::Computed(_) => None,
        }
    }
}

impl Use<'_> {
    /// Checks that there are no arguments.
    fn none(&self) -> Result<(), Misuse> {
        if self.given.is_empty() { Ok(()) } else { Err(Misuse::Arguments) }
    }

    /// The only argument, a whole number in this range.
    fn whole(&self, least: i64, most: i64) -> Result<i64, Misuse> {
        match self.given {
            [Given::Constant(Val::Integer(n), _)] if (least..=most).contains(n) => Ok(*n),
            [Given::Constant(Val::Integer(_), span)] => {
                let message = format!("a number from {least} to {most} belongs here");
                Err(Misuse::Argument { message, span: *span, help: None })
            }
            _other => Err(Misuse::Arguments),
        }
    }

    /// The only argument, a literal text.
    fn text(&self) -> Result<String, Misuse> {
        match self.given {
            [Given::Constant(Val::Text(text), _)] => Ok(text.to_string()),
            _other => Err(Misuse::Arguments),
        }
    }

    /// The argument at this place, a time zone of the IANA database.
    fn zone(&self, at: usize) -> Result<jiff::tz::TimeZone, Misuse> {
        let (name, span) = match self.given.get(at) {
            Some(Given::Word(name, span)) => (name.clone(), *span),
            Some(Given::Constant(Val::Text(text), span)) => (text.to_string(), *span),
            Some(Given::Constant(_, _) | Given::Computed(_)) | None => return Err(Misuse::Arguments),
        };
        jiff::tz::TimeZone::get(&name).map_err(|_| {
            let names: Vec<String> = jiff::tz::db().available().map(|n| n.to_string()).collect();
            let near = crate::suggest::nearest(&name, names.iter().map(String::as_str));
            let help = near.map(|near| format!("did you mean `{near}`?"));
            let help = help.or_else(|| Some("zones have names such as `Europe/Berlin` and `UTC`".to_owned()));
            Misuse::Argument { message: format!("there is no time zone `{name}`"), span, help }
        })
    }

    /// What it is applied to has to be a text.
    fn wants_text(&self) -> Result<(), Misuse> {
        match &self.input.kind {
            Kind::Text(_) => Ok(()),
            _other => {
                Err(Misuse::Input { wants: "a text", help: Some("make a text of it first: `… | text`".to_owned()) })
            }
        }
    }

    fn wants(&self, wants: &'static str) -> Misuse {
        Misuse::Input { wants, help: None }
    }
}

/// Code of a text that gives a text.
fn on_text(f: impl for<'v> Fn(Cow<'v, str>) -> Result<Cow<'v, str>, Fault> + Send + Sync + 'static) -> Code {
    Code::one(move |value| match value {
        Val::Text(text) => f(text).map(Val::Text),
        other => Ok(other),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::testing::evaluate;

    #[test]
    fn every_example_of_the_reference_is_true() {
        for function in functions() {
            let (expression, expected) = function.example;
            assert_eq!(evaluate(expression), expected, "{}: {expression}", function.name);
            assert!(expression.contains(function.name), "the example of {} shows another", function.name);
        }
    }

    #[test]
    fn no_two_functions_have_one_name() {
        let mut names: Vec<&str> = functions().iter().map(|f| f.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
