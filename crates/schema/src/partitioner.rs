//! Kafka's default partitioner for keyed records, so that Java producers and ours put a key into the same partition.

/// Murmur2 as `org.apache.kafka.common.utils.Utils.murmur2` computes it.
#[must_use]
pub fn murmur2(_key: &[u8]) -> i32 {
    unimplemented!()
}

/// The partition of a key (`Utils.toPositive(murmur2(key)) % partitions`).
#[must_use]
pub fn partition(_key: &[u8], _partitions: u32) -> u32 {
    unimplemented!()
}
