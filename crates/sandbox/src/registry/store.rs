//! What the registry knows: schemas by id and GUID, versions by subject, modes of compatibility.
//!
//! An id is made from the schema itself, so that it is the same after a restart and in whatever order schemas come: what
//! was written on a Kafka that lives longer than this registry can still be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use apache_avro::Schema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tieline_schema::compatibility::Mode;
use uuid::Uuid;

use super::answer::Refusal;

/// Most schemas that are kept. Development and tests have some hundreds.
const SCHEMAS_MAX: usize = 10_000;

/// The namespace of the GUIDs, which are UUIDs v5 of a schema's identity.
const GUIDS: Uuid = Uuid::from_u128(0x7f36_1a4e_0b5c_4d5f_9a53_6f1f_6f0e_2c11);

/// A schema that another one uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// The full name by which it is used.
    pub name: String,
    /// Where it is registered.
    pub subject: String,
    /// Which version.
    pub version: u32,
}

/// A schema with its names.
#[derive(Debug)]
pub struct Registered {
    /// The number that stands in records.
    pub id: u32,
    /// The GUID that stands in headers.
    pub guid: Uuid,
    /// Its text, in one line.
    pub text: String,
    /// What it uses.
    pub references: Vec<Reference>,
    identity: String,
    /// With what it uses written in.
    avro: Schema,
}

/// All that the registry knows.
#[derive(Debug)]
pub struct Store {
    schemas: BTreeMap<u32, Arc<Registered>>,
    /// The versions of each subject: version 1 first.
    subjects: BTreeMap<String, Vec<Arc<Registered>>>,
    mode: Mode,
    modes: BTreeMap<String, Mode>,
}

impl Default for Store {
    fn default() -> Self {
        Self { schemas: BTreeMap::new(), subjects: BTreeMap::new(), mode: Mode::Backward, modes: BTreeMap::new() }
    }
}

impl Store {
    /// Registers a schema, and returns it with its version; what is there already keeps both.
    pub fn register(
        &mut self,
        subject: &str,
        text: &str,
        references: Vec<Reference>,
    ) -> Result<(Arc<Registered>, u32), Refusal> {
        let schema = self.read(text, references)?;
        if let Some(found) = self.version_of(subject, &schema) {
            return Ok(found);
        }
        let problems = self.problems(subject, &schema, self.versions(subject).unwrap_or_default());
        if !problems.is_empty() {
            return Err(Refusal::Incompatible { subject: subject.to_owned(), details: problems.join("; ") });
        }
        if self.schemas.len() >= SCHEMAS_MAX {
            return Err(Refusal::Full(SCHEMAS_MAX));
        }
        let schema = self.schemas.entry(schema.id).or_insert_with(|| Arc::new(schema)).clone();
        let versions = self.subjects.entry(subject.to_owned()).or_default();
        versions.push(schema.clone());
        let version = u32::try_from(versions.len()).unwrap_or(u32::MAX);
        Ok((schema, version))
    }

    /// Finds a schema under a subject.
    pub fn look_up(
        &self,
        subject: &str,
        text: &str,
        references: Vec<Reference>,
    ) -> Result<(Arc<Registered>, u32), Refusal> {
        self.versions(subject)?;
        let schema = self.read(text, references)?;
        self.version_of(subject, &schema).ok_or_else(|| Refusal::NoSchema(String::new()))
    }

    /// What speaks against a schema as a subject's next: against one version, or against those that the mode names.
    pub fn incompatibilities(
        &self,
        subject: &str,
        version: Option<&str>,
        text: &str,
        references: Vec<Reference>,
    ) -> Result<Vec<String>, Refusal> {
        let schema = self.read(text, references)?;
        match version {
            Some(version) => {
                let (earlier, _) = self.version(subject, version)?;
                Ok(self.problems(subject, &schema, &[earlier]))
            }
            None => Ok(self.problems(subject, &schema, self.versions(subject)?)),
        }
    }

    /// The names of all subjects.
    pub fn subjects(&self) -> Vec<&str> {
        self.subjects.keys().map(String::as_str).collect()
    }

    /// A subject's versions, oldest first.
    pub fn versions(&self, subject: &str) -> Result<&[Arc<Registered>], Refusal> {
        self.subjects.get(subject).map(Vec::as_slice).ok_or_else(|| Refusal::NoSubject(subject.to_owned()))
    }

    /// A version of a subject: a number, or `latest`.
    pub fn version(&self, subject: &str, version: &str) -> Result<(Arc<Registered>, u32), Refusal> {
        let versions = self.versions(subject)?;
        let number = match version {
            "latest" | "-1" => versions.len(),
            text => text.parse().ok().filter(|n| *n > 0).ok_or_else(|| Refusal::InvalidVersion(text.to_owned()))?,
        };
        let schema = versions.get(number - 1).ok_or_else(|| Refusal::NoVersion(version.to_owned()))?;
        Ok((schema.clone(), u32::try_from(number).unwrap_or(u32::MAX)))
    }

    /// The schema of an id.
    pub fn by_id(&self, id: &str) -> Result<&Arc<Registered>, Refusal> {
        let found = id.parse().ok().and_then(|id: u32| self.schemas.get(&id));
        found.ok_or_else(|| Refusal::NoSchema(id.to_owned()))
    }

    /// The schema of a GUID.
    pub fn by_guid(&self, guid: &str) -> Result<&Arc<Registered>, Refusal> {
        let found = guid.parse().ok().and_then(|guid: Uuid| self.schemas.values().find(|s| s.guid == guid));
        found.ok_or_else(|| Refusal::NoSchema(guid.to_owned()))
    }

    /// Where a schema is registered: subjects with versions.
    pub fn uses(&self, schema: &Registered) -> Vec<(&str, u32)> {
        let mut uses = Vec::new();
        for (subject, versions) in &self.subjects {
            if let Some(n) = versions.iter().position(|v| v.id == schema.id) {
                uses.push((subject.as_str(), u32::try_from(n + 1).unwrap_or(u32::MAX)));
            }
        }
        uses
    }

    /// The mode of compatibility of all subjects that have none of their own.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The mode of a subject, where it has its own.
    pub fn mode_of(&self, subject: &str) -> Option<Mode> {
        self.modes.get(subject).copied()
    }

    /// Sets the mode of a subject, or of all.
    pub fn set_mode(&mut self, subject: Option<&str>, mode: Mode) {
        match subject {
            Some(subject) => drop(self.modes.insert(subject.to_owned(), mode)),
            None => self.mode = mode,
        }
    }

    fn read(&self, text: &str, mut references: Vec<Reference>) -> Result<Registered, Refusal> {
        let value: Value = serde_json::from_str(text).map_err(|e| Refusal::InvalidSchema(e.to_string()))?;
        references.sort();
        let mut used = Vec::new();
        for reference in &references {
            self.texts_of(reference, &mut used)?;
        }
        let invalid = |e: apache_avro::Error| Refusal::InvalidSchema(e.to_string());
        let avro = if used.is_empty() {
            Schema::parse(&value).map_err(invalid)?
        } else {
            let (mut avro, used) = Schema::parse_str_with_list(text, &used).map_err(invalid)?;
            avro.denormalize(&used).map_err(invalid)?;
            avro
        };
        let identity = format!("{} {references:?}", sorted(&value));
        let guid = Uuid::new_v5(&GUIDS, identity.as_bytes());
        Ok(Registered { id: self.id_of(&identity), guid, text: value.to_string(), references, identity, avro })
    }

    /// The texts of a reference and of what that uses in turn, each once.
    fn texts_of(&self, reference: &Reference, used: &mut Vec<String>) -> Result<(), Refusal> {
        let (schema, _) = self.version(&reference.subject, &reference.version.to_string()).map_err(|_| {
            Refusal::InvalidSchema(format!(
                "no schema reference found for {} version {}",
                reference.subject, reference.version
            ))
        })?;
        if used.contains(&schema.text) {
            return Ok(());
        }
        used.push(schema.text.clone());
        // What is registered was complete then, so that this ends.
        schema.references.iter().try_for_each(|r| self.texts_of(r, used))
    }

    /// 31 bits of the identity's hash, since Java's clients hold an id in an `int`; the next free one where two meet.
    fn id_of(&self, identity: &str) -> u32 {
        let hash = Sha256::digest(identity.as_bytes());
        let mut id = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) & 0x7fff_ffff;
        while id == 0 || self.schemas.get(&id).is_some_and(|other| other.identity != identity) {
            id = (id + 1) & 0x7fff_ffff;
        }
        id
    }

    fn version_of(&self, subject: &str, schema: &Registered) -> Option<(Arc<Registered>, u32)> {
        let versions = self.subjects.get(subject)?;
        let n = versions.iter().position(|v| v.identity == schema.identity)?;
        Some((versions[n].clone(), u32::try_from(n + 1).unwrap_or(u32::MAX)))
    }

    fn problems(&self, subject: &str, new: &Registered, earlier: &[Arc<Registered>]) -> Vec<String> {
        let earlier: Vec<&Schema> = earlier.iter().map(|s| &s.avro).collect();
        let mode = self.mode_of(subject).unwrap_or(self.mode);
        mode.conflicts(&new.avro, &earlier).iter().map(ToString::to_string).collect()
    }
}

/// A JSON text with the members of each object in one order, so that the order in which they were written is no matter.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            let members: Vec<String> =
                members.into_iter().map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), sorted(v))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
