//! A live call of unmodified SDK clients, beside which a test does harm, and the judgement whether
//! its people have noticed anything.
//!
//! Sound is counted by the numbers of its packets, pictures against those that were shown, and a
//! still picture against the same call before the attack: the clients share a slow machine with the
//! attack, and what they themselves do not get done says nothing about the server.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Process, wait_until};
use crate::server::Server;
use crate::tree;

/// The share of the sound that may be lost.
const AUDIO_LOSS_MAX: f64 = 0.005;
/// Of what the others said so much must be there. The rest may be under way: the statistics of all
/// are not of the same moment.
const HEARD_SHARE_MIN: f64 = 0.8;
/// Of the pictures shown so many must be seen when nobody attacks. A machine that does too much at
/// once does not encode all.
const SEEN_SHARE_MIN: f64 = 0.2;
/// A picture that stands still for so many milliseconds longer than those that are shown.
const FREEZE: f64 = 500.0;
/// For so long the call is watched before anybody attacks it.
const CALM: Duration = Duration::from_secs(2);
/// Pictures need a while to become even, where the first are encoded beside what others do.
const CALM_TIMEOUT: Duration = Duration::from_secs(60);
/// A shorter time shows nothing.
const SPAN_MIN: Duration = Duration::from_secs(1);
/// Four clients need a while to start where others build.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(240);
const STATS_TIMEOUT: Duration = Duration::from_secs(30);
/// Those who see each other.
const SEERS: [(&str, &str); 2] = [("li", "wang"), ("wang", "li")];

/// Two who see and hear each other, and others who speak and listen.
pub struct Call {
    process: Process,
    last: Stats,
}

impl Call {
    /// Begins a call with these further voices, which are names of `media.mjs`.
    pub fn begin(server: &Server, voices: &[&str]) -> Self {
        let mut command = Command::new("node");
        command
            .arg("call.mjs")
            .current_dir(tree::clients())
            .env("LIVEKIT_URL", server.websocket_url())
            .env("VOICES", voices.join(","));
        let mut process = Process::spawn("call", &mut command);
        process.expect_line(BEGIN_TIMEOUT, |line| (line == "ready").then_some(()));
        let last = Stats::ask(&mut process);
        Self { process, last }
    }

    /// What happens in the call while something else does.
    fn watch(&mut self, during: impl FnOnce()) -> Span {
        let began = Instant::now();
        during();
        std::thread::sleep(SPAN_MIN.saturating_sub(began.elapsed()));
        let after = Stats::ask(&mut self.process);
        let before = std::mem::replace(&mut self.last, after.clone());
        Span { before, after }
    }

    /// How the call is when nobody attacks it, once it has settled: everybody hears everybody, and
    /// those see who should.
    pub fn calm(&mut self) -> Calm {
        let settled = wait_until(CALM_TIMEOUT, || {
            let span = self.watch(|| std::thread::sleep(CALM));
            eprintln!("nobody attacks: {}", span.describe());
            let is_calm = span.freeze() <= FREEZE && span.seen() > SEEN_SHARE_MIN;
            is_calm.then_some(span)
        });
        let span = settled.expect("pictures come when nobody attacks");
        span.assert_heard();
        Calm(span)
    }

    /// Makes an attack, and sees to it that nobody in the call notices.
    pub fn assert_unharmed_by(&mut self, calm: &Calm, name: &str, attack: impl FnOnce()) {
        let began = Instant::now();
        let span = self.watch(attack);
        eprintln!("{name}: {:.1?}, {}", began.elapsed(), span.describe());
        span.assert_heard();
        span.assert_seen(&calm.0);
    }
}

/// A time in which nobody attacked the call: what the machine lets it be.
pub struct Calm(Span);

/// What everybody had sent and received at one time.
#[derive(Clone, Debug)]
struct Stats(Value);

impl Stats {
    /// What everybody has sent and received so far.
    fn ask(call: &mut Process) -> Self {
        let told = call
            .said()
            .lines()
            .filter(|line| line.starts_with("stats "))
            .count();
        call.tell("stats");
        let line = wait_until(STATS_TIMEOUT, || {
            call.said()
                .lines()
                .filter_map(|line| line.strip_prefix("stats "))
                .nth(told)
                .map(str::to_owned)
        });
        let line = line.unwrap_or_else(|| panic!("no statistics:\n{}", call.said()));
        Self(serde_json::from_str(&line).expect("statistics are JSON"))
    }

    fn number(&self, who: &str, name: &str) -> f64 {
        let number = self.0[who][name].as_f64();
        number.unwrap_or_else(|| panic!("{who} says no {name}: {:#}", self.0))
    }

    fn people(&self) -> impl Iterator<Item = &str> {
        let people = self.0.as_object().expect("statistics by name");
        people.keys().map(String::as_str)
    }

    /// Packets of sound that came and that were lost, from everybody.
    fn heard(&self, who: &str) -> (f64, f64) {
        let streams = self.0[who]["inbound"].as_array();
        let streams = streams.expect("a list of streams");
        let sounds = streams.iter().filter(|stream| stream["kind"] == "audio");
        sounds.fold((0.0, 0.0), |(packets, lost), stream| {
            let number = |name: &str| stream[name].as_f64().expect("counts are numbers");
            (packets + number("packets"), lost + number("lost"))
        })
    }

    fn streams(&self, who: &str) -> usize {
        self.0[who]["inbound"].as_array().map_or(0, Vec::len)
    }

    fn pictures(&self, who: &str) -> f64 {
        let frames = self.0[who]["sees"]["frames"].as_f64();
        frames.expect("a number")
    }
}

/// The call from one time to another.
#[derive(Debug)]
struct Span {
    before: Stats,
    after: Stats,
}

impl Span {
    /// How much more of `name` there is of `who`.
    fn more(&self, who: &str, name: &str) -> f64 {
        self.after.number(who, name) - self.before.number(who, name)
    }

    fn heard(&self, who: &str) -> (f64, f64) {
        let (packets, lost) = self.after.heard(who);
        let (packets_before, lost_before) = self.before.heard(who);
        (packets - packets_before, lost - lost_before)
    }

    /// The share of the pictures shown that was seen, by the one who saw less.
    fn seen(&self) -> f64 {
        let shares = SEERS.map(|(who, other)| {
            let seen = self.after.pictures(who) - self.before.pictures(who);
            seen / self.more(other, "shown").max(1.0)
        });
        shares.into_iter().fold(1.0, f64::min)
    }

    /// The longest still picture, in milliseconds beyond the longest time in which none was shown.
    fn freeze(&self) -> f64 {
        let gaps = SEERS.map(|(who, other)| {
            self.after.number(who, "gap") - self.after.number(other, "shownGap")
        });
        gaps.into_iter().fold(0.0, f64::max)
    }

    fn describe(&self) -> String {
        let sounds = self.after.people().map(|who| self.heard(who));
        let (heard, lost) = sounds.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let (seen, freeze) = (self.seen(), self.freeze());
        let all = heard + lost;
        format!("{lost} of {all} packets of sound lost, {seen:.2} seen, still for {freeze} ms")
    }

    /// That everybody heard everybody else, and nobody had to come again or was shown anybody else.
    fn assert_heard(&self) {
        for who in self.after.people() {
            let (packets, lost) = self.heard(who);
            let others = self.after.people().filter(|other| *other != who);
            let said: f64 = others.map(|other| self.more(other, "sounds")).sum();
            assert!(
                packets + lost >= HEARD_SHARE_MIN * said && said > 0.0,
                "{who} heard {packets} of {said} packets: {self:#?}"
            );
            // One packet is more than the share of a short time.
            assert!(
                lost <= (AUDIO_LOSS_MAX * (packets + lost)).max(1.0),
                "{who} lost {lost} of {packets}"
            );
            assert_eq!(
                self.after.number(who, "reconnects"),
                0.0,
                "{who} came again"
            );
            let streams = [&self.before, &self.after].map(|stats| stats.streams(who));
            assert_eq!(streams[0], streams[1], "{who} is sent something else");
        }
    }

    /// That pictures came as they do when nobody attacks, and none stood still for half a second
    /// longer.
    fn assert_seen(&self, calm: &Self) {
        let (seen, usual) = (self.seen(), calm.seen());
        assert!(
            seen > usual / 2.0,
            "{seen} of the pictures were seen, {usual} otherwise"
        );
        let (freeze, usual) = (self.freeze(), calm.freeze());
        let max = FREEZE.max(3.0 * usual);
        assert!(
            freeze <= max,
            "a picture stood still for {freeze} ms more than those shown, {usual} otherwise"
        );
    }
}
