//! The topic in which replicas share a system's limits: its name, its partitions, and where a system lies in it.

use tieline_schema::partitioner;

use crate::kafka::state_topic;

/// Partitions of the topic: so many processes can divide limits side by side. It is the same for every bus and release,
/// since a system that lay in two partitions would have two that divide its limits, each all of them.
pub const LIMITS_PARTITIONS: u32 = 8;

/// How the topic is kept. Each caller writes twice a second, and who starts reads from the beginning: so what was
/// overwritten goes after a mebibyte, the least that Kafka 4 has for a segment, and tombstones ten minutes later.
pub(crate) const LIMITS_SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "1048576"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("delete.retention.ms", "600000"),
];

/// The topic of a bus.
#[must_use]
pub fn limits_topic(bus: &str) -> String {
    state_topic(bus, "tieline", "limits")
}

/// The partition in which all records about a system lie.
#[must_use]
pub fn partition_of(system: &str) -> i32 {
    partitioner::partition(system.as_bytes(), LIMITS_PARTITIONS).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_system_lies_is_the_same_in_every_release() {
        // Another place would have two releases divide a system's limits side by side, during every update.
        let lie = ["crm", "erp", "billing", "email", "helpdesk"].map(partition_of);
        assert_eq!(lie, [4, 5, 1, 7, 1]);
    }
}
