//! What happens on the bus, as it happens: for the timeline of `tieline dev`, and for tests that wait for something.

use tokio::sync::broadcast;

/// Happenings that a slow reader may be behind before it misses some.
const BACKLOG: usize = 4_096;

/// Something that happened. Names and ids only, no payloads.
#[derive(Debug, Clone)]
pub struct Happening {
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The producer or consumer.
    pub service: String,
    /// The event's id.
    pub event_id: String,
    /// The event's type.
    pub event: String,
    /// The entity's key, as text.
    pub key: String,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A producer's event is on its topic.
    Published {
        /// Where.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// A producer's body became a dead letter.
    NotMapped {
        /// Why.
        reason: String,
    },
    /// A consumer's own `when` passed it by.
    Skipped,
    /// A replay passed it over, since a newer record of its key is done.
    Overtaken,
    /// A call was answered.
    Called {
        /// `erp.createProject`.
        operation: String,
        /// The attempt, from 1.
        attempt: u32,
        /// The class of the answer, `applied`.
        answer: &'static str,
        /// The status, where there was one.
        status: Option<u16>,
        /// How long it took.
        took_ms: u64,
        /// What is wrong, where something is.
        detail: String,
    },
    /// A look-up or the mapping did not work, so that nothing was sent.
    NotSent {
        /// The attempt, from 1.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// A consumer's follow-up event is on its topic.
    Followed {
        /// The event's type.
        event: String,
    },
    /// It is a dead letter.
    Dead {
        /// Why.
        reason: String,
    },
    /// It is set aside, and tried later.
    Parked {
        /// Why.
        reason: String,
    },
    /// The system of a consumer fails for everybody, or does not any more.
    Outage {
        /// Why; none when it is over.
        reason: Option<String>,
    },
    /// A partition waits, for another reason than that enough is under way.
    Stuck {
        /// Which one.
        partition: i32,
        /// Why.
        reason: String,
    },
}

/// Where happenings are told. Cheap when nobody listens.
#[derive(Debug, Clone)]
pub struct Happenings {
    sender: broadcast::Sender<Happening>,
}

impl Default for Happenings {
    fn default() -> Self {
        Self { sender: broadcast::channel(BACKLOG).0 }
    }
}

impl Happenings {
    /// Hears all that happens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Happening> {
        self.sender.subscribe()
    }

    /// Tells it, where somebody listens; else nothing is made of it.
    pub fn tell(&self, happening: impl FnOnce() -> Happening) {
        if self.sender.receiver_count() > 0 {
            let _ = self.sender.send(happening());
        }
    }
}
