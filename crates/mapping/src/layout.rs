//! What is read of an event, and where each part lies once it is read.
//!
//! An event is read into *slots*. The fields of the event itself share level 0; the items of each list have a level of
//! their own, where each item takes the same number of slots, its *stride*. So a list of records costs one growing
//! vector, and an expression finds a field by adding its slot to where its item begins.

use tieline_schema::types::{Kind, Type};

/// Which parts of an event are read, and in which slot each lies.
#[derive(Debug, Clone)]
pub struct Layout {
    wants: Vec<Want>,
    strides: Vec<u32>,
}

/// A part of an event: what is wanted of it and of the parts below.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    /// The level that its slot is in.
    pub(crate) level: u32,
    /// Where its own value goes: a scalar, a list, or whether a record is there at all.
    pub(crate) slot: Option<u32>,
    /// Its type in the reader's schema or contract.
    pub(crate) ty: Type,
    /// The fields of a record, or the keys of a map.
    pub(crate) fields: Vec<(String, WantId)>,
    /// The items of a list.
    pub(crate) item: Option<WantId>,
}

/// A want of a layout.
pub(crate) type WantId = usize;

/// The want of the whole event.
pub(crate) const ROOT: WantId = 0;

impl Layout {
    /// A layout that reads nothing yet.
    pub(crate) fn new(ty: Type) -> Self {
        Self { wants: vec![Want { level: 0, slot: None, ty, fields: Vec::new(), item: None }], strides: vec![0] }
    }

    /// The want of this id.
    pub(crate) fn want(&self, id: WantId) -> &Want {
        &self.wants[id]
    }

    /// How many slots an item of each level takes.
    pub(crate) fn strides(&self) -> &[u32] {
        &self.strides
    }

    /// The want of a field, made if it is not there.
    pub(crate) fn field(&mut self, id: WantId, name: &str, ty: &Type) -> WantId {
        if let Some((_, field)) = self.wants[id].fields.iter().find(|(n, _)| n == name) {
            return *field;
        }
        let field = self.add(self.wants[id].level, ty);
        self.wants[id].fields.push((name.to_owned(), field));
        field
    }

    /// The want of a list's items, made with a level of its own if it is not there.
    pub(crate) fn item(&mut self, id: WantId, ty: &Type) -> WantId {
        if let Some(item) = self.wants[id].item {
            return item;
        }
        self.strides.push(0);
        let level = u32::try_from(self.strides.len() - 1).unwrap_or(u32::MAX);
        let item = self.add(level, ty);
        self.wants[id].item = Some(item);
        item
    }

    /// The slot of a want, given one if it has none.
    pub(crate) fn slot(&mut self, id: WantId) -> u32 {
        if let Some(slot) = self.wants[id].slot {
            return slot;
        }
        let stride = &mut self.strides[self.wants[id].level as usize];
        let slot = *stride;
        *stride += 1;
        self.wants[id].slot = Some(slot);
        slot
    }

    /// Whether it or anything below is read.
    pub(crate) fn is_read(&self, id: WantId) -> bool {
        let want = &self.wants[id];
        want.slot.is_some() || want.item.is_some() || want.fields.iter().any(|(_, f)| self.is_read(*f))
    }

    /// The fields that are read, as paths from the top (`deal.amount`, `lines[].sku`), sorted.
    #[must_use]
    pub fn reads(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(ROOT, String::new(), &mut paths);
        paths.sort();
        paths
    }

    fn collect(&self, id: WantId, path: String, paths: &mut Vec<String>) {
        let want = &self.wants[id];
        let before = paths.len();
        for (name, field) in &want.fields {
            let dot = if path.is_empty() { "" } else { "." };
            self.collect(*field, format!("{path}{dot}{name}"), paths);
        }
        if let Some(item) = want.item {
            self.collect(item, format!("{path}[]"), paths);
        }
        // A list or record of which a part is read is named by that part.
        if want.slot.is_some() && (paths.len() == before || !holds_parts(&want.ty)) && !path.is_empty() {
            paths.push(path);
        }
    }

    fn add(&mut self, level: u32, ty: &Type) -> WantId {
        self.wants.push(Want { level, slot: None, ty: ty.clone(), fields: Vec::new(), item: None });
        self.wants.len() - 1
    }
}

fn holds_parts(ty: &Type) -> bool {
    matches!(ty.kind, Kind::Record(_) | Kind::List { .. } | Kind::Map(_))
}
