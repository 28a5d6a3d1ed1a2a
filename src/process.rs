//! What a process has around its services: a runtime, and signals.

use std::future::Future;

use anyhow::Context as _;
use tieline_runtime::consumer::Stop;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Runs a future to its end on a new runtime.
///
/// # Errors
/// When the runtime cannot be made.
pub fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    Ok(runtime.block_on(future))
}

/// Turns signals into the order to stop: the first SIGTERM or SIGINT drains, the second ends at once.
///
/// # Errors
/// When the signals cannot be heard.
pub fn stop_on_signals() -> anyhow::Result<watch::Receiver<Stop>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot hear SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot hear SIGINT")?;
    let (sender, receiver) = watch::channel(Stop::Run);
    tokio::spawn(async move {
        for stop in [Stop::Drain, Stop::Now] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!(?stop, "asked to stop");
            sender.send_replace(stop);
        }
        // Kept open, so that whoever waits for a change goes on waiting.
        sender.closed().await;
    });
    Ok(receiver)
}

/// Waits until the order is at least this.
pub async fn stopped(mut stop: watch::Receiver<Stop>, at_least: Stop) {
    // When the sender is gone nobody can stop us any more but the end of the process.
    if stop.wait_for(|s| *s >= at_least).await.is_err() {
        std::future::pending::<()>().await;
    }
}
