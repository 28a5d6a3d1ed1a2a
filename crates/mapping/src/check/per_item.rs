//! Functions with an expression of each item of a list: `where`, `sort_by`, `each`. The item at hand is `$item`, a name
//! as that of a loop, so that `.` stays the event everywhere.

use tieline_schema::types::{Kind, Type};

use super::expression::is_single;
use super::{Checker, LoopVar, Typed, describe};
use crate::ast::{Argument, Call, Expr};
use crate::functions::{Function, Misuse};
use crate::program::{How, PerItem, Program};
use crate::{Diagnostic, Span};

/// What the item at hand is called.
const ITEM: &str = "item";

impl Checker {
    /// The list that a function makes of another, item by item.
    pub(super) fn per_item(
        &mut self,
        function: &'static Function,
        how: How,
        input: Typed,
        call: &Call,
        span: Span,
    ) -> Option<Typed> {
        let (how, expr) = match (how, call.arguments.as_slice()) {
            (how, [Argument::Expr(expr)]) => (how, expr),
            (How::SortBy { .. }, [Argument::Expr(expr), Argument::Word(word, _)]) if word == "descending" => {
                (How::SortBy { descending: true }, expr)
            }
            (_, _) => {
                self.misuse(function, &input, call, Misuse::Arguments);
                return None;
            }
        };
        let Kind::List { item, min_items, max_items } = input.ty.kind.clone() else {
            self.misuse(function, &input, call, Misuse::Input { wants: "a list", help: None });
            return None;
        };
        if self.names.contains_key(ITEM) || self.item_at_hand().is_some() {
            let message = format!("`${ITEM}` has a meaning already, and `{}` calls the item at hand so", function.name);
            let help = "give the other another name; a function of items has no place inside of another".to_owned();
            self.report(Diagnostic::error("mapping/name-taken", call.name_span, message).help(help));
            return None;
        }
        let want = self.item_want(&input);
        let facts = self.facts.len();
        self.loops.push(LoopVar { name: ITEM.to_owned(), ty: (*item).clone(), want });
        let turn = self.turn(function, how, expr, *item);
        self.loops.pop();
        self.facts.truncate(facts);
        let (body, item) = turn?;

        let min_items = if how == How::Where { 0 } else { min_items };
        let kind = Kind::List { item: Box::new(item), min_items, max_items };
        let ty = Type { kind, nullable: input.ty.nullable };
        let mut typed = input.with(|list| Program::PerItem(Box::new(PerItem { how, list, body })), ty, span);
        typed.item = want.filter(|_| how != How::Each);
        Some(typed)
    }

    /// What is asked of each item, and what the items of the outcome are.
    fn turn(&mut self, function: &'static Function, how: How, expr: &Expr, item: Type) -> Option<(Program, Type)> {
        let body = self.check(expr)?;
        match how {
            How::Where => {
                let body = self.boolean(body, "what `where` keeps items by")?;
                self.learn(expr, true);
                Some((body, self.narrowed(ITEM, &mut Vec::new(), item)))
            }
            How::SortBy { .. } => {
                let ordered = matches!(
                    body.ty.kind,
                    Kind::Text(_)
                        | Kind::Integer { .. }
                        | Kind::Decimal { .. }
                        | Kind::Float { .. }
                        | Kind::Boolean
                        | Kind::Date
                        | Kind::Timestamp
                );
                if !ordered {
                    self.no_turn(function, "something that has an order", &body);
                    return None;
                }
                Some((body.program, item))
            }
            How::Each => {
                if !is_single(&body.ty.kind) {
                    self.no_turn(function, "a single value", &body);
                    return None;
                }
                Some((body.program, body.ty))
            }
        }
    }

    fn no_turn(&mut self, function: &'static Function, wants: &str, body: &Typed) {
        let is = describe::kind(&body.ty.kind);
        let message = format!("`{}` wants {wants} of each item, but this is {is}", function.name);
        let help = format!("name a field of it: `${ITEM}.…`");
        self.report(Diagnostic::error("mapping/wrong-type", body.span, message).help(help));
    }

    /// The type of `$item`, where it has one here.
    pub(super) fn item_at_hand(&self) -> Option<&Type> {
        self.loops.iter().find(|l| l.name == ITEM).map(|l| &l.ty)
    }
}
