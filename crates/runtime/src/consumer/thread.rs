//! A consumer has a thread of its own, with a runtime for it alone: its loop, its calls and their connections.
//!
//! One thread, since the loop and the connections would else wake each other across threads for each call, and find less to
//! do each time (docs/benchmarks.md has what that costs). One for each consumer, since none shall wait for another. What all
//! share and nobody owns (limits, orders) runs on the runtime of the process, and outlives any of them; a token or a look-up
//! is fetched by the first who wants it, and should that one end meanwhile, asked for again.

use std::future::Future;

use tokio::sync::oneshot;

use super::service::ServiceError;

/// Runs a future to its end on a thread of its own. Who waits no more does not end it.
pub(super) async fn alone(
    running: impl Future<Output = Result<(), ServiceError>> + Send + 'static,
) -> Result<(), ServiceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServiceError::NoThread)?;
    let (tell, told) = oneshot::channel();
    let run = move || {
        // Nobody listens only where the process is ending.
        let _ = tell.send(runtime.block_on(running));
    };
    std::thread::Builder::new().name("deliver".to_owned()).spawn(run).map_err(ServiceError::NoThread)?;
    told.await.unwrap_or(Err(ServiceError::ThreadEnded("delivers")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn a_consumer_is_alone_on_its_thread_and_ends_with_what_it_came_to() {
        let here = std::thread::current().id();
        let ended = alone(async move {
            assert_ne!(std::thread::current().id(), here);
            // Timers and tasks of its own.
            let task = tokio::spawn(async { std::thread::current().id() });
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            assert_eq!(task.await.unwrap(), std::thread::current().id());
            Err(ServiceError::NoSystem("erp".to_owned()))
        });
        assert!(matches!(ended.await, Err(ServiceError::NoSystem(system)) if system == "erp"));
    }

    #[tokio::test]
    async fn a_consumer_that_panics_is_an_error_of_the_process_and_not_a_silence() {
        let ended = alone(async { panic!("as a bug would") }).await;
        assert!(matches!(ended, Err(ServiceError::ThreadEnded("delivers"))), "{ended:?}");
    }
}
