//! Points at which a test ends this process, as a crash would: between an effect and its commit, where it hurts most.
//!
//! They are there only with the feature `fail-points`, which nothing but the end-to-end tests asks for; without it passing
//! one is nothing at all. `TIELINE_FAIL_POINT=answered:17` aborts at the 17th passage of that point. The crate `fail` can do
//! more (pauses, answers), and neither an abort nor "from the n-th on" without code beside each point.

/// A point, in the order in which a record passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailPoint {
    /// A system has answered with 2xx, and nothing of it is known here yet.
    Answered,
    /// There is something to commit.
    CommitBegins,
    /// The offsets are in the open transaction.
    OffsetsSent,
    /// All records of the commit are written, and the transaction is still open.
    RecordsWritten,
    /// The broker has committed, and the core does not know yet.
    CommitMade,
}

/// Passes a point.
#[cfg(not(feature = "fail-points"))]
#[inline]
pub(crate) const fn pass(_: FailPoint) {}

#[cfg(feature = "fail-points")]
pub(crate) use on::pass;

#[cfg(feature = "fail-points")]
mod on {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::FailPoint;

    /// Where this process is to end, and at which passage.
    const CHOSEN: &str = "TIELINE_FAIL_POINT";

    /// Passes a point, or ends the process there.
    pub(crate) fn pass(point: FailPoint) {
        static CHOICE: OnceLock<Option<(FailPoint, u64)>> = OnceLock::new();
        static PASSAGES: AtomicU64 = AtomicU64::new(0);
        let choice = CHOICE.get_or_init(|| {
            let text = std::env::var(CHOSEN).ok()?;
            let choice = parse(&text);
            if choice.is_none() {
                tracing::error!(text, "{CHOSEN} names no point and passage, such as answered:17; nothing fails");
            }
            choice
        });
        let Some((_, at)) = choice.filter(|(chosen, _)| *chosen == point) else { return };
        if PASSAGES.fetch_add(1, Ordering::Relaxed) + 1 == at {
            std::process::abort();
        }
    }

    fn parse(text: &str) -> Option<(FailPoint, u64)> {
        let (name, passage) = text.split_once(':')?;
        let point = match name {
            "answered" => FailPoint::Answered,
            "commit-begins" => FailPoint::CommitBegins,
            "offsets-sent" => FailPoint::OffsetsSent,
            "records-written" => FailPoint::RecordsWritten,
            "commit-made" => FailPoint::CommitMade,
            _ => return None,
        };
        Some((point, passage.parse().ok().filter(|passage| *passage > 0)?))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_choice_is_a_point_and_a_passage_from_one() {
            assert_eq!(parse("answered:17"), Some((FailPoint::Answered, 17)));
            assert_eq!(parse("commit-made:1"), Some((FailPoint::CommitMade, 1)));
            for wrong in ["answered", "answered:0", "answered:x", "somewhere:1", ""] {
                assert_eq!(parse(wrong), None, "{wrong}");
            }
        }
    }
}
