//! What is asked of a system: an operation and its parameters, by a consumer's look-up or call, or by a look-up of an effect.

use std::collections::BTreeMap;

use tieline_mapping::suggest;
use tieline_mapping::yaml::Node;
use tieline_mapping::{Compiler, Expression, Span};
use tieline_schema::contract::Operation;
use tieline_schema::types::Type;

use crate::System;
use crate::folder::DefinitionFile;

/// An operation of a system, and the parameters that a definition gives it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub system: &'a System,
    pub operation: &'a Operation,
    /// Where the operation is named.
    pub at: Span,
    /// The parameters: name, place of the name, expression.
    pub with: &'a [(String, Span, &'a Node)],
}

impl Asked<'_> {
    /// `erp.createProject`.
    pub fn label(&self) -> String {
        format!("{}.{}", self.system.name, self.operation.id)
    }

    /// The type of the answer to a question; reports where it could change something, or promises no answer.
    pub fn answer(&self, file: &DefinitionFile<'_>) -> Option<Type> {
        if !matches!(self.operation.method.as_str(), "GET" | "HEAD") {
            let message = format!(
                "`{}` is a {}, and a look-up must not change anything",
                self.operation.id, self.operation.method
            );
            let help = "look-ups take GET operations; an effect goes into `call`";
            file.error("bus/unsafe-look-up", self.at, message, help);
        }
        let answer = self.operation.success_type();
        if answer.is_none() {
            let message = format!("the contract of {} promises no answer that could be read", self.label());
            let help = "describe its 2xx response as `application/json`";
            file.error("bus/no-answer", self.at, message, help);
        }
        answer
    }

    /// Each parameter has to be the operation's; each that it requires has to be given.
    pub fn parameters(
        &self,
        file: &DefinitionFile<'_>,
        compiler: &mut Compiler,
        residual: Option<&Node>,
    ) -> Option<BTreeMap<String, Expression>> {
        let parameters = &self.operation.parameters;
        for missing in parameters.iter().filter(|p| p.required && !self.gives(&p.name) && !self.system.gives(p)) {
            let message = format!("{} wants the parameter `{}`", self.label(), missing.name);
            let help = format!("add `with: {{ {}: … }}`", missing.name);
            file.error("bus/missing-parameter", self.at, message, help);
        }
        let with: Vec<Option<(String, Expression)>> = self
            .with
            .iter()
            .map(|(name, at, node)| self.parameter(file, compiler, (name, *at), node, residual))
            .collect();
        with.into_iter().collect()
    }

    fn parameter(
        &self,
        file: &DefinitionFile<'_>,
        compiler: &mut Compiler,
        (name, at): (&str, Span),
        node: &Node,
        residual: Option<&Node>,
    ) -> Option<(String, Expression)> {
        let parameters = &self.operation.parameters;
        let Some(parameter) = parameters.iter().find(|p| p.name == name) else {
            let names = parameters.iter().map(|p| p.name.as_str());
            let message = format!("{} has no parameter `{name}`", self.label());
            file.error("bus/unknown-parameter", at, message, suggest::help(name, names).unwrap_or_default());
            return None;
        };
        let what = format!("with.{name}");
        // One that is not required is left out where its value is null.
        let expected = if parameter.required { parameter.ty.clone() } else { parameter.ty.clone().or_null() };
        Some((name.to_owned(), compiler.expression_or_dead_letter(node, &expected, &what, residual)?))
    }

    fn gives(&self, parameter: &str) -> bool {
        self.with.iter().any(|(name, _, _)| name == parameter)
    }
}
