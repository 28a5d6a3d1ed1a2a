//! A body as JSON, within bounds: a small text must not become a deep or a large tree.
//!
//! A megabyte of `[[[[…` or of `0,0,0,…` costs its sender nothing. Depth would be paid with our stack, values with
//! our heap (a `Value` is 24 to 80 bytes, whatever its text has).

use std::cell::Cell;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Number, Value};

/// Deepest nesting of arrays and objects. Real payloads have fewer than 20; below `serde_json`'s own limit of 128.
const JSON_DEPTH_MAX: usize = 64;

/// Most values in one body, with those inside of others: about 8 MiB of tree. A body of 1 MiB whose values take ten
/// bytes each on the wire, which is dense, just fits.
const JSON_VALUES_MAX: usize = 100_000;

/// Why a body is not JSON that we take: what and where, by line and column, without any of its text.
#[derive(Debug, thiserror::Error)]
#[error("the body is not JSON that can be taken: {0}")]
pub struct JsonError(#[from] serde_json::Error);

/// Parses a whole body.
///
/// # Errors
/// When it is not JSON, nested too deeply, or of too many values.
pub fn parse(body: &[u8]) -> Result<Value, JsonError> {
    let left = Cell::new(JSON_VALUES_MAX);
    let mut deserializer = Deserializer::from_slice(body);
    let value = Bounded { depth: 0, left: &left }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads one value at a depth, out of what may still be read.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl Bounded<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {JSON_DEPTH_MAX}")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return Err(D::Error::custom(format_args!("more than {JSON_VALUES_MAX} values"))),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn refused(body: &str) -> String {
        parse(body.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn depth_is_bounded_and_a_million_levels_do_not_reach_the_stack() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(refused(&nested(JSON_DEPTH_MAX + 1)).contains("deeper than 64"));
        assert!(refused(&"[".repeat(1_000_000)).contains("deeper than 64"));
        assert!(refused(&r#"{"a":"#.repeat(1_000_000)).contains("deeper than 64"));
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let zeros = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert!(parse(zeros(JSON_VALUES_MAX - 1).as_bytes()).is_ok()); // the list counts too
        assert!(refused(&zeros(JSON_VALUES_MAX)).contains("more than 100000 values"));
    }

    #[test]
    fn an_error_says_where_and_nothing_of_the_text() {
        let error = refused("{\n  \"card\": \"4111-canary\",\n  \"canary\": canary\n}");
        assert!(error.contains("line 3 column 13"), "{error}");
        assert!(!error.contains("canary") && !error.contains("4111"), "{error}");
        assert!(refused("").contains("EOF"));
        assert!(refused("{} {}").contains("trailing characters"));
        assert!(refused("1e999").contains("out of range"));
    }

    proptest! {
        #[test]
        fn what_is_within_the_bounds_is_what_serde_json_reads(value in any_json()) {
            let text = value.to_string();
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let ours = parse(&bytes).ok();
            prop_assert_eq!(ours, serde_json::from_slice::<Value>(&bytes).ok());
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
                prop::collection::vec((any::<String>(), inner), 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }
}
