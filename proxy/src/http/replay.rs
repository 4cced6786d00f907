//! The downstream's body, kept while it is small so that a retry can send it again.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::body::{BodyFailed, Outgoing};
use super::connection::Received;

/// A body beyond this is sent once and cannot be retried or mirrored.
const LIMIT: usize = 64 * 1024;

/// A body that several attempts can send, one after the other.
#[derive(Debug)]
pub struct Replay(Rc<RefCell<Shared>>);

#[derive(Debug)]
struct Shared {
    source: Received,
    kept: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    received: u64,
    state: State,
    /// Which attempt may read; earlier ones have to stop.
    attempt: u32,
    /// Who waits for more of it.
    reader: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flowing,
    Ended,
    Failed,
    TooLong,
}

impl Replay {
    /// Takes a body.
    pub fn new(source: Received) -> Self {
        let state = if source.is_end_stream() {
            State::Ended
        } else {
            State::Flowing
        };
        Self(Rc::new(RefCell::new(Shared {
            source,
            kept: Vec::new(),
            trailers: None,
            received: 0,
            state,
            attempt: 0,
            reader: None,
        })))
    }

    /// Whether another attempt could send all of it.
    pub fn is_repeatable(&self) -> bool {
        matches!(self.0.borrow().state, State::Flowing | State::Ended)
    }

    /// Another handle on the same body.
    pub fn share(&self) -> Self {
        Self(Rc::clone(&self.0))
    }

    /// Whether nothing more is to come from the downstream.
    pub fn is_over(&self) -> bool {
        let shared = self.0.borrow();
        !matches!(shared.state, State::Flowing | State::TooLong) || shared.source.is_end_stream()
    }

    /// How many bytes the downstream has sent.
    pub fn received(&self) -> u64 {
        self.0.borrow().received
    }

    /// The body from its start for a new attempt; earlier attempts get no more of it.
    pub fn attempt(&self) -> Outgoing {
        self.abandon();
        let shared = self.0.borrow();
        if shared.state == State::Ended && shared.kept.is_empty() && shared.trailers.is_none() {
            return Outgoing::Empty;
        }
        let attempt = shared.attempt;
        drop(shared);
        Outgoing::Replay(ReplayBody {
            shared: Rc::clone(&self.0),
            attempt,
            next: 0,
            done: false,
        })
    }

    /// Ends the attempt that sends it: an upstream must not wait for the rest of a request that is
    /// sent elsewhere, or whose downstream has its answer.
    pub fn abandon(&self) {
        let mut shared = self.0.borrow_mut();
        shared.attempt += 1;
        if let Some(reader) = shared.reader.take() {
            reader.wake();
        }
    }

    /// All of it, once it has ended, if it was short enough.
    pub fn whole(&self) -> Option<Bytes> {
        let shared = self.0.borrow();
        (shared.state == State::Ended).then(|| match shared.kept.as_slice() {
            [only] => only.clone(),
            several => several.concat().into(),
        })
    }
}

/// One attempt's view of a [`Replay`].
#[derive(Debug)]
pub struct ReplayBody {
    shared: Rc<RefCell<Shared>>,
    attempt: u32,
    next: usize,
    done: bool,
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        let this = self.get_mut();
        let mut shared = this.shared.borrow_mut();
        if shared.attempt != this.attempt {
            return Poll::Ready(Some(Err(BodyFailed::Superseded)));
        }
        if let Some(bytes) = shared.kept.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(bytes.clone()))));
        }
        if shared.state == State::Ended {
            let trailers = if this.done {
                None
            } else {
                shared.trailers.clone()
            };
            this.done = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let Poll::Ready(frame) = Pin::new(&mut shared.source).poll_frame(cx) else {
            shared.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        match frame {
            None => {
                if shared.state == State::Flowing {
                    shared.state = State::Ended;
                }
                this.done = true;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                shared.state = State::Failed;
                Poll::Ready(Some(Err(BodyFailed::Receive(Box::new(error)))))
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    shared.keep(data);
                    this.next = shared.kept.len();
                } else if let Some(trailers) = frame.trailers_ref() {
                    shared.trailers = Some(trailers.clone());
                    this.done = true;
                }
                if shared.state == State::Flowing && shared.source.is_end_stream() {
                    shared.state = State::Ended;
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        let rest = self.next < shared.kept.len() || (shared.trailers.is_some() && !self.done);
        !rest && (shared.state == State::Ended || shared.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.borrow();
        let kept: usize = shared.kept.iter().skip(self.next).map(Bytes::len).sum();
        let source = shared.source.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(source.lower() + kept as u64);
        if let Some(upper) = source.upper() {
            hint.set_upper(upper + kept as u64);
        }
        hint
    }
}

impl Shared {
    fn keep(&mut self, data: &Bytes) {
        self.received += data.len() as u64;
        if self.received > LIMIT as u64 {
            self.state = State::TooLong;
            self.kept.clear();
        } else {
            self.kept.push(data.clone());
        }
    }
}
