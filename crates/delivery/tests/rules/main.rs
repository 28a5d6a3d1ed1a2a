//! The rules of delivery, each as a sentence: a bench drives one machine by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::single_range_in_vec_init, missing_docs)]

mod answers;
mod bench;
mod commits;
mod concurrency;
mod found;
mod leaving;
mod limits;
mod order;
mod outage;
mod parking;
mod pausing;
mod refused;
mod replaying;
mod steady;
mod takeover;
mod window;
