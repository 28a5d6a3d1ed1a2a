//! What became of records is written down with the offsets that cover it, and told when it is durable.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tieline_delivery::{Came, Commit, CommitId, Final, Input, Outcome, Time};

use super::finals::{Now, state_records};
use super::prepare::Delivered;
use super::send::tell;
use super::service::Service;
use crate::happening::What;
use crate::kafka::{Batch, Report};

impl Service {
    pub(super) fn commit(&mut self, now: Time, commit: Commit<Arc<Delivered>>) {
        let beside = self.replays_beside(&commit);
        match state_records(&self.topics, &commit, Now { at: now, ms: crate::now_ms() }).and_then(|mut records| {
            records.extend(beside?);
            Ok(records)
        }) {
            Ok(records) => {
                let membership = self.assignments.proof();
                let batch = Batch { id: commit.id, offsets: commit.offsets.clone(), records, membership };
                self.committing = Some(commit);
                self.committer.commit(batch);
            }
            Err(error) => {
                tracing::error!(consumer = self.consumer.name, %error, "outcomes cannot be written down");
                self.commit_failed(commit.id, false);
            }
        }
    }

    pub(super) fn reported(&mut self, report: Report) {
        let commit = self.committing.take();
        self.let_go();
        match report.result {
            Ok(()) => {
                report.places.into_iter().for_each(|place| self.places.note(place));
                let finals = commit.as_ref().map(|commit| &*commit.finals).unwrap_or_default();
                let stays = |ended: &Final<_>| matches!(ended.outcome, Outcome::Parked { .. });
                for ended in finals.iter().filter(|ended| ended.came == Came::Parked && !stays(ended)) {
                    self.places.end(ended.id);
                }
                // Told only now: a commit that fails is made again, with the same records in it.
                finals.iter().for_each(|ended| self.ended(ended));
                self.metrics.commits_ok.inc();
                self.last_commit = Instant::now();
                if let Some(commit) = &commit {
                    self.jobs_durable(commit);
                }
                self.replays_made(commit.as_ref(), true);
                self.input(Input::Committed { commit: report.id });
            }
            Err(error) => {
                tracing::warn!(consumer = self.consumer.name, %error, "a commit failed and is made again");
                self.commit_failed(report.id, is_of_rebalance(&error));
            }
        }
    }

    fn ended(&self, ended: &Final<Arc<Delivered>>) {
        if let Outcome::Dead { reason, .. } = &ended.outcome {
            tracing::warn!(
                consumer = self.consumer.name,
                partition = ended.id.partition.0,
                offset = ended.id.offset,
                event_id = ended.record.event_id(),
                reason = reason.code,
                detail = reason.detail,
                "dead letter"
            );
        }
        match &ended.outcome {
            Outcome::Done => {}
            Outcome::Overtaken => tell(&self.preparer, &ended.record, || What::Overtaken),
            Outcome::Skipped => tell(&self.preparer, &ended.record, || What::Skipped),
            Outcome::Dead { reason, .. } => {
                tell(&self.preparer, &ended.record, || What::Dead { reason: reason.detail.clone() });
            }
            Outcome::Parked { reason, .. } => {
                tell(&self.preparer, &ended.record, || What::Parked { reason: reason.detail.clone() });
            }
        }
        self.count(&ended.outcome);
    }

    fn count(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Done => self.metrics.done.inc(),
            Outcome::Skipped => self.metrics.skipped.inc(),
            Outcome::Overtaken => self.metrics.overtaken.inc(),
            Outcome::Dead { .. } => self.metrics.dead.inc(),
            Outcome::Parked { .. } => self.metrics.parked.inc(),
        }
    }

    fn commit_failed(&mut self, commit: CommitId, in_rebalance: bool) {
        self.metrics.commits_failed.inc();
        self.replays_made(None, false);
        // The core waits before it asks again.
        self.input(Input::CommitFailed { commit, in_rebalance });
    }
}

/// Whether the group refused a commit for the sake of who asked, and not of what was in it: until the rebalance that is
/// under way has reached us, we ask as a member that there is no more.
fn is_of_rebalance(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::StaleMemberEpoch
                | RDKafkaErrorCode::FencedMemberEpoch
        )
    )
}
