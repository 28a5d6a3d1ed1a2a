//! The command itself, as a process: `tieline run` with the one consumer.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::bus::{CONSUMER, TOKEN};
use crate::process::Task;

/// How long it may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long it is left alone then, so that its start does not count.
const SETTLES: Duration = Duration::from_secs(5);

/// A `tieline run`. It ends with this value.
#[derive(Debug)]
pub struct Service {
    process: Child,
    admin: String,
}

impl Service {
    /// Starts it, and waits until it has its partitions and its start is over.
    pub async fn started(task: &Task) -> anyhow::Result<Self> {
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tieline"));
        command.args(["run", CONSUMER, "--admin", &admin, "--bus"]).arg(&task.bus);
        command.env("KAFKA_BROKERS", &task.kafka).env("SCHEMA_REGISTRY_URL", &task.registry).env("ERP_URL", &task.erp);
        command.env("TIELINE_SECRET_ERP_TOKEN", TOKEN);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().context("cannot start `tieline run`")?;
        let mut service = Self { process, admin };
        service.ready().await?;
        sleep(SETTLES).await;
        Ok(service)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + READY_WITHIN;
        let http = reqwest::Client::builder().no_proxy().build()?;
        loop {
            let answer = http.get(format!("http://{}/readyz", self.admin)).send().await;
            if answer.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            ensure!(self.process.try_wait()?.is_none(), "`tieline run` has ended");
            ensure!(Instant::now() < until, "`tieline run` is not ready within {READY_WITHIN:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The process's number.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().context("`tieline run` has ended")
    }

    /// Ends it.
    pub async fn end(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }
}
