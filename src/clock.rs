//! Watches the wall clock while services run. Tieline itself waits by the monotonic clock, and does not mind when the time is
//! set. Kafka's client does: librdkafka (2.12; its issue 2145) waits on condition variables by the wall clock, so that what it
//! waits for when the clock is set back by an hour lasts an hour longer, its heartbeats too. The group puts such a member out,
//! and the member does not hear of it. So a service whose clock is set back ends, as in a crash, and is started again.

use std::time::{Duration, Instant, SystemTime};

use crate::failure::EXIT_OUTSIDE;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How far the clock may be set back. By so much are heartbeats late, of which four have to fail before a session of 6 s ends;
/// what NTP corrects and leap seconds are below.
const BACK_MAX: Duration = Duration::from_secs(3);

/// Both clocks, read at once.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    monotonic: Instant,
    wall: SystemTime,
}

/// Ends this process when the wall clock is set back too far. Nothing is drained: that would be done by the client that
/// stands still. To be called in a Tokio runtime.
pub fn end_when_set_back() {
    tokio::spawn(async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut before = Clocks::now();
        loop {
            looks.tick().await;
            let now = Clocks::now();
            let back = now.set_back_since(before);
            if back > BACK_MAX {
                let back_s = back.as_secs();
                let told = "the clock was set back, and Kafka's client would stand still for as long: this process ends, to be \
                            started again";
                tracing::error!(back_s, "{told}");
                std::process::exit(EXIT_OUTSIDE.into());
            }
            before = now;
        }
    });
}

impl Clocks {
    fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// How much less time has passed by the wall clock than by the monotonic one.
    fn set_back_since(self, before: Self) -> Duration {
        let expected = before.wall + self.monotonic.duration_since(before.monotonic);
        expected.duration_since(self.wall).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_back_counts() {
        let before = Clocks::now();
        let secs = Duration::from_secs;
        let after = |wall| Clocks { monotonic: before.monotonic + secs(2), wall };
        assert_eq!(after(before.wall + secs(2)).set_back_since(before), Duration::ZERO);
        assert_eq!(after(before.wall + secs(3_602)).set_back_since(before), Duration::ZERO);
        assert_eq!(after(before.wall + secs(2) - secs(3_600)).set_back_since(before), secs(3_600));
    }
}
