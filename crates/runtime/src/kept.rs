//! What is kept for a while, with a bound: schemas, and answers to look-ups.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use tokio::time::Instant;

/// Values by key, each until its time, together never heavier than a bound. What would end first goes first.
#[derive(Debug)]
pub(crate) struct Kept<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// The keys in the order in which they go: by their end, then by age.
    order: BTreeMap<Rank, K>,
    weight: usize,
    weight_max: usize,
    entries_max: usize,
    /// Rises with each value, so that no two have one rank.
    age: u64,
}

type Rank = (Instant, u64);

#[derive(Debug)]
struct Entry<V> {
    value: V,
    weight: usize,
    rank: Rank,
}

impl<K: Clone + Eq + Hash, V: Clone> Kept<K, V> {
    /// Keeps at most so many values, which together weigh at most so much.
    pub(crate) fn new(entries_max: usize, weight_max: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), weight: 0, weight_max, entries_max, age: 0 }
    }

    /// The value of this key, before its end.
    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.entries.get(key).filter(|entry| now < entry.rank.0).map(|entry| entry.value.clone())
    }

    /// Keeps a value until its end. One that is heavier than the bound is not kept.
    pub(crate) fn put(&mut self, key: K, value: V, weight: usize, until: Instant) {
        self.remove(&key);
        if weight > self.weight_max {
            return;
        }
        while self.entries.len() >= self.entries_max || self.weight + weight > self.weight_max {
            let Some((_, first)) = self.order.pop_first() else { return };
            self.remove(&first);
        }
        self.age += 1;
        let rank = (until, self.age);
        self.weight += weight;
        self.order.insert(rank, key.clone());
        self.entries.insert(key, Entry { value, weight, rank });
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.rank);
            self.weight -= entry.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_value_is_there_until_its_end() {
        let now = Instant::now();
        let mut kept = Kept::new(10, 10);
        kept.put("a", 1, 1, now + Duration::from_secs(1));
        assert_eq!(kept.get(&"a", now), Some(1));
        assert_eq!(kept.get(&"a", now + Duration::from_secs(1)), None);
        assert_eq!(kept.get(&"b", now), None);
    }

    #[test]
    fn beyond_its_bounds_what_ends_first_goes_first() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let mut kept = Kept::new(2, 10);
        kept.put("late", 1, 1, at(9));
        kept.put("soon", 2, 1, at(1));
        kept.put("later", 3, 1, at(10));
        assert_eq!((kept.get(&"late", now), kept.get(&"soon", now), kept.get(&"later", now)), (Some(1), None, Some(3)));
        kept.put("heavy", 4, 10, at(5));
        assert_eq!((kept.get(&"late", now), kept.get(&"later", now), kept.get(&"heavy", now)), (None, None, Some(4)));
        kept.put("too heavy", 5, 11, at(5));
        assert_eq!((kept.get(&"too heavy", now), kept.get(&"heavy", now)), (None, Some(4)));
    }

    #[test]
    fn a_value_that_is_put_again_counts_once() {
        let now = Instant::now();
        let mut kept = Kept::new(2, 2);
        for n in 0..10 {
            kept.put("a", n, 1, now + Duration::from_secs(n));
        }
        kept.put("b", 10, 1, now + Duration::from_secs(20));
        assert_eq!((kept.get(&"a", now), kept.get(&"b", now)), (Some(9), Some(10)));
        assert_eq!((kept.weight, kept.order.len()), (2, 2));
    }
}
