//! CloudEvents 1.0 in binary mode over Kafka headers (Kafka protocol binding 1.0.2, section 3.2).
//!
//! What an event is about stands in headers, so that a consumer can skip a record, and a person can find one, without
//! its schema. Attributes later travel into HTTP headers and logs, so control characters are refused here, once.

use jiff::Timestamp;

use crate::rfc3339;

const SPEC_VERSION: &str = "ce_specversion";
const ID: &str = "ce_id";
const SOURCE: &str = "ce_source";
const TYPE: &str = "ce_type";
const TIME: &str = "ce_time";
const SUBJECT: &str = "ce_subject";
const CAUSATION_ID: &str = "ce_causationid";
const TRACEPARENT: &str = "ce_traceparent";
const TRACESTATE: &str = "ce_tracestate";
const CONTENT_TYPE: &str = "content-type";

/// Most characters of a `tracestate` (W3C Trace Context, section 3.3.1.5: at least 512 are to be passed on).
const TRACESTATE_CHARS_MAX: usize = 512;

/// The attributes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// `ce_id`: with `source`, names the event.
    pub id: String,
    /// `ce_source`: a URI reference.
    pub source: String,
    /// `ce_type`.
    pub ty: String,
    /// `ce_time`: when it happened, milliseconds since the Unix epoch. Written as RFC 3339.
    pub time_ms: Option<i64>,
    /// `ce_subject`: the entity's id.
    pub subject: Option<String>,
    /// `ce_causationid`: the id of the event that this one follows from. An extension.
    pub causation_id: Option<String>,
    /// `ce_traceparent`: W3C Trace Context, as CloudEvents' Distributed Tracing extension has it.
    pub traceparent: Option<String>,
    /// `ce_tracestate`.
    pub tracestate: Option<String>,
}

/// Why headers are not an event's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributesError {
    /// A required attribute is not there.
    #[error("header `{name}` is missing")]
    Missing {
        /// The header.
        name: &'static str,
    },
    /// An attribute that cannot be read.
    #[error("header `{name}` {problem}")]
    Malformed {
        /// The header.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl Attributes {
    /// Says whether these are attributes that CloudEvents allows: nothing required is empty, the source is a URI
    /// reference, no text has control characters, the time can be written. A producer asks before it publishes;
    /// whatever [`Attributes::from_headers`] gives, has passed.
    ///
    /// # Errors
    /// The first attribute that is not.
    pub fn check(&self) -> Result<(), AttributesError> {
        check_text(ID, &self.id)?;
        check_text(SOURCE, &self.source)?;
        if let Some(c) = self.source.chars().find(|c| !may_be_in_uri(*c)) {
            return Err(malformed(SOURCE, format!("is no URI reference: it has {c:?}")));
        }
        check_text(TYPE, &self.ty)?;
        if let Some(subject) = &self.subject {
            check_text(SUBJECT, subject)?;
        }
        if let Some(id) = &self.causation_id {
            check_text(CAUSATION_ID, id)?;
        }
        if self.time_ms.is_some_and(|ms| print_time(ms).is_none()) {
            return Err(malformed(TIME, "is outside of the years 0 to 9999"));
        }
        Ok(())
    }

    /// The headers of a record, in a fixed order; `content-type` is `application/avro`.
    ///
    /// The attributes must have passed [`Attributes::check`]; a time that cannot be written is left out.
    #[must_use]
    pub fn to_headers(&self) -> Vec<(&'static str, String)> {
        let required = [
            (SPEC_VERSION, "1.0".to_owned()),
            (ID, self.id.clone()),
            (SOURCE, self.source.clone()),
            (TYPE, self.ty.clone()),
        ];
        let optional = [
            (TIME, self.time_ms.and_then(print_time)),
            (SUBJECT, self.subject.clone()),
            (CAUSATION_ID, self.causation_id.clone()),
            (TRACEPARENT, self.traceparent.clone()),
            (TRACESTATE, self.tracestate.clone()),
            (CONTENT_TYPE, Some("application/avro".to_owned())),
        ];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
        required.into_iter().chain(optional).collect()
    }

    /// Reads a record's headers; those that are not ours are passed over. Of a header that is there twice the last
    /// counts, as in Kafka's `Headers.lastHeader`. A trace context that is broken is dropped, as W3C wants it: it is
    /// never the event's fault.
    ///
    /// # Errors
    /// When `ce_specversion` is not 1.0, or a required attribute is missing or cannot be read.
    pub fn from_headers<'a>(
        headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<Self, AttributesError> {
        let found = Found::collect(headers);
        if required(SPEC_VERSION, found.spec_version)? != "1.0" {
            return Err(malformed(SPEC_VERSION, "is not 1.0, the only version of CloudEvents that we know"));
        }
        let passed_on = |value: Option<&'a [u8]>, is_one: fn(&str) -> bool| {
            str::from_utf8(value?).ok().filter(|text| is_one(text)).map(str::to_owned)
        };
        let traceparent = passed_on(found.traceparent, is_traceparent);
        let tracestate = traceparent.as_ref().and_then(|_| passed_on(found.tracestate, is_tracestate));
        let attributes = Self {
            id: required(ID, found.id)?.to_owned(),
            source: required(SOURCE, found.source)?.to_owned(),
            ty: required(TYPE, found.ty)?.to_owned(),
            time_ms: optional(TIME, found.time)?.map(parse_time).transpose()?,
            subject: optional(SUBJECT, found.subject)?.map(str::to_owned),
            causation_id: optional(CAUSATION_ID, found.causation_id)?.map(str::to_owned),
            traceparent,
            tracestate,
        };
        attributes.check()?;
        Ok(attributes)
    }
}

/// The headers that are ours, the last of each name. One whose value is null is not there.
#[derive(Default)]
struct Found<'a> {
    spec_version: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    ty: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
    causation_id: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
    tracestate: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn collect(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let mut found = Self::default();
        for (name, value) in headers.filter(|(_, value)| value.is_some()) {
            match name {
                SPEC_VERSION => found.spec_version = value,
                ID => found.id = value,
                SOURCE => found.source = value,
                TYPE => found.ty = value,
                TIME => found.time = value,
                SUBJECT => found.subject = value,
                CAUSATION_ID => found.causation_id = value,
                TRACEPARENT => found.traceparent = value,
                TRACESTATE => found.tracestate = value,
                _ => {}
            }
        }
        found
    }
}

fn optional<'a>(name: &'static str, value: Option<&'a [u8]>) -> Result<Option<&'a str>, AttributesError> {
    value.map(|value| str::from_utf8(value).map_err(|_| malformed(name, "is not UTF-8"))).transpose()
}

fn required<'a>(name: &'static str, value: Option<&'a [u8]>) -> Result<&'a str, AttributesError> {
    optional(name, value)?.ok_or(AttributesError::Missing { name })
}

fn malformed(name: &'static str, problem: impl Into<String>) -> AttributesError {
    AttributesError::Malformed { name, problem: problem.into() }
}

/// A CloudEvents String (section "Type System"): not empty, no control characters.
fn check_text(name: &'static str, text: &str) -> Result<(), AttributesError> {
    if text.is_empty() {
        return Err(malformed(name, "is empty"));
    }
    if is_printable(text) {
        return Ok(()); // as nearly all are: no need to look at characters
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(malformed(name, format!("has the control character {c:?}"))),
        None => Ok(()),
    }
}

/// What RFC 3986 allows, and letters beyond ASCII, as Java's `URI` accepts them.
fn may_be_in_uri(c: char) -> bool {
    !c.is_whitespace() && !matches!(c, '<' | '>' | '"' | '{' | '}' | '|' | '\\' | '^' | '`')
}

fn print_time(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().and_then(rfc3339::print_instant)
}

fn parse_time(text: &str) -> Result<i64, AttributesError> {
    let instant = rfc3339::parse_instant(text);
    let instant = instant.ok_or_else(|| malformed(TIME, "is not an RFC 3339 time such as 2026-01-31T09:30:00Z"))?;
    // Towards the past, so that an instant before 1970 does not move into the next millisecond.
    let ms = instant.as_nanosecond().div_euclid(1_000_000);
    i64::try_from(ms).map_err(|_| malformed(TIME, "is outside of the years 0 to 9999"))
}

/// W3C Trace Context, section 3.2: `version-traceid-parentid-flags`, lower-case hexadecimal, ids not all zero. A later
/// version may go on after the flags.
fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
    };
    let is_id = |part: &str, len: usize| is_hex(part, len) && part.bytes().any(|b| b != b'0');
    let mut parts = text.split('-');
    let mut next = || parts.next().unwrap_or_default();
    let (version, trace, parent, flags) = (next(), next(), next(), next());
    is_hex(version, 2)
        && version != "ff"
        && is_id(trace, 32)
        && is_id(parent, 16)
        && is_hex(flags, 2)
        && parts.all(|later| version != "00" && is_printable(later))
}

fn is_tracestate(text: &str) -> bool {
    !text.is_empty() && text.len() <= TRACESTATE_CHARS_MAX && is_printable(text)
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn full() -> Attributes {
        Attributes {
            id: "evt-1".into(),
            source: "/crm/webhooks".into(),
            ty: "crm.deal_stage_changed".into(),
            time_ms: Some(1_769_851_800_250),
            subject: Some("deal-7 – Müller".into()),
            causation_id: Some("evt-0".into()),
            traceparent: Some(TRACE.into()),
            tracestate: Some("vendor=1,other=2".into()),
        }
    }

    fn read(headers: &[(&str, &str)]) -> Result<Attributes, AttributesError> {
        Attributes::from_headers(headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))))
    }

    /// The least that an event has, with one header put in, or put in place of another.
    fn read_with(name: &str, value: &str) -> Result<Attributes, AttributesError> {
        let least = [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/s"), ("ce_type", "t")];
        let kept = least.into_iter().filter(|(kept, _)| *kept != name);
        read(&kept.chain([(name, value)]).collect::<Vec<_>>())
    }

    #[test]
    fn attributes_become_headers_in_a_fixed_order() {
        let headers = full().to_headers();
        let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            lines,
            [
                "ce_specversion: 1.0",
                "ce_id: evt-1",
                "ce_source: /crm/webhooks",
                "ce_type: crm.deal_stage_changed",
                "ce_time: 2026-01-31T09:30:00.25Z",
                "ce_subject: deal-7 – Müller",
                "ce_causationid: evt-0",
                "ce_traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "ce_tracestate: vendor=1,other=2",
                "content-type: application/avro",
            ]
        );
    }

    #[test]
    fn what_was_written_is_read_again() {
        let headers = full().to_headers();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(read(&headers), Ok(full()));
    }

    #[test]
    fn strange_headers_are_passed_over_and_the_last_of_a_name_counts() {
        let headers = [
            ("ce_id", Some(b"old".as_slice())),
            ("trace", Some(b"\xff".as_slice())),
            ("ce_tenant", None),
            ("ce_specversion", Some(b"1.0".as_slice())),
            ("ce_source", Some(b"/s".as_slice())),
            ("ce_type", Some(b"t".as_slice())),
            ("ce_id", Some(b"new".as_slice())),
        ];
        let attributes = Attributes::from_headers(headers.into_iter()).unwrap();
        assert_eq!((attributes.id.as_str(), attributes.time_ms), ("new", None));
    }

    #[test]
    fn a_missing_attribute_is_named() {
        let all = [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/s"), ("ce_type", "t")];
        for (name, _) in all {
            let rest: Vec<_> = all.into_iter().filter(|(kept, _)| *kept != name).collect();
            assert_eq!(read(&rest), Err(AttributesError::Missing { name }));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (name, value, problem) in [
            ("ce_specversion", "0.3", "is not 1.0, the only version of CloudEvents that we know"),
            ("ce_id", "", "is empty"),
            ("ce_id", "a\r\nx-admin: 1", "has the control character '\\r'"),
            ("ce_subject", "a\u{85}b", "has the control character '\\u{85}'"),
            ("ce_source", "/a b", "is no URI reference: it has ' '"),
            ("ce_source", "/{id}", "is no URI reference: it has '{'"),
            ("ce_causationid", "\0", "has the control character '\\0'"),
            ("ce_time", "2026-01-31 09:30", "is not an RFC 3339 time such as 2026-01-31T09:30:00Z"),
        ] {
            let got = read_with(name, value).unwrap_err().to_string();
            assert_eq!(got, format!("header `{name}` {problem}"));
        }
        let not_utf8 = [("ce_specversion", Some(b"\xff\xfe".as_slice()))];
        let got = Attributes::from_headers(not_utf8.into_iter()).unwrap_err().to_string();
        assert_eq!(got, "header `ce_specversion` is not UTF-8");
    }

    #[test]
    fn a_time_of_any_offset_is_the_same_instant() {
        for (text, ms) in [
            ("2026-01-31T10:30:00.250+01:00", 1_769_851_800_250),
            ("2026-01-31T09:30:00.250999Z", 1_769_851_800_250),
            ("1969-12-31T23:59:59.9995Z", -1),
        ] {
            assert_eq!(read_with("ce_time", text).unwrap().time_ms, Some(ms), "{text}");
        }
    }

    #[test]
    fn a_broken_trace_context_is_dropped_and_the_event_is_kept() {
        for broken in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later",
        ] {
            assert_eq!(read_with("ce_traceparent", broken).unwrap().traceparent, None, "{broken}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later";
        assert_eq!(read_with("ce_traceparent", later).unwrap().traceparent.as_deref(), Some(later));
        // A state without its parent says nothing.
        assert_eq!(read_with("ce_tracestate", "a=1").unwrap().tracestate, None);
    }

    proptest! {
        #[test]
        fn no_headers_make_it_panic_and_what_is_read_can_be_written(
            headers in proptest::collection::vec((r"ce_(id|source|type|time|subject)", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8))), 0..8),
        ) {
            let version = [("ce_specversion", Some(b"1.0".as_slice()))];
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
            if let Ok(attributes) = Attributes::from_headers(version.into_iter().chain(headers)) {
                let written = attributes.to_headers();
                let again = Attributes::from_headers(written.iter().map(|(name, value)| (*name, Some(value.as_bytes()))));
                prop_assert_eq!(again, Ok(attributes));
            }
        }
    }
}
