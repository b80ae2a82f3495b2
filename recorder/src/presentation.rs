//! When a frame was taken, on the recording's clock: all senders on one time.
//!
//! Senders stamp media with clocks of their own. A sender report ties a source's RTP time to its
//! sender's wall clock; the fastest reports of each minute tie that wall clock to ours (the path's
//! least delay is in it, the same for all tracks of a sender, so lips stay with voices). Where no
//! report came, or reports lie by more than half a second, the packets' own arrival is the measure.
//! It is fed with a whole recording first and asked afterwards; nothing here is a guess about what
//! is to come.

use std::collections::BTreeMap;

use crate::depacketize::Unwrap;

/// Offsets between two clocks are taken as constant for so long: 50 ppm of drift are 3 ms.
const SPAN_US: u64 = 60_000_000;

/// Reports that disagree with arrival by more are wrong (a phone that slept, a call that was held).
const DISAGREEMENT_US: i64 = 500_000;

/// Names a source within a recording: track number and SSRC.
pub type Source = (u16, u32);

#[derive(Clone, Copy, Debug)]
struct Report {
    /// RTP time, unwrapped as the packets are.
    rtp: u64,
    ntp_us: u64,
}

#[derive(Debug, Default)]
struct Stream {
    participant: u16,
    clock_rate: u32,
    timestamp: Unwrap,
    reports: Vec<Report>,
    /// Least of arrival minus RTP time in each span of arrival.
    direct: Envelope,
}

/// The least value of each span of time.
#[derive(Debug, Default)]
struct Envelope(BTreeMap<u64, i64>);

impl Envelope {
    fn add(&mut self, at_us: u64, value: i64) {
        let least = self.0.entry(at_us / SPAN_US).or_insert(value);
        *least = value.min(*least);
    }

    /// The value at a time, on straight lines between the middles of spans.
    fn at(&self, at_us: u64) -> Option<i64> {
        let middle = |span: u64| (span * SPAN_US + SPAN_US / 2) as i64;
        let at = at_us as i64;
        let span = (at_us.saturating_sub(SPAN_US / 2)) / SPAN_US;
        let before = self.0.range(..=span).next_back();
        let after = self.0.range(span + 1..).next();
        match (before, after) {
            (Some((&a, &low)), Some((&b, &high))) => {
                let (from, until) = (middle(a), middle(b));
                let share = (at.clamp(from, until) - from) as i128;
                Some(low + ((high - low) as i128 * share / (until - from) as i128) as i64)
            }
            (Some((_, &value)), None) | (None, Some((_, &value))) => Some(value),
            (None, None) => None,
        }
    }
}

/// The clocks of all senders of a recording.
#[derive(Debug, Default)]
pub struct Presentation {
    streams: BTreeMap<Source, Stream>,
    /// Least of arrival minus sender's wall clock, by participant.
    senders: BTreeMap<u16, Envelope>,
}

impl Presentation {
    /// Takes in a packet of a source.
    pub fn packet(
        &mut self,
        source: Source,
        participant: u16,
        clock_rate: u32,
        rtp: u32,
        arrival_us: u64,
    ) {
        let stream = self.streams.entry(source).or_default();
        stream.participant = participant;
        stream.clock_rate = clock_rate.max(1);
        let rtp = stream.timestamp.next(u64::from(rtp), 32);
        let offset = arrival_us as i64 - ticks_us(rtp, stream.clock_rate) as i64;
        stream.direct.add(arrival_us, offset);
    }

    /// Takes in a sender report of a source whose packets have begun; others say nothing yet.
    pub fn report(&mut self, source: Source, ntp: u64, rtp: u32, arrival_us: u64) {
        let Some(stream) = self.streams.get_mut(&source) else {
            return;
        };
        let ntp_us = ((u128::from(ntp) * 1_000_000) >> 32) as u64;
        let rtp = stream.timestamp.next(u64::from(rtp), 32);
        stream.reports.push(Report { rtp, ntp_us });
        let offset = arrival_us as i64 - ntp_us as i64;
        self.senders
            .entry(stream.participant)
            .or_default()
            .add(arrival_us, offset);
    }

    /// When what has this RTP time (unwrapped, as [`crate::depacketize::Frame`] has it) and arrived
    /// then was taken, microseconds since the start of the recording.
    pub fn time(&self, source: Source, rtp: u64, arrival_us: u64) -> u64 {
        let Some(stream) = self.streams.get(&source) else {
            return arrival_us;
        };
        let direct = stream
            .direct
            .at(arrival_us)
            .map_or(arrival_us as i64, |offset| {
                ticks_us(rtp, stream.clock_rate) as i64 + offset
            });
        let agreed = self
            .by_reports(stream, rtp, arrival_us)
            .filter(|time| (time - direct).abs() <= DISAGREEMENT_US);
        let time = agreed.unwrap_or(direct);
        // RTP time that jumped by itself (a call that was held) is put where it arrived.
        if (time - arrival_us as i64).abs() > 10 * DISAGREEMENT_US {
            return arrival_us;
        }
        time.max(0) as u64
    }

    fn by_reports(&self, stream: &Stream, rtp: u64, arrival_us: u64) -> Option<i64> {
        let at = stream.reports.partition_point(|report| report.rtp <= rtp);
        let report = stream.reports.get(at.saturating_sub(1))?;
        let ahead = rtp as i64 - report.rtp as i64;
        let ahead_us = (i128::from(ahead) * 1_000_000 / i128::from(stream.clock_rate)) as i64;
        let offset = self.senders.get(&stream.participant)?.at(arrival_us)?;
        Some(report.ntp_us as i64 + ahead_us + offset)
    }
}

fn ticks_us(ticks: u64, clock_rate: u32) -> u64 {
    (u128::from(ticks) * 1_000_000 / u128::from(clock_rate)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: Source = (1, 10);
    const AUDIO: Source = (2, 20);

    fn ntp(us: u64) -> u64 {
        ((u128::from(us) << 32) / 1_000_000) as u64
    }

    /// Ten minutes of a sender whose clock runs 100 ppm fast and whose packets take 40 to 90 ms.
    fn call(with_reports: bool) -> Presentation {
        let mut clocks = Presentation::default();
        for step in 0..30_000_u64 {
            let taken = 1_000_000 + step * 20_000;
            let sender = 5_000_000_000 + taken + taken / 10_000;
            let arrival = taken + 40_000 + step * 7919 % 50_000;
            let rtp = |rate: u64| (sender * rate / 1_000_000) as u32;
            clocks.packet(AUDIO, 1, 48_000, rtp(48_000), arrival);
            clocks.packet(
                VIDEO,
                1,
                90_000,
                rtp(90_000).wrapping_add(77),
                arrival + 30_000,
            );
            if with_reports && step % 100 == 0 {
                clocks.report(AUDIO, ntp(sender), rtp(48_000), arrival);
                clocks.report(VIDEO, ntp(sender), rtp(90_000).wrapping_add(77), arrival);
            }
        }
        clocks
    }

    /// How far the presentation is from the moment of taking, at least and at most. The least delay is
    /// 40 ms; at the ends of the call half a span of drift is not made good (6 ms at 100 ppm).
    fn errors(clocks: &Presentation, source: Source, rate: u64, extra: u32) -> (i64, i64) {
        let mut unwrap = Unwrap::default();
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        for step in 0..30_000_u64 {
            let taken = 1_000_000 + step * 20_000;
            let sender = 5_000_000_000 + taken + taken / 10_000;
            let rtp = ((sender * rate / 1_000_000) as u32).wrapping_add(extra);
            let rtp = unwrap.next(u64::from(rtp), 32);
            let error = clocks.time(source, rtp, taken + 60_000) as i64 - taken as i64;
            (least, most) = (least.min(error), most.max(error));
        }
        (least, most)
    }

    #[test]
    fn sound_and_picture_of_a_sender_stay_together_for_as_long_as_it_takes() {
        let clocks = call(true);
        let audio = errors(&clocks, AUDIO, 48_000, 0);
        let video = errors(&clocks, VIDEO, 90_000, 77);
        for (least, most) in [audio, video] {
            assert!(
                least > 33_000 && most < 56_000,
                "least delay of the path: {least} to {most}"
            );
        }
        assert!((audio.0 - video.0).abs() < 1_000 && (audio.1 - video.1).abs() < 1_000);
    }

    #[test]
    fn without_reports_arrival_is_the_measure() {
        let clocks = call(false);
        let (least, most) = errors(&clocks, AUDIO, 48_000, 0);
        assert!(least > 33_000 && most < 56_000, "{least} to {most}");
    }

    #[test]
    fn a_report_that_lies_is_not_believed() {
        let mut clocks = call(false);
        clocks.report(AUDIO, ntp(1), 12_345, 2_000_000);
        let (least, most) = errors(&clocks, AUDIO, 48_000, 0);
        assert!(least > 33_000 && most < 56_000, "{least} to {most}");
    }

    #[test]
    fn an_unknown_source_is_placed_where_it_arrived() {
        assert_eq!(Presentation::default().time(VIDEO, 1, 42), 42);
    }
}
