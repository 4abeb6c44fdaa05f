//! A session's thread: a bounded queue, batches across callers, an asynchronous handle.
//!
//! What waits in the queue goes through the session together, up to the batch size, whoever sent it; every caller gets
//! the results of its own items in their order. An error reaches only the caller whose items cause it. A caller that
//! stops waiting has its items dropped. The thread ends with the last handle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::EmbedError;

/// Calls that may wait; more block their callers, which is what slows the decoders down to the model's pace.
const QUEUE: usize = 32;

pub struct Worker<In, Out> {
    shared: Arc<Shared<In, Out>>,
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Items that went through the session, and in how many batches.
    pub items: u64,
    pub batches: u64,
    /// Time spent in the session.
    pub busy: Duration,
    /// Items in the queue now.
    pub waiting: u64,
}

struct Job<In, Out> {
    items: std::vec::IntoIter<In>,
    outputs: Vec<Out>,
    reply: oneshot::Sender<Result<Vec<Out>, EmbedError>>,
}

struct Shared<In, Out> {
    jobs: Option<mpsc::Sender<Job<In, Out>>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    items: AtomicU64,
    batches: AtomicU64,
    busy_nanos: AtomicU64,
    waiting: AtomicU64,
}

impl<In, Out> Clone for Worker<In, Out> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<In: Send + 'static, Out: Send + 'static> Worker<In, Out> {
    /// Starts a thread that gives `run` at most `batch` items at once. `run` answers with one output per item.
    pub fn start<F>(name: &str, batch: usize, run: F) -> Result<Self, EmbedError>
    where
        F: FnMut(&[In]) -> Result<Vec<Out>, EmbedError> + Send + 'static,
    {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let counters = Arc::new(Counters::default());
        let mut thread =
            Thread { queue, open: VecDeque::new(), batch: batch.max(1), counters: Arc::clone(&counters), run };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || thread.work())
            .map_err(|e| EmbedError::Runtime(format!("cannot start the model's thread: {e}")))?;
        Ok(Self { shared: Arc::new(Shared { jobs: Some(jobs), thread: Some(thread), counters }) })
    }

    pub async fn run(&self, items: Vec<In>) -> Result<Vec<Out>, EmbedError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let jobs = self.shared.jobs.as_ref().expect("taken only when dropped");
        let place = jobs.reserve().await.map_err(|_| EmbedError::Closed)?;
        self.shared.counters.waiting.fetch_add(items.len() as u64, Relaxed);
        let (reply, answer) = oneshot::channel();
        place.send(Job { outputs: Vec::with_capacity(items.len()), items: items.into_iter(), reply });
        answer.await.map_err(|_| EmbedError::Closed)?
    }

    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        Stats {
            items: counters.items.load(Relaxed),
            batches: counters.batches.load(Relaxed),
            busy: Duration::from_nanos(counters.busy_nanos.load(Relaxed)),
            waiting: counters.waiting.load(Relaxed),
        }
    }
}

impl<In, Out> Drop for Shared<In, Out> {
    /// Waits for the thread, at most one batch: a process that ends while a session still runs may crash in its
    /// native code.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook, and to the callers as `Closed`.
            let _ = thread.join();
        }
    }
}

struct Thread<In, Out, F> {
    queue: mpsc::Receiver<Job<In, Out>>,
    /// Jobs with items still to run, oldest first.
    open: VecDeque<Job<In, Out>>,
    batch: usize,
    counters: Arc<Counters>,
    run: F,
}

impl<In, Out, F: FnMut(&[In]) -> Result<Vec<Out>, EmbedError>> Thread<In, Out, F> {
    fn work(&mut self) {
        loop {
            if self.open.is_empty() {
                match self.queue.blocking_recv() {
                    Some(job) => self.open.push_back(job),
                    None => return,
                }
            }
            while self.open.iter().map(|job| job.items.len()).sum::<usize>() < self.batch
                && let Ok(job) = self.queue.try_recv()
            {
                self.open.push_back(job);
            }
            let counters = &self.counters;
            self.open.retain(|job| {
                let wanted = !job.reply.is_closed();
                if !wanted {
                    counters.waiting.fetch_sub(job.items.len() as u64, Relaxed);
                }
                wanted
            });
            self.run_batch();
        }
    }

    /// One batch of the oldest items; jobs it completes are answered.
    fn run_batch(&mut self) {
        let mut items = Vec::with_capacity(self.batch);
        let mut shares = Vec::new();
        for job in &mut self.open {
            let share = job.items.len().min(self.batch - items.len());
            if share == 0 {
                break;
            }
            items.extend(job.items.by_ref().take(share));
            shares.push(share);
        }
        self.counters.waiting.fetch_sub(items.len() as u64, Relaxed);
        let outcomes = match self.timed(&items) {
            Err(_) if shares.len() > 1 => {
                // Whose items were it? Each job's alone, so that the others do not suffer.
                let mut rest = &items[..];
                let mut outcomes = Vec::new();
                for share in &shares {
                    let (own, others) = rest.split_at(*share);
                    rest = others;
                    outcomes.push(self.timed(own));
                }
                outcomes
            }
            Err(error) => vec![Err(error)],
            Ok(outputs) => {
                let mut outputs = outputs.into_iter();
                shares.iter().map(|share| Ok(outputs.by_ref().take(*share).collect())).collect()
            }
        };
        let touched: Vec<Job<In, Out>> = self.open.drain(..shares.len()).collect();
        for (mut job, outcome) in touched.into_iter().zip(outcomes).rev() {
            match outcome {
                Ok(outputs) => {
                    job.outputs.extend(outputs);
                    if job.items.len() > 0 {
                        self.open.push_front(job);
                    } else {
                        // An error means that nobody waits any more.
                        let _ = job.reply.send(Ok(job.outputs));
                    }
                }
                Err(error) => {
                    self.counters.waiting.fetch_sub(job.items.len() as u64, Relaxed);
                    let _ = job.reply.send(Err(error));
                }
            }
        }
    }

    fn timed(&mut self, items: &[In]) -> Result<Vec<Out>, EmbedError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let outcome = (self.run)(items);
        self.counters.busy_nanos.fetch_add(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.counters.batches.fetch_add(1, Relaxed);
        self.counters.items.fetch_add(items.len() as u64, Relaxed);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Doubles numbers, refuses 13, notes its batches, and runs each only when told to.
    struct Doubler {
        worker: Worker<i32, i32>,
        batches: Arc<Mutex<Vec<Vec<i32>>>>,
        go: Sender<()>,
        started: Receiver<()>,
    }

    fn doubler(batch: usize) -> Doubler {
        let (go, gate) = channel();
        let (start, started) = channel();
        let batches = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&batches);
        let worker = Worker::start("doubler", batch, move |items: &[i32]| {
            let _ = start.send(());
            // A closed gate stays open.
            let _ = gate.recv();
            seen.lock().unwrap().push(items.to_vec());
            if items.contains(&13) {
                return Err(EmbedError::Input("13".to_owned()));
            }
            Ok(items.iter().map(|i| 2 * i).collect())
        });
        Doubler { worker: worker.unwrap(), batches, go, started }
    }

    /// Waits until this many items are in the queue.
    async fn queued(worker: &Worker<i32, i32>, items: u64) {
        while worker.stats().waiting < items {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn waiting_calls_share_batches_and_get_their_own_results() {
        let Doubler { worker, batches, go, started } = doubler(4);
        let spawn = |items: Vec<i32>| {
            let worker = worker.clone();
            tokio::spawn(async move { worker.run(items).await.unwrap() })
        };
        let first = spawn(vec![1]);
        queued_or_started(&started).await;
        let second = spawn(vec![2, 3, 4]);
        queued(&worker, 3).await;
        let third = spawn(vec![5, 6, 7]);
        queued(&worker, 6).await;
        drop(go);
        assert_eq!(first.await.unwrap(), [2]);
        assert_eq!(second.await.unwrap(), [4, 6, 8]);
        assert_eq!(third.await.unwrap(), [10, 12, 14]);
        assert_eq!(*batches.lock().unwrap(), [vec![1], vec![2, 3, 4, 5], vec![6, 7]]);
        let stats = worker.stats();
        assert_eq!((stats.items, stats.batches, stats.waiting), (7, 3, 0));
    }

    async fn queued_or_started(started: &Receiver<()>) {
        while started.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_error_reaches_only_the_call_that_causes_it() {
        let Doubler { worker, go, started, .. } = doubler(8);
        let spawn = |items: Vec<i32>| {
            let worker = worker.clone();
            tokio::spawn(async move { worker.run(items).await })
        };
        let first = spawn(vec![0]);
        queued_or_started(&started).await;
        let good = spawn(vec![1, 2]);
        queued(&worker, 2).await;
        let bad = spawn(vec![13]);
        queued(&worker, 3).await;
        drop(go);
        assert_eq!(first.await.unwrap().unwrap(), [0]);
        assert_eq!(good.await.unwrap().unwrap(), [2, 4]);
        assert!(matches!(bad.await.unwrap(), Err(EmbedError::Input(_))));
    }

    #[tokio::test]
    async fn long_calls_are_cut_and_abandoned_ones_dropped() {
        let Doubler { worker, batches, go, started } = doubler(2);
        let first = tokio::spawn({
            let worker = worker.clone();
            async move { worker.run(vec![1, 2, 3, 4, 5]).await }
        });
        queued_or_started(&started).await;
        let abandoned = tokio::spawn({
            let worker = worker.clone();
            async move { worker.run(vec![9, 9]).await }
        });
        queued(&worker, 5).await;
        abandoned.abort();
        assert!(abandoned.await.unwrap_err().is_cancelled());
        drop(go);
        assert_eq!(first.await.unwrap().unwrap(), [2, 4, 6, 8, 10]);
        assert_eq!(*batches.lock().unwrap(), [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(worker.stats().waiting, 0);
        assert_eq!(worker.run(vec![]).await.unwrap(), Vec::<i32>::new());
    }

    #[tokio::test]
    async fn the_thread_ends_with_the_last_handle() {
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.store(true, Relaxed);
            }
        }
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Flag(Arc::clone(&ended));
        let worker = Worker::start("flag", 1, move |items: &[i32]| {
            let _held = &flag;
            Ok(items.to_vec())
        })
        .unwrap();
        let second = worker.clone();
        drop(worker);
        assert_eq!(second.run(vec![1]).await.unwrap(), [1]);
        assert!(!ended.load(Relaxed));
        drop(second);
        assert!(ended.load(Relaxed));
    }

    #[tokio::test]
    async fn a_panic_closes_the_worker_instead_of_hanging_its_callers() {
        let worker =
            Worker::start("panics", 1, |_: &[i32]| -> Result<Vec<i32>, EmbedError> { panic!("on purpose") }).unwrap();
        assert!(matches!(worker.run(vec![1]).await, Err(EmbedError::Closed)));
        assert!(matches!(worker.run(vec![1]).await, Err(EmbedError::Closed)));
    }
}
