//! What happens, told a line each.

use tieline_runtime::consumer::Wiring;
use tieline_runtime::happening::{Happening, What};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Addresses, Running, widest_name};
use crate::failure::print;

/// Tells what happens, a line each, and what the demo says between, in the order in which it came.
#[derive(Debug)]
pub struct Timeline {
    remarks: mpsc::UnboundedSender<(String, oneshot::Sender<()>)>,
    task: JoinHandle<()>,
}

impl Timeline {
    /// Begins to tell.
    pub fn follow(wiring: &Wiring) -> Self {
        let mut happenings = wiring.happenings.listen();
        let width = widest_name(&wiring.bus);
        let started_ms = tieline_runtime::now_ms();
        let (remarks, mut said) = mpsc::unbounded_channel::<(String, oneshot::Sender<()>)>();
        let task = tokio::spawn(async move {
            loop {
                // What has happened is told before what is said of it.
                tokio::select! {
                    biased;
                    happening = happenings.recv() => match happening {
                        Ok(happening) => print(&line(&happening, width, started_ms)),
                        Err(RecvError::Lagged(missed)) => print(&format!("… {missed} happenings were too quick to tell\n")),
                        Err(RecvError::Closed) => return,
                    },
                    Some((remark, told)) = said.recv() => {
                        print(&remark);
                        let _ = told.send(());
                    }
                }
            }
        });
        Self { remarks, task }
    }

    /// Says something, and returns when it is said.
    pub async fn say(&self, remark: String) {
        let (told, is_told) = oneshot::channel();
        // When nothing is told any more, nobody is there to hear it.
        let _ = self.remarks.send((remark, told));
        let _ = is_told.await;
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn line(happening: &Happening, width: usize, started_ms: i64) -> String {
    let millis = happening.at_ms - started_ms;
    let (sign, what) = told(happening);
    format!("{:>4}.{:03} s  {sign} {:width$}  {what}\n", millis / 1_000, millis.rem_euclid(1_000), happening.service)
}

fn told(happening: &Happening) -> (char, String) {
    let Happening { event, key, .. } = happening;
    match &happening.what {
        What::Published { topic, partition, offset } => {
            ('●', format!("{event} {key} published to {topic}-{partition} at {offset}"))
        }
        What::NotMapped { reason } => ('✗', format!("delivery {} is a dead letter: {reason}", happening.event_id)),
        What::Overtaken => ('·', format!("{event} {key} is not sent again: a newer one of its key is done")),
        What::Skipped => ('·', format!("{event} {key} does not concern it")),
        What::Called { operation, attempt, answer, status, took_ms, detail } => {
            let status = status.map_or_else(|| "no answer".to_owned(), |s| s.to_string());
            let sign = if *answer == "applied" { '✓' } else { '↻' };
            let detail = if detail.is_empty() { String::new() } else { format!(": {}", shortened(detail)) };
            (sign, format!("{operation} for {key}: {status} {answer}, attempt {attempt}, {took_ms} ms{detail}"))
        }
        What::NotSent { attempt, reason } => {
            ('↻', format!("{key} cannot be sent yet, attempt {attempt}: {}", shortened(reason)))
        }
        What::Followed { event } => ('●', format!("{event} {key} published, as what follows")),
        What::Dead { reason } => ('✗', format!("{event} {key} is a dead letter: {}", shortened(reason))),
        What::Parked { reason } => ('‖', format!("{event} {key} is set aside, and tried later: {}", shortened(reason))),
        What::Outage { reason: Some(reason) } => {
            ('‖', format!("its system fails for everybody: {}", shortened(reason)))
        }
        What::Outage { reason: None } => ('●', "its system works again".to_owned()),
        What::Stuck { partition, reason } => {
            ('!', format!("partition {partition} of {event} waits: {}", shortened(reason)))
        }
    }
}

/// As much as fits a line.
fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Where things are.
pub fn addresses(addresses: &Addresses) -> String {
    let mut text = format!(
        "  brokers   {}\n  registry  {}\n  webhooks  {}\n  admin     {}/readyz /stuck /metrics\n",
        addresses.brokers, addresses.registry, addresses.webhooks, addresses.admin
    );
    for (name, url) in &addresses.systems {
        text.push_str(&format!("  {name:9} {url}\n"));
    }
    text.push('\n');
    text
}

/// What to try.
pub fn invitation(running: &Running) -> String {
    let Addresses { senders, admin, systems, .. } = &running.addresses;
    let mut text = "\nTry it from another shell:\n".to_owned();
    for (producer, body) in &running.bodies {
        text.push_str(&format!("  curl -sS {senders}/send/{producer} --data @{}\n", body.display()));
    }
    if let Some(url) = systems.values().next() {
        let fault = "'{\"outage\": true}'    # and '{}' to heal it";
        text.push_str(&format!("  curl -sS -X PUT {url}/_sandbox/faults -d {fault}\n"));
    }
    text.push_str(&format!("  curl -sS {admin}/stuck\nCtrl-C ends it.\n"));
    text
}
