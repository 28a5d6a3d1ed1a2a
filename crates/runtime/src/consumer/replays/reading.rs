//! Reads for a replay, on a thread of its own: how far the owners before were, what the ledger shows, and the stretch itself.

use std::ops::ControlFlow;

use tieline_delivery::Epoch;
use tokio::sync::mpsc;

use crate::kafka::{ConnectError, Connection, ReadError, Record, Span, TopicReader};
use crate::replay::{Judge, Newest, Shown, ShownError, Step, StretchError, reach, steps};
use crate::state::{ControlRecord, Progress, Range, Replay, Stage, Tally};

/// Records, and bytes of them, that are handed over at once.
const LOT_RECORDS: usize = 64;
const LOT_BYTES: usize = 1 << 20;

/// What a replay has to read, and for whom.
#[derive(Debug)]
pub(in crate::consumer) struct Reading {
    pub connection: Connection,
    pub group: String,
    pub ledger: String,
    pub control: String,
    pub command: String,
    pub consumer: String,
    /// Of the mapping by which we send.
    pub fingerprint: u64,
    pub replay: Replay,
    pub range: Range,
    /// Where to go on; nobody knows where nobody has begun in this assignment.
    pub at: Option<i64>,
    pub judge: Option<Judge>,
    pub newest: Newest,
}

/// What was read.
#[derive(Debug)]
pub(in crate::consumer) enum Read {
    /// So it stands.
    Began(Box<Began>),
    Steps(Vec<Step>),
    /// There are no more.
    End,
    /// Another owner has brought it to its end.
    Over,
    /// Later again.
    Failed(String),
    /// It can never be carried out.
    Refused(String),
}

/// How a replay stands in a partition when it comes to us.
#[derive(Debug)]
pub(in crate::consumer) struct Began {
    pub at: i64,
    /// Owners before may have sent what is below.
    pub ceiling: i64,
    /// Below this, under another mapping than ours.
    pub otherwise_below: i64,
    pub tally: Tally,
    pub newest: Newest,
    /// What lay in the partition ends here: all of it is met before anything is sent.
    pub met_to: i64,
}

/// How far the owners before us were, as they have written it.
struct Before {
    at: i64,
    ceiling: i64,
    otherwise_below: i64,
    tally: Tally,
}

impl Before {
    /// Nobody was anywhere.
    fn nothing(range: Range) -> Self {
        Self { at: range.from, ceiling: range.from, otherwise_below: range.from, tally: Tally::default() }
    }

    /// By what was written last, for one who sends by this mapping.
    fn of(stage: Option<Stage>, range: Range, fingerprint: u64) -> Result<Self, Ends> {
        match stage {
            Some(Stage::Replaying { at, ceiling, mapped, otherwise_below, tally, .. }) => {
                let otherwise_below = if mapped == fingerprint { otherwise_below } else { ceiling };
                Ok(Self { at, ceiling, otherwise_below, tally })
            }
            Some(Stage::Replayed { .. } | Stage::Failed { .. } | Stage::Done { .. }) => Err(Ends::Over),
            Some(Stage::Accepted | Stage::UnderWay { .. }) | None => Ok(Self::nothing(range)),
        }
    }
}

/// Why it ends early.
enum Ends {
    Over,
    Failed(String),
    Refused(String),
    /// Nobody listens any more.
    Unheard,
}

impl Reading {
    /// Reads until there is no more, or nobody listens.
    pub fn run(mut self, heard: &mpsc::Sender<Read>) {
        let last = match self.read(heard) {
            Ok(()) => Read::End,
            Err(Ends::Over) => Read::Over,
            Err(Ends::Failed(why)) => Read::Failed(why),
            Err(Ends::Refused(why)) => Read::Refused(why),
            Err(Ends::Unheard) => return,
        };
        let _ = heard.blocking_send(last);
    }

    fn read(&mut self, heard: &mpsc::Sender<Read>) -> Result<(), Ends> {
        let mut reader = TopicReader::new(&self.connection, &self.group)?;
        let before = match self.at {
            Some(at) => Before { at, ..Before::nothing(self.range) },
            None => self.before(&mut reader)?,
        };
        let Before { at, ceiling, otherwise_below, tally } = before;
        let range = Range { from: at, ..self.range };
        let partition = range.partition;
        if !self.replay.again && reach(&mut reader, &self.ledger, &self.replay.topic, partition)? > at {
            let why = "the ledger does not reach back so far any more, so that nothing says what is missing; order what is \
                       left with `--again`, or let it be";
            return Err(Ends::Refused(why.to_owned()));
        }
        let met_to = last(&mut reader, &self.replay.topic, partition)?.map_or(0, |last| last + 1);
        let keys = (!self.replay.overtake).then(|| self.newest.like());
        let topics = (self.ledger.as_str(), self.replay.topic.as_str());
        let mut shown = Shown::read(&mut reader, topics, range, Some(&self.command), keys)?;
        let newest = std::mem::take(&mut shown.newest);
        let began = Began { at, ceiling, otherwise_below, tally, newest, met_to };
        heard.blocking_send(Read::Began(Box::new(began))).map_err(|_| Ends::Unheard)?;
        self.stretch(&mut reader, range, &shown, heard)
    }

    fn stretch(
        &mut self,
        reader: &mut TopicReader,
        range: Range,
        shown: &Shown,
        heard: &mpsc::Sender<Read>,
    ) -> Result<(), Ends> {
        let (mut lot, mut bytes, mut unheard) = (Vec::new(), 0, false);
        steps(reader, &self.replay, range, shown, &mut self.judge, |step| {
            bytes += step.record.as_ref().map_or(0, Record::size);
            // A step without a record says that it goes on: that is not made to wait.
            let now = step.record.is_none() || lot.len() + 1 >= LOT_RECORDS || bytes >= LOT_BYTES;
            lot.push(step);
            if now {
                bytes = 0;
                unheard = heard.blocking_send(Read::Steps(std::mem::take(&mut lot))).is_err();
            }
            if unheard { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if unheard { Err(Ends::Unheard) } else { Ok(()) }
    }

    /// How far the owners before us were. What is not decided yet is waited for, so that all is seen that they could write.
    fn before(&self, reader: &mut TopicReader) -> Result<Before, Ends> {
        let (command, consumer) = (self.command.clone(), self.consumer.clone());
        let (partition, by) = (self.range.partition, String::new());
        let key = Progress { command, consumer, partition, by, at_ms: 0, stage: Stage::Accepted }.key();
        let mut stage = None;
        let span = reader.span(&self.control, 0)?;
        reader.read(&self.control, &[span], |record| {
            if let (Some(written), Some(value)) = (record.key.as_deref(), record.value.as_deref())
                && written == key
                && let Ok(ControlRecord::Progress(progress)) = ControlRecord::decode(written, value)
            {
                stage = Some(progress.stage);
            }
            ControlFlow::Continue(())
        })?;
        Before::of(stage, self.range, self.fingerprint)
    }
}

/// The last record of a partition. Marks of transactions, and what was compacted away, are none: so it is looked further and
/// further back for one.
fn last(reader: &mut TopicReader, topic: &str, partition: i32) -> Result<Option<i64>, ReadError> {
    let all = reader.span(topic, partition)?;
    let (mut back, mut found) = (1, None);
    while found.is_none() && all.to - back / 2 > all.from {
        let from = (all.to - back).max(all.from);
        reader.read(topic, &[Span { from, ..all }], |record| {
            found = Some(record.offset);
            ControlFlow::Continue(())
        })?;
        back *= 16;
    }
    Ok(found)
}

impl From<ConnectError> for Ends {
    fn from(error: ConnectError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ReadError> for Ends {
    fn from(error: ReadError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<StretchError> for Ends {
    fn from(error: StretchError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ShownError> for Ends {
    fn from(error: ShownError) -> Self {
        match error {
            ShownError::Read(error) => error.into(),
            ShownError::Unreadable { .. } | ShownError::TooManyKeys => Self::Refused(error.to_string()),
        }
    }
}

/// Names a replay in one of our assignments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::consumer) struct ReplayId {
    pub command: String,
    pub partition: i32,
    pub epoch: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range = Range { partition: 2, from: 10, to: 90 };

    /// Below what a record that was sent may be of another mapping, for one of this mapping, after one that wrote this.
    fn otherwise_below(written: (u64, i64, i64), fingerprint: u64) -> i64 {
        let (mapped, otherwise_below, ceiling) = written;
        let tally = Tally::default();
        let stage = Stage::Replaying { at: 12, ceiling, mapped, otherwise_below, to: 90, per_second: 0, tally };
        Before::of(Some(stage), RANGE, fingerprint).map_or(-1, |before| before.otherwise_below)
    }

    #[test]
    fn what_an_owner_before_the_last_may_have_sent_under_another_mapping_is_known_as_such() {
        assert_eq!(otherwise_below((1, 10, 20), 1), 10, "nobody had another mapping");
        assert_eq!(otherwise_below((1, 10, 20), 2), 20, "the one before us had");
        // That one took over, sent to 40, and is gone: of two that come with its mapping, both know.
        assert_eq!(otherwise_below((2, 20, 40), 2), 20);
        assert_eq!(otherwise_below((2, 20, 40), 1), 40, "the mapping was taken back");
        assert!(matches!(Before::of(None, RANGE, 1), Ok(Before { otherwise_below: 10, ceiling: 10, .. })));
    }
}
