//! The parts of one event, in the slots of its layout.

use crate::layout::Layout;
use crate::value::{List, Val};

/// The parts of one event, borrowed from its bytes.
#[derive(Debug)]
pub struct Frame<'a> {
    // A `Vec` and not a `SmallVec`, which would not let a frame live shorter than its event.
    levels: Vec<Level<'a>>,
}

/// The slots of one level, item after item.
#[derive(Debug)]
struct Level<'a> {
    stride: u32,
    items: u32,
    slots: Vec<Val<'a>>,
}

impl<'a> Frame<'a> {
    /// A frame in which everything is null.
    pub(crate) fn new(layout: &Layout) -> Self {
        Self::with_strides(layout.strides())
    }

    /// A frame in which everything is null.
    pub(crate) fn with_strides(strides: &[u32]) -> Self {
        let mut levels: Vec<Level<'a>> =
            strides.iter().map(|stride| Level { stride: *stride, items: 0, slots: Vec::new() }).collect();
        if let Some(top) = levels.first_mut() {
            top.items = 1;
            top.slots.resize(top.stride as usize, Val::Null);
        }
        Self { levels }
    }

    /// Starts a list: what [`Frame::end_list`] wants back.
    pub(crate) fn start_list(&self, level: u32) -> (u32, u32) {
        let level = &self.levels[level as usize];
        (slot_number(level.slots.len()), level.items)
    }

    /// Adds an item, all null, and says where its slots begin.
    pub(crate) fn add_item(&mut self, level: u32) -> u32 {
        let level = &mut self.levels[level as usize];
        let base = slot_number(level.slots.len());
        level.slots.resize(level.slots.len() + level.stride as usize, Val::Null);
        level.items += 1;
        base
    }

    /// The list of the items added since it was started.
    pub(crate) fn end_list(&self, level: u32, (start, before): (u32, u32)) -> List {
        List { frame: 0, level, start, len: self.levels[level as usize].items - before }
    }

    /// How many slots an item of this level takes.
    pub(crate) fn stride(&self, level: u32) -> u32 {
        self.levels[level as usize].stride
    }

    /// The value in a slot.
    pub(crate) fn slot(&self, level: u32, at: u32) -> &Val<'a> {
        self.levels[level as usize].slots.get(at as usize).unwrap_or(&Val::Null)
    }

    /// Fills a slot.
    pub(crate) fn put(&mut self, level: u32, at: u32, value: Val<'a>) {
        if let Some(slot) = self.levels[level as usize].slots.get_mut(at as usize) {
            *slot = value;
        }
    }
}

/// Slots are bounded by items times stride, far below 2³².
fn slot_number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
