//! A decoding job on a thread of its own behind a bounded queue, for callers that must not block.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{DecodeError, Decoder, Frame, Outcome, Probe, Request};

/// What a job gives: a probe, frames, and how it ended.
#[derive(Debug)]
pub enum Decoded {
    Probe(Probe),
    Frame(Frame),
    End(Outcome),
    Failed(DecodeError),
}

/// A running job. Dropping it ends the job at once, whatever the decoder is doing: without that, its thread would learn
/// that nobody listens from the next frame only, which may never come.
pub struct Queue {
    items: mpsc::Receiver<Decoded>,
    /// By which it is seen how many wait.
    sender: mpsc::WeakSender<Decoded>,
    _stop: DropGuard,
}

impl Queue {
    /// At most `frames` of them wait; a slow consumer slows the decoder. Needs a tokio runtime.
    pub fn start(decoder: Arc<dyn Decoder>, request: Request, stop: &CancellationToken, frames: usize) -> Self {
        let (sender, items) = mpsc::channel(frames);
        let stop = stop.child_token();
        let (guard, weak) = (stop.clone().drop_guard(), sender.downgrade());
        tokio::task::spawn_blocking(move || decode(&*decoder, &request, stop, &sender));
        Self { items, sender: weak, _stop: guard }
    }

    /// The next thing that the job gives. [`Decoded::End`] and [`Decoded::Failed`] are the last.
    pub async fn next(&mut self) -> Decoded {
        let ended = || Decoded::Failed(DecodeError::Crashed("its thread in this process ended".to_owned()));
        self.items.recv().await.unwrap_or_else(ended)
    }

    /// The next thing, if it is there already.
    pub fn ready(&mut self) -> Option<Decoded> {
        self.items.try_recv().ok()
    }
}

/// Shows how much waits in all queues that are in use. Clones show the same.
#[derive(Clone, Default)]
pub struct Queues(Arc<Mutex<Vec<mpsc::WeakSender<Decoded>>>>);

impl Queues {
    pub fn add(&self, queue: &Queue) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A decoder that has ended holds no sender any more.
        queues.retain(|sender| sender.strong_count() > 0);
        queues.push(queue.sender.clone());
    }

    /// How much waits, and how much may.
    pub fn depth(&self) -> (usize, usize) {
        let queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = queues.iter().filter_map(mpsc::WeakSender::upgrade);
        open.fold((0, 0), |(waiting, room), sender| {
            (waiting + sender.max_capacity() - sender.capacity(), room + sender.max_capacity())
        })
    }
}

fn decode(decoder: &dyn Decoder, request: &Request, stop: CancellationToken, to: &mpsc::Sender<Decoded>) {
    // Where it cannot be sent, nobody wants it any more.
    let send = |item| to.blocking_send(item).is_ok();
    let mut frames = match decoder.open(request, stop) {
        Ok(frames) => frames,
        Err(error) => {
            send(Decoded::Failed(error));
            return;
        }
    };
    if !send(Decoded::Probe(frames.probe().clone())) {
        return;
    }
    for frame in frames.by_ref() {
        if !send(frame.map_or_else(Decoded::Failed, Decoded::Frame)) {
            return;
        }
    }
    if let Some(outcome) = frames.outcome() {
        send(Decoded::End(outcome.clone()));
    }
}
