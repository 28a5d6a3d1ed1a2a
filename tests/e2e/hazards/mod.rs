//! What breaks buses like this one, each brought about on a real Kafka, as [the table](../../../docs/reliability.md) names it.

mod backlog;
mod brokers;
mod clock;
mod compacted;
mod gap;
mod herd;
mod holes;
mod hung;
mod network;
mod partitions;
mod points;
mod registry;
mod revoked;
mod sick_keys;
mod slow;
mod soak;
mod stopping;
mod tombstone;
mod unwritable;
mod zombie;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;

use crate::cluster::kafka;

pub fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", kafka().brokers()).create().expect("a client")
}
