//! Confluent's wire format: how a Kafka value says which schema it was written with.
//!
//! We write v0, which every registry and client knows, and read v0 and v1. It is the first step of decoding: nothing
//! of the datum is looked at here.
//!
//! Source: `SchemaId`, `PrefixSchemaIdSerializer` and `HeaderSchemaIdSerializer` of Confluent's schema-registry client.

use uuid::Uuid;

/// The name of the header that carries the GUID of the value's schema (wire format v1).
pub const VALUE_SCHEMA_HEADER: &str = "__value_schema_id";

/// How a value names its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaRef {
    /// The registry's number (v0: magic byte 0 and four bytes, big-endian, before the datum).
    Id(u32),
    /// The registry's GUID (v1: magic byte 1 and 16 bytes, in a header).
    Guid(Uuid),
}

/// Why a value is not in the wire format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Too short to hold a header.
    #[error("value of {len} bytes is shorter than the 5 of a Confluent header")]
    TooShort {
        /// Its length in bytes.
        len: usize,
    },
    /// Another magic byte.
    #[error(
        "value starts with byte {magic:#04x}, which is no wire format that we know (0 is v0; v1 is in the header `__value_schema_id`)"
    )]
    UnknownMagic {
        /// The byte.
        magic: u8,
    },
    /// A v1 header of another shape.
    #[error("header `__value_schema_id` of {len} bytes is not a magic byte 1 and a GUID of 16 bytes")]
    BadHeader {
        /// Its length in bytes.
        len: usize,
    },
}

/// Splits a Kafka value into the name of its schema and the datum.
///
/// Where the header is there, it alone counts, and the whole value is the datum: a v1 datum may well start with byte 0.
///
/// # Errors
/// When it is in neither format.
pub fn split<'a>(value: &'a [u8], schema_header: Option<&[u8]>) -> Result<(SchemaRef, &'a [u8]), WireError> {
    match schema_header {
        Some(header) => Ok((SchemaRef::Guid(guid(header)?), value)),
        None => match value {
            [0, a, b, c, d, datum @ ..] => Ok((SchemaRef::Id(u32::from_be_bytes([*a, *b, *c, *d])), datum)),
            [] | [0, ..] => Err(WireError::TooShort { len: value.len() }),
            [magic, ..] => Err(WireError::UnknownMagic { magic: *magic }),
        },
    }
}

/// The five bytes that stand before a datum in v0.
#[must_use]
pub fn v0_header(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, a, b, c, d]
}

fn guid(header: &[u8]) -> Result<Uuid, WireError> {
    match header {
        [1, guid @ ..] => Uuid::from_slice(guid).map_err(|_| WireError::BadHeader { len: header.len() }),
        [] | [_, ..] => Err(WireError::BadHeader { len: header.len() }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    const GUID: &str = "b1c8a5e0-29ab-4f6c-9d67-0e6b4a3c2d1f";

    fn v1_header(guid: Uuid) -> Vec<u8> {
        [&[1], guid.as_bytes().as_slice()].concat()
    }

    #[test]
    fn a_v0_value_names_its_schema_in_five_bytes_before_the_datum() {
        assert_eq!(split(&[0, 0, 1, 0, 2, b'x', b'y'], None), Ok((SchemaRef::Id(65_538), b"xy".as_slice())));
        assert_eq!(split(&[0, 0xff, 0xff, 0xff, 0xff], None), Ok((SchemaRef::Id(u32::MAX), b"".as_slice())));
    }

    #[test]
    fn a_v1_value_is_all_datum_and_its_header_names_the_schema() {
        let guid: Uuid = GUID.parse().unwrap();
        let value = [0, 0, 0, 0, 7, 42];
        assert_eq!(split(&value, Some(&v1_header(guid))), Ok((SchemaRef::Guid(guid), value.as_slice())));
    }

    #[test]
    fn what_is_in_neither_format_is_refused_by_name() {
        assert_eq!(split(b"", None), Err(WireError::TooShort { len: 0 }));
        assert_eq!(split(&[0, 0, 0, 1], None), Err(WireError::TooShort { len: 4 }));
        assert_eq!(split(b"{\"id\":1}", None), Err(WireError::UnknownMagic { magic: b'{' }));
        assert_eq!(split(b"datum", Some(b"")), Err(WireError::BadHeader { len: 0 }));
        assert_eq!(split(b"datum", Some(&[1; 16])), Err(WireError::BadHeader { len: 16 }));
        assert_eq!(split(b"datum", Some(&[1; 18])), Err(WireError::BadHeader { len: 18 }));
        assert_eq!(split(b"datum", Some(&[0; 17])), Err(WireError::BadHeader { len: 17 }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_split_was_joined(
            value in proptest::collection::vec(any::<u8>(), 0..40),
            header in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        ) {
            match split(&value, header.as_deref()) {
                Ok((SchemaRef::Id(id), datum)) => {
                    prop_assert_eq!(header, None);
                    prop_assert_eq!([&v0_header(id), datum].concat(), value);
                }
                Ok((SchemaRef::Guid(guid), datum)) => {
                    prop_assert_eq!(header, Some(v1_header(guid)));
                    prop_assert_eq!(datum, &value);
                }
                Err(WireError::TooShort { len }) => prop_assert!(len < 5 && header.is_none()),
                Err(WireError::UnknownMagic { magic }) => prop_assert_eq!(Some(&magic), value.first()),
                Err(WireError::BadHeader { len }) => prop_assert_eq!(Some(len), header.map(|h| h.len())),
            }
        }

        #[test]
        fn every_id_and_guid_comes_back(id: u32, guid: u128, datum in proptest::collection::vec(any::<u8>(), 0..40)) {
            let v0 = [&v0_header(id), datum.as_slice()].concat();
            prop_assert_eq!(split(&v0, None), Ok((SchemaRef::Id(id), datum.as_slice())));
            let guid = Uuid::from_u128(guid);
            prop_assert_eq!(split(&datum, Some(&v1_header(guid))), Ok((SchemaRef::Guid(guid), datum.as_slice())));
        }
    }
}
