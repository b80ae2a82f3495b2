//! What waits to be written to one participant's socket.
//!
//! The room never waits for a socket: it puts messages here. The bytes that may wait are bounded; a
//! client that does not read loses its session rather than the server its memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use prost::Message as _;
use tokio::sync::Notify;

use super::whereabouts::Whereabouts;
use crate::wire::proto::SignalResponse;
use crate::wire::proto::signal_response::Message;

/// The room's end and the session's end of a bounded queue. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Outlet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
    bytes_max: usize,
    whereabouts: Whereabouts,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Box<SignalResponse>>,
    bytes: usize,
    end: Option<End>,
}

/// Why nothing more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The participant is no longer in the room.
    Left,
    /// The client has come back over another socket.
    Replaced,
    /// More waited than may wait.
    Overflow,
    /// The client did what no client does.
    Limited(&'static str),
}

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Something to write.
    Message(Box<SignalResponse>),
    /// Close the socket.
    End(End),
}

impl Outlet {
    /// An empty queue for so many bytes of protobuf.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            wake: Notify::new(),
            bytes_max,
            whereabouts: Whereabouts::default(),
        }))
    }

    /// A queue that takes nothing, for somebody whose socket is gone.
    pub fn closed() -> Self {
        let outlet = Self::new(0);
        outlet.end(End::Left);
        outlet
    }

    /// Where its session's requests go.
    pub fn whereabouts(&self) -> &Whereabouts {
        &self.0.whereabouts
    }

    /// Whether both are ends of one queue, which every session has its own of.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Puts a message in. What does not fit ends the queue; after the end nothing is taken.
    pub fn send(&self, message: Message) {
        let response = Box::new(SignalResponse {
            message: Some(message),
        });
        let bytes = response.encoded_len();
        let mut queue = self.lock();
        if queue.end.is_some() {
            return;
        }
        if queue.bytes + bytes > self.0.bytes_max {
            queue.messages.clear();
            queue.end = Some(End::Overflow);
        } else {
            queue.bytes += bytes;
            queue.messages.push_back(response);
        }
        drop(queue);
        self.0.wake.notify_one();
    }

    /// Nothing more will come after what is waiting. The first reason stays.
    pub fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.0.wake.notify_one();
    }

    /// The next item, once there is one.
    pub async fn next(&self) -> Item {
        loop {
            let woken = self.0.wake.notified();
            if let Some(item) = self.try_next() {
                return item;
            }
            woken.await;
        }
    }

    /// The next item, if there is one.
    pub fn try_next(&self) -> Option<Item> {
        let mut queue = self.lock();
        let Some(message) = queue.messages.pop_front() else {
            return queue.end.map(Item::End);
        };
        queue.bytes -= message.encoded_len();
        Some(Item::Message(message))
    }

    /// Waits until more waited than may wait.
    pub async fn overflow(&self) {
        loop {
            let woken = self.0.wake.notified();
            if self.lock().end == Some(End::Overflow) {
                return;
            }
            woken.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0
            .queue
            .lock()
            .expect("nothing panics while the queue is locked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_comes_out_before_the_end() {
        let outlet = Outlet::new(100);
        outlet.send(Message::Pong(7));
        outlet.end(End::Left);
        outlet.send(Message::Pong(8));
        assert!(matches!(outlet.try_next(), Some(Item::Message(_))));
        assert_eq!(outlet.try_next(), Some(Item::End(End::Left)));
        assert_eq!(outlet.try_next(), Some(Item::End(End::Left)));
    }

    #[test]
    fn a_queue_that_overflows_ends() {
        let outlet = Outlet::new(100);
        outlet.send(Message::RefreshToken("x".repeat(60)));
        outlet.send(Message::RefreshToken("x".repeat(60)));
        assert_eq!(outlet.try_next(), Some(Item::End(End::Overflow)));
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_is_nobody_elses() {
        let outlet = Outlet::closed();
        outlet.send(Message::Pong(7));
        assert_eq!(outlet.try_next(), Some(Item::End(End::Left)));
        assert!(outlet.is(&outlet.clone()) && !outlet.is(&Outlet::closed()));
    }

    #[test]
    fn reading_makes_room() {
        let outlet = Outlet::new(100);
        for _ in 0..100 {
            outlet.send(Message::RefreshToken("x".repeat(60)));
            assert!(matches!(outlet.try_next(), Some(Item::Message(_))));
        }
    }
}
