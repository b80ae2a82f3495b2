//! How good the connection of a participant is, as he and the others feel it.
//!
//! A [`Meter`] belongs to one transport. It is told what reports say in both directions, and every
//! few seconds turns that into a score of a hundred: what is lost for good, how long a round trip
//! takes, how unevenly packets come, and whether a size of picture is missing that somebody wants.
//! The worst of the last three scores counts, so a connection becomes bad at once and good again
//! only when it has been good for a while. It is *lost* only while nothing at all is heard of the
//! peer, for clients begin anew over that.

use std::time::{Duration, Instant};

use crate::media::MediaKind;

/// What is rated at a time: browsers report pictures every second and sound every five.
const WINDOW: Duration = Duration::from_secs(3);

/// So many windows count.
const WINDOWS: usize = 3;

/// A peer that has not been heard of for so long is gone for now. Browsers check the path every two
/// and a half seconds even if they send nothing.
const SILENCE: Duration = Duration::from_secs(6);

/// A wanted size of picture may be missing for so long: senders raise their rate slowly.
const SIZE_PATIENCE: Duration = Duration::from_secs(15);

/// Fewer packets than these in a window say nothing about loss: the pauses of a quiet microphone.
const PACKETS_MIN: u32 = 20;

/// From this score on a connection is excellent.
const EXCELLENT: f32 = 80.0;
/// From this score on a connection is good.
const GOOD: f32 = 50.0;
/// What a missing size of picture leaves at most.
const SMALLER: f32 = 70.0;
/// What a picture leaves at most that is not there at all.
const MISSING: f32 = 40.0;

/// A round trip up to this is not felt in a talk (ITU-T G.114 speaks of 150 ms one way).
const ROUND_TRIP: Duration = Duration::from_millis(300);
/// Jitter up to this is swallowed by any receiver's buffer.
const JITTER: Duration = Duration::from_millis(30);

/// How good a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Nothing is heard of the peer.
    Lost,
    /// People notice, and repeat what they said.
    Poor,
    /// People may notice.
    Good,
    /// Nobody notices anything.
    Excellent,
}

/// A quality, and the score of a hundred behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rating {
    /// In words.
    pub quality: Quality,
    /// From 0, lost, to 100.
    pub score: f32,
}

impl Rating {
    /// As good as can be: what a connection begins with.
    pub const BEST: Self = Self {
        quality: Quality::Excellent,
        score: 100.0,
    };
    /// Nothing is heard.
    pub const LOST: Self = Self {
        quality: Quality::Lost,
        score: 0.0,
    };

    fn of(score: f32) -> Self {
        let quality = match score {
            _ if score >= EXCELLENT => Quality::Excellent,
            _ if score >= GOOD => Quality::Good,
            _ => Quality::Poor,
        };
        Self { quality, score }
    }
}

/// What only the owner of the meter knows, at the moment of rating.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// When the peer was last heard of in any way.
    pub heard_at: Instant,
    /// The round trip to it.
    pub round_trip: Duration,
    /// A size of picture that somebody wants of it does not come.
    pub lacks_size: bool,
    /// What does not fit of the pictures that it wishes.
    pub held_back: HeldBack,
}

/// What a peer is not sent because it does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeldBack {
    /// Everything comes as it is wished.
    #[default]
    Nothing,
    /// A picture is smaller than it could be.
    Size,
    /// A picture is missing.
    Picture,
}

/// Lost packets of those that should have come.
#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    expected: u32,
    lost: u32,
}

impl Loss {
    fn percent(self) -> f32 {
        match self.expected < PACKETS_MIN {
            true => 0.0,
            false => self.lost as f32 * 100.0 / self.expected as f32,
        }
    }
}

/// Everything that was reported in a window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    up: [Loss; 2],
    down: [Loss; 2],
    jitter: Duration,
}

/// The rating of one connection.
#[derive(Debug)]
pub struct Meter {
    window: Window,
    until: Instant,
    scores: [f32; WINDOWS],
    reported: Rating,
    smaller_since: Option<Instant>,
    /// Silence before this says nothing.
    excused_at: Instant,
}

impl Meter {
    /// Excellent until it turns out otherwise.
    pub fn new(now: Instant) -> Self {
        Self {
            window: Window::default(),
            until: now + WINDOW,
            scores: [Rating::BEST.score; WINDOWS],
            reported: Rating::BEST,
            smaller_since: None,
            excused_at: now,
        }
    }

    /// So many packets of a stream from the peer should have come since the last time, and so many
    /// of them have not, not even when asked for again.
    pub fn note_received(&mut self, kind: MediaKind, expected: u32, lost: u32, jitter: Duration) {
        let loss = &mut self.window.up[place(kind)];
        loss.expected = loss.expected.saturating_add(expected);
        loss.lost = loss.lost.saturating_add(lost);
        self.note_jitter(kind, jitter);
    }

    /// The peer says that so many packets that were sent to it since its last report should have
    /// come, and that so many of them have not.
    pub fn note_reported(&mut self, kind: MediaKind, expected: u32, lost: u32, jitter: Duration) {
        let loss = &mut self.window.down[place(kind)];
        loss.expected = loss.expected.saturating_add(expected);
        loss.lost = loss.lost.saturating_add(lost);
        self.note_jitter(kind, jitter);
    }

    /// Pictures come in bursts whatever the network does.
    fn note_jitter(&mut self, kind: MediaKind, jitter: Duration) {
        if kind == MediaKind::Audio {
            self.window.jitter = self.window.jitter.max(jitter);
        }
    }

    /// It was we who did not listen.
    pub fn excuse_silence(&mut self, now: Instant) {
        self.excused_at = now;
        self.window = Window::default();
    }

    /// To be asked every second. Returns the rating if its word has changed.
    pub fn rate(&mut self, now: Instant, given: Circumstances) -> Option<Rating> {
        let heard_at = given.heard_at.max(self.excused_at);
        if now.saturating_duration_since(heard_at) >= SILENCE {
            return self.report(Rating::LOST);
        }
        if self.reported.quality == Quality::Lost {
            // It is back; what it is worth must show.
            self.scores = [GOOD - 1.0; WINDOWS];
            self.window = Window::default();
            self.until = now + WINDOW;
        } else if now >= self.until {
            let score = self.score(now, given);
            self.scores.rotate_left(1);
            self.scores[WINDOWS - 1] = score;
            self.window = Window::default();
            self.until = now + WINDOW;
        }
        let worst = self.scores.into_iter().fold(Rating::BEST.score, f32::min);
        self.report(Rating::of(worst))
    }

    fn report(&mut self, rating: Rating) -> Option<Rating> {
        let before = std::mem::replace(&mut self.reported, rating);
        (before.quality != rating.quality).then_some(rating)
    }

    fn score(&mut self, now: Instant, given: Circumstances) -> f32 {
        let mut score = score(self.window, given.round_trip);
        if given.held_back == HeldBack::Picture {
            score = score.min(MISSING);
        }
        if !given.lacks_size && given.held_back != HeldBack::Size {
            self.smaller_since = None;
            return score;
        }
        let since = *self.smaller_since.get_or_insert(now);
        match now.saturating_duration_since(since) >= SIZE_PATIENCE {
            true => score.min(SMALLER),
            false => score,
        }
    }
}

fn place(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Audio => 0,
        MediaKind::Video => 1,
    }
}

/// A hundred, less what disturbs: four points for each percent lost, one for every ten milliseconds
/// of round trip and every two of jitter beyond what nobody feels.
fn score(window: Window, round_trip: Duration) -> f32 {
    let losses = window.up.into_iter().chain(window.down);
    let loss = losses.map(Loss::percent).fold(0.0, f32::max);
    let beyond = |span: Duration, free: Duration| span.saturating_sub(free).as_secs_f32() * 1e3;
    let delay = beyond(round_trip, ROUND_TRIP) / 10.0;
    let unevenness = beyond(window.jitter, JITTER) / 2.0;
    (100.0 - loss * 4.0 - delay - unevenness).clamp(1.0, 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        start: Instant,
        meter: Meter,
        second: u64,
        round_trip: Duration,
        lacks_size: bool,
        held_back: HeldBack,
        heard: u64,
    }

    impl Bench {
        fn new() -> Self {
            let start = crate::testing::instant();
            Self {
                start,
                meter: Meter::new(start),
                second: 0,
                round_trip: Duration::from_millis(50),
                lacks_size: false,
                held_back: HeldBack::Nothing,
                heard: 0,
            }
        }

        /// So many seconds in which so many percent are lost. Returns what was reported, and when.
        fn run(&mut self, seconds: u64, percent: u32) -> Vec<(u64, Quality)> {
            let mut reported = Vec::new();
            for _ in 0..seconds {
                self.second += 1;
                self.heard = self.second;
                self.meter
                    .note_received(MediaKind::Audio, 50, percent / 2, Duration::ZERO);
                reported.extend(self.rate());
            }
            reported
        }

        fn rate(&mut self) -> Option<(u64, Quality)> {
            let at = |second| self.start + Duration::from_secs(second);
            let given = Circumstances {
                heard_at: at(self.heard),
                round_trip: self.round_trip,
                lacks_size: self.lacks_size,
                held_back: self.held_back,
            };
            let rating = self.meter.rate(at(self.second), given)?;
            Some((self.second, rating.quality))
        }

        fn silence(&mut self, seconds: u64) -> Vec<(u64, Quality)> {
            let rate = |_| {
                self.second += 1;
                self.rate()
            };
            (0..seconds).filter_map(rate).collect()
        }
    }

    #[test]
    fn what_does_not_fit_is_felt_a_missing_picture_soon_and_a_small_one_later() {
        let mut bench = Bench::new();
        bench.run(10, 0);
        bench.held_back = HeldBack::Picture;
        let said = bench.run(4, 0);
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0].1, Quality::Poor);
        bench.held_back = HeldBack::Size;
        let said = bench.run(40, 0);
        assert_eq!(
            said.last().map(|one| one.1),
            Some(Quality::Good),
            "{said:?}"
        );
        bench.held_back = HeldBack::Nothing;
        let said = bench.run(15, 0);
        assert_eq!(said.last().map(|one| one.1), Some(Quality::Excellent));
    }

    #[test]
    fn a_good_connection_says_nothing() {
        let mut bench = Bench::new();
        assert_eq!(bench.run(600, 0), []);
        assert_eq!(bench.run(600, 2), [], "two percent are not heard");
    }

    #[test]
    fn it_becomes_bad_at_once_and_good_again_after_a_while() {
        let mut bench = Bench::new();
        bench.run(9, 0);
        assert_eq!(bench.run(6, 8), [(12, Quality::Good)]);
        assert_eq!(bench.run(6, 20), [(18, Quality::Poor)]);
        let again = bench.run(60, 0);
        assert_eq!(again, [(30, Quality::Excellent)]);
    }

    #[test]
    fn a_connection_on_the_edge_does_not_flicker() {
        let mut bench = Bench::new();
        let mut reported = Vec::new();
        for _ in 0..50 {
            reported.extend(bench.run(3, 4));
            reported.extend(bench.run(3, 6));
        }
        assert_eq!(reported, [(6, Quality::Good)]);
    }

    #[test]
    fn only_silence_is_a_loss_and_it_ends_with_the_first_sign_of_life() {
        let mut bench = Bench::new();
        assert!(
            bench
                .run(30, 100)
                .iter()
                .all(|(_, quality)| *quality == Quality::Poor)
        );
        bench.run(30, 0);
        let silence = bench.silence(5);
        assert_eq!(silence, [], "five seconds may be nothing at all");
        assert_eq!(bench.silence(60), [(66, Quality::Lost)]);
        let back = bench.run(20, 0);
        assert_eq!(
            back,
            [(126, Quality::Poor), (135, Quality::Excellent)],
            "what it is worth must show"
        );
    }

    #[test]
    fn our_own_standstill_is_nobodys_loss() {
        let mut bench = Bench::new();
        bench.run(9, 0);
        bench.second += 30;
        let now = bench.start + Duration::from_secs(bench.second);
        bench.meter.excuse_silence(now);
        assert_eq!(bench.silence(5), []);
    }

    #[test]
    fn a_long_way_is_felt() {
        let mut bench = Bench::new();
        bench.round_trip = Duration::from_millis(450);
        assert_eq!(bench.run(12, 0), []);
        bench.round_trip = Duration::from_millis(700);
        assert_eq!(bench.run(12, 0), [(15, Quality::Good)]);
        bench.round_trip = Duration::from_millis(1_200);
        assert_eq!(bench.run(12, 0), [(27, Quality::Poor)]);
    }

    #[test]
    fn a_missing_size_is_felt_if_it_stays_away() {
        let mut bench = Bench::new();
        bench.lacks_size = true;
        assert_eq!(bench.run(60, 0), [(18, Quality::Good)]);
        bench.lacks_size = false;
        assert_eq!(bench.run(60, 0), [(69, Quality::Excellent)]);
    }

    #[test]
    fn the_worse_direction_and_the_worse_kind_count() {
        let jitter = Duration::from_millis(10);
        let rated = |note: &dyn Fn(&mut Meter)| {
            let mut bench = Bench::new();
            note(&mut bench.meter);
            bench.run(3, 0).first().map(|(_, quality)| *quality)
        };
        let received = |meter: &mut Meter| {
            meter.note_received(MediaKind::Video, 1_000, 0, jitter);
            meter.note_received(MediaKind::Audio, 150, 45, jitter);
        };
        assert_eq!(rated(&received), Some(Quality::Poor));
        let reported = |meter: &mut Meter| {
            meter.note_reported(MediaKind::Video, 500, 0, jitter);
            meter.note_reported(MediaKind::Audio, 250, 25, jitter);
        };
        assert_eq!(rated(&reported), Some(Quality::Good));
        let uneven = |meter: &mut Meter| {
            meter.note_reported(MediaKind::Audio, 250, 0, Duration::from_millis(90));
        };
        assert_eq!(rated(&uneven), Some(Quality::Good));
        let quiet = |meter: &mut Meter| meter.note_received(MediaKind::Video, 7, 3, jitter);
        assert_eq!(rated(&quiet), None, "three packets say nothing");
    }
}
