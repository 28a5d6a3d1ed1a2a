//! The replays of a consumer, one for each order and partition of ours, and its books: what is read, what was given to the
//! core, what has ended, and so up to where all has.
//!
//! Where that is, and up to where anything may have been sent, goes into the transaction of a commit ([`Replays::written`]),
//! with the ends that it speaks of: whoever takes the partition over goes on from there. Of what has ended beyond, the ledger
//! tells. In a partition one replay is under way at a time, in the order in which they were ordered.

mod reading;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tieline_delivery::{Came, Effect, Epoch, Final, Outcome};
use tokio::sync::mpsc;

use super::prepare::Delivered;
use crate::kafka::Record;
use crate::replay::{Newest, Step};
use crate::state::{Command, Pauses, Range, Replay, Stage, Tally};

pub(super) use reading::{Began, Read, Reading, ReplayId};

/// How far ahead of what is sent it is made durable that it may have been, in offsets: a commit passes before it is reached.
const CEILING_AHEAD: i64 = 16_384;

/// Most steps that have ended behind one that has not: what its owner has to remember, and the next one to skip.
const OPEN_MAX: usize = 65_536;

/// As many steps that were read wait to be given; then no more are read.
const WAITING_MAX: usize = 128;

/// How often it is written how far a replay is, where nothing has to be.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// How long after a failure to read it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How much of its rate a replay may catch up with at once.
const BURST: Duration = Duration::from_millis(100);

/// All replays in our partitions, in the order in which they were ordered.
#[derive(Debug, Default)]
pub(super) struct Replays {
    jobs: Vec<Job>,
    /// When the next record of an order that has a rate may be given: over all our partitions.
    next_at: BTreeMap<String, Instant>,
}

/// A replay in one partition.
#[derive(Debug)]
pub(super) struct Job {
    pub id: ReplayId,
    /// The order's id, as each of its records carries it.
    pub order: Arc<str>,
    pub replay: Replay,
    range: Range,
    source: Source,
    pub newest: Newest,
    /// See [`Began`].
    pub inherited_ceiling: i64,
    pub otherwise_below: i64,
    /// By which mapping we send.
    mapped: u64,
    pub met_to: i64,
    began: bool,
    /// Nothing at or above it is sent: durable.
    ceiling: i64,
    /// Read, and not given.
    waiting: VecDeque<Step>,
    /// Given or passed over, in the order of their offsets.
    open: VecDeque<Open>,
    at: i64,
    tally: Tally,
    /// Why nothing more is to be read: all is, somebody has ended it, it can never be carried out.
    over: Option<Over>,
    /// What the commit that is under way says.
    writing: Option<Written>,
    /// The core knows that there is something to write.
    asked: bool,
    written_at: (Instant, i64),
    per_second: u64,
    next_read: Instant,
}

/// Where what is read comes from.
#[derive(Debug)]
enum Source {
    /// Nothing is being read.
    None,
    /// A thread reads; somebody waits for it.
    Awaited,
    /// A thread reads, and is to be waited for when there is room.
    Held(mpsc::Receiver<Read>),
}

/// A step whose record is given, or that had none.
#[derive(Debug)]
struct Open {
    offset: i64,
    to: i64,
    tally: Tally,
    ended: bool,
}

#[derive(Debug, Clone)]
enum Over {
    Read,
    /// Somebody else has written its end, which stands.
    Elsewhere,
    Cancelled,
    Refused(String),
}

#[derive(Debug)]
struct Written {
    ceiling: i64,
    last: bool,
}

impl Replays {
    /// Takes an order on in a partition of ours. Not twice.
    pub fn begin(
        &mut self,
        command: &Command,
        replay: &Replay,
        (partition, epoch): (i32, Epoch),
        mapped: u64,
        now: Instant,
    ) -> bool {
        let id = ReplayId { command: command.id.clone(), partition, epoch };
        let Some(range) = replay.ranges.iter().find(|range| range.partition == partition).copied() else {
            return false;
        };
        if self.jobs.iter().any(|job| job.id == id) {
            return false;
        }
        self.jobs.push(Job {
            id,
            order: command.id.as_str().into(),
            replay: replay.clone(),
            range,
            source: Source::None,
            newest: Newest::default(),
            inherited_ceiling: range.from,
            otherwise_below: range.from,
            mapped,
            met_to: 0,
            began: false,
            ceiling: range.from,
            waiting: VecDeque::new(),
            open: VecDeque::new(),
            at: range.from,
            tally: Tally::default(),
            over: None,
            writing: None,
            asked: false,
            written_at: (now, range.from),
            per_second: 0,
            next_read: now,
        });
        true
    }

    /// A partition is ours no more: whoever has it goes on.
    pub fn forget(&mut self, partition: i32) {
        self.jobs.retain(|job| job.id.partition != partition);
    }

    /// Somebody has ended an order. What was given ends, and no more is.
    pub fn cancel(&mut self, command: &str) {
        for job in self.jobs.iter_mut().filter(|job| job.id.command == command) {
            job.end(Over::Cancelled);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The replay of each partition whose turn it is.
    pub fn turns(&self, pauses: &Pauses) -> Vec<ReplayId> {
        let mut turns: BTreeMap<i32, &ReplayId> = BTreeMap::new();
        for job in self.jobs.iter().filter(|job| !pauses.is_of_replay(&job.id.command)) {
            turns.entry(job.id.partition).or_insert(&job.id);
        }
        turns.into_values().cloned().collect()
    }

    /// Drops those that are over by what somebody else has written.
    pub fn drop_ended(&mut self) {
        self.jobs.retain(|job| !matches!(job.over, Some(Over::Elsewhere)));
    }

    pub fn get(&mut self, id: &ReplayId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id == *id)
    }

    /// The next record of a replay that may be given now. Steps without one count as ended.
    pub fn next(&mut self, id: &ReplayId, now: Instant) -> Option<Record> {
        let next_at = self.next_at.get(&id.command).copied();
        let job = self.jobs.iter_mut().find(|job| job.id == *id)?;
        loop {
            let front = job.waiting.front()?;
            let next = front.record.as_ref().map(|record| record.offset);
            let may = |offset| offset < job.ceiling && next_at.is_none_or(|at| at <= now);
            if job.open.len() >= OPEN_MAX || next.is_some_and(|offset| !may(offset)) {
                return None;
            }
            let Step { tally, record, to } = job.waiting.pop_front()?;
            match job.open.back_mut().filter(|last| last.to == to) {
                // The last record of a stretch is its last offset too: an offset stands here once, so that it can be found.
                Some(last) => last.tally += tally,
                None => job.open.push_back(Open { offset: to - 1, to, tally, ended: record.is_none() }),
            }
            if let Some(record) = record {
                if let Some(rate) = job.replay.per_second {
                    let from = next_at.unwrap_or(now).max(now.checked_sub(BURST).unwrap_or(now));
                    self.next_at.insert(id.command.clone(), from + Duration::from_secs(1) / rate.max(1));
                }
                return Some(record);
            }
        }
    }

    /// When the next record may be given that waits for its order's rate.
    pub fn due(&self) -> Option<Instant> {
        let waits = |command: &str| self.jobs.iter().any(|job| job.id.command == command && !job.waiting.is_empty());
        self.next_at.iter().filter(|(command, _)| waits(command)).map(|(_, at)| *at).min()
    }

    /// A commit is asked for: what it makes durable of replays has ended.
    pub fn note_ends(&mut self, finals: &[Final<Arc<Delivered>>]) {
        for ended in finals.iter().filter(|ended| ended.came == Came::Replayed) {
            let Some(order) = ended.record.replay.as_deref() else { continue };
            let (epoch, partition) = (ended.id.epoch, ended.id.partition.0);
            let of = |job: &&mut Job| *job.order == *order && job.id.partition == partition && job.id.epoch == epoch;
            if let Some(job) = self.jobs.iter_mut().find(of) {
                job.note_end(ended.id.offset, end(&ended.outcome));
            }
        }
    }

    /// What that commit says of the replays in a partition, where it says something new.
    pub fn written(&mut self, partition: i32, now: Instant) -> Vec<(ReplayId, Stage)> {
        let of = self.jobs.iter_mut().filter(|job| job.id.partition == partition && job.writing.is_none());
        of.filter_map(|job| Some((job.id.clone(), job.write(now)?))).collect()
    }

    /// That commit was made, or was not. Says which replays are over by it.
    pub fn made(&mut self, made: bool) -> Vec<ReplayId> {
        let mut over = Vec::new();
        for job in &mut self.jobs {
            let Some(written) = job.writing.take() else { continue };
            if made {
                job.ceiling = written.ceiling;
                over.extend(written.last.then(|| job.id.clone()));
            } else {
                // It is said anew.
                job.written_at.1 = -1;
            }
        }
        self.jobs.retain(|job| !over.contains(&job.id));
        self.next_at.retain(|command, _| self.jobs.iter().any(|job| job.id.command == *command));
        over
    }

    /// What became durable of other records: the newest ones of their keys.
    pub fn note_durable(&mut self, finals: &[Final<Arc<Delivered>>]) {
        for ended in finals {
            let had = match &ended.outcome {
                Outcome::Done => true,
                Outcome::Dead { effect, .. } => *effect != Effect::None,
                Outcome::Skipped | Outcome::Overtaken | Outcome::Parked { .. } => false,
            };
            let Some(key) = ended.key.as_deref().filter(|_| had).map(String::from_utf8_lossy) else { continue };
            let of = |job: &&mut Job| job.id.partition == ended.id.partition.0 && !job.replay.overtake;
            for job in self.jobs.iter_mut().filter(of) {
                job.newest.note(&key, ended.id.offset);
            }
        }
    }

    /// The replays that have something to write, of which the core does not know yet.
    pub fn unwritten(&mut self, now: Instant) -> Vec<ReplayId> {
        let asks = |job: &mut Job| {
            job.asked = job.writing.is_none() && job.wants_write(now);
            job.asked.then(|| job.id.clone())
        };
        self.jobs.iter_mut().filter(|job| !job.asked).filter_map(asks).collect()
    }
}

impl Job {
    /// Whether a thread is to read for it now; from where, if it has begun before.
    pub fn wants_reader(&self, now: Instant) -> Option<(Range, Option<i64>)> {
        let wants = matches!(self.source, Source::None) && self.over.is_none() && now >= self.next_read;
        wants.then(|| (self.range, self.began.then(|| self.open.back().map_or(self.at, |last| last.to))))
    }

    /// A thread reads for it.
    pub fn reads(&mut self, from: mpsc::Receiver<Read>) {
        self.source = Source::Held(from);
    }

    /// What is to be waited for, if there is room for it.
    pub fn awaits(&mut self) -> Option<mpsc::Receiver<Read>> {
        if self.waiting.len() >= WAITING_MAX {
            return None;
        }
        match std::mem::replace(&mut self.source, Source::Awaited) {
            Source::Held(source) => Some(source),
            before @ (Source::None | Source::Awaited) => {
                self.source = before;
                None
            }
        }
    }

    /// Something was read. Says why that went wrong, if it did.
    pub fn take(&mut self, read: Option<Read>, more: mpsc::Receiver<Read>, now: Instant) -> Option<String> {
        if self.over.is_some() {
            self.source = Source::None;
            return None;
        }
        self.source = Source::Held(more);
        match read {
            Some(Read::Began(began)) => self.began(*began),
            Some(Read::Steps(steps)) => self.waiting.extend(steps),
            Some(Read::End) => self.end(Over::Read),
            Some(Read::Over) => self.end(Over::Elsewhere),
            Some(Read::Refused(why)) => {
                self.end(Over::Refused(why.clone()));
                return Some(why);
            }
            Some(Read::Failed(why)) => return Some(self.read_failed(why, now)),
            None => return Some(self.read_failed("the thread that reads has ended".to_owned(), now)),
        }
        None
    }

    fn began(&mut self, began: Began) {
        self.newest.add(&began.newest);
        if std::mem::replace(&mut self.began, true) {
            return; // It was read from where it stands.
        }
        (self.at, self.tally, self.met_to) = (began.at, began.tally, began.met_to);
        (self.inherited_ceiling, self.ceiling) = (began.ceiling, began.ceiling);
        self.otherwise_below = began.otherwise_below;
        self.written_at.1 = began.at;
    }

    fn read_failed(&mut self, why: String, now: Instant) -> String {
        self.source = Source::None;
        self.waiting.clear();
        self.next_read = now + AGAIN_AFTER;
        why
    }

    /// Nothing more is read for it.
    fn end(&mut self, why: Over) {
        self.source = Source::None;
        match (&why, &self.over) {
            // What was read last is given still.
            (Over::Read, None) => {}
            (Over::Read, Some(_)) => return,
            (Over::Elsewhere | Over::Cancelled | Over::Refused(_), _) => self.waiting.clear(),
        }
        self.over = Some(why);
    }

    /// What was given last has ended: with this one, or since the core does not take it.
    pub fn note_end(&mut self, offset: i64, end: Tally) {
        let place = self.open.binary_search_by_key(&offset, |open| open.offset);
        if let Some(open) = place.ok().and_then(|place| self.open.get_mut(place)).filter(|open| !open.ended) {
            open.ended = true;
            open.tally += end;
        }
    }

    /// Moves on over what has ended.
    fn advance(&mut self) {
        while let Some(open) = self.open.pop_front_if(|open| open.ended) {
            self.at = open.to;
            self.tally += open.tally;
        }
    }

    fn is_over(&self) -> bool {
        self.over.is_some() && self.waiting.is_empty() && self.open.is_empty()
    }

    fn wanted_ceiling(&self) -> i64 {
        let next = self.waiting.front().map_or(self.ceiling, |step| step.to);
        let raise = !self.waiting.is_empty() && next + CEILING_AHEAD / 2 > self.ceiling && self.ceiling < self.range.to;
        if raise { (next + CEILING_AHEAD).min(self.range.to) } else { self.ceiling }
    }

    fn wants_write(&mut self, now: Instant) -> bool {
        self.advance();
        let (written, at) = self.written_at;
        let moved = self.at != at && now.duration_since(written) >= WRITE_EVERY;
        self.is_over() || self.wanted_ceiling() > self.ceiling || moved
    }

    fn write(&mut self, now: Instant) -> Option<Stage> {
        self.asked = false;
        self.advance();
        let (written, at_before) = self.written_at;
        let (ceiling, last) = (self.wanted_ceiling(), self.is_over());
        if !last && ceiling == self.ceiling && self.at == at_before {
            return None;
        }
        let took = now.duration_since(written);
        if took >= WRITE_EVERY / 2 && at_before >= 0 {
            let moved = u64::try_from(self.at - at_before).unwrap_or(0);
            self.per_second = (moved as f64 / took.as_secs_f64()).round() as u64;
            self.written_at.0 = now;
        }
        self.written_at.1 = self.at;
        self.writing = Some(Written { ceiling, last });
        let (at, to, per_second, tally) = (self.at, self.range.to, self.per_second, self.tally);
        let (mapped, otherwise_below) = (self.mapped, self.otherwise_below);
        Some(match &self.over {
            Some(Over::Refused(why)) if last => Stage::Failed { why: why.clone() },
            Some(over) if last => Stage::Replayed { tally, cancelled: matches!(over, Over::Cancelled) },
            Some(_) | None => Stage::Replaying { at, ceiling, mapped, otherwise_below, to, per_second, tally },
        })
    }
}

fn end(outcome: &Outcome) -> Tally {
    let none = Tally::default();
    match outcome {
        Outcome::Done => Tally { sent: 1, ..none },
        Outcome::Skipped => Tally { skipped: 1, ..none },
        Outcome::Overtaken => Tally { overtaken: 1, ..none },
        Outcome::Dead { .. } => Tally { dead: 1, ..none },
        Outcome::Parked { .. } => Tally { parked: 1, ..none },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "r1";

    fn command(per_second: Option<u32>) -> (Command, Replay) {
        let replay = Replay {
            consumer: "c".to_owned(),
            topic: "t".to_owned(),
            ranges: vec![Range { partition: 2, from: 10, to: 14 }],
            again: false,
            overtake: false,
            condition: None,
            per_second,
        };
        let (by, reason, act) = (String::new(), String::new(), crate::state::Act::Replay(replay.clone()));
        (Command { id: ORDER.to_owned(), by, reason, at_ms: 0, act }, replay)
    }

    fn id() -> ReplayId {
        ReplayId { command: ORDER.to_owned(), partition: 2, epoch: Epoch(1) }
    }

    fn record(offset: i64) -> Record {
        let (topic, headers) = ("t".into(), Vec::<(&str, Option<&[u8]>)>::new().into_iter().collect());
        Record { topic, partition: 2, offset, timestamp_ms: None, key: None, value: None, headers }
    }

    fn step(offset: Option<i64>, to: i64) -> Step {
        let tally = Tally { done_before: u64::from(offset.is_none()), ..Tally::default() };
        Step { tally, record: offset.map(record), to }
    }

    /// A replay that has begun, of which these steps were read.
    fn begun(per_second: Option<u32>, steps: Vec<Step>) -> (Replays, Instant) {
        let (now, (command, replay)) = (Instant::now(), command(per_second));
        let mut replays = Replays::default();
        assert!(replays.begin(&command, &replay, (2, Epoch(1)), 7, now));
        assert!(!replays.begin(&command, &replay, (2, Epoch(1)), 7, now));
        let began = Began {
            at: 10,
            ceiling: 10,
            otherwise_below: 10,
            tally: Tally::default(),
            newest: Newest::default(),
            met_to: 20,
        };
        for read in [Read::Began(Box::new(began)), Read::Steps(steps), Read::End] {
            let (_, more) = mpsc::channel(1);
            assert!(replays.get(&id()).and_then(|job| job.take(Some(read), more, now)).is_none());
        }
        (replays, now)
    }

    /// A commit says what is to be said, and is made, or is not.
    fn commits(replays: &mut Replays, now: Instant, made: bool) -> Option<Stage> {
        replays.unwritten(now);
        let stage = replays.written(2, now).pop().map(|(_, stage)| stage);
        replays.made(made);
        stage
    }

    fn ends(replays: &mut Replays, offset: i64, end: Tally) {
        if let Some(job) = replays.get(&id()) {
            job.note_end(offset, end);
        }
    }

    fn next(replays: &mut Replays, now: Instant) -> Option<i64> {
        replays.next(&id(), now).map(|record| record.offset)
    }

    #[test]
    fn nothing_is_given_before_it_is_durable_that_it_may_be() {
        let (mut replays, now) = begun(None, vec![step(Some(12), 13)]);
        assert_eq!(next(&mut replays, now), None);
        commits(&mut replays, now, false);
        assert_eq!(next(&mut replays, now), None);
        assert!(matches!(commits(&mut replays, now, true), Some(Stage::Replaying { at: 10, ceiling: 14, .. })));
        assert_eq!(next(&mut replays, now), Some(12));
    }

    #[test]
    fn it_is_over_when_each_record_has_ended_and_not_before() {
        let (mut replays, now) = begun(None, vec![step(Some(11), 12), step(Some(13), 14), step(None, 14)]);
        commits(&mut replays, now, true);
        assert_eq!(
            [next(&mut replays, now), next(&mut replays, now), next(&mut replays, now)],
            [Some(11), Some(13), None]
        );
        let sent = Tally { sent: 1, ..Tally::default() };
        ends(&mut replays, 13, sent);
        // The first one is under way: where it stands has not moved.
        assert_eq!(commits(&mut replays, now + WRITE_EVERY, true), None);
        ends(&mut replays, 11, sent);
        let tally = Tally { sent: 2, done_before: 1, ..Tally::default() };
        let over = Some(Stage::Replayed { tally, cancelled: false });
        assert_eq!(commits(&mut replays, now, false), over);
        assert_eq!(commits(&mut replays, now, true), over); // said anew, since that commit was not made
        assert!(replays.is_empty());
    }

    #[test]
    fn one_that_is_cancelled_gives_no_more_and_ends_with_what_it_gave() {
        let (mut replays, now) = begun(None, vec![step(Some(11), 12), step(Some(13), 14)]);
        commits(&mut replays, now, true);
        next(&mut replays, now);
        replays.cancel(ORDER);
        assert_eq!((next(&mut replays, now), commits(&mut replays, now, true)), (None, None));
        ends(&mut replays, 11, Tally { dead: 1, ..Tally::default() });
        let tally = Tally { dead: 1, ..Tally::default() };
        assert_eq!(commits(&mut replays, now, true), Some(Stage::Replayed { tally, cancelled: true }));
    }

    #[test]
    fn no_more_is_given_in_a_second_than_may_be() {
        let steps = (10..14).map(|offset| step(Some(offset), offset + 1)).collect();
        let (mut replays, now) = begun(Some(2), steps);
        commits(&mut replays, now, true);
        assert_eq!([next(&mut replays, now), next(&mut replays, now)], [Some(10), None]);
        let later = now + Duration::from_millis(500);
        assert_eq!(replays.due(), Some(later));
        assert_eq!([next(&mut replays, later), next(&mut replays, later)], [Some(11), None]);
    }

    #[test]
    fn one_that_is_paused_lets_the_next_one_of_its_partition_go_first() {
        let (mut replays, now) = begun(None, Vec::new());
        let (mut other, replay) = command(None);
        other.id = "r2".to_owned();
        replays.begin(&other, &replay, (2, Epoch(1)), 7, now);
        let mut pauses = Pauses::default();
        assert_eq!(replays.turns(&pauses), [id()]);
        let target = crate::state::Target::Replay { command: ORDER.to_owned() };
        pauses.take(&Command { act: crate::state::Act::Pause { target }, ..command(None).0 });
        assert_eq!(replays.turns(&pauses), [ReplayId { command: "r2".to_owned(), ..id() }]);
        replays.forget(2);
        assert!(replays.is_empty());
    }
}
