//! What a worker sleeps on: its socket, its bell and an alarm, told to the kernel once.
//!
//! Every turn ends here, so it is made cheap. A wait registers nothing anew, and the alarm is only
//! set when it would ring too late: setting a timer reprograms the clock of the core, which on a
//! virtual machine is a visit to its host, and nearly every turn is ended by a datagram long before.
//! An alarm that rings early costs an empty turn.

use std::io;
use std::time::Instant;

use super::sys::{Alarm, Poll, Trigger, Wake};
use super::udp::{Ready, Socket};

const SOCKET: u32 = 0;
const BELL: u32 = 1;
const ALARM: u32 = 2;

/// A socket and a bell that are waited for together.
#[derive(Debug)]
pub(crate) struct Watch {
    poll: Poll,
    alarm: Alarm,
    /// When the alarm rings, if it is set.
    rings_at: Option<Instant>,
}

impl Watch {
    /// Watches both from now on.
    pub(crate) fn new(socket: &Socket, bell: &Wake) -> io::Result<Self> {
        let (poll, alarm) = (Poll::new()?, Alarm::new()?);
        poll.add(socket.file(), SOCKET, Trigger::Level)?;
        poll.add(bell.file(), BELL, Trigger::Level)?;
        // It need not be read to be silent.
        poll.add(alarm.file(), ALARM, Trigger::Edge)?;
        Ok(Self {
            poll,
            alarm,
            rings_at: None,
        })
    }

    /// Waits for a datagram, for the bell, or until `until` at the latest; not at all if that has
    /// passed at `now`. May come back early with nothing.
    pub(crate) fn wait(&mut self, now: Instant, until: Instant) -> io::Result<Ready> {
        if until > now && self.rings_at.is_none_or(|at| at > until) {
            self.alarm.set(until - now)?;
            self.rings_at = Some(until);
        }
        let ready = self.poll.wait(until > now)?;
        if ready.contains(ALARM) {
            self.rings_at = None;
        }
        Ok(Ready {
            is_readable: ready.contains(SOCKET),
            is_rung: ready.contains(BELL),
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real time and a real socket are needed here"
)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Segmentation;

    fn watch() -> (Watch, Socket, Wake) {
        let address = ([127, 0, 0, 1], 0).into();
        let socket = Socket::bind(address, Segmentation::Auto, 16).expect("a free port");
        let bell = Wake::new().expect("a bell");
        (
            Watch::new(&socket, &bell).expect("it can watch"),
            socket,
            bell,
        )
    }

    const LONG: Duration = Duration::from_secs(100);

    #[test]
    fn a_bell_ends_a_wait_and_is_told_apart_from_a_datagram() {
        let (mut watch, socket, bell) = watch();
        bell.try_clone().expect("a rope").ring();
        let now = Instant::now();
        let ready = watch.wait(now, now + LONG).expect("it can wait");
        assert!(ready.is_rung && !ready.is_readable);
        bell.hear();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        sender.send_to(b"x", socket.local_address()).expect("sent");
        let ready = watch.wait(now, now + LONG).expect("it can wait");
        assert!(ready.is_readable && !ready.is_rung);
    }

    #[test]
    fn an_alarm_is_never_late_and_can_be_brought_forward() {
        let (mut watch, ..) = watch();
        for waits in [[30, 10], [10, 30]] {
            for ms in waits {
                let until = Instant::now() + Duration::from_millis(ms);
                while Instant::now() < until {
                    let ready = watch.wait(Instant::now(), until).expect("it can wait");
                    assert_eq!(ready, Ready::default());
                }
                assert!(until.elapsed() < Duration::from_secs(5));
            }
        }
    }

    #[test]
    fn a_deadline_that_has_passed_is_not_waited_for() {
        let (mut watch, _, bell) = watch();
        let now = Instant::now();
        assert_eq!(watch.wait(now, now).expect("it looks"), Ready::default());
        bell.ring();
        assert!(watch.wait(now, now).expect("it looks").is_rung);
    }

    #[test]
    fn an_alarm_that_has_rung_does_not_ring_on() {
        let (mut watch, ..) = watch();
        let start = Instant::now();
        let until = start + Duration::from_millis(5);
        while Instant::now() < until {
            watch.wait(Instant::now(), until).expect("it can wait");
        }
        let until = Instant::now() + Duration::from_millis(40);
        let mut waits = 0;
        while Instant::now() < until {
            watch.wait(Instant::now(), until).expect("it can wait");
            waits += 1;
        }
        assert!(waits < 10, "{waits} waits in 40 ms");
    }
}
