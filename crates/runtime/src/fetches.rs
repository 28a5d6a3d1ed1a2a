//! One fetch for all who ask at once: for a schema's id, a token, a look-up.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

/// The fetch was given up before it ended: the process is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the process is stopping")]
pub(crate) struct Aborted;

/// The fetches that are under way, by what they fetch.
///
/// A fetch runs in a task of its own, so that an asker who runs out of time takes nothing from the others. All who ask
/// while it runs get its outcome, also when it failed; nothing is kept once it has ended. Who keeps outcomes does so in the
/// fetch itself and hands `kept` in: it is looked at under the same lock that starts fetches and removes them when they
/// have ended, so that there is no gap in which a second one could start.
pub(crate) struct Fetches<K, V> {
    under_way: Arc<Mutex<HashMap<K, Fetch<V>>>>,
}

type Fetch<V> = Shared<BoxFuture<'static, Result<V, Aborted>>>;

impl<K, V> Default for Fetches<K, V> {
    fn default() -> Self {
        Self { under_way: Arc::default() }
    }
}

impl<K, V> std::fmt::Debug for Fetches<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetches(…)")
    }
}

impl<K, V> Fetches<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What is kept, else the outcome of the fetch that is under way, else that of a new one.
    pub(crate) async fn get<F>(
        &self,
        key: &K,
        kept: impl FnOnce() -> Option<V>,
        start: impl FnOnce() -> F,
    ) -> Result<V, Aborted>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let fetch = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = kept() {
                return Ok(value);
            }
            match under_way.get(key) {
                Some(fetch) => fetch.clone(),
                None => {
                    let fetch = self.started(key.clone(), start());
                    under_way.insert(key.clone(), fetch.clone());
                    fetch
                }
            }
        };
        fetch.await
    }

    /// Its end waits for the lock that its start is made under, so that it is not removed before it is there.
    fn started<F>(&self, key: K, fetch: F) -> Fetch<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let end = End { under_way: Arc::clone(&self.under_way), key };
        let task = tokio::spawn(async move {
            let _end = end;
            fetch.await
        });
        async move { task.await.map_err(|_| Aborted) }.boxed().shared()
    }
}

/// Removes a fetch when it ends, however it ends.
struct End<K: Eq + Hash, V> {
    under_way: Arc<Mutex<HashMap<K, Fetch<V>>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for End<K, V> {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::sync::Notify;

    #[tokio::test]
    async fn a_thousand_askers_share_one_fetch_and_the_next_makes_a_new_one() {
        let fetches = Arc::new(Fetches::<u8, usize>::default());
        let (count, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = |fetches: Arc<Fetches<u8, usize>>| {
            let (count, go) = (Arc::clone(&count), Arc::clone(&go));
            async move {
                let fetch = move || async move {
                    let n = count.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    n
                };
                fetches.get(&1, || None, fetch).await
            }
        };
        let askers: Vec<_> = (0..1_000).map(|_| tokio::spawn(ask(Arc::clone(&fetches)))).collect();
        while count.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        for asker in askers {
            assert_eq!(asker.await.unwrap(), Ok(0));
        }
        go.notify_one();
        assert_eq!(ask(fetches).await, Ok(1));
    }

    #[tokio::test]
    async fn an_asker_who_goes_away_does_not_stop_the_fetch() {
        let fetches = Arc::new(Fetches::<u8, u8>::default());
        let (go, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let fetch = {
            let (go, ended) = (Arc::clone(&go), Arc::clone(&ended));
            move || async move {
                go.notified().await;
                ended.notify_one();
                7
            }
        };
        let gone = tokio::time::timeout(Duration::from_millis(1), fetches.get(&1, || None, fetch)).await;
        assert!(gone.is_err());
        go.notify_one();
        ended.notified().await;
    }

    #[tokio::test]
    async fn a_fetch_that_panics_leaves_nothing_behind() {
        let fetches = Fetches::<u8, u8>::default();
        assert_eq!(fetches.get(&1, || None, || async { panic!("on purpose") }).await, Err(Aborted));
        assert_eq!(fetches.get(&1, || None, || async { 7 }).await, Ok(7));
    }
}
