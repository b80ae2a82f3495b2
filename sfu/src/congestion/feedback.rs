//! When a publisher is told how its packets arrive.
//!
//! The arrivals themselves are kept by the [recorder](crate::rtp::rtcp::twcc::Recorder); this is
//! the clock beside it: a report leaves a tenth of a second after the first packet that it is
//! about, so a publisher that sends nothing is told nothing.

use std::time::{Duration, Instant};

use crate::rtp::rtcp::twcc::Recorder;
use crate::unit::Ssrc;

/// What browsers' estimators are tuned for; more often costs packets and gains nothing.
const INTERVAL: Duration = Duration::from_millis(100);

/// The arrivals on one transport.
#[derive(Debug)]
pub struct ArrivalFeedback {
    recorder: Recorder,
    since: Instant,
    media: Ssrc,
    due: Option<Instant>,
}

impl ArrivalFeedback {
    /// Nothing has arrived.
    pub fn new(now: Instant) -> Self {
        Self {
            recorder: Recorder::new(),
            since: now,
            media: Ssrc(0),
            due: None,
        }
    }

    /// Notes a packet with its transport-wide number. Returns whether a report has become due by
    /// it.
    pub fn note(&mut self, now: Instant, number: u16, media: Ssrc) -> bool {
        self.recorder
            .note(number, now.saturating_duration_since(self.since));
        self.media = media;
        if self.due.is_some() {
            return false;
        }
        self.due = Some(now + INTERVAL);
        true
    }

    /// When the next report is to leave.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Appends the reports that are due. `sender` is our source.
    pub fn append(&mut self, now: Instant, out: &mut Vec<u8>, sender: Ssrc) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            while self.recorder.append_report(out, sender, self.media) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::{Rtcp, parse_compound};

    #[test]
    fn a_tenth_of_a_second_is_one_report() {
        let start = crate::testing::instant();
        let mut feedback = ArrivalFeedback::new(start);
        let mut out = Vec::new();
        assert!(feedback.note(start, 65_535, Ssrc(7)));
        assert!(!feedback.note(start + Duration::from_millis(5), 1, Ssrc(7)));
        feedback.append(start + Duration::from_millis(99), &mut out, Ssrc(1));
        assert!(out.is_empty());
        feedback.append(start + INTERVAL, &mut out, Ssrc(1));
        let mut packets = parse_compound(&out);
        let Some(Ok(Rtcp::Twcc(report))) = packets.next() else {
            panic!("one report is expected");
        };
        let numbers: Vec<_> = report.arrivals().map(|arrival| arrival.number).collect();
        assert_eq!(numbers, [65_535, 1]);
        assert!(packets.next().is_none());
        assert_eq!(feedback.due(), None);
    }
}
