//! Who speaks in a room, from the levels that publishers write into their packets (RFC 6464).
//!
//! A [`VoiceMeter`] belongs to one sound and turns the levels of a window into a loudness; it is
//! active if it was loud for a good part of the window, so that a door or a cough is nobody's turn
//! to speak. Levels are smoothed and quantised, and only changes are reported: a silent room says
//! nothing. No audio is decoded for this, ever.

use std::time::Duration;

/// How often a room reports changes: what LiveKit's clients are used to.
pub const INTERVAL: Duration = Duration::from_millis(400);

/// Louder than this is speech, in -dBov: 0 is the loudest, 127 digital silence.
const LOUD: u8 = 35;

/// The share of the window that must be loud, in percent.
const LOUD_PERCENT_MIN: u32 = 40;

/// Steps of a reported level.
const STEPS: f32 = 8.0;

/// How much the newest window counts; the rest is what was before.
const SMOOTHING: f32 = 0.6;

/// One sound's loudness.
#[derive(Debug, Default)]
pub struct VoiceMeter {
    loud: Duration,
    loudest: Option<u8>,
    timestamp: Option<u32>,
    smoothed: f32,
    reported: Voice,
}

/// What is reported of a sound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Voice {
    /// 0 to 1 in steps of one eighth.
    pub level: f32,
    /// Whether this sound counts as speech.
    pub is_active: bool,
}

impl VoiceMeter {
    /// Notes a packet's level. Its duration is the distance to the packet before.
    pub fn note(&mut self, level: u8, timestamp: u32, clock_rate: u32) {
        let duration = self
            .timestamp
            .replace(timestamp)
            .map_or(PACKET, |last| span(last, timestamp, clock_rate));
        if level <= LOUD {
            self.loud += duration;
            self.loudest = Some(self.loudest.map_or(level, |loudest| loudest.min(level)));
        }
    }

    /// Ends a window. Returns what changed since the last report, if anything did.
    pub fn close_window(&mut self) -> Option<Voice> {
        let loud = std::mem::take(&mut self.loud);
        let loudest = self.loudest.take();
        let is_active = loud * 100 >= INTERVAL * LOUD_PERCENT_MIN;
        let linear = loudest
            .filter(|_| is_active)
            .map_or(0.0, |level| amplitude(level, loud));
        self.smoothed += (linear - self.smoothed) * SMOOTHING;
        if !is_active && self.smoothed < 0.5 / STEPS {
            self.smoothed = 0.0;
        }
        let voice = Voice {
            level: if is_active {
                ((self.smoothed * STEPS).ceil() / STEPS).min(1.0)
            } else {
                0.0
            },
            is_active,
        };
        (std::mem::replace(&mut self.reported, voice) != voice).then_some(voice)
    }

    /// The sound is muted or ends: a report that it fell silent, if it was not.
    pub fn silence(&mut self) -> Option<Voice> {
        let was = std::mem::take(self).reported;
        (was != Voice::default()).then_some(Voice::default())
    }

    /// What was reported last.
    pub fn reported(&self) -> Voice {
        self.reported
    }
}

/// What a packet lasts until the next one tells: browsers send 20 ms.
const PACKET: Duration = Duration::from_millis(20);
/// Longer distances are silence that was not sent, not sound.
const PACKET_MAX: Duration = Duration::from_millis(120);

fn span(last: u32, timestamp: u32, clock_rate: u32) -> Duration {
    let ticks = timestamp.wrapping_sub(last);
    if ticks as i32 <= 0 || clock_rate == 0 {
        return Duration::ZERO;
    }
    let span = Duration::from_micros(u64::from(ticks) * 1_000_000 / u64::from(clock_rate));
    if span > PACKET_MAX { PACKET } else { span }
}

/// The loudest level, lowered for the part of the window that was not loud.
fn amplitude(level: u8, loud: Duration) -> f32 {
    let share = (loud.as_secs_f32() / INTERVAL.as_secs_f32()).min(1.0);
    10_f32.powf(-f32::from(level) / 20.0) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Talk {
        meter: VoiceMeter,
        timestamp: u32,
    }

    impl Talk {
        fn new() -> Self {
            Self {
                meter: VoiceMeter::default(),
                timestamp: u32::MAX - 4000,
            }
        }

        /// One window of 20 packets, the first `loud` of them at `level`.
        fn window(&mut self, loud: usize, level: u8) -> Option<Voice> {
            for n in 0..20 {
                self.timestamp = self.timestamp.wrapping_add(960);
                let level = if n < loud { level } else { 127 };
                self.meter.note(level, self.timestamp, 48_000);
            }
            self.meter.close_window()
        }
    }

    #[test]
    fn speech_is_loud_for_two_fifths_of_the_window() {
        for (loud, level, expected) in [
            (8, 35, true),
            (7, 35, false),
            (20, 36, false),
            (20, 10, true),
        ] {
            let voice = Talk::new().window(loud, level);
            let is_active = voice.is_some_and(|voice| voice.is_active);
            assert_eq!(is_active, expected, "{loud} packets at -{level} dBov");
        }
    }

    #[test]
    fn only_changes_are_reported_and_silence_once() {
        let mut talk = Talk::new();
        assert!(talk.window(20, 10).is_some());
        for _ in 0..10 {
            talk.window(20, 10);
        }
        assert_eq!(talk.window(20, 10), None, "it goes on as it was");
        assert_eq!(talk.window(0, 0), Some(Voice::default()));
        assert_eq!(talk.window(0, 0), None);
    }

    #[test]
    fn levels_are_eighths_and_louder_is_more() {
        let level = |dbov| {
            let mut talk = Talk::new();
            for _ in 0..10 {
                talk.window(20, dbov);
            }
            talk.meter.reported().level
        };
        assert_eq!(level(0), 1.0);
        assert_eq!(level(6), 0.625);
        assert_eq!(level(30), 0.125);
        assert!(level(12) > level(24));
    }

    #[test]
    fn packets_of_sixty_milliseconds_count_for_what_they_last() {
        let mut meter = VoiceMeter::default();
        for n in 0..7 {
            meter.note(20, n * 2880, 48_000);
        }
        assert!(meter.close_window().is_some_and(|voice| voice.is_active));
    }
}
