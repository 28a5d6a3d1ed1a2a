//! The system that both sides call: it answers at once, and counts.

use std::io::Read as _;

use anyhow::Context as _;
use serde_json::json;
use tieline_sandbox::recorder::{Options, Recorder};

use crate::process::{Seen, say};

/// Serves until standard input ends, then says what it has seen.
pub async fn serve() -> anyhow::Result<()> {
    // The same project each time: nobody compares it with what was sent.
    let project = json!({
        "id": "prj_01HZX3", "number": "P-2026-0815", "externalId": "D-1042", "status": "planned",
        "name": "Nordwind Logistik AG – Warehouse rollout", "budget": 125_000.5, "startDate": "2026-11-25",
        "createdAt": "2026-11-24T23:15:04.125Z",
    });
    let options = Options { status: 201, body: project.to_string(), ..Options::default() };
    let recorder = Recorder::start(options).await.context("the recording system cannot start")?;
    say(&recorder.url())?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    say(&Seen { requests: recorder.arrived(), effects: recorder.effects() })
}
