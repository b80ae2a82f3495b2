//! The sound of all participants as one: decoded, put on the recording's clock, summed, encoded.
//!
//! Every voice is laid at the times its frames were taken at. Small holes are concealed by the
//! decoder; longer ones (mute, no consent, nobody there) are silence, and nothing is invented in them.
//! Clocks that drift are followed by stretching a frame by a sample or two. What is too loud
//! together is turned down before it clips, by a limiter that sees it coming.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};

use opus::{Application, Bitrate, Channels, Decoder, Encoder};
use sfu::rtp::codec::opus::duration;

use crate::container::ogg::OggOpus;

/// Samples a second, of every voice and of the sum.
pub const RATE: u64 = 48_000;

/// A hole that the decoder is asked to conceal; what is longer is silence.
const CONCEALED_MAX: u64 = RATE * 120 / 1000;

/// A voice that is further ahead of its clock than this loses frames until the clock has caught up.
const AHEAD_MAX: u64 = RATE / 10;

/// Differences below this are left alone: nobody hears a millisecond.
const DRIFT_MIN: u64 = RATE / 1000;

/// Nothing is laid further back than this behind the frame that came last.
const SETTLED: u64 = RATE / 5;

/// Voices begin and end within 2.5 ms, so that they do not click.
const FADE: usize = 120;

/// Samples of a frame of ours: 20 ms.
const FRAME: usize = 960;

/// Samples that the limiter looks at together: 5 ms.
const BLOCK: usize = 240;

/// The loudest sample that is let through.
const CEILING: f32 = 0.97;

/// The sum comes back by so much in each block: from half to full in a quarter of a second.
const RELEASE: f32 = 0.01;

/// Bytes of an Opus packet at most (RFC 6716 section 3.2.1, one frame).
const PACKET_BYTES_MAX: usize = 1_275;

/// What became of the sound on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Frames that were decoded.
    pub frames: u64,
    /// Frames that were concealed.
    pub concealed: u64,
    /// Frames that no decoder takes.
    pub undecodable: u64,
    /// Frames that came when their time was over.
    pub late: u64,
}

/// Mixes and encodes.
pub struct Mixdown<W> {
    voices: BTreeMap<u16, Voice>,
    sum: Sum,
    limiter: Limiter,
    /// What the limiter has let through and is no whole frame yet.
    ready: Vec<f32>,
    encoder: Encoder,
    out: OggOpus<W>,
    skip: u64,
    encoded: u64,
    heard: Heard,
}

impl<W> std::fmt::Debug for Mixdown<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mixdown({} voices)", self.voices.len())
    }
}

fn broken(error: opus::Error) -> io::Error {
    io::Error::other(error)
}

fn layout(channels: u8) -> Channels {
    match channels {
        1 => Channels::Mono,
        _ => Channels::Stereo,
    }
}

impl<W: Write> Mixdown<W> {
    /// Begins a file with one or two channels.
    pub fn begin(out: W, channels: u8) -> io::Result<Self> {
        let mut encoder =
            Encoder::new(RATE as u32, layout(channels), Application::Audio).map_err(broken)?;
        let bitrate = 32_000 + 32_000 * i32::from(channels);
        encoder
            .set_bitrate(Bitrate::Bits(bitrate))
            .map_err(broken)?;
        let skip = encoder.get_lookahead().map_err(broken)?;
        let skip = u16::try_from(skip).map_err(io::Error::other)?;
        Ok(Self {
            voices: BTreeMap::new(),
            sum: Sum::new(usize::from(channels)),
            limiter: Limiter::new(),
            ready: Vec::new(),
            encoder,
            out: OggOpus::begin(out, channels, skip)?,
            skip: u64::from(skip),
            encoded: 0,
            heard: Heard::default(),
        })
    }

    /// Lays a packet of a voice at its time. Times rise over all voices.
    pub fn frame(&mut self, voice: u16, time_us: u64, packet: &[u8]) -> io::Result<()> {
        self.pass(time_us)?;
        let channels = self.sum.channels;
        let voice = match self.voices.entry(voice) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(Voice::new(channels)?),
        };
        voice.frame(samples(time_us), packet, &mut self.sum, &mut self.heard);
        Ok(())
    }

    /// A voice that says nothing more.
    pub fn end(&mut self, voice: u16) {
        if let Some(mut voice) = self.voices.remove(&voice) {
            voice.pause(&mut self.sum);
        }
    }

    /// It is this late: what lies well before will not change, and is encoded.
    pub fn pass(&mut self, time_us: u64) -> io::Result<()> {
        let now = samples(time_us);
        for voice in self.voices.values_mut() {
            if voice.is_over(now) {
                voice.pause(&mut self.sum);
            }
        }
        self.settle(now.saturating_sub(SETTLED))
    }

    /// Writes what is left, up to the end of the recording or of the last voice, and gives the
    /// output back.
    pub fn finish(mut self, end_us: u64) -> io::Result<(W, Heard)> {
        for voice in self.voices.values_mut() {
            voice.pause(&mut self.sum);
        }
        let end = samples(end_us).max(self.sum.end());
        self.settle(end + BLOCK as u64)?;
        // The limiter holds a block back, the encoder some samples; silence drives both out.
        while self.encoded < self.skip + end {
            self.limit(&vec![0.0; BLOCK * self.sum.channels])?;
        }
        let out = self.out.finish(self.skip + end)?;
        Ok((out, self.heard))
    }

    fn settle(&mut self, until: u64) -> io::Result<()> {
        while self.sum.base + BLOCK as u64 <= until {
            let block = self.sum.take(BLOCK);
            self.limit(&block)?;
        }
        Ok(())
    }

    fn limit(&mut self, block: &[f32]) -> io::Result<()> {
        let channels = self.sum.channels;
        self.limiter.push(block, channels, &mut self.ready);
        let frame = FRAME * channels;
        if self.ready.len() < frame {
            return Ok(());
        }
        let mut packet = [0; PACKET_BYTES_MAX];
        let len = self
            .encoder
            .encode_float(&self.ready[..frame], &mut packet)
            .map_err(broken)?;
        self.ready.drain(..frame);
        self.encoded += FRAME as u64;
        self.out.packet(&packet[..len], FRAME as u64)
    }
}

fn samples(time_us: u64) -> u64 {
    time_us * (RATE / 1000) / 1000
}

/// One voice: its decoder, and how far it has been laid.
struct Voice {
    decoder: Decoder,
    channels: usize,
    /// Where its next sample goes; `None` while it is silent.
    head: Option<u64>,
    /// The last samples before `head`, held back because they may have to fade.
    tail: Vec<f32>,
    is_rising: bool,
}

impl Voice {
    fn new(channels: usize) -> io::Result<Self> {
        let decoder = Decoder::new(RATE as u32, layout(channels as u8)).map_err(broken)?;
        Ok(Self {
            decoder,
            channels,
            head: None,
            tail: Vec::new(),
            is_rising: true,
        })
    }

    fn is_over(&self, now: u64) -> bool {
        self.head.is_some_and(|head| head + CONCEALED_MAX < now)
    }

    fn frame(&mut self, at: u64, packet: &[u8], sum: &mut Sum, heard: &mut Heard) {
        let Ok(len) = duration(packet) else {
            heard.undecodable += 1;
            return;
        };
        let len = u64::from(len);
        if self.is_over(at) {
            self.pause(sum);
        }
        let head = *self.head.get_or_insert(at);
        if at >= head + len / 2 {
            self.conceal((at - head + len / 2) / len, len, packet, sum, heard);
        }
        let head = self.head.expect("it was put there above");
        let mut sound = match self.decode(packet, len, false) {
            Some(sound) => {
                heard.frames += 1;
                sound
            }
            None => {
                heard.undecodable += 1;
                self.decode(&[], len, false).unwrap_or_default()
            }
        };
        if head > at + AHEAD_MAX || head < sum.base {
            heard.late += 1;
            return;
        }
        if head.abs_diff(at) > DRIFT_MIN {
            let by = (len / 480).max(1) as usize;
            let frames = sound.len() / self.channels;
            let to = if at > head { frames + by } else { frames - by };
            sound = stretched(&sound, self.channels, to);
        }
        self.lay(&sound, sum);
    }

    /// So many frames of `len` samples are missing. The one right before `next` may be in it once more.
    fn conceal(&mut self, missing: u64, len: u64, next: &[u8], sum: &mut Sum, heard: &mut Heard) {
        for left in (0..missing).rev() {
            let sound = match left {
                0 => self.decode(next, len, true),
                _ => self.decode(&[], len, false),
            };
            heard.concealed += 1;
            let silence = || vec![0.0; len as usize * self.channels];
            let sound = sound.unwrap_or_else(silence);
            self.lay(&sound, sum);
        }
    }

    fn decode(&mut self, packet: &[u8], len: u64, is_before: bool) -> Option<Vec<f32>> {
        let mut sound = vec![0.0; len as usize * self.channels];
        let decoded = self.decoder.decode_float(packet, &mut sound, is_before);
        let frames = decoded.ok()?;
        sound.truncate(frames * self.channels);
        Some(sound)
    }

    /// Puts samples behind those before.
    fn lay(&mut self, sound: &[f32], sum: &mut Sum) {
        let head = self.head.expect("it speaks");
        let from = head - (self.tail.len() / self.channels) as u64;
        let mut all = std::mem::take(&mut self.tail);
        all.extend_from_slice(sound);
        if std::mem::take(&mut self.is_rising) {
            fade(&mut all, self.channels, |at| at);
        }
        let held = (FADE * self.channels).min(all.len());
        self.tail = all.split_off(all.len() - held);
        sum.add(from, &all);
        self.head = Some(head + (sound.len() / self.channels) as u64);
    }

    /// Falls silent.
    fn pause(&mut self, sum: &mut Sum) {
        let Some(head) = self.head.take() else {
            return;
        };
        let mut tail = std::mem::take(&mut self.tail);
        fade(&mut tail, self.channels, |at| 1.0 - at);
        sum.add(head - (tail.len() / self.channels) as u64, &tail);
        self.is_rising = true;
    }
}

/// Turns the first samples up or down; `gain` is asked with the way gone, 0 to 1.
fn fade(sound: &mut [f32], channels: usize, gain: impl Fn(f32) -> f32) {
    for (at, sample) in sound.iter_mut().take(FADE * channels).enumerate() {
        *sample *= gain((at / channels) as f32 / FADE as f32);
    }
}

/// The same sound in another number of samples, on straight lines between them.
fn stretched(sound: &[f32], channels: usize, to: usize) -> Vec<f32> {
    let frames = sound.len() / channels;
    if frames < 2 || to < 2 {
        return sound.to_vec();
    }
    let step = (frames - 1) as f32 / (to - 1) as f32;
    let mut out = Vec::with_capacity(to * channels);
    for at in 0..to {
        let place = at as f32 * step;
        let before = (place as usize).min(frames - 2);
        let share = place - before as f32;
        for channel in 0..channels {
            let [a, b] = [before, before + 1].map(|frame| sound[frame * channels + channel]);
            out.push(a + (b - a) * share);
        }
    }
    out
}

/// The sum of all voices from the first sample on that may still change.
#[derive(Debug)]
struct Sum {
    channels: usize,
    base: u64,
    samples: VecDeque<f32>,
}

impl Sum {
    fn new(channels: usize) -> Self {
        Self {
            channels,
            base: 0,
            samples: VecDeque::new(),
        }
    }

    fn end(&self) -> u64 {
        self.base + (self.samples.len() / self.channels) as u64
    }

    /// Adds samples at a place; what lies before the base is gone.
    fn add(&mut self, at: u64, sound: &[f32]) {
        let skipped = self.base.saturating_sub(at) as usize * self.channels;
        let sound = sound.get(skipped..).unwrap_or_default();
        let from = at.saturating_sub(self.base) as usize * self.channels;
        if self.samples.len() < from + sound.len() {
            self.samples.resize(from + sound.len(), 0.0);
        }
        for (sum, sample) in self.samples.range_mut(from..).zip(sound) {
            *sum += sample;
        }
    }

    fn take(&mut self, frames: usize) -> Vec<f32> {
        let wanted = frames * self.channels;
        let there = wanted.min(self.samples.len());
        let mut taken: Vec<f32> = self.samples.drain(..there).collect();
        taken.resize(wanted, 0.0);
        self.base += frames as u64;
        taken
    }
}

/// Turns down what is too loud. It holds one block back, so that it turns down before.
#[derive(Debug)]
struct Limiter {
    held: Option<Vec<f32>>,
    gain: f32,
}

impl Limiter {
    fn new() -> Self {
        Self {
            held: None,
            gain: 1.0,
        }
    }

    fn push(&mut self, block: &[f32], channels: usize, out: &mut Vec<f32>) {
        let Some(held) = self.held.replace(block.to_vec()) else {
            return;
        };
        let (now, next) = (wanted_gain(&held), wanted_gain(block));
        // At the end of the held block the gain must do for the next one, and all through it for it.
        let until = (self.gain + RELEASE).min(1.0).min(now).min(next);
        let from = self.gain.min(now);
        let frames = held.len() / channels;
        for (at, sample) in held.iter().enumerate() {
            let way = (at / channels) as f32 / frames as f32;
            out.push(sample * (from + (until - from) * way));
        }
        self.gain = until;
    }
}

fn wanted_gain(block: &[f32]) -> f32 {
    let peak = block
        .iter()
        .fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    if peak > CEILING { CEILING / peak } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::ogg::tests::packets;

    /// Someone who says one tone: packets of 20 ms, encoded in one piece.
    pub(super) fn tone(hz: f32, level: f32, packets: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip).expect("is made");
        let sample = |at: usize| level * (std::f32::consts::TAU * hz * at as f32 / 48_000.0).sin();
        (0..packets)
            .map(|packet| {
                let sound: Vec<f32> = (0..960).map(|at| sample(packet * 960 + at)).collect();
                encoder.encode_vec_float(&sound, 1_275).expect("is sound")
            })
            .collect()
    }

    fn decoded(file: &[u8], channels: usize) -> Vec<f32> {
        let (packets, end) = packets(file);
        let mut decoder = Decoder::new(48_000, layout(channels as u8)).expect("is made");
        let mut sound = Vec::new();
        for packet in packets {
            let mut frame = vec![0.0; 5_760 * channels];
            let len = decoder.decode_float(&packet, &mut frame, false);
            sound.extend_from_slice(&frame[..len.expect("is ours") * channels]);
        }
        let skip = 312 * channels;
        sound[skip..end as usize * channels].to_vec()
    }

    /// How much of a frequency is in a piece of sound: the level of a tone.
    fn level(sound: &[f32], hz: f64) -> f64 {
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (at, sample) in sound.iter().enumerate() {
            let way = std::f64::consts::TAU * hz * at as f64 / 48_000.0;
            sine += f64::from(*sample) * way.sin();
            cosine += f64::from(*sample) * way.cos();
        }
        2.0 * sine.hypot(cosine) / sound.len() as f64
    }

    /// The strongest frequency, to two Hertz.
    fn loudest(sound: &[f32]) -> f64 {
        // Half a second tells two Hertz apart.
        let sound = &sound[sound.len() - sound.len().min(24_000)..];
        let all = (50..500).map(|half| f64::from(half) * 2.0);
        all.max_by(|a, b| level(sound, *a).total_cmp(&level(sound, *b)))
            .expect("there are some")
    }

    fn rms(sound: &[f32]) -> f32 {
        (sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len() as f32).sqrt()
    }

    fn seconds(sound: &[f32], from: f32, until: f32) -> &[f32] {
        &sound[(from * 48_000.0) as usize..(until * 48_000.0) as usize]
    }

    #[test]
    fn voices_keep_their_tones_and_their_times() {
        let mut mix = Mixdown::begin(Vec::new(), 1).expect("in memory");
        let (li, wang) = (tone(440.0, 0.3, 150), tone(700.0, 0.3, 150));
        // Li from 1.0 to 4.0 s, Wang from 2.0 to 5.0 s, both with packets that are not in step.
        for step in 0..200_u64 {
            let now = 1_000_000 + step * 20_000;
            if let Some(packet) = li.get(step as usize) {
                mix.frame(1, now, packet).expect("in memory");
            }
            if let Some(packet) = step.checked_sub(50).and_then(|at| wang.get(at as usize)) {
                mix.frame(2, now + 7_000, packet).expect("in memory");
            }
        }
        let (file, heard) = mix.finish(6_000_000).expect("in memory");
        assert_eq!((heard.frames, heard.concealed, heard.late), (300, 0, 0));
        let sound = decoded(&file, 1);
        assert_eq!(sound.len(), 6 * 48_000);
        assert!((loudest(seconds(&sound, 1.1, 1.9)) - 440.0).abs() <= 4.0);
        assert!((loudest(seconds(&sound, 4.2, 4.9)) - 700.0).abs() <= 4.0);
        let both = seconds(&sound, 2.2, 3.8);
        for hz in [440.0, 700.0] {
            assert!((0.2..0.4).contains(&level(both, hz)), "{}", level(both, hz));
        }
        assert!(rms(seconds(&sound, 0.0, 0.95)) < 0.001, "nobody yet");
        assert!(rms(seconds(&sound, 5.1, 6.0)) < 0.001, "nobody any more");
        // Where Li begins and Wang ends, to 20 ms.
        assert!(rms(seconds(&sound, 0.96, 0.99)) < 0.01);
        assert!(rms(seconds(&sound, 1.02, 1.04)) > 0.05);
        assert!(rms(seconds(&sound, 4.97, 5.0)) > 0.05);
    }

    #[test]
    fn a_lost_packet_is_concealed_and_a_mute_is_silence() {
        let mut mix = Mixdown::begin(Vec::new(), 1).expect("in memory");
        for (step, packet) in (0_u64..).zip(tone(440.0, 0.5, 200)) {
            // Three packets of every fifty are lost; nothing is said from 2.0 to 3.0 s.
            if step % 50 / 3 != 8 && !(100..150).contains(&step) {
                mix.frame(1, step * 20_000, &packet).expect("in memory");
            }
        }
        let (file, heard) = mix.finish(4_000_000).expect("in memory");
        assert_eq!(heard.concealed, 9);
        let sound = decoded(&file, 1);
        assert!(rms(seconds(&sound, 0.48, 0.53)) > 0.15, "concealed");
        assert!(rms(seconds(&sound, 2.05, 2.95)) < 0.001, "silence");
        assert!((loudest(seconds(&sound, 3.1, 3.9)) - 440.0).abs() <= 4.0);
    }

    #[test]
    fn a_clock_that_drifts_is_followed_without_a_break() {
        let mut mix = Mixdown::begin(Vec::new(), 1).expect("in memory");
        // 500 ppm: after a minute 30 ms, more than a frame.
        for (step, packet) in (0_u64..).zip(tone(440.0, 0.5, 3_000)) {
            let at = step * 20_000;
            mix.frame(1, at + at / 2_000, &packet).expect("in memory");
        }
        let (file, heard) = mix.finish(60_000_000).expect("in memory");
        assert_eq!((heard.concealed, heard.late), (0, 0));
        let sound = decoded(&file, 1);
        assert!(rms(seconds(&sound, 59.98, 60.02)) > 0.1, "{}", sound.len());
        assert!((loudest(seconds(&sound, 30.0, 31.0)) - 440.0).abs() <= 4.0);
        let quietest = (1..590)
            .map(|at| at as f32 / 10.0)
            .map(|at| rms(seconds(&sound, at, at + 0.02)));
        assert!(quietest.fold(1.0, f32::min) > 0.25);
    }

    #[test]
    fn eight_who_shout_do_not_clip() {
        let mut mix = Mixdown::begin(Vec::new(), 2).expect("in memory");
        let voices: Vec<_> = (0..8_u16)
            .map(|n| tone(300.0 + 50.0 * f32::from(n), 0.9, 100))
            .collect();
        for step in 0..100 {
            for (number, voice) in (0..).zip(&voices) {
                mix.frame(number, step as u64 * 20_000, &voice[step])
                    .expect("in memory");
            }
        }
        let (file, _) = mix.finish(2_000_000).expect("in memory");
        let sound = decoded(&file, 2);
        let peak = sound
            .iter()
            .fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        // The encoder may overshoot what it was given a little.
        assert!((0.7..1.1).contains(&peak), "{peak}");
        assert!(rms(&sound[48_000..144_000]) > 0.2);
    }

    #[test]
    fn the_limiter_never_lets_more_through() {
        let mut limiter = Limiter::new();
        let mut out = Vec::new();
        let mut state = 1_u32;
        for block in 0..400 {
            let loud = [0.1, 3.0, 0.9, 8.0][block / 7 % 4];
            let sound: Vec<f32> = (0..BLOCK)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    loud * (state as f32 / u32::MAX as f32 * 2.0 - 1.0)
                })
                .collect();
            limiter.push(&sound, 1, &mut out);
        }
        assert_eq!(out.len(), 399 * BLOCK);
        assert!(out.iter().all(|sample| sample.abs() <= CEILING + 1e-4));
    }

    #[test]
    fn damaged_packets_are_counted_and_do_no_harm() {
        let mut mix = Mixdown::begin(Vec::new(), 1).expect("in memory");
        let good = tone(440.0, 0.5, 50);
        let mut state = 7_u32;
        for (step, packet) in (0_u64..).zip(&good) {
            let mut packet = packet.clone();
            for byte in &mut packet {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte ^= (state >> 24) as u8;
            }
            mix.frame(1, step * 20_000, &packet).expect("in memory");
            mix.frame(1, step * 20_000, &[]).expect("in memory");
        }
        let (_, heard) = mix.finish(1_000_000).expect("in memory");
        assert!(heard.undecodable >= 50, "{heard:?}");
    }
}
