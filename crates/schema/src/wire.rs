//! Confluent's wire format: how a Kafka value says which schema it was written with.

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
    #[error("value starts with byte {magic:#04x}, which is no wire format that we know (0 is v0; v1 is in the header `__value_schema_id`)")]
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
/// # Errors
/// When it is in neither format.
pub fn split<'a>(_value: &'a [u8], _schema_header: Option<&[u8]>) -> Result<(SchemaRef, &'a [u8]), WireError> {
    unimplemented!()
}

/// The five bytes that stand before a datum in v0.
#[must_use]
pub fn v0_header(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, a, b, c, d]
}
