//! What a process costs that has nothing to do: the command itself, with one consumer whose topic is empty.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::bus::{CONSUMER, TOKEN};
use crate::measure::{cpu_us, peak_rss_kib, rounded, rss_kib};
use crate::process::Task;
use crate::results::{self, Idle, Line};
use crate::stage::{IN_FLIGHT, Stage};
use crate::system::Begin;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// How long it is left alone before, so that its start does not count.
const SETTLES: Duration = Duration::from_secs(5);

/// How long it may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Measures and reports.
pub async fn measure(stage: &Stage) -> anyhow::Result<()> {
    let scene = stage.scene("bench-idle", Begin::default(), IN_FLIGHT, 0).await?;
    let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string();
    let mut process = start(&scene.task, &admin)?;
    ready(&mut process, &admin).await?;
    sleep(SETTLES).await;

    let pid = process.id().context("the process has ended")?;
    let (before, began) = (cpu_us(pid)?, Instant::now());
    sleep(WATCHED).await;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let cpu_share = (cpu_us(pid)? - before) as f64 / began.elapsed().as_micros() as f64;
    let mib = |kib: u64| -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        rounded(kib as f64 / 1_024.0, 1)
    };
    results::report(&Line::Idle(Idle {
        load: results::load()?,
        seconds: WATCHED.as_secs(),
        cpu_share: rounded(cpu_share, 4),
        rss_mib: mib(rss_kib(pid)?),
        peak_rss_mib: mib(peak_rss_kib(pid)?),
    }))?;
    process.kill().await?;
    scene.end().await?;
    Ok(())
}

fn start(task: &Task, admin: &str) -> anyhow::Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tieline"));
    command.args(["run", CONSUMER, "--admin", admin, "--bus"]).arg(&task.bus);
    command.env("KAFKA_BROKERS", &task.kafka).env("SCHEMA_REGISTRY_URL", &task.registry).env("ERP_URL", &task.erp);
    command.env("TIELINE_SECRET_ERP_TOKEN", TOKEN);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().context("cannot start `tieline run`")
}

async fn ready(process: &mut Child, admin: &str) -> anyhow::Result<()> {
    let until = Instant::now() + READY_WITHIN;
    let http = reqwest::Client::builder().no_proxy().build()?;
    loop {
        let answer = http.get(format!("http://{admin}/readyz")).send().await;
        if answer.is_ok_and(|response| response.status().is_success()) {
            return Ok(());
        }
        ensure!(process.try_wait()?.is_none(), "`tieline run` has ended");
        ensure!(Instant::now() < until, "`tieline run` is not ready within {READY_WITHIN:?}");
        sleep(Duration::from_millis(100)).await;
    }
}
