//! Bounds on what one event may cost.

/// Bounds on what one datum may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most items of all lists and maps together.
    pub items_max: usize,
    /// Deepest nesting.
    pub depth_max: usize,
    /// Most bytes written for one record.
    pub output_bytes_max: usize,
}

impl Default for Bounds {
    /// 100,000 items, 64 levels and 4 MiB: some hundred times what events have, and read in milliseconds.
    fn default() -> Self {
        Self { items_max: 100_000, depth_max: 64, output_bytes_max: 4 * 1024 * 1024 }
    }
}
