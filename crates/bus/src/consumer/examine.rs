//! Runs generated examples through a compiled consumer, and holds what it makes of them against all that the call's
//! contract and the follow-up event's schema say: the second line of checking, for what types do not model.

use tieline_mapping::{Examined, Given, Promise};
use tieline_schema::contract::Operation;
use tieline_schema::types::{Kind, Text, Type};

use super::read::Declared;
use super::{Batch, Consumer};
use crate::examples::report;

impl Declared<'_> {
    /// Reports the first example that the contract, and the first that the follow-up event, refuses.
    pub(super) fn examine(&self, consumer: &Consumer) {
        let look_ups = consumer.look_ups.iter();
        let mut names: Vec<(&str, Given<'_>)> =
            look_ups.filter_map(|l| Some((l.name.as_str(), answers(&l.operation)?))).collect();
        let event = Given::Event(&consumer.event.schema);
        let (layout, when) = (&consumer.layout, consumer.when.as_ref());

        let batch = consumer.call.batch.as_ref();
        if batch.is_some_and(|batch| batch.keyed) {
            let key = Type::of(Kind::Text(Text { format: Some("uuid".to_owned()), ..Text::default() }));
            names.push((Batch::KEY, Given::Json(key, Vec::new())));
        }
        let body = self.call.as_ref().and_then(|call| if batch.is_some() { call.item } else { call.body });
        let request = consumer.call.operation.request.as_ref();
        if let (Some(node), Some(mapping), Some(request)) = (body, &consumer.call.body, request) {
            let promise = match &consumer.call.batch {
                None => Promise::Contract(&request.validator),
                Some(batch) => Promise::Within {
                    contract: &request.validator,
                    around: (&batch.around.0, &batch.around.1),
                    at: &batch.items_at,
                },
            };
            let examined = Examined { event: event.clone(), layout, when, mapping, names: &names, promise };
            if !report(self.file, node, self.when, &examined) {
                return;
            }
        }

        let payload = self.emit.iter().flatten().find_map(|emit| emit.payload);
        if let (Some(node), Some(emit)) = (payload, &consumer.emit) {
            let response = match batch {
                None => answers(&consumer.call.operation),
                Some(batch) => Some(Given::Json(batch.response.clone(), Vec::new())),
            };
            names.extend(response.map(|given| ("response", given)));
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
