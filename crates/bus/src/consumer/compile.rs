//! Compiles a consumer against both sides: the event that it reads, and the contracts and schemas that it writes.
//!
//! The order is that of a delivery, so that each step sees what came before it: the filter narrows the event for all
//! that follows, each look-up may read the earlier ones, and the follow-up event reads the answer.

use sha2::{Digest, Sha256};
use tieline_mapping::yaml::{Node, NodeValue};
use tieline_mapping::{Compiler, Diagnostic, Severity, Target as TreeTarget};
use tieline_schema::contract::Operation;
use tieline_schema::types::{Kind, Type};

use super::batch::AllOutcomes;
use super::read::{Declared, DeclaredCall, DeclaredEmit, DeclaredLookUp, Target};
use super::{Batch, Call, Consumer, Emit, FollowUp, LookUp};
use crate::asked::Asked;
use crate::folder::DefinitionFile;
use crate::tieline_yaml::LANGUAGE;
use crate::{Event, Means, certain, quantity};

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
        let outcomes = self.call.as_ref().and_then(|call| call.outcomes(self.file));
        let call = self.call.as_ref().and_then(|call| call.compile(self.file, &mut compiler, outcomes.as_ref()));
        if let Some(batch) = call.as_ref().and_then(|call| call.batch.as_ref()) {
            self.check_batch(batch);
        }
        let on_tombstone = self.on_tombstone.as_ref().map(|call| call.as_ref()?.compile_tombstone(self.file));
        let emit = self
            .emit
            .as_ref()
            .map(|emit| emit.as_ref().and_then(|e| e.compile(&mut compiler, &self, outcomes.as_ref())));
        let whole = self.is_whole(matches!(when, Some(None)), outcomes.is_some());
        let unread = self.unread(&compiler);
        let (layout, mut problems) = compiler.finish();
        // What follows is compiled twice, for an answer and for what a look-up finds: a mistake of both is one.
        problems.dedup();
        let sound = problems.iter().all(|p| p.severity < Severity::Error);
        certain::report(self.file, problems.into_iter().chain(unread).collect(), whole);

        self.look_ups.as_ref()?;
        let (look_ups, call) = (look_ups.into_iter().collect::<Option<Vec<_>>>()?, call?);
        let on_tombstone = declared(on_tombstone)?;
        let fingerprint = self.fingerprint(&event, &call.operation, on_tombstone.as_ref().map(|t| &*t.call.operation));
        let consumer = Consumer {
            name: self.name.to_owned(),
            purpose: self.purpose.clone()?,
            owner: self.owner.clone()?,
            event,
            layout,
            when: declared(when)?,
            look_ups,
            call,
            on_tombstone,
            emit: declared(emit)?,
            deliver: self.deliver.clone(),
            fingerprint,
        };
        if sound {
            self.note_forgotten_key(&consumer.call);
            self.examine(&consumer);
        }
        Some(consumer)
    }

    /// A system that forgets a key before its record is given up: from then on an attempt whose answer was lost cannot be
    /// repeated, and is not.
    fn note_forgotten_key(&self, call: &Call) {
        let (name, operation, give_up_after) = (&call.system.name, &call.operation.id, self.deliver.give_up_after);
        let profile = &call.system.idempotency;
        let Some(key) = profile.header().filter(|key| key.remembers < give_up_after) else { return };
        let target = self.call.as_ref().and_then(|call| call.target.as_ref());
        let Some(target) = target.filter(|_| call.batch.is_none() && !profile.look_ups.contains_key(operation)) else {
            return;
        };
        let (remembers, give_up_after) = (quantity::text(key.remembers), quantity::text(give_up_after));
        let message = format!(
            "a call of {} whose answer was lost is a dead letter after {remembers}, not `give_up_after: {give_up_after}`: \
             {name} forgets its key then, and a second call might be a second effect",
            target.asked().label()
        );
        let help = format!(
            "if it remembers for longer, or can be asked for what was done, say so in systems/{name}/system.yaml: \
             `remembers: {give_up_after}`, or `look_up: {{ {operation}: … }}`"
        );
        self.file.note("bus/forgotten-key", target.at, message, help);
    }

    /// A batch is of records that are in flight together.
    fn check_batch(&self, batch: &Batch) {
        let declared = self.call.as_ref().and_then(|call| call.batch.as_ref()?.as_ref());
        if let Some(declared) =
            declared.filter(|_| !self.file.has_errors() && batch.max > self.deliver.in_flight as usize)
        {
            let message =
                format!("no batch can have more items than there are records in flight, {}", self.deliver.in_flight);
            let help = "raise `deliver.in_flight`, best to a few times `max`, or lower `max`";
            self.file.warning("bus/batch-max", declared.max.1, message, help);
        }
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
    fn is_whole(&self, filter_is_broken: bool, has_outcomes: bool) -> bool {
        let look_ups = self.look_ups.as_ref().is_some_and(|l| l.iter().all(|l| l.target.is_some()));
        let call =
            self.call.as_ref().is_some_and(|call| call.target.is_some() && (call.batch.is_none() || has_outcomes));
        let emit = match &self.emit {
            None => true,
            Some(emit) => emit.as_ref().is_some_and(|emit| emit.event.is_some()),
        };
        let on_tombstone = match &self.on_tombstone {
            None => true,
            Some(call) => call.as_ref().is_some_and(|call| call.target.is_some()),
        };
        look_ups && call && on_tombstone && emit && !filter_is_broken
    }

    /// A hash of all that decides the bytes of a request, made so that no two definitions can run together in it.
    fn fingerprint(&self, event: &Event, operation: &Operation, on_tombstone: Option<&Operation>) -> u64 {
        let mut hash = Sha256::new();
        hash.update(LANGUAGE.to_be_bytes());
        self.sources.iter().for_each(|node| hash_node(node, &mut hash));
        hash_text(&event.schema.text, &mut hash);
        hash_operation(operation, &mut hash);
        if let Some(operation) = on_tombstone {
            hash_operation(operation, &mut hash);
        }
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
        let asked = target.asked();
        let label = format!("the answer of {}", asked.label());
        let answer = asked.answer(file);
        let with = asked.parameters(file, compiler, self.residual);
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
    /// Compiles it; what became of items is known already, where they go out in batches.
    pub(super) fn compile(
        &self,
        file: &DefinitionFile<'_>,
        compiler: &mut Compiler,
        outcomes: Option<&AllOutcomes>,
    ) -> Option<Call> {
        let target = self.target.as_ref()?;
        if let Some(batch) = &self.batch {
            return self.compile_batch(file, compiler, (target, batch.as_ref()?), outcomes);
        }
        self.warn_of_repeats(file, target);
        self.check_if_match(file, target);
        let with = target.asked().parameters(file, compiler, self.residual);
        let label = format!("the contract of {}", target.asked().label());
        let body = match (self.body, &target.operation.request) {
            (Some(body), Some(request)) => {
                Some(compiler.mapping(body, TreeTarget::Contract(&request.ty, &label), self.residual))
            }
            (Some(_), None) => {
                let message = format!("{} takes no body", target.asked().label());
                file.error(
                    "bus/unexpected-body",
                    self.body_at,
                    message,
                    "remove `body`, or describe it in the contract",
                );
                Some(None)
            }
            (None, Some(request)) if request.required => {
                let message = format!("{} wants a body", target.asked().label());
                file.error("bus/missing-body", self.at, message, "add `body:` with the fields of the contract");
                Some(None)
            }
            (None, Some(_) | None) => None,
        };
        let operation = target.operation.clone();
        Some(Call { system: target.system.clone(), operation, with: with?, body: declared(body)?, batch: None })
    }

    /// Says so where a call may have its effect twice.
    fn warn_of_repeats(&self, file: &DefinitionFile<'_>, target: &Target<'_>) {
        let operation = &target.operation;
        // PUT and DELETE are idempotent by their definition (RFC 9110, section 9.2.2).
        let repeats = matches!(operation.method.as_str(), "POST" | "PATCH");
        if !repeats || target.system.idempotency.recognises(&operation.id) {
            return;
        }
        let name = &target.system.name;
        let message =
            format!("{} may be done twice: {name} is not said to recognise a second attempt", target.asked().label());
        let help = format!(
            "if it knows a key, or can be asked for what was done, say so in systems/{name}/system.yaml: \
             `idempotency: {{ header: … }}` or `{{ look_up: … }}`"
        );
        file.warning("bus/at-least-once", target.at, message, help);
    }

    /// A condition needs a version to be asked for: with GET or HEAD, at the same path.
    fn check_if_match(&self, file: &DefinitionFile<'_>, target: &Target<'_>) {
        let conditional = target.system.idempotency.means == Means::Upsert { if_match: true };
        if !conditional || target.system.version_of(&target.operation).is_some() {
            return;
        }
        let label = target.asked().label();
        let message = format!("{label} is called with `if_match`, and nothing tells the version of what it changes");
        let help = format!("describe a GET or HEAD of `{}` with the same parameters", target.operation.path);
        file.error("bus/no-version", target.at, message, help);
    }
}

impl DeclaredEmit<'_> {
    fn compile(
        &self,
        compiler: &mut Compiler,
        consumer: &Declared<'_>,
        outcomes: Option<&AllOutcomes>,
    ) -> Option<Emit> {
        let call = consumer.call.as_ref();
        let lost = outcomes.is_none() && call.is_some_and(|call| call.batch.is_some());
        match (call.and_then(|call| call.target.as_ref()).filter(|_| !lost), outcomes) {
            (Some(target), Some((_, part))) => {
                let label = format!("an item's part of the answer of {}", target.asked().label());
                compiler.bind("response", part.clone(), &label);
            }
            (None, _) => compiler.bind("response", Type::of(Kind::Any), "the answer of a call with mistakes"),
            (Some(target), None) => {
                if let Some(answer) = target.operation.success_type() {
                    compiler.bind("response", answer, &format!("the answer of {}", target.asked().label()));
                }
            }
        }
        let of_answer = self.follow_up(compiler);
        let of_found = self.of_found(compiler, consumer);
        Some(Emit { event: self.event.clone()?, of_answer: of_answer?, of_found: declared(of_found)? })
    }

    /// Where the effect can be looked up, what is found takes the answer's place: all that the event reads has to be in it.
    fn of_found(&self, compiler: &mut Compiler, consumer: &Declared<'_>) -> Option<Option<FollowUp>> {
        let target = consumer.call.as_ref().filter(|call| call.batch.is_none())?.target.as_ref()?;
        let look_up = target.system.idempotency.look_ups.get(&target.operation.id)?;
        let finds = format!("what {}.{} finds", target.system.name, look_up.operation.id);
        compiler.bind("response", look_up.found.clone(), &finds);
        Some(self.follow_up(compiler))
    }

    fn follow_up(&self, compiler: &mut Compiler) -> Option<FollowUp> {
        let key = self.key.and_then(|node| compiler.expression(node, &Type::text(), "emit.key"));
        let event = self.event.as_ref()?;
        let label = format!("schemas/{}.avsc", event.name);
        let target = TreeTarget::Avro(&event.schema.avro, &event.schema.ty, &label);
        let payload = self.payload.and_then(|node| compiler.mapping(node, target, self.residual));
        Some(FollowUp { key: key?, payload: payload? })
    }
}

impl Target<'_> {
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked { system: &self.system, operation: &self.operation, at: self.at, with: &self.with }
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

fn hash_operation(operation: &Operation, hash: &mut Sha256) {
    hash_text(&operation.method, hash);
    hash_text(&operation.path, hash);
    for parameter in &operation.parameters {
        hash_text(&parameter.name, hash);
        hash_text(&format!("{:?} {}", parameter.place, parameter.required), hash);
    }
    let request = operation.request.as_ref().map(|r| r.validator.schema.to_string());
    hash_text(&request.unwrap_or_default(), hash);
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
