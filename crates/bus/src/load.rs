//! Reads all definitions below a directory, in the order in which they refer to each other, and checks what no single
//! file can know: names, topics, paths.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tieline_mapping::Severity;
use tieline_mapping::suggest;
use tieline_mapping::yaml::Node;

use crate::event::is_topic_name;
use crate::folder::{DefinitionFile, Folder, place as place_of};
use crate::known::{Everything, Known};
use crate::producer::Source;
use crate::tieline_yaml::{SharedTopic, TielineYaml};
use crate::values::is_name;
use crate::{Bus, Consumer, Environment, Event, Loaded, Problem, Producer, System, variables};

impl Bus {
    /// Reads and checks all definitions below a directory.
    #[must_use]
    pub fn load(dir: &Path, environment: &dyn Environment) -> Loaded {
        let folder = Folder::new(dir, environment);
        let bus = read(&folder);
        let mut problems = folder.into_problems();
        problems.sort_by(|a, b| place(a).cmp(&place(b)));
        let sound = problems.iter().all(|p| p.diagnostic.severity < Severity::Error);
        debug_assert!(bus.is_some() || !sound, "what cannot be read has a problem");
        Loaded { bus: bus.filter(|_| sound), problems }
    }
}

fn place(problem: &Problem) -> (&Path, usize, &'static str) {
    (&problem.file, problem.diagnostic.span.start, problem.diagnostic.code)
}

fn read(folder: &Folder<'_>) -> Option<Bus> {
    if !folder.dir.join("tieline.yaml").exists() {
        let help = "run this in the folder of a bus, or write a new one with `tieline init NAME`";
        folder.error("tieline.yaml", "bus/missing-file", "there is no tieline.yaml here", help);
        return None;
    }
    let (file, node) = folder.definition("tieline.yaml".into())?;
    let settings = TielineYaml::read(&file, &variables::fill(&file, &node))?;
    let all = Everything {
        bus: settings.bus.clone().unwrap_or_default(),
        events: read_events(folder, &topics_of_events(&file, &settings.topics)),
        systems: read_systems(folder),
    };
    check_topics(&file, &settings.topics, &all.events);
    let producers =
        read_all(folder, "producers", "producer.yaml", |file, node, name| Producer::read(file, node, name, &all));
    let consumers =
        read_all(folder, "consumers", "consumer.yaml", |file, node, name| Consumer::read(file, node, name, &all));
    check_paths(folder, &producers);
    Some(Bus {
        dir: folder.dir.to_owned(),
        name: settings.bus?,
        kafka: settings.kafka?,
        registry: settings.registry?,
        systems: all.systems.into_read(),
        events: all.events.into_read(),
        producers: arcs(producers),
        consumers: arcs(consumers),
    })
}

fn arcs<T>(things: BTreeMap<String, Option<T>>) -> BTreeMap<String, Arc<T>> {
    things.into_iter().filter_map(|(name, thing)| Some((name, Arc::new(thing?)))).collect()
}

/// Which events share a topic, by event; an event is on one topic only.
fn topics_of_events(file: &DefinitionFile<'_>, topics: &[SharedTopic]) -> BTreeMap<String, String> {
    let mut by_event: BTreeMap<String, String> = BTreeMap::new();
    for topic in topics {
        if !is_topic_name(&topic.name) {
            let help = "take letters, digits, `.`, `_` and `-`";
            file.error("bus/name", topic.name_span, format!("`{}` is no name of a topic", topic.name), help);
        }
        for (event, span) in &topic.events {
            if let Some(other) = by_event.insert(event.clone(), topic.name.clone()) {
                let message = format!("`{event}` is on topic `{other}` already");
                file.error("bus/two-topics", *span, message, "an event is published to one topic: keep one");
            }
        }
    }
    by_event
}

fn read_events(folder: &Folder<'_>, topics: &BTreeMap<String, String>) -> Known<Event> {
    let mut events = Known::new("event");
    for (file_name, is_dir) in folder.names("schemas") {
        let Some(name) = file_name.strip_suffix(".avsc").filter(|_| !is_dir) else { continue };
        let data = folder.data(Path::new("schemas").join(&file_name), None);
        events.add(name.to_owned(), data.and_then(|data| Event::read(&data, name, topics)));
    }
    events
}

fn read_systems(folder: &Folder<'_>) -> Known<System> {
    let mut systems = Known::new("system");
    let read = read_all(folder, "systems", "system.yaml", |file, node, name| {
        System::read(file, &variables::fill(file, node), name)
    });
    read.into_iter().for_each(|(name, system)| systems.add(name, system));
    systems
}

/// Reads the definition in each folder below one. What has mistakes is there without a value.
fn read_all<T>(
    folder: &Folder<'_>,
    below: &str,
    definition: &str,
    read: impl Fn(&DefinitionFile<'_>, &Node, &str) -> Option<T>,
) -> BTreeMap<String, Option<T>> {
    let names = folder.names(below).into_iter().filter(|(_, is_dir)| *is_dir);
    names
        .map(|(name, _)| {
            let path = Path::new(below).join(&name).join(definition);
            if !is_name(&name) {
                let help = "name the folder with small letters, digits and `-`, a letter first";
                folder.error(&path, "bus/name", format!("`{name}` is no name"), help);
            }
            let thing = folder.definition(path).and_then(|(file, node)| read(&file, &node, &name));
            (name, thing)
        })
        .collect()
}

/// Events that share a topic have to be there; names of topics differ in more than `.` and `_`, which Kafka's metrics
/// do not tell apart.
fn check_topics(file: &DefinitionFile<'_>, topics: &[SharedTopic], events: &Known<Event>) {
    let names: Vec<&String> = events.names().collect();
    for (event, span) in topics.iter().flat_map(|t| &t.events) {
        if !names.contains(&event) {
            file.error(
                "bus/unknown-event",
                *span,
                format!("there is no event `{event}`"),
                suggest::help(event, names.iter().map(|n| n.as_str())).unwrap_or_default(),
            );
        }
    }
    let mut by_metric: BTreeMap<String, &str> = BTreeMap::new();
    for event in events.read() {
        let topic = event.topic.as_str();
        if let Some(other) = by_metric.insert(topic.replace('.', "_"), topic).filter(|other| *other != topic) {
            let message = format!("topics `{other}` and `{topic}` differ only in `.` and `_`");
            let help = "Kafka's metrics cannot tell them apart: rename one";
            file.folder.error(format!("schemas/{}.avsc", event.name), "bus/topic-collision", message, help);
        }
    }
}

fn check_paths(folder: &Folder<'_>, producers: &BTreeMap<String, Option<Producer>>) {
    let mut by_path: BTreeMap<&str, &str> = BTreeMap::new();
    for producer in producers.values().flatten() {
        let Source::Webhook(webhook) = &producer.source;
        let Some(other) = by_path.insert(&webhook.path, &producer.name) else { continue };
        let path = Path::new("producers").join(&producer.name).join("producer.yaml");
        let message = format!("path {} is that of producer `{other}` already", webhook.path);
        // Read again only to say where: it was sound a moment ago.
        if let Some((file, node)) = folder.definition(path) {
            let span = place_of(&node, "/source/webhook/path");
            file.error("bus/duplicate-path", span, message, "take another path");
        }
    }
}
