//! `limits:` in `systems/NAME/system.yaml`: what a system lets all of us do together.

use std::collections::BTreeMap;

use tieline_mapping::suggest;
use tieline_mapping::yaml::Node;

use crate::fields::Fields;
use crate::folder::DefinitionFile;
use crate::values::{named, or_wrong, rate, text, whole};

/// Limits that a system sets. They hold for all replicas of all consumers together; what is not set is not limited.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Calls a second.
    pub per_second: Option<f64>,
    /// Calls at once after a pause. Without it: those of a second, and at least one.
    pub burst: Option<u32>,
    /// Calls under way.
    pub in_flight: Option<u32>,
    /// Calls a day.
    pub per_day: Option<u64>,
    /// Where a day begins and ends. Without it: UTC.
    pub time_zone: Option<jiff::tz::TimeZone>,
    /// What calls cost, as their answers say.
    pub cost: Option<CostLimits>,
    /// How the part of a consumer compares to that of the others, by its name. One that is not named has 1.
    pub weights: BTreeMap<String, u32>,
}

/// Limits of what calls cost, such as an AI model's tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct CostLimits {
    /// Where the answer says it, as a JSON pointer. An answer without a number there costs nothing.
    pub at: String,
    /// Units a second.
    pub per_second: f64,
    /// Units at once after a pause. Without it: those of a second, and at least one.
    pub burst: u64,
    /// Units a day, of the same day as the calls.
    pub per_day: Option<u64>,
}

impl Limits {
    pub(super) fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`limits`")?;
        let per_second = fields.optional("per_second", rate);
        let limits = Self {
            per_second,
            burst: fields.optional("burst", whole(1..=1_000_000)),
            in_flight: fields.optional("in_flight", whole(1..=100_000)),
            per_day: fields.optional("per_day", whole(1..=u64::MAX)),
            time_zone: fields.optional("time_zone", time_zone),
            cost: fields.optional("cost", CostLimits::read),
            weights: fields.optional("weights", weights).unwrap_or_default(),
        };
        fields.finish();
        Some(limits)
    }
}

impl CostLimits {
    fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`cost`")?;
        let at = fields.required("at", pointer);
        let per_second = fields.required("per_second", rate);
        let burst = fields.optional("burst", whole(1..=1_000_000_000_000));
        let per_day = fields.optional("per_day", whole(1..=u64::MAX));
        fields.finish();
        let per_second = per_second?;
        // Saturates where the number is larger than any burst can be.
        let a_second = per_second.ceil() as u64;
        Some(Self { at: at?, per_second, burst: burst.unwrap_or(a_second), per_day })
    }
}

fn time_zone(file: &DefinitionFile<'_>, node: &Node) -> Option<jiff::tz::TimeZone> {
    let zone = jiff::tz::TimeZone::get(&text(file, node)?).ok();
    or_wrong(file, node, zone, "a time zone, such as `Europe/Berlin` or `UTC`")
}

fn pointer(file: &DefinitionFile<'_>, node: &Node) -> Option<String> {
    let pointer = Some(text(file, node)?).filter(|text| text.starts_with('/'));
    or_wrong(file, node, pointer, "a place in the answer, such as `/usage/total_tokens`")
}

/// Weights by consumer. What is named has to be there: a name that is misspelt would quietly weigh nothing.
fn weights(file: &DefinitionFile<'_>, node: &Node) -> Option<BTreeMap<String, u32>> {
    let consumers: Vec<String> = file.folder.names("consumers").into_iter().map(|(name, _)| name).collect();
    let read = named(|file, node, _: &str| whole(1..=1_000)(file, node))(file, node)?;
    for (name, key, _) in &read {
        if !consumers.contains(name) {
            let help = suggest::help(name, consumers.iter().map(String::as_str)).unwrap_or_default();
            file.error("bus/unknown-consumer", key.span, format!("there is no consumer `{name}`"), help);
        }
    }
    Some(read.into_iter().map(|(name, _, weight)| (name, weight)).collect())
}
