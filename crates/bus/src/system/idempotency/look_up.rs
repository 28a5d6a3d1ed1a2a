//! Reads and compiles the look-ups of effects: what is asked, and where in the answer the effect is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tieline_mapping::yaml::{Node, NodeValue};
use tieline_mapping::{Compiler, Severity, Span};
use tieline_schema::contract::Operation;
use tieline_schema::types::{Kind, Type};

use super::EffectLookUp;
use crate::asked::Asked;
use crate::fields::Fields;
use crate::folder::DefinitionFile;
use crate::place::pointed_at;
use crate::system::System;
use crate::values::{duration, named, text};
use crate::{certain, known};

/// The look-ups of a system's effects, by the operation that makes the effect.
pub(in crate::system) fn read(
    file: &DefinitionFile<'_>,
    node: &Node,
    system: &System,
) -> Option<BTreeMap<String, Arc<EffectLookUp>>> {
    let NodeValue::Mapping(entries) = &node.value else {
        let help = "name the operation whose effect is found, such as `createTicket: { operation: findTickets, … }`";
        file.error("bus/wrong-type", node.span, "`look_up` has operations, each as `name: value`", help);
        return None;
    };
    let read = |(key, value): &(Node, Node)| {
        let call = known::operation(file, key, system)?;
        let look_up = Declared::read(file, value, system)?.compile(file, system, &call)?;
        Some((call.id.clone(), Arc::new(look_up)))
    };
    // All of them, so that each reports what is wrong with it.
    let look_ups: Vec<Option<(String, Arc<EffectLookUp>)>> = entries.iter().map(read).collect();
    look_ups.into_iter().collect()
}

/// A look-up as it is declared, its expressions not yet compiled.
struct Declared<'a> {
    operation: Arc<Operation>,
    /// Where the operation is named.
    at: Span,
    with: Vec<(String, Span, &'a Node)>,
    found_at: Option<(String, Span)>,
    found_when: Option<&'a Node>,
    visible_after: Duration,
}

impl<'a> Declared<'a> {
    fn read(file: &'a DefinitionFile<'a>, node: &'a Node, system: &System) -> Option<Self> {
        let mut fields = Fields::of(file, node, "a look-up of an effect")?;
        let operation = fields.required_node("operation");
        let with = fields.optional("with", named(|_, node, _: &str| Some(node))).unwrap_or_default();
        let found_at = fields.optional("found_at", |file, node| Some((text(file, node)?, node.span)));
        let found_when = fields.node("found_when");
        let visible_after = fields.optional("visible_after", duration("0s"..="1h"));
        fields.finish();
        let node = operation?;
        Some(Self {
            operation: known::operation(file, node, system)?,
            at: node.span,
            with: with.into_iter().map(|(name, key, node)| (name, key.span, node)).collect(),
            found_at,
            found_when,
            // After its deadline, a call of ours is over on our side, and soon on theirs.
            visible_after: visible_after.unwrap_or(system.deadline),
        })
    }

    fn compile(self, file: &DefinitionFile<'_>, system: &System, call: &Operation) -> Option<EffectLookUp> {
        let body = call.request.as_ref().map_or(Type::of(Kind::Null), |request| request.ty.clone());
        let mut compiler = Compiler::new(body, format!("the body of {}.{}", system.name, call.id));
        for parameter in &call.parameters {
            let ty = if parameter.required { parameter.ty.clone() } else { parameter.ty.clone().or_null() };
            compiler.bind(&parameter.name, ty, &format!("the parameters of {}.{}", system.name, call.id));
        }
        let asked = Asked { system, operation: &self.operation, at: self.at, with: &self.with };
        let answer = asked.answer(file);
        let with = asked.parameters(file, &mut compiler, None);
        let place = answer.and_then(|answer| self.place(file, &answer, &asked.label()));
        let (found, in_list) = place.clone().unwrap_or((Type::of(Kind::Any), false));
        compiler.bind("found", found.clone(), &format!("what {} finds", asked.label()));
        let found_when = self.found_when.map(|node| compiler.filter(node));
        let (layout, problems) = compiler.finish();
        let sound = problems.iter().all(|p| p.severity < Severity::Error);
        certain::report(file, problems, place.is_some());
        place.filter(|_| sound)?;
        Some(EffectLookUp {
            operation: Arc::clone(&self.operation),
            layout,
            with: with?,
            found_at: self.found_at.map(|(pointer, _)| pointer).unwrap_or_default(),
            in_list,
            found_when: match found_when {
                None => None,
                Some(filter) => Some(filter?),
            },
            found,
            visible_after: self.visible_after,
        })
    }

    /// The type of the effect in the answer, and whether it is looked for in a list.
    fn place(&self, file: &DefinitionFile<'_>, answer: &Type, label: &str) -> Option<(Type, bool)> {
        let mut place = Type { nullable: false, ..answer.clone() };
        if let Some((pointer, at)) = &self.found_at {
            place = pointed_at(file, answer, (pointer, *at), &format!("the answer of {label}"))?;
        }
        if let Kind::List { item, .. } = place.kind {
            return Some((*item, true));
        }
        Some((place, false))
    }
}
