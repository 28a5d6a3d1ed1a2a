//! A record under way: all that the machine knows of it between its fetch and its final state.

use std::time::Duration;

use crate::{AttemptLog, Came, Class, Key, ParkedState, Reason, Time};

/// Attempts that are kept from the beginning, for people: what went wrong first.
const ATTEMPTS_FIRST: usize = 3;

/// Attempts that are kept from the end: how it stands now.
const ATTEMPTS_LAST: usize = 20;

/// Where a record is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Behind its lane's head.
    Behind,
    /// At the head, waits for a commit: one that raises the send ceiling above it, or, where commits were refused, any.
    AtCommit,
    /// At the head, waits for its turn to be prepared.
    ToPrepare,
    /// The shell prepares it.
    Preparing,
    /// There is a request, which waits for its turn to be sent.
    ToSend,
    /// The call is under way.
    InFlight,
    /// Waits for its time.
    Resting,
}

/// A record under way.
#[derive(Debug)]
pub(crate) struct Entry<R> {
    pub(crate) key: Option<Key>,
    pub(crate) record: R,
    pub(crate) bytes: usize,
    pub(crate) stage: Stage,
    /// The next one in its lane.
    pub(crate) successor: Option<i64>,
    /// Number of the attempt that is under way, or comes next; from 1.
    pub(crate) attempt: u32,
    /// An attempt may have been applied, and its outcome is not known.
    pub(crate) maybe_applied: bool,
    /// By an earlier owner, with another mapping.
    pub(crate) mapped_otherwise: bool,
    /// The shell has a request for it.
    pub(crate) has_request: bool,
    /// When it was sent last.
    pub(crate) sent_at: Time,
    /// The number of the call that was sent last.
    pub(crate) call: u64,
    /// The last call that was known to have worked when the attempt that is under way began.
    pub(crate) worked_at_start: u64,
    /// It was prepared at least once, and may end from now on.
    pub(crate) begun: bool,
    pub(crate) failing: Option<Box<Failing>>,
    pub(crate) attempts: Vec<AttemptLog>,
    /// Where it lay before.
    pub(crate) came: Came,
    /// What was known of it when it was read back from there.
    pub(crate) before: Option<Before>,
    /// The newest record of its key that had its effect before it, or may have had: what a replayed one must not take back.
    pub(crate) newest: Option<i64>,
    /// It was replayed, and is sent even so.
    pub(crate) overtakes: bool,
    /// It was replayed, and a live record waits behind it: it is not to wait for what live work leaves.
    pub(crate) hurried: bool,
}

/// What was known of a record when it was read back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    pub(crate) state: ParkedState,
    pub(crate) at: Time,
    /// The last call that had been sent when it was parked; none, if that was not here.
    pub(crate) parked_at: u64,
}

/// A record that failed and is tried again.
#[derive(Debug)]
pub(crate) struct Failing {
    /// When it failed first.
    pub(crate) since: Time,
    /// Since when each answer was a conflict.
    pub(crate) conflict_since: Option<Time>,
    /// The last call that had been sent when it failed first, or was parked; and when it failed last. A later one that worked
    /// shows that the operation works for others.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// How often it has failed.
    pub(crate) failures: u32,
    /// It was refused, and is kept: whose fault that is cannot be told yet.
    pub(crate) refused: bool,
    pub(crate) reason: Reason,
    pub(crate) retry_at: Time,
    /// Why people are shown it, if they are.
    pub(crate) stuck: Option<StuckBy>,
}

/// Why a failing record is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StuckBy {
    /// It has failed for longer than it should.
    Patience,
    /// The failure is not this record's.
    Outage,
}

impl<R> Entry<R> {
    pub(crate) fn new(key: Option<Key>, bytes: usize, record: R, maybe_applied: bool) -> Self {
        Self {
            key,
            record,
            bytes,
            stage: Stage::Behind,
            successor: None,
            attempt: 1,
            maybe_applied,
            mapped_otherwise: false,
            has_request: false,
            sent_at: Time::default(),
            call: 0,
            worked_at_start: 0,
            begun: false,
            failing: None,
            attempts: Vec::new(),
            came: Came::Fetched,
            before: None,
            newest: None,
            overtakes: false,
            hurried: false,
        }
    }

    /// A record that was read back from where it lay.
    pub(crate) fn recalled(
        key: Option<Key>,
        bytes: usize,
        record: R,
        before: Before,
        attempts: Vec<AttemptLog>,
        came: Came,
    ) -> Self {
        Self {
            attempt: before.state.attempts_total.saturating_add(1),
            attempts,
            came,
            before: Some(before),
            ..Self::new(key, bytes, record, before.state.maybe_applied)
        }
    }

    /// What its calls are for.
    pub(crate) fn class(&self) -> Class {
        if self.came == Came::Replayed && !self.hurried { Class::Replayed } else { Class::Live }
    }

    /// For how long it has failed, with the time in which it was parked.
    pub(crate) fn failing_for(&self, now: Time) -> Duration {
        let before = self.before.filter(|before| !before.state.failing_for.is_zero());
        match (before, &self.failing) {
            (Some(before), _) => before.state.failing_for + now.since(before.at),
            // Nothing would say that it has not failed.
            (None, Some(failing)) => now.since(failing.since).max(Duration::from_millis(1)),
            (None, None) => Duration::ZERO,
        }
    }

    /// Whether the next attempt is a request made anew. What may have been applied is sent again as it was; what is known
    /// not to be applied is mapped anew, so that a look-up or a mapping that was put right reaches it.
    pub(crate) fn needs_preparing(&self) -> bool {
        !(self.maybe_applied && self.has_request)
    }

    /// How many attempts have been answered and counted.
    pub(crate) fn attempts_total(&self) -> u32 {
        self.attempt - 1
    }

    /// Counts the attempt that is under way, and keeps what is known of it.
    pub(crate) fn count_attempt(&mut self, log: AttemptLog) {
        self.attempt = self.attempt.saturating_add(1);
        if self.attempts.len() == ATTEMPTS_FIRST + ATTEMPTS_LAST {
            self.attempts.remove(ATTEMPTS_FIRST);
        }
        self.attempts.push(log);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_3_attempts_and_the_last_20_are_kept() {
        let mut entry = Entry::new(None, 0, (), false);
        for at_ms in 1..=100 {
            entry.count_attempt(AttemptLog { at_ms, status: None, excerpt: String::new() });
        }
        let kept: Vec<i64> = entry.attempts.iter().map(|log| log.at_ms).collect();
        assert_eq!(kept, [vec![1, 2, 3], (81..=100).collect()].concat());
        assert_eq!(entry.attempts_total(), 100);
    }
}
