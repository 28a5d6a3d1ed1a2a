//! W3C Trace Context: one trace from the webhook through the event's headers to the call.

/// Where the flags begin in a `traceparent` of version 00, with the hyphen before them; it has 55 characters.
const FLAGS: usize = 52;

/// Makes the `traceparent` of a step below `parent`, or starts a trace (W3C Trace Context, section 3.2).
#[must_use]
pub fn child_of(parent: Option<&str>) -> String {
    let parent = parent.and_then(|parent| Some((trace_id(parent)?, parent.get(FLAGS..)?)));
    let mut child = String::with_capacity(FLAGS + 3);
    child.push_str("00-");
    match parent {
        Some((trace_id, _)) => child.push_str(trace_id),
        None => push_id::<16>(&mut child),
    }
    child.push('-');
    push_id::<8>(&mut child);
    child.push_str(parent.map_or("-01", |(_, flags)| flags));
    child
}

/// The trace's id in a `traceparent` of version 00 that is well-formed.
#[must_use]
pub fn trace_id(traceparent: &str) -> Option<&str> {
    trace_id_ok(traceparent).then(|| &traceparent[3..35])
}

fn trace_id_ok(traceparent: &str) -> bool {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next(), parts.next(), parts.next(), parts.next());
    version == Some("00")
        && parts.next().is_none()
        && trace.is_some_and(|t| is_id(t, 32))
        && span.is_some_and(|s| is_id(s, 16))
        && flags.is_some_and(|f| f.len() == 2 && is_lower_hex(f))
}

fn is_id(text: &str, len: usize) -> bool {
    text.len() == len && is_lower_hex(text) && text.bytes().any(|b| b != b'0')
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Random bytes as lower-case hexadecimal, never all zero.
fn push_id<const N: usize>(text: &mut String) {
    let mut bytes = [0_u8; N];
    while bytes.iter().all(|b| *b == 0) {
        rand::fill(&mut bytes);
    }
    for half in bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]) {
        text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_child_keeps_the_trace_and_has_a_span_of_its_own() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let child = child_of(Some(parent));
        assert_eq!(trace_id(&child), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_ne!(child, parent);
        assert_eq!(child.len(), parent.len());
        assert!(child.ends_with("-01") && child_of(Some(&parent.replace("-01", "-00"))).ends_with("-00"), "{child}");
        assert_eq!(trace_id(&child_of(Some(&child))), trace_id(parent), "a child is well-formed");
    }

    #[test]
    fn a_malformed_parent_starts_a_new_trace() {
        for parent in ["", "00-abc-def-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "ff-x"] {
            assert!(trace_id(parent).is_none(), "{parent}");
            assert!(trace_id(&child_of(Some(parent))).is_some());
        }
    }
}
