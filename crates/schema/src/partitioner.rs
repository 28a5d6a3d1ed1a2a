//! Kafka's default partitioner for keyed records, so that Java producers and ours put a key into the same partition.
//!
//! librdkafka's own default (CRC32) puts keys elsewhere; where two producers of one topic differ, the order of a key's
//! events is lost.

/// Murmur2 as `org.apache.kafka.common.utils.Utils.murmur2` computes it.
#[must_use]
pub fn murmur2(key: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java's length is an int; a key of 4 GiB cannot be sent, so nothing is lost by the cast.
    let mut hash = SEED ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    (hash ^ (hash >> 15)).cast_signed()
}

/// The partition of a key (`Utils.toPositive(murmur2(key)) % partitions`); 0 where there are no partitions.
#[must_use]
pub fn partition(key: &[u8], partitions: u32) -> u32 {
    // `toPositive` clears the sign; it is not the absolute value.
    let positive = murmur2(key).cast_unsigned() & 0x7fff_ffff;
    positive.checked_rem(partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// Apache Kafka, `clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java`, `testMurmur2`.
    const VECTORS: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];

    #[test]
    fn murmur2_agrees_with_kafkas_own_vectors() {
        for (key, hash) in VECTORS {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_loses_its_sign_and_not_its_other_bits() {
        // As Java has it: (-973932308 & 0x7fffffff) % 12 and (479470107 & 0x7fffffff) % 12.
        assert_eq!(partition(b"21", 12), 1_173_551_340 % 12);
        assert_eq!(partition(b"abc", 12), 479_470_107 % 12);
    }

    #[test]
    fn keys_spread_over_all_partitions_and_never_beyond() {
        let mut seen = [0_u32; 7];
        for i in 0..7_000 {
            seen[partition(format!("deal-{i}").as_bytes(), 7) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (800..1_200).contains(n)), "{seen:?}");
        assert_eq!(partition(b"deal-1", 1), 0);
        assert_eq!(partition(b"deal-1", 0), 0);
    }
}
