//! The trace that a delivery belongs to: the sender's, where it sent one that is well-formed, else a new one.
//!
//! W3C Trace Context, `traceparent` version 00 (section 3.2). We export no spans, so the sender's is passed on as it
//! is: with a parent id of our own it would point at a span that no tracing system has.

use axum::http::HeaderMap;
use uuid::Uuid;

/// The trace that a delivery belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The header's value, `00-TRACE-PARENT-FLAGS`.
    pub(crate) traceparent: String,
}

impl Trace {
    /// The sender's trace, else a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all("traceparent").iter();
        match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
            (Some(value), None) if well_formed(value) => Self { traceparent: value.to_owned() },
            // Several are as good as none: nothing says which is meant.
            (Some(_) | None, _) => Self::start(),
        }
    }

    /// A new trace, not sampled: nobody has recorded it.
    fn start() -> Self {
        let [trace, parent] = [Uuid::new_v4(), Uuid::new_v4()].map(|id| id.simple().to_string());
        Self { traceparent: format!("00-{trace}-{}-00", parent.get(..16).unwrap_or(&parent)) }
    }

    /// Its trace id, 32 hexadecimal digits.
    pub(crate) fn id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }
}

/// Whether a text is a `traceparent` of version 00 with ids that are not all zeros.
fn well_formed(text: &str) -> bool {
    let digits = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length: usize| digits(part, length) && part.bytes().any(|b| b != b'0');
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next(), parts.next(), parts.next(), parts.next());
    version == Some("00")
        && trace.is_some_and(|part| id(part, 32))
        && parent.is_some_and(|part| id(part, 16))
        && flags.is_some_and(|part| digits(part, 2))
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    // The example of W3C Trace Context, section 3.2.2.
    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of(values: &[&str]) -> Trace {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", value.parse().unwrap());
        }
        Trace::of(&headers)
    }

    #[test]
    fn a_well_formed_trace_is_kept() {
        assert_eq!(of(&[GIVEN]).traceparent, GIVEN);
        assert_eq!(of(&[GIVEN]).id(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn anything_else_starts_a_new_one() {
        let misshapen = [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01",
        ];
        for text in misshapen {
            let trace = of(&[text]);
            assert_ne!(trace.traceparent, text);
            assert!(well_formed(&trace.traceparent), "{}", trace.traceparent);
        }
        assert_ne!(of(&[GIVEN, GIVEN]).traceparent, GIVEN);
        assert_ne!(of(&[]), of(&[]));
    }
}
