//! Runs generated examples through a compiled consumer, and holds what it makes of them against all that the call's
//! contract and the follow-up event's schema say: the second line of checking, for what types do not model.

use tieline_mapping::{Examined, Given, Promise};
use tieline_schema::contract::Operation;

use super::Consumer;
use super::read::Declared;
use crate::examples::report;

impl Declared<'_> {
    /// Reports the first example that the contract, and the first that the follow-up event, refuses.
    pub(super) fn examine(&self, consumer: &Consumer) {
        let look_ups = consumer.look_ups.iter();
        let mut names: Vec<(&str, Given<'_>)> =
            look_ups.filter_map(|l| Some((l.name.as_str(), answers(&l.operation)?))).collect();
        let event = Given::Event(&consumer.event.schema);
        let (layout, when) = (&consumer.layout, consumer.when.as_ref());

        let body = self.call.as_ref().and_then(|call| call.body);
        let request = consumer.call.operation.request.as_ref();
        if let (Some(node), Some(mapping), Some(request)) = (body, &consumer.call.body, request) {
            let promise = Promise::Contract(&request.validator);
            let examined = Examined { event: event.clone(), layout, when, mapping, names: &names, promise };
            if !report(self.file, node, self.when, &examined) {
                return;
            }
        }

        let payload = self.emit.iter().flatten().find_map(|emit| emit.payload);
        if let (Some(node), Some(emit)) = (payload, &consumer.emit) {
            names.extend(answers(&consumer.call.operation).map(|given| ("response", given)));
            let promise = Promise::Event(&emit.event.schema);
            let examined = Examined { event, layout, when, mapping: &emit.of_answer.payload, names: &names, promise };
            report(self.file, node, self.when, &examined);
        }
    }
}

/// What an operation answers when it is done.
fn answers(operation: &Operation) -> Option<Given<'_>> {
    let payloads = operation.successes().into_iter().filter_map(|answer| answer.payload.as_ref());
    Some(Given::Json(operation.success_type()?, payloads.map(|p| &p.validator).collect()))
}
