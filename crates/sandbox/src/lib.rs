//! The stand-ins that `tieline dev`, tests and benchmarks share: brokers, a schema registry, and systems made from
//! their contracts, with faults to switch on while they run.

pub mod batches;
pub mod broker;
pub mod http;
pub mod proxy;
pub mod recorder;
pub mod registry;
pub mod systems;
