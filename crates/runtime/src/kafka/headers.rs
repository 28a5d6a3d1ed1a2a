//! The headers of a record, as they came: nothing is read out of them before somebody asks.
//!
//! A record has about ten, and each was two allocations of its own. They lie side by side, so that a record costs three.

/// Room that is made for a name and for a value at first, in bytes: about what CloudEvents' have.
const NAME_BYTES: usize = 16;
const VALUE_BYTES: usize = 32;

/// Names and values, in order. A name may be there twice, a value may be null.
///
/// ```
/// # use tieline_runtime::kafka::RecordHeaders;
/// let headers: RecordHeaders = [("ce_id", Some(b"1".as_slice())), ("note", None)].into_iter().collect();
/// assert_eq!(headers.last("ce_id"), Some(b"1".as_slice()));
/// assert_eq!(headers.iter().count(), 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordHeaders {
    names: String,
    values: Vec<u8>,
    ends: Vec<End>,
}

/// Where a header ends. Kafka's records are below 2 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    name: usize,
    value: usize,
    null: bool,
}

impl RecordHeaders {
    /// Each header, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, Option<&[u8]>)> {
        (0..self.ends.len()).filter_map(|n| self.at(n))
    }

    fn at(&self, n: usize) -> Option<(&str, Option<&[u8]>)> {
        let end = self.ends.get(n)?;
        let begin = n.checked_sub(1).and_then(|before| self.ends.get(before));
        let (name, value) = begin.map_or((0, 0), |begin| (begin.name, begin.value));
        let value = if end.null { None } else { self.values.get(value..end.value) };
        Some((self.names.get(name..end.name)?, value))
    }

    /// The last value of this name, as Kafka's `lastHeader` has it; none where that is null.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&[u8]> {
        self.iter().rev().find(|(n, _)| *n == name).and_then(|(_, value)| value)
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.names.len() + self.values.len()
    }
}

impl<'a> FromIterator<(&'a str, Option<&'a [u8]>)> for RecordHeaders {
    fn from_iter<T: IntoIterator<Item = (&'a str, Option<&'a [u8]>)>>(headers: T) -> Self {
        let headers = headers.into_iter();
        let (least, _) = headers.size_hint();
        let mut all = Self {
            names: String::with_capacity(least * NAME_BYTES),
            values: Vec::with_capacity(least * VALUE_BYTES),
            ends: Vec::with_capacity(least),
        };
        for (name, value) in headers {
            all.names.push_str(name);
            all.values.extend_from_slice(value.unwrap_or_default());
            all.ends.push(End { name: all.names.len(), value: all.values.len(), null: value.is_none() });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out_in_order() {
        let given = [
            ("ce_id", Some(b"1".as_slice())),
            ("", Some(b"".as_slice())),
            ("null", None),
            ("ce_id", Some(b"\xff".as_slice())),
        ];
        let headers: RecordHeaders = given.into_iter().collect();
        assert_eq!(headers.iter().collect::<Vec<_>>(), given);
        assert_eq!(headers.size(), 16);
        assert_eq!(RecordHeaders::default().iter().count(), 0);
    }

    #[test]
    fn of_a_name_the_last_value_counts_also_where_it_is_null() {
        let given =
            [("a", Some(b"1".as_slice())), ("a", Some(b"2".as_slice())), ("b", Some(b"3".as_slice())), ("b", None)];
        let headers: RecordHeaders = given.into_iter().collect();
        assert_eq!((headers.last("a"), headers.last("b"), headers.last("c")), (Some(b"2".as_slice()), None, None));
    }
}
