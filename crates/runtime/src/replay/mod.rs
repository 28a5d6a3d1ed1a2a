//! What is delivered again by order of somebody: what the ledger shows of it (`shown.rs`), and what of it is to be sent
//! (`stretch.rs`). Read for the owner that carries an order out, and for whoever only wants to see what it would do.
//!
//! It blocks: for threads that may.

mod shown;
mod stretch;

pub use shown::{Newest, RANGE_MAX, Shown, ShownError, Was, reach};
pub use stretch::{Judge, Step, StretchError, steps};
