//! The hand-over of a verified body to whatever maps and publishes it.

use std::pin::Pin;

use tieline_runtime::producer::{Accepted, Delivery, NotAccepted, Publisher};

/// The answer to a delivery, under way.
pub type Accepting<'a> = Pin<Box<dyn Future<Output = Result<Accepted, NotAccepted>> + Send + 'a>>;

/// Takes what a webhook received. In service this is the producer's [`Publisher`].
///
/// The sender may hang up at any time, and then the answer is dropped where it stands: until it was told otherwise, a
/// sender comes again with the same id.
pub trait Accept: Send + Sync + 'static {
    /// Returns when the broker has acknowledged what had to be kept, or when it did not.
    fn accept(&self, delivery: Delivery) -> Accepting<'_>;
}

impl Accept for Publisher {
    fn accept(&self, delivery: Delivery) -> Accepting<'_> {
        Box::pin(Publisher::accept(self, delivery))
    }
}
