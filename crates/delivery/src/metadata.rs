//! What stands beside a committed offset: all that the next owner of a partition has to know about what lies beyond it.
//!
//! Kafka keeps a short text with each committed offset. Into it goes which offsets beyond are finished already (so that
//! they are not delivered again), and up to where anything may have been sent (so that what is unfinished there counts as
//! an unknown outcome). It is written by [`crate::Output::Commit`] and read from [`crate::Input::Assigned`].
//!
//! ```text
//! 1.6.00c0ffee00c0ffee+.1000.250.16634.AJCA.
//! │ │ │                 │    │   │     └ unfinished runs: how far from the last one's end, how many more than one
//! │ │ │                 │    │   └ send ceiling, from the base
//! │ │ │                 │    └ horizon, from the base: beyond it nothing is known
//! │ │ │                 └ base: the committed offset
//! │ │ └ fingerprint of the mapping; a plus if it has had an effect; a star and below what, from the base, others may have sent
//! │ └ partitions of the topic
//! └ version
//! ```

use std::ops::Range;

/// Most metadata that goes beside a committed offset, in bytes.
///
/// Brokers refuse more than `offset.metadata.max.bytes`, 4,096 unless they are told otherwise; tried on Kafka 4.3: 3.4 kB
/// in a transaction come back whole, 5 kB are refused.
pub const METADATA_BYTES_MAX: usize = 3_400;

/// Most bytes of what comes before the runs, and of the full stop after them: 7 full stops, a version of 1 digit, 10 of
/// partitions, 18 of fingerprint with its signs, 4 numbers of at most 19.
pub(crate) const HEAD_BYTES_MAX: usize = 7 + 1 + 10 + 18 + 4 * 19;

/// The version that is written. A reader that meets another one stops: it cannot know what the text means.
const VERSION: &str = "1";

/// Digits of the runs: 5 bits each, least significant first; from the 33rd on they say that another digit follows.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What is known of a partition beyond its committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// How many partitions the topic had: keys lie where this number put them.
    pub partitions: u32,
    /// How what was sent was mapped.
    pub mapped: Mapped,
    /// The committed offset that this stands beside: the lowest one that is not final.
    pub base: i64,
    /// From here on nothing is known. Each offset from `base` to here is unfinished, or final, or a gap of the log.
    pub horizon: i64,
    /// From here on nothing was ever sent that is not final.
    pub ceiling: i64,
    /// The unfinished offsets below the horizon, ascending, without overlap. May cover gaps of the log.
    pub unfinished: Vec<Range<i64>>,
}

/// How what is known of a partition was mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// By this mapping.
    pub fingerprint: u64,
    /// An effect of it was confirmed: what is refused from then on is the record's own fault.
    pub worked: bool,
    /// What is unfinished below this offset may have been sent under another mapping: an owner before the one that wrote
    /// this had another. Nothing, where it is not above the base.
    pub otherwise_below: i64,
}

/// Why committed metadata cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Another version wrote it.
    #[error("metadata of version {version:?} was written by another release; this one reads version 1")]
    Version {
        /// As it stands there.
        version: String,
    },
    /// It is cut off, or was never ours.
    #[error("metadata is not of the form `1.partitions.fingerprint.base.horizon.ceiling.runs.`")]
    Form,
    /// It says what cannot be.
    #[error("metadata contradicts itself: {what}")]
    Contradiction {
        /// What.
        what: &'static str,
    },
}

impl Metadata {
    /// The same where nothing below this offset is to be had any more: its base is the first offset from there on that is
    /// not known to be final.
    #[must_use]
    pub fn past(mut self, offset: i64) -> Self {
        self.unfinished.retain_mut(|run| {
            run.start = run.start.max(offset);
            run.start < run.end
        });
        self.base = self.unfinished.first().map_or(self.horizon.max(offset), |run| run.start);
        self.horizon = self.horizon.max(self.base);
        self.mapped.otherwise_below = self.mapped.otherwise_below.max(self.base);
        self
    }

    /// Writes it as the text that is committed.
    #[must_use]
    pub fn encode(&self) -> String {
        self.encode_with(self.unfinished.iter().cloned())
    }

    /// Writes it with these runs instead of its own, which spares their collection.
    pub(crate) fn encode_with(&self, runs: impl Iterator<Item = Range<i64>>) -> String {
        let mut text = format!(
            "{VERSION}.{}.{:016x}{}{}.{}.{}.{}.",
            self.partitions,
            self.mapped.fingerprint,
            if self.mapped.worked { "+" } else { "" },
            self.otherwise(),
            self.base,
            self.horizon - self.base,
            (self.ceiling - self.base).max(0),
        );
        let mut end = self.base;
        for run in runs {
            push_number(&mut text, run.start.abs_diff(end));
            push_number(&mut text, run.end.abs_diff(run.start) - 1);
            end = run.end;
        }
        text.push('.');
        text
    }

    /// The sign for what was sent under other mappings, where anything was.
    fn otherwise(&self) -> String {
        let below = self.mapped.otherwise_below - self.base;
        if below > 0 { format!("*{below}") } else { String::new() }
    }

    /// Reads what [`Metadata::encode`] wrote.
    ///
    /// # Errors
    /// When it is of another version, cut off, or says what cannot be.
    pub fn parse(text: &str) -> Result<Self, MetadataError> {
        let parts: Vec<&str> = text.split('.').collect();
        let version = parts.first().copied().unwrap_or_default();
        if version != VERSION {
            return Err(MetadataError::Version { version: version.chars().take(16).collect() });
        }
        let &[_, partitions, fingerprint, base, horizon, ceiling, runs, ""] = parts.as_slice() else {
            return Err(MetadataError::Form);
        };
        let base = base.parse::<i64>().ok().filter(|base| *base >= 0).ok_or(MetadataError::Form)?;
        let from_base = |number: &str| {
            let distance = number.parse::<u64>().ok()?;
            base.checked_add_unsigned(distance)
        };
        let (fingerprint, otherwise) = fingerprint.split_once('*').unwrap_or((fingerprint, "0"));
        let (fingerprint, worked) = fingerprint.strip_suffix('+').map_or((fingerprint, false), |digits| (digits, true));
        let horizon = from_base(horizon).ok_or(MetadataError::Form)?;
        Ok(Self {
            partitions: partitions.parse().map_err(|_| MetadataError::Form)?,
            mapped: Mapped {
                fingerprint: u64::from_str_radix(fingerprint, 16).map_err(|_| MetadataError::Form)?,
                worked,
                otherwise_below: from_base(otherwise).ok_or(MetadataError::Form)?,
            },
            base,
            horizon,
            ceiling: from_base(ceiling).ok_or(MetadataError::Form)?,
            unfinished: parse_runs(runs.as_bytes(), base, horizon)?,
        })
    }
}

fn push_number(text: &mut String, mut number: u64) {
    loop {
        let low = (number & 31) as usize;
        number >>= 5;
        let digit = if number == 0 { low } else { low + 32 };
        text.push(char::from(DIGITS[digit]));
        if number == 0 {
            return;
        }
    }
}

fn parse_runs(mut digits: &[u8], base: i64, horizon: i64) -> Result<Vec<Range<i64>>, MetadataError> {
    let mut runs = Vec::new();
    let mut end = base;
    while !digits.is_empty() {
        let start = end.checked_add_unsigned(take_number(&mut digits)?);
        let last = start.and_then(|start| Some((start, start.checked_add_unsigned(take_number(&mut digits).ok()?)?)));
        let (start, last) = last.ok_or(MetadataError::Form)?;
        if last >= horizon {
            return Err(MetadataError::Contradiction { what: "an unfinished offset lies beyond the horizon" });
        }
        end = last + 1;
        runs.push(start..end);
    }
    Ok(runs)
}

fn take_number(digits: &mut &[u8]) -> Result<u64, MetadataError> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(5) {
        let (&first, rest) = digits.split_first().ok_or(MetadataError::Form)?;
        *digits = rest;
        let digit = DIGITS.iter().position(|digit| *digit == first).ok_or(MetadataError::Form)? as u64;
        let bits = digit & 31;
        if shift == 60 && bits > 15 {
            return Err(MetadataError::Form);
        }
        number |= bits << shift;
        if digit < 32 {
            return Ok(number);
        }
    }
    Err(MetadataError::Form)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn metadata(unfinished: Vec<Range<i64>>) -> Metadata {
        Metadata {
            partitions: 6,
            mapped: Mapped { fingerprint: 0xC0_FFEE, worked: true, otherwise_below: 1_000 },
            base: 1_000,
            horizon: 1_250,
            ceiling: 17_634,
            unfinished,
        }
    }

    #[test]
    fn it_reads_as_documented() {
        let text = metadata(vec![1_000..1_010, 1_012..1_013]).encode();
        assert_eq!(text, "1.6.0000000000c0ffee+.1000.250.16634.AJCA.");
        assert_eq!(Metadata::parse(&text).unwrap(), metadata(vec![1_000..1_010, 1_012..1_013]));

        let mut by_several = metadata(vec![1_000..1_010, 1_012..1_013]);
        by_several.mapped.otherwise_below = 1_007;
        assert_eq!(by_several.encode(), "1.6.0000000000c0ffee+*7.1000.250.16634.AJCA.");
        assert_eq!(Metadata::parse(&by_several.encode()).unwrap(), by_several);
    }

    #[test]
    fn what_is_cut_off_or_foreign_is_refused() {
        let whole = metadata(vec![1_000..1_010, 1_012..1_050]).encode();
        for end in 0..whole.len() {
            assert!(Metadata::parse(&whole[..end]).is_err(), "{}", &whole[..end]);
        }
        assert_eq!(Metadata::parse("2.6.0.0.0.0..").unwrap_err(), MetadataError::Version { version: "2".to_owned() });
        assert_eq!(Metadata::parse("1.6.0.-4.0.0..").unwrap_err(), MetadataError::Form);
        assert_eq!(Metadata::parse("1.6.0.9223372036854775807.1.0..").unwrap_err(), MetadataError::Form);
        assert_eq!(
            Metadata::parse("1.6.0.10.5.0.FA.").unwrap_err(),
            MetadataError::Contradiction { what: "an unfinished offset lies beyond the horizon" }
        );
    }

    #[test]
    fn past_a_gap_it_says_the_same_of_what_is_left() {
        let past = |offset| {
            let metadata = metadata(vec![1_000..1_010, 1_012..1_050]).past(offset);
            assert_eq!(Metadata::parse(&metadata.encode()).as_ref(), Ok(&metadata));
            let unfinished: Vec<(i64, i64)> = metadata.unfinished.iter().map(|run| (run.start, run.end)).collect();
            (metadata.base, metadata.horizon, metadata.ceiling, unfinished)
        };
        assert_eq!(past(1_005), (1_005, 1_250, 17_634, vec![(1_005, 1_010), (1_012, 1_050)]));
        assert_eq!(past(1_010), (1_012, 1_250, 17_634, vec![(1_012, 1_050)]));
        assert_eq!(past(1_100), (1_250, 1_250, 17_634, vec![]));
        assert_eq!(past(1_300), (1_300, 1_300, 17_634, vec![]));
        // Nothing beyond the ceiling was sent: then it is the base, as it reads again.
        assert_eq!(metadata(vec![]).past(20_000).encode(), "1.6.0000000000c0ffee+.20000.0.0..");
    }

    fn any_metadata() -> impl Strategy<Value = Metadata> {
        let runs = prop::collection::vec((0_u64..1 << 40, 1_u64..1 << 40), 0..40);
        (any::<u32>(), any::<(u64, bool, u32)>(), 0_i64..1 << 50, runs, 0_i64..1 << 50, 0_i64..1 << 50).prop_map(
            |(partitions, (fingerprint, worked, otherwise), base, runs, beyond, ceiling)| {
                let mut end = base;
                let unfinished: Vec<Range<i64>> = runs
                    .into_iter()
                    .map(|(gap, len)| {
                        let start = end.checked_add_unsigned(gap).unwrap();
                        end = start.checked_add_unsigned(len).unwrap();
                        start..end
                    })
                    .collect();
                Metadata {
                    partitions,
                    mapped: Mapped { fingerprint, worked, otherwise_below: base + i64::from(otherwise) },
                    base,
                    horizon: end + beyond,
                    ceiling: base + ceiling,
                    unfinished,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(metadata in any_metadata()) {
            prop_assert_eq!(Metadata::parse(&metadata.encode()).unwrap(), metadata);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(1\\.[0-9]{0,3}\\.[0-9a-f+]{0,17}\\.[0-9]{0,20}\\.[0-9]{0,20}\\.[0-9]{0,20}\\.)?[A-Za-z0-9_.-]{0,60}") {
            let _ = Metadata::parse(&text);
        }
    }
}
