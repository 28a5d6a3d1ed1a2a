//! Reading a request's body: never more than declared, never longer than a deadline, never more of all bodies together
//! than there is room for.
//!
//! What a sender says about the length is believed only where it speaks against it; what counts is what arrives.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::refusal::Refusal;

/// The time in which a body has to be here, whole. A megabyte at 1 Mbit/s takes 8 s; a sender's own time-out is 15 to
/// 30 s (Standard Webhooks, "Request timeouts"), and the broker needs its share.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes of all bodies together that are held at one time, read or being read; 64 bodies of the default maximum.
const BODIES_BYTES_MAX: usize = 64 << 20;

/// Most verified deliveries that are parsed, mapped and published at one time. Each holds its tree of values (some
/// MiB at most). At 20 ms for an acknowledgement this is 3,000 a second.
const DELIVERIES_MAX: usize = 64;

/// The room that all requests share.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: Arc<Semaphore>,
    deliveries: Arc<Semaphore>,
}

/// A body that was read, and the room that it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    /// Its bytes as they came.
    pub(crate) bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

/// The right to work on a delivery; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(#[allow(dead_code)] OwnedSemaphorePermit);

impl Room {
    /// Makes room, at least for one body of the largest size that a webhook takes.
    pub(crate) fn new(largest_body_bytes: usize) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(BODIES_BYTES_MAX.max(largest_body_bytes).min(Semaphore::MAX_PERMITS))),
            deliveries: Arc::new(Semaphore::new(DELIVERIES_MAX)),
        }
    }

    /// Takes a slot for a delivery, if one is free.
    pub(crate) fn slot(&self) -> Result<Slot, Refusal> {
        Arc::clone(&self.deliveries).try_acquire_owned().map(Slot).map_err(|_| Refusal::Full)
    }

    /// Reads a body to its end.
    pub(crate) async fn read(&self, body: Body, bytes_max: usize) -> Result<Held, Refusal> {
        if usize::try_from(body.size_hint().lower()).map_or(true, |declared| declared > bytes_max) {
            return Err(Refusal::TooLarge { bytes_max });
        }
        timeout(BODY_DEADLINE, self.collect(body, bytes_max))
            .await
            .unwrap_or(Err(Refusal::TooSlow { deadline: BODY_DEADLINE }))
    }

    async fn collect(&self, body: Body, bytes_max: usize) -> Result<Held, Refusal> {
        let mut held = Held { bytes: Vec::new(), room: None };
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refusal::BrokenOff)?;
            if chunk.len() > bytes_max - held.bytes.len() {
                return Err(Refusal::TooLarge { bytes_max });
            }
            held.take(&self.bytes, &chunk)?;
        }
        Ok(held)
    }
}

impl Held {
    fn take(&mut self, room: &Arc<Semaphore>, chunk: &[u8]) -> Result<(), Refusal> {
        let permits = u32::try_from(chunk.len()).map_err(|_| Refusal::Full)?;
        let more = Arc::clone(room).try_acquire_many_owned(permits).map_err(|_| Refusal::Full)?;
        match &mut self.room {
            Some(room) => room.merge(more),
            None => self.room = Some(more),
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream;

    use super::*;

    const KIB: usize = 1024;

    /// A body without an end, and how much of it was taken.
    fn endless() -> (Body, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let chunks = stream::repeat_with(move || {
            count.fetch_add(KIB, Ordering::Relaxed);
            Ok::<_, Infallible>(vec![b' '; KIB])
        });
        (Body::from_stream(chunks), taken)
    }

    #[tokio::test]
    async fn an_endless_body_is_read_to_its_bound_and_no_further() {
        let (body, taken) = endless();
        let refused = Room::new(0).read(body, 64 * KIB).await;
        assert!(matches!(refused, Err(Refusal::TooLarge { bytes_max: 65_536 })), "{refused:?}");
        assert_eq!(taken.load(Ordering::Relaxed), 65 * KIB);
    }

    #[tokio::test]
    async fn a_body_of_just_the_bound_is_taken_and_one_more_byte_is_not() {
        let room = Room::new(0);
        assert_eq!(room.read(Body::from(vec![7; 100]), 100).await.unwrap().bytes, vec![7; 100]);
        assert!(matches!(room.read(Body::from(vec![7; 101]), 100).await, Err(Refusal::TooLarge { .. })));
        assert_eq!(room.read(Body::empty(), 0).await.unwrap().bytes, b"");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up_at_the_deadline() {
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(900)).await;
            Some((Ok::<_, Infallible>(" "), ()))
        });
        let began = tokio::time::Instant::now();
        let refused = Room::new(0).read(Body::from_stream(drip), 1 << 20).await;
        assert!(matches!(refused, Err(Refusal::TooSlow { .. })), "{refused:?}");
        assert_eq!(began.elapsed(), BODY_DEADLINE);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_body() {
        let chunks = stream::iter([Ok("{}"), Err(std::io::Error::other("reset"))]);
        let refused = Room::new(0).read(Body::from_stream(chunks), 100).await;
        assert!(matches!(refused, Err(Refusal::BrokenOff)), "{refused:?}");
    }

    #[tokio::test]
    async fn all_bodies_together_have_a_bound_and_give_their_room_back() {
        let room = Room { bytes: Arc::new(Semaphore::new(10)), deliveries: Arc::new(Semaphore::new(1)) };
        let first = room.read(Body::from("123456"), 100).await.unwrap();
        assert!(matches!(room.read(Body::from("123456"), 100).await, Err(Refusal::Full)));
        drop(first);
        let again = room.read(Body::from("1234567890"), 100).await.unwrap();
        assert_eq!((again.bytes.len(), room.bytes.available_permits()), (10, 0));

        let slot = room.slot().unwrap();
        assert!(matches!(room.slot(), Err(Refusal::Full)));
        drop(slot);
        assert!(room.slot().is_ok());
    }
}
