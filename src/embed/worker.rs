//! Runs a session on a thread of its own: a bounded queue, batches across callers, an asynchronous handle.
//!
//! Waiting items of all callers run together, up to the batch size; every caller gets the results of its own items in
//! order. An error reaches only the caller whose items cause it. The items of a caller that stops waiting are dropped.
//! The thread ends with the last handle.
//!
//! There are two lanes. Calls of live streams are [`Lane::Urgent`]: whatever waits in the other lane, they are next, because
//! a file can wait and a camera cannot. A batch that is running is not interrupted, and one that is begun with urgent items
//! is filled up with others.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::EmbedError;

/// Calls that may wait. Further callers wait for a free place, which slows the decoders down to the model's pace.
const QUEUE: usize = 32;

/// Whose items are next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    #[default]
    Usual,
    Urgent,
}

pub struct Worker<In, Out> {
    shared: Arc<Shared<In, Out>>,
    urgency: Lane,
}

/// A batch that was run.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// The name of the thread.
    pub lane: &'static str,
    pub items: usize,
    /// Items that a batch can have.
    pub most: usize,
    /// How long the oldest call in it had waited.
    pub waited: Duration,
    pub worked: Duration,
}

/// Told of each batch, on the thread of the session.
pub type Told = Arc<dyn Fn(Ran) + Send + Sync>;

struct Call<In, Out> {
    urgency: Lane,
    asked: Instant,
    items: std::vec::IntoIter<In>,
    outputs: Vec<Out>,
    reply: oneshot::Sender<Result<Vec<Out>, EmbedError>>,
}

struct Shared<In, Out> {
    lane: &'static str,
    told: Arc<OnceLock<Told>>,
    calls: Option<Lanes<mpsc::Sender<Call<In, Out>>>>,
    thread: Option<JoinHandle<()>>,
}

/// One for each lane.
struct Lanes<T> {
    usual: T,
    urgent: T,
}

impl<In, Out> Clone for Worker<In, Out> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), urgency: self.urgency }
    }
}

impl<In: Send + 'static, Out: Send + 'static> Worker<In, Out> {
    /// Starts a thread that gives `run` at most `batch` items at once. `run` answers with one output per item.
    pub fn start<F>(lane: &'static str, batch: usize, run: F) -> Result<Self, EmbedError>
    where
        F: FnMut(&[In]) -> Result<Vec<Out>, EmbedError> + Send + 'static,
    {
        let ((usual, usual_queue), (urgent, urgent_queue)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let cannot = |error| EmbedError::Runtime(format!("cannot start the model's thread: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(cannot)?;
        let queues = Lanes { usual: usual_queue, urgent: urgent_queue };
        let told: Arc<OnceLock<Told>> = Arc::default();
        let mut thread =
            Thread { lane, told: Arc::clone(&told), runtime, queues, open: VecDeque::new(), batch: batch.max(1), run };
        let thread = std::thread::Builder::new().name(lane.to_owned()).spawn(move || thread.work()).map_err(cannot)?;
        let shared = Shared { lane, told, calls: Some(Lanes { usual, urgent }), thread: Some(thread) };
        Ok(Self { shared: Arc::new(shared), urgency: Lane::Usual })
    }

    /// A handle whose calls go into this lane.
    pub fn in_lane(&self, urgency: Lane) -> Self {
        Self { urgency, ..self.clone() }
    }

    /// Has somebody told of each batch from now on. Only the first one is.
    pub fn tell(&self, told: Told) {
        let _ = self.shared.told.set(told);
    }

    /// Of both lanes together.
    pub fn depth(&self) -> Depth {
        let calls = self.shared.calls.as_ref().expect("taken only when dropped");
        let free = calls.usual.capacity() + calls.urgent.capacity();
        Depth { lane: self.shared.lane, waiting: 2 * QUEUE - free, most: 2 * QUEUE }
    }

    /// One output per item, in order. Fails with [`EmbedError::Closed`] if the thread has panicked.
    pub async fn run(&self, items: Vec<In>) -> Result<Vec<Out>, EmbedError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let asked = Instant::now();
        let calls = self.shared.calls.as_ref().expect("taken only when dropped");
        let calls = match self.urgency {
            Lane::Usual => &calls.usual,
            Lane::Urgent => &calls.urgent,
        };
        let place = calls.reserve().await.map_err(|_| EmbedError::Closed)?;
        let (reply, answer) = oneshot::channel();
        place.send(Call {
            urgency: self.urgency,
            asked,
            outputs: Vec::with_capacity(items.len()),
            items: items.into_iter(),
            reply,
        });
        answer.await.map_err(|_| EmbedError::Closed)?
    }
}

impl<In, Out> Drop for Shared<In, Out> {
    /// Waits for the thread, for at most one batch: a process that exits while a session runs may crash in native code.
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic of the thread, and callers got `Closed`.
            let _ = thread.join();
        }
    }
}

/// How many calls wait for a session, and how many may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    pub lane: &'static str,
    pub waiting: usize,
    pub most: usize,
}

struct Thread<In, Out, F> {
    lane: &'static str,
    told: Arc<OnceLock<Told>>,
    runtime: Runtime,
    queues: Lanes<mpsc::Receiver<Call<In, Out>>>,
    /// Calls with items still to run: the urgent ones, then the others, of each the oldest first.
    open: VecDeque<Call<In, Out>>,
    batch: usize,
    run: F,
}

impl<In, Out, F: FnMut(&[In]) -> Result<Vec<Out>, EmbedError>> Thread<In, Out, F> {
    fn work(&mut self) {
        loop {
            if self.open.is_empty() {
                match self.wait() {
                    Some(call) => self.open.push_back(call),
                    None => return,
                }
            }
            while self.items(Lane::Urgent) < self.batch
                && let Ok(call) = self.queues.urgent.try_recv()
            {
                let behind = self.open.iter().take_while(|open| open.urgency == Lane::Urgent).count();
                self.open.insert(behind, call);
            }
            while self.items(Lane::Usual) + self.items(Lane::Urgent) < self.batch
                && let Ok(call) = self.queues.usual.try_recv()
            {
                self.open.push_back(call);
            }
            self.open.retain(|call| !call.reply.is_closed());
            self.run_batch();
        }
    }

    /// The next call; `None`: the last handle is gone.
    fn wait(&mut self) -> Option<Call<In, Out>> {
        let Lanes { usual, urgent } = &mut self.queues;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                Some(call) = urgent.recv() => Some(call),
                Some(call) = usual.recv() => Some(call),
                else => None,
            }
        })
    }

    /// Items of this lane that wait in open calls.
    fn items(&self, lane: Lane) -> usize {
        self.open.iter().filter(|call| call.urgency == lane).map(|call| call.items.len()).sum()
    }

    /// Runs one batch of the oldest items and answers the calls that it completes.
    fn run_batch(&mut self) {
        let Some(asked) = self.open.front().map(|call| call.asked) else { return };
        let (begun, waited) = (Instant::now(), asked.elapsed());
        let mut items = Vec::with_capacity(self.batch);
        let mut shares = Vec::new();
        for call in &mut self.open {
            let share = call.items.len().min(self.batch - items.len());
            if share == 0 {
                break;
            }
            items.extend(call.items.by_ref().take(share));
            shares.push(share);
        }
        let outcomes = match (self.run)(&items) {
            Err(_) if shares.len() > 1 => {
                // One call's items cause the error. Run each call's items alone, so that only that call fails.
                let mut rest = &items[..];
                let mut outcomes = Vec::new();
                for share in &shares {
                    let (own, others) = rest.split_at(*share);
                    rest = others;
                    outcomes.push((self.run)(own));
                }
                outcomes
            }
            Err(error) => vec![Err(error)],
            Ok(outputs) => {
                let mut outputs = outputs.into_iter();
                shares.iter().map(|share| Ok(outputs.by_ref().take(*share).collect())).collect()
            }
        };
        if let Some(told) = self.told.get() {
            let (items, worked) = (items.len(), begun.elapsed());
            told(Ran { lane: self.lane, items, most: self.batch, waited, worked });
        }
        let touched: Vec<Call<In, Out>> = self.open.drain(..shares.len()).collect();
        for (mut call, outcome) in touched.into_iter().zip(outcomes).rev() {
            match outcome {
                Ok(outputs) => {
                    call.outputs.extend(outputs);
                    if call.items.len() > 0 {
                        self.open.push_front(call);
                    } else {
                        // Fails if nobody waits any more.
                        let _ = call.reply.send(Ok(call.outputs));
                    }
                }
                Err(error) => {
                    let _ = call.reply.send(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Doubles numbers, fails on 13, records its batches, and runs each only when told to.
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
            // Fails once the test has dropped `go`: from then on nothing waits.
            let _ = gate.recv();
            seen.lock().unwrap().push(items.to_vec());
            if items.contains(&13) {
                return Err(EmbedError::Input("13".to_owned()));
            }
            Ok(items.iter().map(|i| 2 * i).collect())
        });
        Doubler { worker: worker.unwrap(), batches, go, started }
    }

    /// Number of calls in the queue.
    fn waiting(worker: &Worker<i32, i32>) -> usize {
        worker.depth().waiting
    }

    /// Waits until this many calls are in the queue.
    async fn queued(worker: &Worker<i32, i32>, calls: usize) {
        while waiting(worker) < calls {
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
        queued(&worker, 1).await;
        let third = spawn(vec![5, 6, 7]);
        queued(&worker, 2).await;
        drop(go);
        assert_eq!(first.await.unwrap(), [2]);
        assert_eq!(second.await.unwrap(), [4, 6, 8]);
        assert_eq!(third.await.unwrap(), [10, 12, 14]);
        assert_eq!(*batches.lock().unwrap(), [vec![1], vec![2, 3, 4, 5], vec![6, 7]]);
    }

    async fn queued_or_started(started: &Receiver<()>) {
        while started.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn urgent_calls_are_next_whatever_waits() {
        let Doubler { worker, batches, go, started } = doubler(2);
        let spawn =
            |worker: Worker<i32, i32>, items: Vec<i32>| tokio::spawn(async move { worker.run(items).await.unwrap() });
        let first = spawn(worker.clone(), vec![1]);
        queued_or_started(&started).await;
        let backlog = spawn(worker.clone(), vec![2, 3, 4, 5]);
        queued(&worker, 1).await;
        go.send(()).unwrap();
        queued_or_started(&started).await;
        let urgent = worker.in_lane(Lane::Urgent);
        let live = spawn(urgent.clone(), vec![10]);
        while urgent.shared.calls.as_ref().unwrap().urgent.capacity() == QUEUE {
            tokio::task::yield_now().await;
        }
        drop(go);
        assert_eq!(first.await.unwrap(), [2]);
        assert_eq!(live.await.unwrap(), [20]);
        assert_eq!(backlog.await.unwrap(), [4, 6, 8, 10]);
        assert_eq!(*batches.lock().unwrap(), [vec![1], vec![2, 3], vec![10, 4], vec![5]]);
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
        queued(&worker, 1).await;
        let bad = spawn(vec![13]);
        queued(&worker, 2).await;
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
        queued(&worker, 1).await;
        abandoned.abort();
        assert!(abandoned.await.unwrap_err().is_cancelled());
        drop(go);
        assert_eq!(first.await.unwrap().unwrap(), [2, 4, 6, 8, 10]);
        assert_eq!(*batches.lock().unwrap(), [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(waiting(&worker), 0);
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
