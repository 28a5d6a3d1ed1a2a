//! What a call is for: what comes in, or a replay, which takes what that leaves.

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// What comes in; also an old record that a live one of its lane waits behind.
    Live,
    /// An old record that somebody wants delivered again, and that nothing live waits for.
    Replayed,
}

impl Class {
    /// All there are, in the order in which they go.
    pub const ALL: [Self; 2] = [Self::Live, Self::Replayed];
}

/// One for each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByClass<T> {
    /// Of what comes in.
    pub live: T,
    /// Of what is replayed.
    pub replayed: T,
}

impl<T> ByClass<T> {
    /// That of a class.
    pub const fn of(&self, class: Class) -> &T {
        match class {
            Class::Live => &self.live,
            Class::Replayed => &self.replayed,
        }
    }

    /// That of a class, to be changed.
    pub const fn of_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Live => &mut self.live,
            Class::Replayed => &mut self.replayed,
        }
    }
}

impl ByClass<usize> {
    /// Both together.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.live + self.replayed
    }
}
