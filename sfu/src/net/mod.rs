//! Sockets: batches of datagrams from and to the kernel.
//!
//! Together with `worker` and `handle` this is the only part of the crate that does anything but
//! compute. `sys` holds every line that needs `unsafe`; `udp` and `interface` are made of it.

pub mod interface;
mod sys;
pub mod udp;

pub(crate) use sys::Wake;
