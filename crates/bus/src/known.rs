//! What the bus has under a name: systems, events, operations. What is not there is reported with what was meant.

use std::collections::BTreeMap;
use std::sync::Arc;

use tieline_mapping::suggest;
use tieline_mapping::yaml::Node;
use tieline_schema::contract::Operation;

use crate::folder::DefinitionFile;
use crate::values::text;
use crate::{Event, System};

/// Things by name. One whose definition has mistakes is there without a value: it was reported, so whoever names it is
/// not.
#[derive(Debug)]
pub(crate) struct Known<T> {
    /// "event", "system".
    noun: &'static str,
    things: BTreeMap<String, Option<Arc<T>>>,
}

/// All that consumers and producers refer to.
#[derive(Debug)]
pub(crate) struct Everything {
    /// The bus's own name.
    pub bus: String,
    pub systems: Known<System>,
    pub events: Known<Event>,
}

impl<T> Known<T> {
    pub fn new(noun: &'static str) -> Self {
        Self { noun, things: BTreeMap::new() }
    }

    pub fn add(&mut self, name: String, thing: Option<T>) {
        self.things.insert(name, thing.map(Arc::new));
    }

    /// What this node names; reports where the bus has no such thing.
    pub fn named(&self, file: &DefinitionFile<'_>, node: &Node) -> Option<Arc<T>> {
        let name = text(file, node)?;
        if let Some(thing) = self.things.get(&name) {
            return thing.clone();
        }
        let names = self.things.keys().map(String::as_str);
        let code = if self.noun == "event" { "bus/unknown-event" } else { "bus/unknown-system" };
        file.error(
            code,
            node.span,
            format!("there is no {} `{name}`", self.noun),
            suggest::help(&name, names).unwrap_or_default(),
        );
        None
    }

    /// All that could be read.
    pub fn into_read(self) -> BTreeMap<String, Arc<T>> {
        self.things.into_iter().filter_map(|(name, thing)| Some((name, thing?))).collect()
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.things.keys()
    }

    /// Those that could be read.
    pub fn read(&self) -> impl Iterator<Item = &Arc<T>> {
        self.things.values().flatten()
    }
}

/// The operation that this node names; reports where the system's contract has none.
pub(crate) fn operation(file: &DefinitionFile<'_>, node: &Node, system: &System) -> Option<Arc<Operation>> {
    let name = text(file, node)?;
    let found = system.contract.operation(&name).cloned();
    if found.is_none() {
        let names = system.contract.operations.iter().map(|o| o.id.as_str());
        let message = format!("the contract of {} has no operation `{name}`", system.name);
        file.error("bus/unknown-operation", node.span, message, suggest::help(&name, names).unwrap_or_default());
    }
    found
}
