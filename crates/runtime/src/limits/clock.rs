//! The monotonic clock that the machines of a process share.

use std::time::Instant;

use tieline_delivery::Time;

/// A clock with an origin of its own. It stands still while the machine that it runs on is suspended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> Time {
        Time(self.0.elapsed())
    }

    /// The instant that a time of this clock is.
    pub fn instant(self, time: Time) -> tokio::time::Instant {
        // What no instant can hold is as good as never; a day from now is looked at again.
        let far = || Instant::now() + std::time::Duration::from_secs(24 * 3_600);
        tokio::time::Instant::from_std(self.0.checked_add(time.0).unwrap_or_else(far))
    }

    /// The wall clock's time that a time of this clock will be, milliseconds since the Unix epoch.
    pub fn unix_ms(self, time: Time) -> i64 {
        let left = time.0.saturating_sub(self.0.elapsed());
        crate::now_ms().saturating_add(i64::try_from(left.as_millis()).unwrap_or(i64::MAX))
    }
}
