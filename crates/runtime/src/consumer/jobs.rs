//! What was ordered of a consumer's dead letters, one job for each command and partition of ours. It keeps the books: what
//! is to be read next, what waits for its commit, what is done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::state::{Act, Command, Lot, Origin, Stage};

/// Most dead letters of a job that are read and given to the core at once: each may have some megabytes.
const BATCH: usize = 64;

/// How often it is tried to bury a record that is not to be tried any more.
const BURY_EVERY: Duration = Duration::from_millis(500);

/// Names a job.
pub(super) type JobId = (String, i32);

/// What was ordered, carried out in one partition.
#[derive(Debug)]
pub(super) struct Job {
    pub command: Arc<Command>,
    pub topic: String,
    /// Not looked at yet; where they lie is known from the second look on.
    left: VecDeque<i64>,
    places: Option<BTreeMap<i64, i64>>,
    /// Given to the core, and not durable yet.
    waiting: BTreeSet<i64>,
    /// Something of it is being read.
    reading: bool,
    of: u64,
    done: u64,
    passed: u64,
    next_at: Instant,
}

/// What a job wants read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Where these lie.
    Index(Vec<Origin>),
    /// These, where they lie.
    Letters(BTreeMap<i64, i64>),
}

/// All jobs of a consumer in this process.
#[derive(Debug, Default)]
pub(super) struct Jobs(BTreeMap<JobId, Job>);

impl Jobs {
    /// Begins a command in a partition of ours. Not twice.
    pub fn begin(&mut self, command: &Arc<Command>, partition: i32, now: Instant) -> bool {
        let Some((topic, offsets)) = letters_of(&command.act, partition) else { return false };
        let id = (command.id.clone(), partition);
        if self.0.contains_key(&id) {
            return false;
        }
        let job = Job {
            command: Arc::clone(command),
            topic,
            of: offsets.len() as u64,
            left: offsets.into(),
            places: None,
            waiting: BTreeSet::new(),
            reading: false,
            done: 0,
            passed: 0,
            next_at: now,
        };
        self.0.insert(id, job);
        true
    }

    /// A partition is ours no more: whoever has it goes on with what is not done.
    pub fn forget(&mut self, partition: i32) {
        self.0.retain(|(_, of), _| *of != partition);
    }

    pub fn get(&self, id: &JobId) -> Option<&Job> {
        self.0.get(id)
    }

    /// What is to be read now, of the jobs that wait for nothing. To be asked at least once a second, for their rates.
    pub fn wanted(&mut self, now: Instant) -> Vec<(JobId, Wanted)> {
        let mut wanted = Vec::new();
        for (id, job) in &mut self.0 {
            if job.buries() || job.reading || !job.waiting.is_empty() || job.left.is_empty() || now < job.next_at {
                continue;
            }
            job.reading = true;
            wanted.push((id.clone(), job.next(id.1, now)));
        }
        wanted
    }

    /// What is to be buried now, and is not yet. It is asked for again and again: one that is tried just now is buried when
    /// that has failed, and one that was not fetched yet when it was.
    pub fn burials(&mut self, now: Instant) -> Vec<(JobId, Vec<i64>)> {
        let due = self.0.iter_mut().filter(|(_, job)| job.buries() && !job.left.is_empty() && now >= job.next_at);
        due.map(|(id, job)| {
            job.next_at = now + BURY_EVERY;
            (id.clone(), job.left.iter().copied().collect())
        })
        .collect()
    }

    /// These are buried, and not durable yet; those had come to their end by themselves.
    pub fn buried(&mut self, id: &JobId, buried: &BTreeSet<i64>, over: &BTreeSet<i64>) {
        let Some(job) = self.0.get_mut(id) else { return };
        job.left.retain(|offset| !buried.contains(offset) && !over.contains(offset));
        job.waiting.extend(buried);
        job.passed += over.len() as u64;
    }

    /// Where the dead letters lie; those that are not there any more are passed over.
    pub fn indexed(&mut self, id: &JobId, places: BTreeMap<i64, i64>) {
        let Some(job) = self.0.get_mut(id) else { return };
        job.reading = false;
        let before = job.left.len();
        job.left.retain(|offset| places.contains_key(offset));
        job.passed += (before - job.left.len()) as u64;
        job.places = Some(places);
    }

    /// Nothing could be read: later again.
    pub fn failed(&mut self, id: &JobId, now: Instant) {
        if let Some(job) = self.0.get_mut(id) {
            job.reading = false;
            job.next_at = now + Duration::from_secs(5);
        }
    }

    /// These were read: given to the core, or passed over.
    pub fn taken(&mut self, id: &JobId, given: impl IntoIterator<Item = i64>, passed: usize) {
        let Some(job) = self.0.get_mut(id) else { return };
        job.reading = false;
        job.waiting.extend(given);
        job.passed += passed as u64;
    }

    /// What became of a dead letter is durable.
    pub fn durable(&mut self, partition: i32, offset: i64) {
        for ((_, of), job) in &mut self.0 {
            if *of == partition && job.waiting.remove(&offset) {
                job.done += 1;
            }
        }
    }

    /// The jobs that have come to their end, with what is to be said of them.
    pub fn ended(&mut self) -> Vec<(JobId, Stage)> {
        let ended = |(_, job): &(&JobId, &Job)| job.left.is_empty() && job.waiting.is_empty() && !job.reading;
        let ids: Vec<JobId> = self.0.iter().filter(ended).map(|(id, _)| id.clone()).collect();
        ids.into_iter()
            .filter_map(|id| {
                let job = self.0.remove(&id)?;
                Some((id, Stage::Done { done: job.done, passed: job.passed }))
            })
            .collect()
    }

    /// How far a job is.
    pub fn stage(&self, id: &JobId) -> Option<Stage> {
        self.0.get(id).map(|job| Stage::UnderWay { done: job.done + job.passed, of: job.of })
    }
}

impl Job {
    fn buries(&self) -> bool {
        matches!(self.command.act, Act::Bury { .. })
    }

    fn next(&mut self, partition: i32, now: Instant) -> Wanted {
        let Some(places) = &self.places else {
            let origin = |offset: &i64| Origin { topic: self.topic.clone(), partition, offset: *offset };
            return Wanted::Index(self.left.iter().map(origin).collect());
        };
        let per_second = match self.command.act {
            Act::Redrive { per_second, .. } => per_second,
            Act::Pause { .. }
            | Act::Resume { .. }
            | Act::Discard { .. }
            | Act::Bury { .. }
            | Act::Edit { .. }
            | Act::Replay(_)
            | Act::Cancel { .. } => None,
        };
        let most = per_second.map_or(BATCH, |rate| (rate.max(1) as usize).min(BATCH));
        if per_second.is_some() {
            self.next_at = now + Duration::from_secs(1);
        }
        let offsets: Vec<i64> = self.left.drain(..most.min(self.left.len())).collect();
        Wanted::Letters(offsets.into_iter().filter_map(|offset| Some((offset, *places.get(&offset)?))).collect())
    }
}

/// The topic and the offsets that an act concerns in a partition.
fn letters_of(act: &Act, partition: i32) -> Option<(String, Vec<i64>)> {
    let of = |lots: &[Lot]| {
        let lot = lots.iter().find(|lot| lot.partition == partition)?;
        Some((lot.topic.clone(), lot.offsets.clone()))
    };
    match act {
        Act::Pause { .. } | Act::Resume { .. } | Act::Replay(_) | Act::Cancel { .. } => None,
        Act::Discard { lots, .. } | Act::Redrive { lots, .. } | Act::Bury { lots, .. } => of(lots),
        Act::Edit { origin, .. } if origin.partition == partition => Some((origin.topic.clone(), vec![origin.offset])),
        Act::Edit { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redrive(offsets: Vec<i64>, per_second: Option<u32>) -> Arc<Command> {
        let lots = vec![Lot { topic: "t".to_owned(), partition: 2, offsets }];
        let act = Act::Redrive { consumer: "c".to_owned(), lots, per_second, rounds_max: 3 };
        Arc::new(Command { id: "r".to_owned(), by: String::new(), reason: String::new(), at_ms: 0, act })
    }

    fn id() -> JobId {
        ("r".to_owned(), 2)
    }

    #[test]
    fn it_finds_reads_and_awaits_them_batch_by_batch() {
        let now = Instant::now();
        let mut jobs = Jobs::default();
        assert!(jobs.begin(&redrive((0..100).collect(), None), 2, now));
        assert!(!jobs.begin(&redrive(vec![0], None), 2, now) && !jobs.begin(&redrive(vec![0], None), 3, now));
        let wanted = jobs.wanted(now);
        assert!(matches!(&wanted[..], [(_, Wanted::Index(origins))] if origins.len() == 100));
        assert!(jobs.wanted(now).is_empty()); // it is being read
        jobs.indexed(&id(), (0..90).map(|offset| (offset, offset + 1_000)).collect());
        let wanted = jobs.wanted(now);
        assert!(matches!(&wanted[..], [(_, Wanted::Letters(places))] if places.len() == BATCH && places[&3] == 1_003));
        jobs.taken(&id(), 0..60, 4);
        assert!(jobs.wanted(now).is_empty() && jobs.ended().is_empty()); // they are not durable yet
        (0..60).for_each(|offset| jobs.durable(2, offset));
        assert_eq!(jobs.stage(&id()), Some(Stage::UnderWay { done: 74, of: 100 }));
        assert!(matches!(&jobs.wanted(now)[..], [(_, Wanted::Letters(places))] if places.len() == 26));
        jobs.taken(&id(), 64..90, 0);
        (64..90).for_each(|offset| jobs.durable(2, offset));
        assert_eq!(jobs.ended(), [(id(), Stage::Done { done: 86, passed: 14 })]);
    }

    #[test]
    fn it_takes_no_more_in_a_second_than_it_may() {
        let now = Instant::now();
        let mut jobs = Jobs::default();
        jobs.begin(&redrive((0..10).collect(), Some(4)), 2, now);
        jobs.wanted(now);
        jobs.indexed(&id(), (0..10).map(|offset| (offset, offset)).collect());
        assert!(matches!(&jobs.wanted(now)[..], [(_, Wanted::Letters(places))] if places.len() == 4));
        jobs.taken(&id(), [], 4);
        assert!(jobs.wanted(now).is_empty());
        assert!(jobs.wanted(now + Duration::from_millis(999)).is_empty());
        assert_eq!(jobs.wanted(now + Duration::from_secs(1)).len(), 1);
    }

    #[test]
    fn what_is_to_be_buried_is_asked_for_until_it_is() {
        let now = Instant::now();
        let lots = vec![Lot { topic: "t".to_owned(), partition: 2, offsets: vec![4, 5, 6] }];
        let act = Act::Bury { consumer: "c".to_owned(), lots };
        let command = Command { id: "r".to_owned(), by: String::new(), reason: String::new(), at_ms: 0, act };
        let mut jobs = Jobs::default();
        jobs.begin(&Arc::new(command), 2, now);
        assert!(jobs.wanted(now).is_empty()); // they are no dead letters yet
        assert_eq!(jobs.burials(now), [(id(), vec![4, 5, 6])]);
        jobs.buried(&id(), &[5].into(), &[6].into());
        assert!(jobs.burials(now).is_empty());
        assert_eq!(jobs.burials(now + BURY_EVERY), [(id(), vec![4])]);
        jobs.buried(&id(), &[4].into(), &[].into());
        assert!(jobs.ended().is_empty()); // not durable yet
        [4, 5].iter().for_each(|offset| jobs.durable(2, *offset));
        assert_eq!(jobs.ended(), [(id(), Stage::Done { done: 2, passed: 1 })]);
    }

    #[test]
    fn a_partition_that_goes_takes_its_jobs_along() {
        let now = Instant::now();
        let mut jobs = Jobs::default();
        jobs.begin(&redrive(vec![1], None), 2, now);
        jobs.forget(2);
        jobs.durable(2, 1);
        assert!(jobs.ended().is_empty() && jobs.get(&id()).is_none());
    }
}
