//! Runs work on many items concurrently, a few at a time.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Items to work on, in order. Dropping it aborts running work.
pub(crate) struct SideBySide<T, W, R> {
    queue: std::vec::IntoIter<T>,
    at_once: usize,
    work: W,
    running: JoinSet<R>,
    /// The item of each running task.
    begun: HashMap<Id, T>,
}

impl<T, W, F, R> SideBySide<T, W, R>
where
    W: Fn(&T) -> F,
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    pub(crate) fn new(things: Vec<T>, at_once: usize, work: W) -> Self {
        let (running, begun) = (JoinSet::new(), HashMap::new());
        Self { queue: things.into_iter(), at_once: at_once.max(1), work, running, begun }
    }

    /// The next item whose work has ended, with the outcome: an error if it panicked. Starts as much new work as there
    /// is room for, and none once `halt` is cancelled. `None` when nothing runs any more.
    pub(crate) async fn next(&mut self, halt: &CancellationToken) -> Option<(T, Result<R, JoinError>)> {
        while self.running.len() < self.at_once && !halt.is_cancelled() {
            let Some(thing) = self.queue.next() else { break };
            let task = self.running.spawn((self.work)(&thing));
            self.begun.insert(task.id(), thing);
        }
        let (id, outcome) = match self.running.join_next_with_id().await? {
            Ok((id, outcome)) => (id, Ok(outcome)),
            Err(error) => (error.id(), Err(error)),
        };
        let thing = self.begun.remove(&id).expect("noted when it was begun");
        Some((thing, outcome))
    }

    /// Number of items that were not begun.
    pub(crate) fn left(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[tokio::test]
    async fn only_so_many_at_once_and_each_with_its_own_outcome() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut work = SideBySide::new((0..20).collect(), 3, |number: &i32| {
            let (running, most, number) = (Arc::clone(&running), Arc::clone(&most), *number);
            async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, SeqCst);
                assert_ne!(number, 7, "on purpose");
                number * 2
            }
        });
        let halt = CancellationToken::new();
        let mut ended = Vec::new();
        while let Some((number, outcome)) = work.next(&halt).await {
            assert_eq!(outcome.is_err(), number == 7);
            assert_eq!(outcome.unwrap_or(14), number * 2);
            ended.push(number);
        }
        ended.sort_unstable();
        assert_eq!(ended, (0..20).collect::<Vec<_>>());
        assert_eq!(most.load(SeqCst), 3);
    }

    #[tokio::test]
    async fn halted_it_finishes_what_is_under_way_and_begins_nothing_new() {
        let mut work = SideBySide::new(vec![1, 2, 3, 4, 5], 2, |_: &i32| async {});
        let halt = CancellationToken::new();
        assert!(work.next(&halt).await.is_some());
        halt.cancel();
        assert!(work.next(&halt).await.is_some());
        assert!(work.next(&halt).await.is_none());
        assert_eq!(work.left(), 3);
    }
}
