//! How much is fetched and not yet covered by a commit, and whether there is room for more.

/// Counts records and bytes of all partitions against their bounds.
///
/// It is full at a bound, and has room again at three quarters of it, so that fetching does not stop and go with each
/// record. It refuses nothing: what was fetched before the pause reached the fetcher is taken in, over the bound.
#[derive(Debug)]
pub(crate) struct Window {
    records_max: usize,
    bytes_max: usize,
    records: usize,
    bytes: usize,
    full: bool,
}

impl Window {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        Self { records_max: records_max.max(1), bytes_max: bytes_max.max(1), records: 0, bytes: 0, full: false }
    }

    /// Takes a record in. True if the window is full by it, and was not before.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        self.records += 1;
        self.bytes += bytes;
        let filled = !self.full && (self.records >= self.records_max || self.bytes >= self.bytes_max);
        self.full |= filled;
        filled
    }

    /// Lets records go. True if there is room again by it, and was not before.
    pub(crate) fn release(&mut self, records: usize, bytes: usize) -> bool {
        debug_assert!(records <= self.records && bytes <= self.bytes, "more is let go than was taken in");
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
        let room = self.records <= self.records_max / 4 * 3 && self.bytes <= self.bytes_max / 4 * 3;
        let opened = self.full && room;
        self.full &= !opened;
        opened
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether more than half of it is taken: then what can wait does.
    pub(crate) fn is_half_full(&self) -> bool {
        self.has_more_than(2)
    }

    /// Whether a partition with so many records and bytes, one of so many, has to wait for the others: it has more than its part
    /// of a window that is half taken. One that does wait goes on with three quarters of its part, or in a window that is nearly free.
    ///
    /// Without it, a partition whose calls are slow would in time have all of the window, and the others nothing to do.
    pub(crate) fn is_greedy(&self, (records, bytes): (usize, usize), partitions: usize, waits: bool) -> bool {
        let part = |max: usize| if waits { max / partitions / 4 * 3 } else { max / partitions };
        let is_scarce = if waits { self.has_more_than(4) } else { self.is_half_full() };
        is_scarce && (records > part(self.records_max) || bytes > part(self.bytes_max))
    }

    fn has_more_than(&self, nth: usize) -> bool {
        self.records > self.records_max / nth || self.bytes > self.bytes_max / nth
    }

    pub(crate) fn records(&self) -> usize {
        self.records
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_at_its_bound_and_open_at_three_quarters() {
        let mut window = Window::new(8, 1_000);
        assert!((0..7).all(|_| !window.take(1)));
        assert!(window.take(1));
        assert!(!window.take(1)); // was full already
        assert!(!window.release(2, 2));
        assert!(window.is_full());
        assert!(window.release(1, 1));
        assert!(!window.is_full());
    }

    #[test]
    fn who_has_more_than_its_part_of_a_half_full_window_waits_until_it_has_less() {
        let mut window = Window::new(80, 1_000);
        for _ in 0..41 {
            window.take(10);
        }
        let is_greedy = |window: &Window, records, waits| window.is_greedy((records, records * 10), 4, waits);
        assert!(!is_greedy(&window, 20, false) && is_greedy(&window, 21, false) && is_greedy(&window, 16, true));
        assert!(!is_greedy(&window, 15, true));
        window.release(1, 10);
        assert!(!is_greedy(&window, 30, false) && is_greedy(&window, 30, true));
        window.release(20, 200);
        assert!(!is_greedy(&window, 20, true));
    }

    #[test]
    fn one_record_above_the_bytes_fills_it_and_empties_it() {
        let mut window = Window::new(8, 1_000);
        assert!(window.take(5_000));
        assert!(window.release(1, 5_000));
    }
}
