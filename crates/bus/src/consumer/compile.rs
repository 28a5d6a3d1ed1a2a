//! Compiles a consumer against both sides: the event that it reads, and the contracts and schemas that it writes.
//!
//! The order is that of a delivery, so that each step sees what came before it: the filter narrows the event for all
//! that follows, each look-up may read the earlier ones, and the follow-up event reads the answer.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use tieline_mapping::suggest;
use tieline_mapping::yaml::{Node, NodeValue};
use tieline_mapping::{Compiler, Diagnostic, Expression, Severity, Span, Target as TreeTarget};
use tieline_schema::contract::Operation;
use tieline_schema::types::{Kind, Type};

use super::read::{Declared, DeclaredCall, DeclaredEmit, DeclaredLookUp, Target};
use super::{Call, Consumer, Emit, LookUp};
use crate::folder::DefinitionFile;
use crate::tieline_yaml::LANGUAGE;
use crate::{Event, Idempotency, certain};

impl Declared<'_> {
    /// Compiles it, where the event is known; the rest is checked as far as it can be.
    pub(super) fn compile(self) -> Option<Consumer> {
        let event = self.event.clone()?;
        let mut compiler = Compiler::new(event.schema.ty.clone(), format!("schemas/{}.avsc", event.name));
        if let Some(tables) = self.tables {
            compiler.tables(tables);
        }
        let when = self.when.map(|node| compiler.filter(node));
        let look_ups: Vec<Option<LookUp>> =
            self.look_ups.iter().flatten().map(|l| l.compile(self.file, &mut compiler)).collect();
        let call = self.call.as_ref().and_then(|call| call.compile(self.file, &mut compiler));
        let emit = self.emit.as_ref().map(|emit| emit.as_ref().and_then(|e| e.compile(&mut compiler, &self)));
        let whole = self.is_whole(matches!(when, Some(None)));
        let unread = self.unread(&compiler);
        let (layout, problems) = compiler.finish();
        let sound = problems.iter().all(|p| p.severity < Severity::Error);
        certain::report(self.file, problems.into_iter().chain(unread).collect(), whole);

        self.look_ups.as_ref()?;
        let (look_ups, call) = (look_ups.into_iter().collect::<Option<Vec<_>>>()?, call?);
        let fingerprint = self.fingerprint(&event, &call.operation);
        let consumer = Consumer {
            name: self.name.to_owned(),
            purpose: self.purpose.clone()?,
            owner: self.owner.clone()?,
            event,
            layout,
            when: declared(when)?,
            look_ups,
            call,
            emit: declared(emit)?,
            deliver: self.deliver.clone(),
            fingerprint,
        };
        if sound {
            self.examine(&consumer);
        }
        Some(consumer)
    }

    /// A look-up that nobody reads costs a call for each event.
    fn unread(&self, compiler: &Compiler) -> Vec<Diagnostic> {
        let unread = self.look_ups.iter().flatten().filter(|l| !compiler.reads_name(&l.name));
        let warning = |look_up: &DeclaredLookUp<'_>| {
            let message = format!("look-up `{}` is never read", look_up.name);
            let help = format!("read it, `${}.…`, or remove it", look_up.name);
            Diagnostic::warning("bus/unused-look-up", look_up.at, message).help(help)
        };
        unread.map(warning).collect()
    }

    /// Whether each part could be compiled for what it names; what its expressions say is another matter.
    fn is_whole(&self, filter_is_broken: bool) -> bool {
        let look_ups = self.look_ups.as_ref().is_some_and(|l| l.iter().all(|l| l.target.is_some()));
        let call = self.call.as_ref().is_some_and(|call| call.target.is_some());
        let emit = match &self.emit {
            None => true,
            Some(emit) => emit.as_ref().is_some_and(|emit| emit.event.is_some()),
        };
        look_ups && call && emit && !filter_is_broken
    }

    /// A hash of all that decides the bytes of a request, made so that no two definitions can run together in it.
    fn fingerprint(&self, event: &Event, operation: &Operation) -> u64 {
        let mut hash = Sha256::new();
        hash.update(LANGUAGE.to_be_bytes());
        self.sources.iter().for_each(|node| hash_node(node, &mut hash));
        hash_text(&event.schema.text, &mut hash);
        hash_text(&operation.method, &mut hash);
        hash_text(&operation.path, &mut hash);
        for parameter in &operation.parameters {
            hash_text(&parameter.name, &mut hash);
            hash_text(&format!("{:?} {}", parameter.place, parameter.required), &mut hash);
        }
        let request = operation.request.as_ref().map(|r| r.validator.schema.to_string());
        hash_text(&request.unwrap_or_default(), &mut hash);
        let hash: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = hash;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl DeclaredLookUp<'_> {
    fn compile(&self, file: &DefinitionFile<'_>, compiler: &mut Compiler) -> Option<LookUp> {
        let Some(target) = &self.target else {
            // What is not known accepts everything, so that one mistake is reported once.
            compiler.bind(&self.name, Type::of(Kind::Any), "a look-up with mistakes");
            return None;
        };
        let label = format!("the answer of {}", target.label());
        if !matches!(target.operation.method.as_str(), "GET" | "HEAD") {
            let message = format!(
                "`{}` is a {}, and a look-up must not change anything",
                target.operation.id, target.operation.method
            );
            let help = "look-ups take GET operations; an effect goes into `call`";
            file.error("bus/unsafe-look-up", target.at, message, help);
        }
        let answer = target.operation.success_type();
        if answer.is_none() {
            let message = format!("the contract of {} promises no answer that could be read", target.label());
            let help = "describe its 2xx response as `application/json`";
            file.error("bus/no-answer", target.at, message, help);
        }
        let with = target.compile_parameters(file, compiler, self.residual);
        compiler.bind(&self.name, answer.unwrap_or(Type::of(Kind::Any)), &label);
        Some(LookUp {
            name: self.name.clone(),
            system: target.system.clone(),
            operation: target.operation.clone(),
            with: with?,
            keep: self.keep,
        })
    }
}

impl DeclaredCall<'_> {
    fn compile(&self, file: &DefinitionFile<'_>, compiler: &mut Compiler) -> Option<Call> {
        let target = self.target.as_ref()?;
        self.warn_of_repeats(file, target);
        let with = target.compile_parameters(file, compiler, self.residual);
        let label = format!("the contract of {}", target.label());
        let body = match (self.body, &target.operation.request) {
            (Some(body), Some(request)) => {
                Some(compiler.mapping(body, TreeTarget::Contract(&request.ty, &label), self.residual))
            }
            (Some(_), None) => {
                let message = format!("{} takes no body", target.label());
                file.error(
                    "bus/unexpected-body",
                    self.body_at,
                    message,
                    "remove `body`, or describe it in the contract",
                );
                Some(None)
            }
            (None, Some(request)) if request.required => {
                let message = format!("{} wants a body", target.label());
                file.error("bus/missing-body", self.at, message, "add `body:` with the fields of the contract");
                Some(None)
            }
            (None, Some(_) | None) => None,
        };
        let operation = target.operation.clone();
        Some(Call { system: target.system.clone(), operation, with: with?, body: declared(body)? })
    }

    /// Says so where a call may have its effect twice.
    fn warn_of_repeats(&self, file: &DefinitionFile<'_>, target: &Target<'_>) {
        let operation = &target.operation;
        // PUT and DELETE are idempotent by their definition (RFC 9110, section 9.2.2).
        let repeats = matches!(operation.method.as_str(), "POST" | "PATCH");
        match target.system.idempotency {
            Idempotency::None if repeats => {
                let message =
                    format!("{} may be done twice: {} knows no idempotency key", target.label(), target.system.name);
                let help = format!(
                    "if it does know one, say so in systems/{}/system.yaml: `idempotency: {{ header: … }}`",
                    target.system.name
                );
                file.warning("bus/at-least-once", target.at, message, help);
            }
            Idempotency::None | Idempotency::Upsert | Idempotency::Header { .. } => {}
        }
    }
}

impl DeclaredEmit<'_> {
    fn compile(&self, compiler: &mut Compiler, consumer: &Declared<'_>) -> Option<Emit> {
        match consumer.call.as_ref().and_then(|call| call.target.as_ref()) {
            None => compiler.bind("response", Type::of(Kind::Any), "the answer of a call with mistakes"),
            Some(target) => {
                if let Some(answer) = target.operation.success_type() {
                    compiler.bind("response", answer, &format!("the answer of {}", target.label()));
                }
            }
        }
        let key = self.key.and_then(|node| compiler.expression(node, &Type::text(), "emit.key"));
        let event = self.event.clone()?;
        let label = format!("schemas/{}.avsc", event.name);
        let target = TreeTarget::Avro(&event.schema.avro, &event.schema.ty, &label);
        let payload = self.payload.and_then(|node| compiler.mapping(node, target, self.residual));
        Some(Emit { key: key?, payload: payload?, event: event.clone() })
    }
}

impl Target<'_> {
    /// `erp.createProject`.
    fn label(&self) -> String {
        format!("{}.{}", self.system.name, self.operation.id)
    }

    /// Each parameter has to be the operation's; each that it requires has to be given.
    fn compile_parameters(
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
            .map(|(name, at, node)| self.compile_parameter(file, compiler, (name, *at), node, residual))
            .collect();
        with.into_iter().collect()
    }

    fn compile_parameter(
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

/// What is declared and could not be compiled is `None`; what is not declared is `Some(None)`.
pub(crate) fn declared<T>(compiled: Option<Option<T>>) -> Option<Option<T>> {
    match compiled {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

fn hash_node(node: &Node, hash: &mut Sha256) {
    match &node.value {
        NodeValue::Scalar { text, quoted } => {
            hash.update(if *quoted { b"q" } else { b"p" });
            hash_text(text, hash);
        }
        NodeValue::Sequence(items) => {
            hash.update(b"s");
            hash.update((items.len() as u64).to_be_bytes());
            items.iter().for_each(|item| hash_node(item, hash));
        }
        NodeValue::Mapping(entries) => {
            hash.update(b"m");
            hash.update((entries.len() as u64).to_be_bytes());
            for (key, value) in entries {
                hash_node(key, hash);
                hash_node(value, hash);
            }
        }
    }
}

fn hash_text(text: &str, hash: &mut Sha256) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}
