//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01):
//! when each packet of a transport arrived, in steps of 250 microseconds.
//!
//! [`Feedback`] reads what a subscriber reports about what we sent. [`Recorder`] notes what arrives
//! from a publisher and reports it. What follows from either is decided by congestion control.

use std::time::Duration;

use super::{FORMAT_TWCC, TYPE_TRANSPORT_FEEDBACK, append, append_word, take_ssrc, take_word};
use crate::unit::Ssrc;

/// Microseconds in one step of arrival time.
const TICK_US: u64 = 250;
/// Steps in one unit of the reference time: 64 ms.
const REFERENCE_TICKS: i64 = 256;

/// When the packets of a transport arrived at its receiver.
#[derive(Clone, Debug)]
pub struct Feedback<'a> {
    /// Who reports.
    pub sender: Ssrc,
    /// Of which source; any of the transport's.
    pub media: Ssrc,
    /// The transport-wide number of the first packet that is reported about.
    pub base: u16,
    /// How many packets are reported about; what is not among [`Self::arrivals`] was not received.
    pub count: u16,
    /// Counts the reports.
    pub number: u8,
    reference: i32,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// One packet that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its transport-wide number.
    pub number: u16,
    /// When, in microseconds of the receiver's clock, which starts anywhere and wraps after
    /// twelve days: only differences mean something.
    pub at_us: i64,
}

impl<'a> Feedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender, rest) = take_ssrc(body)?;
        let (media, rest) = take_ssrc(rest)?;
        let (base_and_count, rest) = take_word(rest)?;
        let (reference_and_number, rest) = take_word(rest)?;
        let count = base_and_count as u16;
        let (chunks_len, deltas_len) = measure(rest, count)?;
        let (chunks, deltas) = rest.split_at(chunks_len);
        Some(Self {
            sender,
            media,
            base: (base_and_count >> 16) as u16,
            count,
            number: reference_and_number as u8,
            reference: reference_and_number as i32 >> 8,
            chunks,
            deltas: deltas.get(..deltas_len)?,
        })
    }

    /// The packets that arrived, by ascending number. What was lost costs nothing to pass over.
    pub fn arrivals(&self) -> Arrivals<'a> {
        Arrivals {
            chunks: self.chunks,
            deltas: self.deltas,
            current: Chunk::EMPTY,
            number: self.base,
            left: self.count,
            ticks: i64::from(self.reference) * REFERENCE_TICKS,
        }
    }
}

/// How many bytes of chunks describe `count` packets, and how many bytes of deltas they promise.
fn measure(bytes: &[u8], count: u16) -> Option<(usize, usize)> {
    let mut left = count;
    let mut deltas = 0;
    let mut chunks = bytes.chunks_exact(2);
    let mut used = 0;
    while left > 0 {
        let bytes = chunks.next()?;
        let chunk = Chunk::read([bytes[0], bytes[1]]).limited_to(left);
        deltas += chunk.deltas_len();
        left -= chunk.left;
        used += 2;
    }
    Some((used, deltas))
}

/// What is left of a chunk: the states of some packets in a row.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    left: u16,
    states: States,
}

#[derive(Clone, Copy, Debug)]
enum States {
    /// All the same.
    Run(State),
    /// Two bits for each, the first uppermost.
    List(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Lost = 0,
    /// Arrived within 63.75 ms after the one before: a delta of one byte.
    Small = 1,
    /// Arrived before the one before, or later: a signed delta of two bytes.
    Large = 2,
}

impl State {
    /// The fourth value is reserved; it has no delta, so it counts as lost.
    fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            1 => Self::Small,
            2 => Self::Large,
            _ => Self::Lost,
        }
    }

    fn delta_len(self) -> usize {
        self as usize
    }
}

impl Chunk {
    const EMPTY: Self = Self {
        left: 0,
        states: States::Run(State::Lost),
    };

    fn read(bytes: [u8; 2]) -> Self {
        let word = u16::from_be_bytes(bytes);
        match word >> 14 {
            0 | 1 => Self {
                left: word & 0x1fff,
                states: States::Run(State::from_bits(u32::from(word >> 13))),
            },
            2 => Self {
                left: 14,
                states: States::List(spread(word & 0x3fff) << 4),
            },
            _ => Self {
                left: 7,
                states: States::List(u32::from(word) << 18),
            },
        }
    }

    fn limited_to(self, left: u16) -> Self {
        Self {
            left: self.left.min(left),
            ..self
        }
    }

    fn deltas_len(mut self) -> usize {
        if let States::Run(state) = self.states {
            return usize::from(self.left) * state.delta_len();
        }
        let mut len = 0;
        while let Some(state) = self.next() {
            len += state.delta_len();
        }
        len
    }

    fn next(&mut self) -> Option<State> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.states {
            States::Run(state) => Some(*state),
            States::List(bits) => {
                let state = State::from_bits(*bits >> 30);
                *bits <<= 2;
                Some(state)
            }
        }
    }
}

/// Puts a zero before each of the low 14 bits.
fn spread(bits: u16) -> u32 {
    (0..14).fold(0, |spread, at| {
        spread | u32::from(bits >> at & 1) << (2 * at)
    })
}

/// Walks the packets that arrived.
#[derive(Clone, Debug)]
pub struct Arrivals<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    current: Chunk,
    number: u16,
    left: u16,
    ticks: i64,
}

impl Arrivals<'_> {
    fn delta(&mut self, state: State) -> Option<i64> {
        if state == State::Small {
            let (&delta, rest) = self.deltas.split_first()?;
            self.deltas = rest;
            return Some(i64::from(delta));
        }
        let (&delta, rest) = self.deltas.split_first_chunk::<2>()?;
        self.deltas = rest;
        Some(i64::from(i16::from_be_bytes(delta)))
    }
}

impl Iterator for Arrivals<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            if let States::Run(State::Lost) = self.current.states {
                self.number = self.number.wrapping_add(self.current.left);
                self.current.left = 0;
            }
            let Some(state) = self.current.next() else {
                let (&chunk, rest) = self.chunks.split_first_chunk::<2>()?;
                self.chunks = rest;
                self.current = Chunk::read(chunk).limited_to(self.left);
                self.left -= self.current.left;
                continue;
            };
            let number = self.number;
            self.number = number.wrapping_add(1);
            if state != State::Lost {
                self.ticks += self.delta(state)?;
                return Some(Arrival {
                    number,
                    at_us: self.ticks * TICK_US as i64,
                });
            }
        }
    }
}

/// Packets whose arrival is remembered. A report leaves every 100 ms; at 5,000 packets a second,
/// which no publisher reaches, 1,024 last for two of them.
const REMEMBERED: usize = 1_024;
/// Packets that one report is about: at worst 400 deltas of two bytes and 58 chunks, so that a
/// report fits every datagram.
const REPORTED_MAX: u64 = 400;

/// Notes when the packets of a publisher's transport arrive, and reports it.
#[derive(Debug)]
pub struct Recorder {
    /// Arrival in steps after the start, by number modulo [`REMEMBERED`]; the number is kept to
    /// tell a packet from the one that was there before it. Empty until something arrives: who only
    /// listens needs no 16 KB for it.
    arrivals: Box<[Noted]>,
    /// The first number that the next report is about.
    next: u64,
    /// One above the highest number that arrived; numbers are extended beyond 16 bits.
    end: u64,
    reports: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Noted {
    /// 0 is no number.
    number: u64,
    ticks: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// Has noted nothing.
    pub fn new() -> Self {
        Self {
            arrivals: Box::default(),
            next: 0,
            end: 0,
            reports: 0,
        }
    }

    /// Notes that the packet with this transport-wide number arrived, so long after any fixed
    /// instant. A packet that arrives after it was reported as missing is reported again; one that
    /// arrives twice counts once.
    pub fn note(&mut self, number: u16, at: Duration) {
        if self.end == 0 {
            // High enough that a packet before the first one has a positive number, too.
            self.next = (1 << 16) + u64::from(number);
            self.end = self.next;
            self.arrivals = vec![Noted::default(); REMEMBERED].into();
        }
        let delta = number.wrapping_sub(self.end as u16) as i16;
        let number = self.end.saturating_add_signed(i64::from(delta));
        let oldest = self.end.saturating_sub(REMEMBERED as u64);
        let noted = &mut self.arrivals[number as usize % REMEMBERED];
        if number < oldest || noted.number == number {
            return;
        }
        *noted = Noted {
            number,
            ticks: at.as_micros() as u64 / TICK_US,
        };
        self.end = self.end.max(number + 1);
        // A leap gives up what can no longer be told; a latecomer is told again.
        let oldest = self.end.saturating_sub(REMEMBERED as u64);
        self.next = self.next.min(number).max(oldest);
    }

    /// Whether there is something to report.
    pub fn has_news(&self) -> bool {
        self.next < self.end
    }

    /// Appends one report and says whether there was something to report; more may be left.
    pub fn append_report(&mut self, out: &mut Vec<u8>, sender: Ssrc, media: Ssrc) -> bool {
        let Some(first) = (self.next..self.end).find_map(|number| self.arrival(number)) else {
            // What is between was lost; the next arrival will say so.
            return false;
        };
        let reference = first as i64 / REFERENCE_TICKS;
        let report = self.gather(reference * REFERENCE_TICKS);
        append(out, TYPE_TRANSPORT_FEEDBACK, FORMAT_TWCC, |out| {
            append_word(out, sender.0);
            append_word(out, media.0);
            append_word(out, (self.next as u32) << 16 | report.states.len() as u32);
            append_word(out, (reference as u32) << 8 | u32::from(self.reports));
            append_chunks(out, &report.states);
            for (&state, delta) in report.states.iter().zip(&report.deltas) {
                match state {
                    State::Lost => {}
                    State::Small => out.push(*delta as u8),
                    State::Large => out.extend_from_slice(&delta.to_be_bytes()),
                }
            }
        });
        self.next += report.states.len() as u64;
        self.reports = self.reports.wrapping_add(1);
        true
    }

    fn arrival(&self, number: u64) -> Option<u64> {
        let noted = &self.arrivals[number as usize % REMEMBERED];
        (noted.number == number).then_some(noted.ticks)
    }

    /// The states of the packets from [`Self::next`] on, as far as one report can tell them.
    fn gather(&self, mut ticks: i64) -> Report {
        let mut report = Report::default();
        for number in self.next..self.end.min(self.next + REPORTED_MAX) {
            let (state, delta) = match self.arrival(number) {
                None => (State::Lost, 0),
                Some(at) => {
                    let Ok(delta) = i16::try_from(at as i64 - ticks) else {
                        break; // more than eight seconds: the next report has its own reference
                    };
                    ticks = at as i64;
                    let is_small = (0..=255).contains(&delta);
                    let state = if is_small { State::Small } else { State::Large };
                    (state, delta)
                }
            };
            report.states.push(state);
            report.deltas.push(delta);
        }
        report
    }
}

/// What a report is made of; on the stack.
#[derive(Default)]
struct Report {
    states: arrayvec::ArrayVec<State, { REPORTED_MAX as usize }>,
    deltas: arrayvec::ArrayVec<i16, { REPORTED_MAX as usize }>,
}

/// Appends the chunks that describe `states`: runs where they pay, lists of one bit each where no
/// delta is large, else lists of two bits each.
fn append_chunks(out: &mut Vec<u8>, mut states: &[State]) {
    while let Some(&state) = states.first() {
        let run = states.iter().take_while(|&&other| other == state).count();
        let has_large = states.iter().take(14).any(|&state| state == State::Large);
        let (word, len) = if run >= 14 || run == states.len() || has_large && run >= 7 {
            ((state as u16) << 13 | run as u16, run)
        } else if has_large {
            (0xc000 | list(states, 7, 2), 7)
        } else {
            (0x8000 | list(states, 14, 1), 14)
        };
        out.extend_from_slice(&word.to_be_bytes());
        states = &states[len.min(states.len())..];
    }
}

/// The first `len` states with `bits` for each, the first uppermost.
fn list(states: &[State], len: usize, bits: usize) -> u16 {
    let mut word = 0;
    for at in 0..len {
        let state = states.get(at).map_or(0, |&state| state as u16);
        word = word << bits | state;
    }
    word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Rtcp, parse_compound};
    use super::*;

    fn feedback(bytes: &[u8]) -> Feedback<'_> {
        match parse_compound(bytes).next() {
            Some(Ok(Rtcp::Twcc(feedback))) => feedback,
            other => panic!("{other:?} is no feedback"),
        }
    }

    fn packet(base: u16, count: u16, rest: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, TYPE_TRANSPORT_FEEDBACK, FORMAT_TWCC, |out| {
            append_word(out, 1);
            append_word(out, 2);
            append_word(out, u32::from(base) << 16 | u32::from(count));
            append_word(out, 2 << 8 | 9);
            out.extend_from_slice(rest);
        });
        out
    }

    #[test]
    fn all_three_kinds_of_chunk_are_read() {
        let out = packet(
            65_534,
            24,
            &[
                0x20, 0x02, // two in a row with small deltas
                0x90, 0x01, // of fourteen the third and the last
                0xe4, 0x00, // of seven the first large, the second small
                0x00, 0x01, // one lost
                4, 0, 8, 12, 0xff, 0xfc, 1,
            ],
        );
        let feedback = feedback(&out);
        assert_eq!((feedback.base, feedback.count), (65_534, 24));
        assert_eq!(feedback.number, 9);
        let found: Vec<_> = feedback
            .arrivals()
            .map(|arrival| (arrival.number, arrival.at_us))
            .collect();
        let base = 2 * 64_000;
        assert_eq!(
            found,
            [
                (65_534, base + 1_000),
                (65_535, base + 1_000),
                (1, base + 3_000), // 0x9001: bits 13-0 are 01_0000_0000_0001
                (13, base + 6_000),
                (14, base + 5_000),
                (15, base + 5_250),
            ]
        );
    }

    #[test]
    fn a_reference_before_the_clock_began_is_negative() {
        let mut out = packet(0, 1, &[0x20, 0x01, 0]);
        out[16..19].fill(0xff);
        let first = feedback(&out).arrivals().next();
        assert_eq!(
            first,
            Some(Arrival {
                number: 0,
                at_us: -64_000
            })
        );
    }

    #[test]
    fn what_promises_more_than_it_holds_is_refused() {
        for (count, rest) in [
            (1, &[][..]),                    // no chunk
            (15, &[0x80, 0, 0, 0]),          // 14 described, then a run of none, then nothing
            (4, &[0x20, 0x04, 0, 0]),        // four deltas promised
            (2, &[0x40, 0x02, 0, 0]),        // two large ones
            (9_000, &[0x3f, 0xff, 0, 0]),    // a long run without its deltas
            (u16::MAX, &[0x1f, 0xff, 0, 0]), // not enough chunks
        ] {
            let out = packet(0, count, rest);
            assert!(
                matches!(parse_compound(&out).next(), Some(Err(_))),
                "{count} {rest:?}"
            );
        }
    }

    #[test]
    fn a_long_run_of_losses_is_passed_over_at_once() {
        let chunks = [[0x1f, 0xff]; 8].concat();
        let mut rest = chunks;
        rest.extend([0x20, 0x01, 7]);
        let out = packet(0, 8 * 8_191 + 1, &rest);
        let found: Vec<_> = feedback(&out).arrivals().collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].number, 65_528);
    }

    fn report(recorder: &mut Recorder) -> Vec<Vec<(u16, i64)>> {
        let mut reports = Vec::new();
        let mut out = Vec::new();
        while recorder.append_report(&mut out, Ssrc(1), Ssrc(2)) {
            assert!(out.len() <= 1_100, "{} bytes do not fit", out.len());
            let arrivals = feedback(&out).arrivals();
            reports.push(arrivals.map(|a| (a.number, a.at_us)).collect());
            out.clear();
        }
        reports
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_arrived_is_reported_once() {
        let mut recorder = Recorder::new();
        assert!(!recorder.has_news());
        assert_eq!(report(&mut recorder), Vec::<Vec<_>>::new());
        for (number, at) in [(65_535, 100), (0, 101), (2, 99), (2, 105)] {
            recorder.note(number, ms(at));
        }
        assert!(recorder.has_news());
        let expected = vec![(65_535, 100_000), (0, 101_000), (2, 99_000)];
        assert_eq!(report(&mut recorder), [expected]);
        assert!(!recorder.has_news());
    }

    #[test]
    fn a_latecomer_is_reported_with_what_follows_it() {
        let mut recorder = Recorder::new();
        recorder.note(10, ms(1));
        recorder.note(12, ms(2));
        report(&mut recorder);
        recorder.note(11, ms(3));
        assert_eq!(report(&mut recorder), [[(11, 3_000), (12, 2_000)]]);
    }

    #[test]
    fn a_pause_beyond_a_delta_starts_another_report() {
        let mut recorder = Recorder::new();
        recorder.note(1, ms(0));
        recorder.note(2, ms(60_000));
        assert_eq!(report(&mut recorder), [[(1, 0)], [(2, 60_000_000)]]);
    }

    #[test]
    fn a_leap_is_bounded_by_what_is_remembered() {
        let mut recorder = Recorder::new();
        recorder.note(0, ms(1));
        recorder.note(30_000, ms(2));
        let reports = report(&mut recorder);
        assert_eq!(reports.concat(), [(30_000, 2_000)]);
        assert!(reports.len() <= 3);
    }

    proptest! {
        #[test]
        fn every_arrival_comes_back_at_its_time(
            start: u16,
            steps in prop::collection::vec((1_u16..40, -20_000_i64..90_000), 1..300),
        ) {
            let mut recorder = Recorder::new();
            let (mut number, mut at_us) = (start, 10_000_000_i64);
            let mut expected = Vec::new();
            for (step, later) in steps {
                number = number.wrapping_add(step);
                at_us = (at_us + later).max(0);
                let ticks = at_us / TICK_US as i64;
                expected.push((number, ticks * TICK_US as i64));
                recorder.note(number, Duration::from_micros(at_us as u64));
            }
            let first = expected[0].0;
            let oldest = number.wrapping_sub(first).saturating_sub(REMEMBERED as u16 - 1);
            expected.retain(|(number, _)| number.wrapping_sub(first) >= oldest);
            prop_assert_eq!(report(&mut recorder).concat(), expected);
        }
    }
}
