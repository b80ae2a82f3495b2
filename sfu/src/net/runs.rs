//! Which datagrams of a batch leave as one message, and what is done when the kernel refuses one.
//!
//! A *run* is datagrams to one receiver that lie side by side and are equally long; only the last
//! may be shorter. [`Sending`] sends a batch run by run through whatever it is given to do so, and
//! draws the conclusions of errors: a refused run is sent again one by one, a socket that cannot
//! segment is not asked to any more, one receiver that cannot be reached costs its own datagrams
//! and nobody else's. It does no input or output itself.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use arrayvec::ArrayVec;

use super::mmsg::BATCH_MAX;
use crate::shard::Datagram;

/// What an IPv4 datagram can carry; the kernel takes no longer message.
const RUN_BYTES_MAX: usize = 65_507;

/// After so many runs in a row that were called invalid, no more are tried. A single one may only
/// be too long for the path to its receiver.
const REFUSALS_MAX: u32 = 8;

/// Datagrams that leave as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) to: SocketAddr,
    /// Where they lie in the arena.
    pub(super) bytes: Range<usize>,
    /// How many they are.
    pub(super) datagrams: usize,
    /// The length of each but the last.
    pub(super) segment: usize,
}

/// What became of the datagrams of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Handed to the kernel.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages of several datagrams among them.
    pub runs: u64,
    /// Messages of several datagrams that were refused and sent again one by one.
    pub runs_refused: u64,
    /// Given up because the kernel's buffers were full (EAGAIN, ENOBUFS).
    pub blocked: u64,
    /// Given up because of where they should go (EPERM, ECONNREFUSED, EHOSTUNREACH and the like).
    pub refused: u64,
}

/// What to do about an error of the first message of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// The same again.
    Again,
    /// Wait for room, once, then the same again.
    Wait,
    /// The same datagrams, one by one.
    Singly,
    /// The network stack is full: what it holds must leave first.
    GiveUpBlocked,
    /// This receiver cannot be reached.
    GiveUpRefused,
}

fn remedy(error: &io::Error, is_run: bool) -> Remedy {
    match error.raw_os_error() {
        Some(libc::EINTR) => Remedy::Again,
        Some(libc::EAGAIN) => Remedy::Wait,
        // Not cut: by a kernel that does not know how (EINVAL), for a device that computes no
        // checksums (EIO), or because a datagram is too long for the path (EMSGSIZE, EINVAL).
        Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE) if is_run => Remedy::Singly,
        Some(libc::ENOBUFS | libc::ENOMEM) => Remedy::GiveUpBlocked,
        _ => Remedy::GiveUpRefused,
    }
}

/// How a socket sends.
#[derive(Debug)]
pub(super) struct Sending {
    /// Datagrams in one run; 1 when runs are not, or no longer, possible.
    segments_max: usize,
    refusals: u32,
}

impl Sending {
    /// Joins at most `segments_max` datagrams.
    pub(super) fn new(segments_max: usize) -> Self {
        Self {
            segments_max: segments_max.max(1),
            refusals: 0,
        }
    }

    /// Whether runs are still sent as one message.
    pub(super) fn is_segmenting(&self) -> bool {
        self.segments_max > 1
    }

    /// Sends all datagrams, as far as `send` takes them. It is given runs, says how many of them
    /// went, and fails with the error of the first. `wait` waits for room, for a moment.
    pub(super) fn send(
        &mut self,
        datagrams: &[Datagram],
        mut send: impl FnMut(&[Run]) -> io::Result<usize>,
        mut wait: impl FnMut(),
    ) -> Sent {
        let mut sent = Sent::default();
        let mut at = 0;
        // What lies before this belongs to a run that was refused.
        let mut singly_until = 0;
        let mut is_patient = true;
        while at < datagrams.len() {
            let (end, segments_max) = match at < singly_until {
                true => (singly_until, 1),
                false => (datagrams.len(), self.segments_max),
            };
            let runs = runs(&datagrams[at..end], segments_max);
            let error = match send(&runs) {
                Ok(count) => {
                    for run in &runs[..count] {
                        at += run.datagrams;
                        self.note(run, &mut sent);
                    }
                    continue;
                }
                Err(error) => error,
            };
            let head = runs[0].datagrams;
            match remedy(&error, head > 1) {
                Remedy::Again => {}
                Remedy::Wait if is_patient => {
                    is_patient = false;
                    wait();
                }
                Remedy::Wait => {
                    sent.blocked += (datagrams.len() - at) as u64;
                    return sent;
                }
                Remedy::Singly => {
                    sent.runs_refused += 1;
                    self.refuse(&error);
                    singly_until = at + head;
                }
                Remedy::GiveUpBlocked => {
                    sent.blocked += head as u64;
                    at += head;
                }
                Remedy::GiveUpRefused => {
                    sent.refused += head as u64;
                    at += head;
                }
            }
        }
        sent
    }

    fn note(&mut self, run: &Run, sent: &mut Sent) {
        sent.datagrams += run.datagrams as u64;
        sent.bytes += run.bytes.len() as u64;
        if run.datagrams > 1 {
            sent.runs += 1;
            self.refusals = 0;
        }
    }

    /// Draws the conclusion of a refused run for those to come.
    fn refuse(&mut self, error: &io::Error) {
        self.refusals += match error.raw_os_error() {
            Some(libc::EIO) => REFUSALS_MAX,
            Some(libc::EINVAL) => 1,
            _ => 0,
        };
        if self.refusals >= REFUSALS_MAX {
            self.segments_max = 1;
        }
    }
}

/// The first runs of a batch, as many as one call takes.
fn runs(mut datagrams: &[Datagram], segments_max: usize) -> ArrayVec<Run, BATCH_MAX> {
    let mut runs = ArrayVec::new();
    while let Some((first, rest)) = datagrams.split_first()
        && !runs.is_full()
    {
        let run = run(first, rest, segments_max);
        datagrams = &datagrams[run.datagrams..];
        runs.push(run);
    }
    runs
}

/// The run that begins with `first`.
fn run(first: &Datagram, rest: &[Datagram], segments_max: usize) -> Run {
    let segment = first.bytes().len();
    let mut run = Run {
        to: first.to,
        bytes: first.bytes(),
        datagrams: 1,
        segment,
    };
    for next in rest.iter().take(segments_max - 1) {
        let bytes = next.bytes();
        let fits = bytes.start == run.bytes.end
            && bytes.end - run.bytes.start <= RUN_BYTES_MAX
            && (1..=segment).contains(&bytes.len());
        if !fits || next.to != run.to {
            break;
        }
        run.datagrams += 1;
        run.bytes.end = bytes.end;
        if bytes.len() < segment {
            break;
        }
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// Datagrams side by side: to which port, and how long.
    fn batch(wanted: &[(u16, u32)]) -> Vec<Datagram> {
        let mut start = 0;
        let place = |&(port, len): &(u16, u32)| {
            let range = start..start + len;
            start += len;
            Datagram {
                to: to(port),
                range,
            }
        };
        wanted.iter().map(place).collect()
    }

    fn counts(wanted: &[(u16, u32)], segments_max: usize) -> Vec<usize> {
        let batch = batch(wanted);
        let runs = runs(&batch, segments_max);
        runs.iter().map(|run| run.datagrams).collect()
    }

    #[test]
    fn a_run_is_equally_long_but_for_its_end() {
        assert_eq!(counts(&[(1, 9), (1, 9), (1, 9)], 16), [3]);
        assert_eq!(counts(&[(1, 9), (1, 8), (1, 9)], 16), [2, 1]);
        assert_eq!(counts(&[(1, 9), (1, 8), (1, 8)], 16), [2, 1]);
        assert_eq!(counts(&[(1, 8), (1, 9), (1, 9)], 16), [1, 2]);
        assert_eq!(counts(&[(1, 9), (2, 9), (2, 9), (1, 9)], 16), [1, 2, 1]);
        assert_eq!(counts(&[(1, 9), (1, 0), (1, 9)], 16), [1, 1, 1]);
    }

    #[test]
    fn a_run_is_bounded_in_number_and_in_bytes() {
        assert_eq!(counts(&[(1, 9); 10], 4), [4, 4, 2]);
        assert_eq!(counts(&[(1, 9); 3], 1), [1, 1, 1]);
        assert_eq!(counts(&[(1, 1400); 48], 64), [46, 2]);
    }

    #[test]
    fn what_does_not_lie_side_by_side_is_no_run() {
        let mut batch = batch(&[(1, 9), (1, 9)]);
        batch[1].range = 10..19;
        assert_eq!(runs(&batch, 16).len(), 2);
    }

    /// A kernel that answers as it is told, and then takes everything.
    struct Kernel {
        answers: Vec<Result<usize, i32>>,
        /// What it took: message by message, how many datagrams.
        taken: Vec<usize>,
        waits: usize,
    }

    impl Kernel {
        fn new(mut answers: Vec<Result<usize, i32>>) -> Self {
            answers.reverse();
            Self {
                answers,
                taken: Vec::new(),
                waits: 0,
            }
        }

        fn send(&mut self, sending: &mut Sending, datagrams: &[Datagram]) -> Sent {
            let waits = &mut self.waits;
            let (answers, taken) = (&mut self.answers, &mut self.taken);
            let mut next = datagrams
                .first()
                .map_or(0, |first| first.range.start as usize);
            let take = |runs: &[Run]| {
                let count = answers.pop().unwrap_or(Ok(runs.len()));
                let count = count.map_err(io::Error::from_raw_os_error)?;
                for run in &runs[..count] {
                    assert!(run.bytes.start >= next, "nothing is sent twice");
                    next = run.bytes.end;
                    taken.push(run.datagrams);
                }
                Ok(count)
            };
            sending.send(datagrams, take, || *waits += 1)
        }
    }

    #[test]
    fn a_refused_run_is_sent_again_one_by_one() {
        for errno in [libc::EINVAL, libc::EIO, libc::EMSGSIZE] {
            let batch = batch(&[(1, 9), (1, 9), (1, 9), (2, 9), (2, 9)]);
            let mut kernel = Kernel::new(vec![Err(errno)]);
            let mut sending = Sending::new(16);
            let sent = kernel.send(&mut sending, &batch);
            assert_eq!((sent.datagrams, sent.bytes, sent.runs_refused), (5, 45, 1));
            assert_eq!((sent.blocked, sent.refused), (0, 0));
            let is_sticky = errno == libc::EIO;
            assert_eq!(sending.is_segmenting(), !is_sticky);
            let others: &[usize] = if is_sticky { &[1, 1] } else { &[2] };
            assert_eq!(kernel.taken, [&[1, 1, 1], others].concat());
        }
    }

    #[test]
    fn a_path_that_is_too_narrow_does_not_end_segmentation_for_others() {
        let batch = batch(&[(1, 9), (1, 9), (2, 9), (2, 9)]);
        let mut sending = Sending::new(16);
        for _ in 0..100 {
            let mut kernel = Kernel::new(vec![Err(libc::EINVAL)]);
            let sent = kernel.send(&mut sending, &batch);
            assert_eq!((sent.datagrams, sent.runs, sent.runs_refused), (4, 1, 1));
        }
        assert!(sending.is_segmenting());
    }

    #[test]
    fn a_socket_that_cannot_segment_is_not_asked_for_ever() {
        let batch = batch(&[(1, 9), (1, 9)]);
        let mut sending = Sending::new(16);
        let mut refused = 0;
        for _ in 0..100 {
            let answers = match sending.is_segmenting() {
                true => vec![Err(libc::EINVAL)],
                false => vec![],
            };
            let sent = Kernel::new(answers).send(&mut sending, &batch);
            assert_eq!(sent.datagrams, 2);
            refused += sent.runs_refused;
        }
        assert_eq!(refused, u64::from(REFUSALS_MAX));
    }

    #[test]
    fn a_full_buffer_is_waited_for_once() {
        let batch = batch(&[(1, 9), (1, 9), (2, 9)]);
        let mut kernel = Kernel::new(vec![Ok(1), Err(libc::EAGAIN)]);
        let sent = kernel.send(&mut Sending::new(16), &batch);
        assert_eq!((sent.datagrams, sent.blocked, kernel.waits), (3, 0, 1));

        let mut kernel = Kernel::new(vec![Ok(1), Err(libc::EAGAIN), Err(libc::EAGAIN)]);
        let sent = kernel.send(&mut Sending::new(16), &batch);
        assert_eq!((sent.datagrams, sent.blocked, kernel.waits), (2, 1, 1));
    }

    #[test]
    fn what_is_refused_is_counted_by_whose_fault_it_is() {
        let batch = batch(&[(1, 9), (1, 9), (2, 9)]);
        for (errno, blocked, refused) in [
            (libc::ENOBUFS, 2, 0),
            (libc::ENOMEM, 2, 0),
            (libc::EPERM, 0, 2),
            (libc::ECONNREFUSED, 0, 2),
            (libc::EHOSTUNREACH, 0, 2),
        ] {
            let mut kernel = Kernel::new(vec![Err(libc::EINTR), Err(errno)]);
            let sent = kernel.send(&mut Sending::new(16), &batch);
            assert_eq!(
                (sent.datagrams, sent.blocked, sent.refused),
                (1, blocked, refused),
                "the run is lost, the other receiver is not: {errno}"
            );
        }
    }

    #[test]
    fn a_datagram_that_is_invalid_by_itself_is_given_up() {
        let batch = batch(&[(1, 9), (2, 9)]);
        let mut kernel = Kernel::new(vec![Err(libc::EINVAL)]);
        let sent = kernel.send(&mut Sending::new(16), &batch);
        assert_eq!((sent.datagrams, sent.refused, sent.runs_refused), (1, 1, 0));
    }
}
