//! What a run found, as a table for people and as JSON for programs.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use crate::client::tracker::Experience;
use crate::metrics::Inside;
use crate::procfs::ProcessSample;
use crate::scenario::Scenario;
use crate::stat::{Histogram, Percentiles};
use crate::table::Table;

/// Joins while they happen.
#[derive(Debug)]
pub(crate) struct Joins {
    /// Begun.
    pub(crate) started: usize,
    /// With media able to flow.
    pub(crate) connected: usize,
    /// From the first byte of signalling to that.
    pub(crate) times: Histogram,
    /// From the first byte of signalling to the first media.
    pub(crate) first_media: Histogram,
}

/// Joins of the whole run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct JoinFigures {
    /// Begun.
    pub(crate) started: usize,
    /// With media able to flow.
    pub(crate) connected: usize,
    /// Until media could flow.
    pub(crate) join_ms: Percentiles,
    /// Until media came.
    pub(crate) first_media_ms: Percentiles,
    /// Reasons of those that failed or ended early, with their number.
    pub(crate) failures: BTreeMap<String, usize>,
}

/// What a process used within the window.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct ServerUse {
    /// CPU seconds.
    pub(crate) cpu_seconds: f64,
    /// Cores busy on average.
    pub(crate) cores: f64,
    /// Share of the CPU time in user space.
    pub(crate) user_share: f64,
    /// Resident memory at the end.
    pub(crate) rss_mb: f64,
    /// Threads at the end.
    pub(crate) threads: u64,
}

impl ServerUse {
    /// The difference of two looks at the same processes.
    pub(crate) fn between(
        before: &[ProcessSample],
        after: &[ProcessSample],
        length: Duration,
    ) -> Self {
        let pairs = || before.iter().zip(after);
        let cpu = |(b, a): (&ProcessSample, &ProcessSample)| a.cpu.saturating_sub(b.cpu);
        let cpu_seconds = pairs().map(cpu).sum::<Duration>().as_secs_f64();
        let weighted = |(b, a): (&ProcessSample, &ProcessSample)| {
            a.user_share_since(b) * a.cpu.saturating_sub(b.cpu).as_secs_f64()
        };
        Self {
            cpu_seconds,
            cores: cpu_seconds / length.as_secs_f64(),
            user_share: pairs().map(weighted).sum::<f64>() / cpu_seconds.max(f64::EPSILON),
            rss_mb: after.iter().map(|sample| sample.resident).sum::<u64>() as f64 / 1e6,
            threads: after.iter().map(|sample| sample.threads).sum(),
        }
    }
}

/// Everything a run found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// What was done.
    pub(crate) scenario: Scenario,
    /// Joins of the whole run.
    pub(crate) joins: JoinFigures,
    /// Protection that was negotiated.
    pub(crate) srtp_profiles: Vec<String>,
    /// Streams that came, and that should have, of those who were there all the time.
    pub(crate) streams: (usize, usize),
    /// Packets that reached a receiver within the window.
    pub(crate) delivered: u64,
    /// A second.
    pub(crate) delivered_per_second: f64,
    /// Packets that did not.
    pub(crate) lost: u64,
    /// Of all that should have come.
    pub(crate) loss_percent: f64,
    /// Packets that came more than once.
    pub(crate) duplicates: u64,
    /// From the publisher's call to the receiver's plaintext.
    pub(crate) delay_ms: Percentiles,
    /// Interarrival jitter (RFC 3550) over streams.
    pub(crate) jitter_ms: Percentiles,
    /// Audio that did not come, of all that should have.
    pub(crate) audio_lost_percent: f64,
    /// Audio missing or late at a player with a buffer of 60 ms.
    pub(crate) audio_concealed_percent: f64,
    /// Freezes of a picture in an hour of watching.
    pub(crate) freezes_per_hour: f64,
    /// Share of the time that pictures stood still.
    pub(crate) frozen_percent: f64,
    /// Frames that could be shown.
    pub(crate) frames: u64,
    /// The server's process.
    pub(crate) server: Option<ServerUse>,
    /// This process: with a core for each of its threads it judges itself, not the server.
    pub(crate) generator: ServerUse,
    /// What the server says of itself, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inside: Option<Inside>,
    /// The window piece by piece, if that was wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) samples: Vec<Sample>,
}

/// What was seen within the window.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// The server's process.
    pub(crate) server: Option<ServerUse>,
    /// This process.
    pub(crate) generator: ServerUse,
    /// What the server says of itself.
    pub(crate) inside: Option<Inside>,
    /// Piece by piece.
    pub(crate) samples: Vec<Sample>,
}

/// A piece of the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Its end, in seconds since the window began.
    pub(crate) at: f64,
    /// The server's memory then.
    pub(crate) rss_mb: f64,
    /// Mean one-way delay in it.
    pub(crate) delay_ms: f64,
    /// What the server says of itself.
    pub(crate) inside: Option<Inside>,
    /// Packets received a second.
    pub(crate) received: f64,
}

impl Report {
    /// Puts the figures together.
    pub(crate) fn new(
        scenario: &Scenario,
        joins: &Joins,
        failures: Vec<String>,
        profiles: &HashSet<String>,
        experience: &Experience,
        streams: (usize, usize),
        measured: Measured,
    ) -> Self {
        let mut reasons = BTreeMap::new();
        for failure in failures {
            *reasons.entry(failure).or_insert(0) += 1;
        }
        let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
        let Experience {
            delivered,
            lost,
            watched,
            frozen,
            ..
        } = *experience;
        let hours = watched as f64 / 3.6e9;
        let mut srtp_profiles: Vec<String> = profiles.iter().cloned().collect();
        srtp_profiles.sort();
        Self {
            scenario: scenario.clone(),
            joins: JoinFigures {
                started: joins.started,
                connected: joins.connected,
                join_ms: joins.times.summary(),
                first_media_ms: joins.first_media.summary(),
                failures: reasons,
            },
            srtp_profiles,
            streams,
            delivered,
            delivered_per_second: delivered as f64 / scenario.seconds,
            lost,
            loss_percent: percent(lost, lost + delivered),
            duplicates: experience.duplicates,
            delay_ms: experience.delay.summary(),
            jitter_ms: experience.jitter.summary(),
            audio_lost_percent: percent(experience.audio_lost, experience.audio_expected),
            audio_concealed_percent: percent(experience.concealed, experience.audio_expected),
            freezes_per_hour: if hours > 0.0 {
                experience.freezes as f64 / hours
            } else {
                0.0
            },
            frozen_percent: percent(frozen, watched),
            frames: experience.frames,
            server: measured.server,
            generator: measured.generator,
            inside: measured.inside,
            samples: measured.samples,
        }
    }

    /// Joins that failed or ended early.
    pub(crate) fn failed(&self) -> usize {
        self.joins.failures.values().sum()
    }

    /// Server CPU microseconds for each delivered packet.
    pub(crate) fn us_per_packet(&self) -> Option<f64> {
        Some(self.server.as_ref()?.cpu_seconds * 1e6 / self.delivered.max(1) as f64)
    }

    /// The table for people.
    pub(crate) fn render(&self) -> String {
        let mut table = Table::new(&["figure", "value"]);
        let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
        let four =
            |p: &Percentiles| format!("{:.1} / {:.1} / {:.1} / {:.1}", p.p50, p.p95, p.p99, p.max);
        row("scenario", self.scenario.name.clone());
        row(
            "joins",
            format!("{} of {}", self.joins.connected, self.joins.started),
        );
        row("join ms, p50 / p95 / p99 / max", four(&self.joins.join_ms));
        row("first media ms", four(&self.joins.first_media_ms));
        row("SRTP", self.srtp_profiles.join(", "));
        row(
            "streams",
            format!("{} of {}", self.streams.0, self.streams.1),
        );
        row("packets delivered", self.delivered.to_string());
        row(
            "packets a second",
            format!("{:.0}", self.delivered_per_second),
        );
        row(
            "packets lost",
            format!("{} ({:.3} %)", self.lost, self.loss_percent),
        );
        row("packets doubled", self.duplicates.to_string());
        row("one-way delay ms", four(&self.delay_ms));
        row("jitter ms", four(&self.jitter_ms));
        row("audio lost", format!("{:.3} %", self.audio_lost_percent));
        row(
            "audio concealed",
            format!("{:.3} %", self.audio_concealed_percent),
        );
        row("freezes an hour", format!("{:.1}", self.freezes_per_hour));
        row("picture frozen", format!("{:.3} %", self.frozen_percent));
        if let (Some(server), Some(us)) = (&self.server, self.us_per_packet()) {
            row("server us/packet", format!("{us:.2}"));
            row("server cores", format!("{:.2}", server.cores));
            row(
                "server user share",
                format!("{:.0} %", server.user_share * 100.0),
            );
            row("server memory MB", format!("{:.1}", server.rss_mb));
            row("server threads", server.threads.to_string());
        }
        if let Some(inside) = &self.inside {
            let delay = format!("{:.3} / {:.3}", inside.p50_ms, inside.p99_ms);
            row("delay inside the server ms, p50 / p99", delay);
            row(
                "busiest media thread",
                format!("{:.0} %", inside.busiest * 100.0),
            );
        }
        row(
            "load generator cores",
            format!("{:.2}", self.generator.cores),
        );
        let failures = self.joins.failures.iter();
        let lines: String = failures
            .map(|(why, count)| format!("{count} x {why}\n"))
            .collect();
        table.markdown() + &lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_from_what_was_experienced() {
        let scenario = Scenario::preset("mdt8").expect("listed");
        let mut experience = Experience {
            delivered: 990,
            lost: 10,
            ..Experience::default()
        };
        (experience.watched, experience.frozen, experience.freezes) = (36_000_000, 360_000, 2);
        (experience.audio_expected, experience.concealed) = (200, 1);
        let server = ServerUse {
            cpu_seconds: 0.00495,
            cores: 0.1,
            user_share: 0.5,
            rss_mb: 1.0,
            threads: 2,
        };
        let failures = vec!["a".to_owned(), "a".to_owned()];
        let joins = Joins::default();
        let none = HashSet::new();
        let report = Report::new(
            &scenario,
            &joins,
            failures,
            &none,
            &experience,
            (5, 6),
            Measured {
                server: Some(server),
                ..Measured::default()
            },
        );
        assert_eq!((report.loss_percent, report.frozen_percent), (1.0, 1.0));
        assert_eq!(
            (report.freezes_per_hour, report.audio_concealed_percent),
            (200.0, 0.5)
        );
        assert_eq!((report.us_per_packet(), report.failed()), (Some(5.0), 2));
        assert!(report.render().ends_with("2 x a\n"));
    }
}
