//! Sockets: batches of datagrams from and to the kernel.
//!
//! Together with `worker` and `handle` this is the only part of the crate that does anything but
//! compute. `mmsg` and `sys` hold every line that needs `unsafe`; `udp`, `watch` and `interface` are
//! made of them. What leaves together is decided by `runs`, without any input or output.

pub mod interface;
mod mmsg;
mod runs;
mod sys;
pub mod udp;
mod watch;

pub(crate) use sys::{Wake, allowed_cores, stay_on, thread_time};
pub(crate) use watch::Watch;
