//! Which dead letters a command is about: chosen on the command line, and settled before anything is done.

use clap::Args;
use tieline_bus::Consumer;
use tieline_runtime::kafka::{ReadError, state_topic};
use tieline_runtime::operate::{Condition, Filter, Letters, ListedLetter, OperateError, Payload, letters};

use crate::desk::Desk;
use crate::failure::Failure;
use crate::{moment, table};

/// Which dead letters. All that is given has to hold.
#[derive(Debug, Args)]
pub struct Selection {
    /// Dead for this reason: `http-422`, `undecodable`. May be given several times.
    #[arg(long, value_name = "CODE")]
    pub code: Vec<String>,
    /// Dead at or after this time: `2026-01-31T08:00:00Z`, or how long ago (`2h`, `7d`).
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub since: Option<i64>,
    /// Dead before this time.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub until: Option<i64>,
    /// Of this key.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Whose payload fulfils this condition, written as in a consumer's `when`: `--where ".deal.amount > 1000"`.
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// At most so many, in the order of their topic.
    #[arg(long, value_name = "NUMBER")]
    pub max: Option<usize>,
}

impl Selection {
    /// Every dead letter.
    pub fn any() -> Self {
        Self { code: Vec::new(), since: None, until: None, key: None, condition: None, max: None }
    }

    /// Whether it chooses at all.
    pub fn is_empty(&self) -> bool {
        let Self { code, since, until, key, condition, max } = self;
        code.is_empty() && since.is_none() && until.is_none() && key.is_none() && condition.is_none() && max.is_none()
    }

    /// Whether nothing but times and a number choose: what is no event yet has neither key nor payload.
    pub fn has_only_times(&self) -> bool {
        self.code.is_empty() && self.key.is_none() && self.condition.is_none()
    }

    /// The dead letters of a consumer that it chooses, of these alone where some are named.
    ///
    /// # Errors
    /// When the condition makes no sense, or Kafka or the registry cannot be asked.
    pub async fn of(&self, desk: &Desk, consumer: &Consumer, named: &[String]) -> Result<Letters, Failure> {
        let condition = match &self.condition {
            Some(text) => Some(
                Condition::compile(text, &consumer.event)
                    .map_err(|error| Failure::Usage(format!("--where `{text}`: {error}")))?,
            ),
            None => None,
        };
        let filter = Filter {
            reasons: self.code.clone(),
            since_ms: self.since,
            until_ms: self.until,
            key: self.key.clone(),
            named: named.to_vec(),
            condition,
        };
        let name = consumer.name.clone();
        let mut found = desk
            .ask(move |desk| {
                let mut payload = Payload::new(desk.registry.clone());
                letters(&mut desk.reader(&name)?, &letters_topic(desk, &name), &filter, &mut payload)
            })
            .await?;
        found.letters.truncate(self.max.unwrap_or(usize::MAX));
        Ok(found)
    }
}

/// The topic of a consumer's dead letters.
pub fn letters_topic(desk: &Desk, consumer: &str) -> String {
    state_topic(&desk.bus.name, consumer, "dead-letters")
}

/// Dead letters as people read them.
pub fn shown(letters: &[ListedLetter]) -> String {
    let head = ["ORIGIN", "EVENT", "KEY", "DIED", "ATTEMPTS", "REASON", "DETAIL"];
    let row = |letter: &ListedLetter| {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            letter.origin.to_string(),
            text(&letter.event_id),
            text(&letter.key),
            moment::show(letter.died_at_ms),
            letter.attempts_total.to_string(),
            letter.reason.clone(),
            letter.detail.clone(),
        ]
    };
    table::table(&head, &letters.iter().map(row).collect::<Vec<_>>())
}

/// What could not be judged is said aloud, since nobody would miss it.
pub fn unjudged(found: &Letters) -> String {
    match found.unjudged {
        0 => String::new(),
        n => format!("{n} whose payload cannot be read were not judged by --where, and are not among them\n"),
    }
}

/// A topic that is not there yet has no dead letters, where it is only looked at.
pub fn or_none(result: Result<Letters, Failure>) -> Result<Letters, Failure> {
    match result {
        Err(Failure::Outside(error))
            if matches!(error.downcast_ref(), Some(OperateError::Read(ReadError::NoTopic { .. }))) =>
        {
            Ok(Letters { letters: Vec::new(), unjudged: 0 })
        }
        other => other,
    }
}
