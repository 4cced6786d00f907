//! Connections to one endpoint that wait for their next request.
//!
//! HTTP/1.1 connections are taken out for an exchange and come back after it; an HTTP/2 connection
//! stays and is shared.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::http::connection::Sender;

/// How long a connection to a proxy of the mesh may be idle: it never closes one on its own.
const MESH_IDLE: Duration = Duration::from_secs(300);
/// How long a connection to anything else may be idle. Servers close idle connections after a few
/// seconds, some after two, and a request that meets such an end is lost.
const OTHER_IDLE: Duration = Duration::from_secs(1);

/// Waiting connections, the most recently used last.
#[derive(Debug)]
pub struct Pool {
    idle_limit: Duration,
    http1: RefCell<Vec<(Sender, Instant)>>,
    http2: RefCell<Option<(Sender, Instant)>>,
    /// Held while an HTTP/2 connection is opened, so that others wait for it and share it.
    pub opening: Rc<tokio::sync::Mutex<()>>,
}

impl Pool {
    /// An empty pool.
    pub fn new(in_mesh: bool) -> Self {
        Self {
            idle_limit: if in_mesh { MESH_IDLE } else { OTHER_IDLE },
            http1: RefCell::default(),
            http2: RefCell::default(),
            opening: Rc::default(),
        }
    }

    /// Takes an idle HTTP/1.1 connection.
    pub fn take(&self, now: Instant) -> Option<Sender> {
        let mut idle = self.http1.borrow_mut();
        while let Some((sender, since)) = idle.pop() {
            if !sender.is_closed() && now < since + self.idle_limit {
                return Some(sender);
            }
        }
        None
    }

    /// Gives an HTTP/1.1 connection back.
    pub fn give_back(&self, sender: Sender, now: Instant) {
        if !sender.is_closed() {
            self.http1.borrow_mut().push((sender, now));
        }
    }

    /// The shared HTTP/2 connection, if it is alive.
    pub fn shared(&self, now: Instant) -> Option<Sender> {
        let mut slot = self.http2.borrow_mut();
        match slot.as_mut() {
            Some((sender, used)) if !sender.is_closed() => {
                *used = now;
                sender.share()
            }
            _ => {
                *slot = None;
                None
            }
        }
    }

    /// Puts a new HTTP/2 connection in the place of the old one.
    pub fn share(&self, sender: Sender, now: Instant) {
        *self.http2.borrow_mut() = Some((sender, now));
    }

    /// Closes what has been idle for too long.
    pub fn sweep(&self, now: Instant) {
        let fresh = |since: Instant| now < since + self.idle_limit;
        self.http1
            .borrow_mut()
            .retain(|(sender, since)| !sender.is_closed() && fresh(*since));
        let mut slot = self.http2.borrow_mut();
        if slot.as_ref().is_some_and(|(sender, used)| {
            sender.is_closed() || now >= *used + self.idle_limit.max(MESH_IDLE)
        }) {
            *slot = None;
        }
    }

    /// Whether no connection waits.
    pub fn is_empty(&self) -> bool {
        self.http1.borrow().is_empty() && self.http2.borrow().is_none()
    }
}
