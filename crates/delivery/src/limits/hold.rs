//! Times that a system named, before which nobody calls: kept, shared through the topic, and learned from others.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{CallerId, Key, Message, NotBefore, at_least};
use crate::Time;

/// No more than one record in this: of many refusals at once the last named time is shared.
const SHARE_GAP_MIN: Duration = Duration::from_millis(100);

/// A record that has not been read back after this may not be there, and is written again. Others have to know within 1 s.
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// By how much two wall clocks may differ, so that one who starts later calls early by none. Those who run already do
/// not look at wall clocks.
const WALLS_DIFFER_MAX_MS: i64 = 60_000;

/// Until when nobody calls, as far as this process knows.
#[derive(Debug)]
pub(crate) struct Hold {
    until: Time,
    /// It ends at this time by our wall clock, and is to be shared.
    to_share: Option<i64>,
    /// Written, and not read back: its number, and when it was written.
    unread: Option<(u64, Time)>,
    written_at: Option<Time>,
    ends_unix_ms: i64,
    next_number: u64,
    /// What lay in the topic when we began: it may be old.
    backlog: Option<BTreeMap<(CallerId, u64), NotBefore>>,
}

impl Hold {
    pub(crate) fn new() -> Self {
        Self {
            until: Time::default(),
            to_share: None,
            unread: None,
            written_at: None,
            ends_unix_ms: 0,
            next_number: 1,
            backlog: Some(BTreeMap::new()),
        }
    }

    pub(crate) fn until(&self) -> Time {
        self.until
    }

    /// A system told us. Whether that is news.
    pub(crate) fn told(&mut self, now: Time, unix_ms: i64, wait: Duration) -> bool {
        let until = now.after(at_least(wait));
        let is_news = until > self.until;
        if is_news {
            self.until = until;
            self.to_share = Some(unix_ms.saturating_add(millis(wait)));
        }
        is_news
    }

    /// Another caller was told. Whether that is news.
    pub(crate) fn read(&mut self, now: Time, caller: CallerId, number: u64, not_before: NotBefore) -> bool {
        if let Some(backlog) = &mut self.backlog {
            backlog.insert((caller, number), not_before);
            return false;
        }
        self.extend(now, not_before.for_ms)
    }

    /// Whoever divides says that this one has passed.
    pub(crate) fn gone(&mut self, caller: CallerId, number: u64) {
        if let Some(backlog) = &mut self.backlog {
            backlog.remove(&(caller, number));
        }
    }

    /// What we wrote is there.
    pub(crate) fn read_back(&mut self, number: u64) {
        if self.unread.is_some_and(|(unread, _)| unread == number) {
            self.unread = None;
        }
    }

    /// The topic is read to where it ended when we began: what lay in it was written some time ago, and that is told by
    /// wall clocks alone.
    pub(crate) fn caught_up(&mut self, now: Time, unix_ms: i64) {
        for not_before in self.backlog.take().unwrap_or_default().into_values() {
            let left = not_before.until_unix_ms.saturating_sub(unix_ms).saturating_add(WALLS_DIFFER_MAX_MS);
            if left > WALLS_DIFFER_MAX_MS || not_before.until_unix_ms > unix_ms - WALLS_DIFFER_MAX_MS {
                self.extend(now, not_before.for_ms.min(u64::try_from(left).unwrap_or(0)));
            }
        }
    }

    fn extend(&mut self, now: Time, for_ms: u64) -> bool {
        let until = now.after(at_least(Duration::from_millis(for_ms)));
        let is_news = until > self.until;
        self.until = self.until.max(until);
        is_news
    }

    /// When there is something to write.
    pub(crate) fn due(&self) -> Option<Time> {
        let gap = self.written_at.map_or(Time::default(), |at| at.after(SHARE_GAP_MIN));
        match (self.to_share, self.unread) {
            (Some(_), _) => Some(gap),
            (None, Some((_, at))) => Some(at.after(AGAIN_AFTER)),
            (None, None) => None,
        }
    }

    /// What is to be written now.
    pub(crate) fn write(&mut self, now: Time, caller: &CallerId) -> Option<Message> {
        if self.due()? > now {
            return None;
        }
        let number = match self.to_share.take() {
            Some(ends_unix_ms) => {
                self.ends_unix_ms = ends_unix_ms;
                self.next_number += 1;
                self.next_number - 1
            }
            None => self.unread?.0,
        };
        let left = self.until.since(now);
        if left.is_zero() {
            self.unread = None;
            return None;
        }
        self.unread = Some((number, now));
        self.written_at = Some(now);
        let for_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Some(Message::NotBefore(caller.clone(), number, NotBefore { for_ms, until_unix_ms: self.ends_unix_ms }))
    }
}

/// The times that lie in the topic, for the allocator, which removes those that have passed.
#[derive(Debug, Default)]
pub(crate) struct Held {
    ends: BTreeMap<(CallerId, u64), Time>,
}

impl Held {
    pub(crate) fn read(&mut self, now: Time, caller: CallerId, number: u64, not_before: NotBefore) {
        self.ends.insert((caller, number), now.after(super::held(at_least(Duration::from_millis(not_before.for_ms)))));
    }

    pub(crate) fn gone(&mut self, caller: &CallerId, number: u64) {
        self.ends.remove(&(caller.clone(), number));
    }

    pub(crate) fn passed(&self, now: Time) -> impl Iterator<Item = Key> {
        let passed = self.ends.iter().filter(move |(_, end)| **end <= now);
        passed.map(|((caller, number), _)| Key::NotBefore(caller.clone(), *number))
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn ms(ms: u64) -> Time {
        Time(Duration::from_millis(ms))
    }

    #[test]
    fn one_who_starts_later_waits_for_what_is_left_and_not_for_what_has_passed() {
        for (ends_in_ms, for_ms, expect_ms) in
            [(600_000, 3_600_000, 660_000 + 8_250), (-3_600_000, 3_600_000, 0), (5_000, 5_000, 5_062)]
        {
            let mut hold = Hold::new();
            let not_before = NotBefore { for_ms, until_unix_ms: 1_000_000_000_000 + ends_in_ms };
            hold.read(ms(0), CallerId::new("a"), 1, not_before);
            hold.caught_up(ms(1_000), 1_000_000_000_000);
            let expect = if expect_ms == 0 { 0 } else { expect_ms + 1_000 };
            assert_eq!(hold.until().0.as_millis(), expect, "it ends in {ends_in_ms} ms");
        }
    }

    #[test]
    fn what_has_passed_by_the_word_of_whoever_divides_is_not_waited_for() {
        let mut hold = Hold::new();
        let not_before = NotBefore { for_ms: 6_000, until_unix_ms: 1_000 };
        hold.read(ms(0), CallerId::new("a"), 1, not_before);
        hold.read(ms(0), CallerId::new("a"), 2, NotBefore { for_ms: 2_000, ..not_before });
        hold.gone(CallerId::new("a"), 1);
        hold.caught_up(ms(0), 2_000);
        assert_eq!(hold.until(), ms(2_025));
    }

    #[test]
    fn what_was_not_read_back_is_written_again_under_its_number() {
        let mut hold = Hold::new();
        let caller = CallerId::new("a");
        assert!(hold.told(ms(0), 0, Duration::from_secs(8)));
        assert!(matches!(hold.write(ms(0), &caller), Some(Message::NotBefore(_, 1, NotBefore { for_ms: 8_101, .. }))));
        assert!(hold.write(ms(299), &caller).is_none());
        assert!(matches!(
            hold.write(ms(300), &caller),
            Some(Message::NotBefore(_, 1, NotBefore { for_ms: 7_801, .. }))
        ));
        hold.read_back(1);
        assert_eq!(hold.due(), None);
        assert!(!hold.told(ms(400), 400, Duration::from_secs(7)), "that is over before");
        assert!(hold.told(ms(410), 410, Duration::from_secs(8)));
        assert!(hold.write(ms(410), &caller).is_some());
    }
}
