//! Whether any partition stands still while it has records to deliver: looked at from outside, through the brokers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::load::Offsets;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// Looks at a group until it is asked.
pub struct StallWatch {
    stop: watch::Sender<bool>,
    looking: JoinHandle<Stall>,
}

/// The longest time in which a partition that had records left committed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stall {
    pub lasted: Duration,
    pub partition: i32,
}

/// What is known of a partition: what was committed, and since when it has stood there with records left.
#[derive(Default)]
struct Seen {
    committed: i64,
    waits_since: Option<Instant>,
}

impl StallWatch {
    pub fn start(offsets: Offsets) -> Self {
        let (stop, stopped) = watch::channel(false);
        let looking = tokio::task::spawn_blocking(move || {
            let (mut seen, mut longest) = (BTreeMap::new(), Stall::default());
            while !*stopped.borrow() && stopped.has_changed().is_ok() {
                longest = longest.max(look(&offsets, &mut seen));
                std::thread::park_timeout(EVERY);
            }
            longest
        });
        Self { stop, looking }
    }

    /// What was seen so far.
    pub async fn longest(self) -> Stall {
        self.stop.send_replace(true);
        self.looking.await.expect("what was seen")
    }
}

fn look(offsets: &Offsets, seen: &mut BTreeMap<i32, Seen>) -> Stall {
    // Asked before what is committed, so that nothing that came meanwhile looks like a lag.
    let ends = offsets.ends();
    let committed: BTreeMap<i32, i64> = offsets.committed().into_iter().collect();
    let now = Instant::now();
    let mut longest = Stall::default();
    for (partition, end) in ends {
        let known = seen.entry(partition).or_default();
        // Brokers that do not answer say nothing of progress, and time goes on.
        let at = committed.get(&partition).copied().unwrap_or(known.committed);
        let lasted = known.waits_since.map_or(Duration::ZERO, |since| now - since);
        longest = longest.max(Stall { lasted, partition });
        let is_done = end.is_some_and(|end| at >= end);
        if is_done {
            known.waits_since = None;
        } else if at != known.committed || known.waits_since.is_none() {
            known.waits_since = Some(now);
        }
        known.committed = at;
    }
    longest
}
