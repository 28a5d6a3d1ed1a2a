//! The wire format, and the headers of an event, from any bytes: what is split was joined, what is read is written back.

use tieline_schema::cloudevents::Attributes;
use tieline_schema::wire::{SchemaRef, VALUE_SCHEMA_HEADER, split, v0_header};

/// One byte says how many of the others are the schema's header (none, if it is odd); then come the values of CloudEvents'
/// headers, each with its length before it; the rest is the record's value.
pub fn run(bytes: &[u8]) {
    let [first, rest @ ..] = bytes else { return };
    let (header, mut rest) = rest.split_at(usize::from(*first >> 1).min(rest.len()));
    let header = (first % 2 == 0).then_some(header);
    let mut headers: Vec<(&str, Option<&[u8]>)> = Vec::new();
    for name in NAMES {
        let [len, after @ ..] = rest else { break };
        let (value, after) = after.split_at(usize::from(*len % 64).min(after.len()));
        headers.push((name, (*len < 128).then_some(value)));
        rest = after;
    }
    if let Some(header) = header {
        headers.push((VALUE_SCHEMA_HEADER, Some(header)));
    }

    match split(rest, header) {
        Ok((SchemaRef::Id(id), datum)) => assert_eq!([&v0_header(id), datum].concat(), rest),
        Ok((SchemaRef::Guid(guid), datum)) => {
            assert_eq!([&[1], guid.as_bytes().as_slice()].concat(), header.expect("a GUID is in a header"));
            assert_eq!(datum, rest);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(read) = Attributes::from_headers(headers.iter().copied()) {
        // What was read can be published again, and is read as the same.
        let written = read.to_headers();
        let again = Attributes::from_headers(written.iter().map(|(name, value)| (*name, Some(value.as_bytes()))));
        assert_eq!(again.ok(), Some(read));
    }
}

const NAMES: [&str; 9] = [
    "ce_specversion",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_subject",
    "ce_causationid",
    "ce_traceparent",
    "ce_tracestate",
];
