//! Options of `loadtest run`, and the scenario and thresholds they make.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::report::Report;
use super::{Setup, Target};
use crate::door::Door;
use crate::scenario::{PRESETS, Scenario, Storm, Video};
use crate::signal::janus;

/// What kind of server is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeerKind {
    /// Speaks the LiveKit protocol: ws:// or wss://
    Livekit,
    /// Janus with its videoroom: the http:// address of its API
    Janus,
}

/// Options of `loadtest run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Preset: webinar200, mdt8, consult25, audio200, join-storm, ramp, soak or custom
    #[arg(default_value = "custom")]
    pub(crate) scenario: String,
    #[command(flatten)]
    pub(crate) door: Door,
    /// What kind of server that is
    #[arg(long, value_enum, default_value = "livekit")]
    pub(crate) peer: PeerKind,
    /// Process of a server on this machine, to measure its CPU time and memory; may be repeated
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Vec<u32>,
    /// Threads that serve the participants' media
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Send media here whatever address the server names (see `loadtest impair`)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) via: Option<SocketAddr>,
    /// Bind the participants' media sockets to this address
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Option<IpAddr>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// So many of the first participants (publishers join first) use the whole stack of the
    /// `webrtc` crate (needs a build with `--features full`)
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    full: u32,
    #[command(flatten)]
    changes: Changes,
    /// What the figures must reach
    #[command(flatten)]
    pub(crate) thresholds: Thresholds,
}

/// Changes to the preset.
#[derive(Debug, Args)]
#[command(next_help_heading = "Changes to the scenario")]
struct Changes {
    /// Rooms at the same time
    #[arg(long)]
    rooms: Option<u32>,
    /// Participants of each room who publish and watch
    #[arg(long)]
    publishers: Option<u32>,
    /// Participants of each room who only watch
    #[arg(long)]
    subscribers: Option<u32>,
    /// Measured seconds
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds over which the joins spread
    #[arg(long)]
    join_seconds: Option<f64>,
    /// Mean stay of a watcher before another one takes its place
    #[arg(long, value_name = "SECONDS")]
    stay: Option<f64>,
    /// Let the publishers of a room speak one after the other, so long each
    #[arg(long, value_name = "SECONDS")]
    speaker_turn: Option<f64>,
    /// Bytes of an audio packet (RTP header and payload)
    #[arg(long)]
    audio_size: Option<usize>,
    /// No microphones
    #[arg(long)]
    no_audio: bool,
    /// No cameras
    #[arg(long)]
    no_video: bool,
    /// Frames a second of a camera
    #[arg(long)]
    fps: Option<u32>,
    /// Packets of a video frame
    #[arg(long)]
    frame_packets: Option<u32>,
    /// Bytes of a video packet (RTP header and payload)
    #[arg(long)]
    video_size: Option<usize>,
    /// Simulcast layers of a camera, 1 to 3
    #[arg(long)]
    layers: Option<u32>,
    /// The first publisher of each room also shows its screen
    #[arg(long)]
    screen: bool,
    /// Joins of the storm
    #[arg(long)]
    storm: Option<u32>,
}

/// What the figures must reach; the exit status is 1 when one is missed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Thresholds (exit status 1 when missed)")]
pub(crate) struct Thresholds {
    /// Percent of packets that may be lost
    #[arg(long, value_name = "PERCENT")]
    max_loss: Option<f64>,
    /// 99th percentile of the one-way delay
    #[arg(long, value_name = "MS")]
    max_p99_ms: Option<f64>,
    /// Joins that may fail
    #[arg(long, value_name = "COUNT")]
    max_failed_joins: Option<usize>,
    /// 99th percentile of the join time
    #[arg(long, value_name = "MS")]
    max_join_p99_ms: Option<f64>,
    /// Percent of the audio that may be concealed
    #[arg(long, value_name = "PERCENT")]
    max_concealed: Option<f64>,
    /// Server CPU microseconds for a delivered packet
    #[arg(long, value_name = "US")]
    max_us_per_packet: Option<f64>,
    /// Server memory
    #[arg(long, value_name = "MB")]
    max_rss_mb: Option<f64>,
}

impl RunArgs {
    /// The preset with the changes.
    pub(crate) fn scenario(&self) -> Result<Scenario> {
        let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        let mut scenario = Scenario::preset(&self.scenario)
            .with_context(|| format!("scenarios are {}", names.join(", ")))?;
        self.changes.apply(&mut scenario);
        ensure!(
            scenario.rooms > 0 && scenario.members() > 0,
            "a scenario without participants"
        );
        ensure!(scenario.publishers > 0, "somebody must publish");
        let needs_more = scenario.storm.is_some() || scenario.stay_seconds > 0.0;
        ensure!(
            self.peer == PeerKind::Livekit || !needs_more,
            "storms and changing watchers are measured over the LiveKit protocol only"
        );
        ensure!(
            scenario.seconds > 0.0 && scenario.join_seconds >= 0.0,
            "times must be positive"
        );
        if let Some(video) = scenario.video {
            ensure!(
                video.fps > 0 && (1..=100).contains(&video.packets),
                "1 to 100 packets a frame"
            );
            ensure!((1..=3).contains(&video.layers), "1 to 3 layers");
            ensure!(
                (100..=1_400).contains(&video.packet_size),
                "video packets of 100 to 1400 bytes"
            );
        }
        Ok(scenario)
    }

    /// Everything about the run that is not its scenario.
    pub(crate) fn setup(&self) -> Setup {
        let target = match self.peer {
            PeerKind::Livekit => Target::Livekit(self.door.livekit()),
            PeerKind::Janus => Target::Janus(janus::Server::new(self.door.url().to_owned())),
        };
        let full = self.full;
        let server_pids = self.server_pid.clone();
        let (threads, via, bind) = (self.threads, self.via, self.bind);
        Setup {
            target,
            server_pids,
            threads,
            via,
            bind,
            full,
            sample_every: None,
        }
    }
}

impl Changes {
    fn apply(&self, scenario: &mut Scenario) {
        fn set<T: Copy>(value: &mut T, change: Option<T>) {
            *value = change.unwrap_or(*value);
        }
        set(&mut scenario.rooms, self.rooms);
        set(&mut scenario.publishers, self.publishers);
        set(&mut scenario.subscribers, self.subscribers);
        set(&mut scenario.seconds, self.seconds);
        set(&mut scenario.join_seconds, self.join_seconds);
        set(&mut scenario.stay_seconds, self.stay);
        set(&mut scenario.speaker_seconds, self.speaker_turn);
        set(&mut scenario.audio_packet_size, self.audio_size);
        if self.no_audio {
            scenario.audio_packet_size = 0;
        }
        let has_video_change =
            self.fps.is_some() || self.frame_packets.is_some() || self.layers.is_some();
        if has_video_change || self.video_size.is_some() {
            let mut video = scenario.video.unwrap_or(Video::CAMERA);
            set(&mut video.fps, self.fps);
            set(&mut video.packets, self.frame_packets);
            set(&mut video.packet_size, self.video_size);
            set(&mut video.layers, self.layers);
            scenario.video = Some(video);
        }
        if self.no_video {
            scenario.video = None;
        }
        if self.screen {
            scenario.screen = Some(Video::SCREEN);
        }
        if let Some(joins) = self.storm {
            let storm = scenario.storm.unwrap_or(Storm {
                joins,
                rooms: 20,
                seconds: 5.0,
            });
            scenario.storm = Some(Storm { joins, ..storm });
        }
    }
}

impl Thresholds {
    /// One line for each threshold that the report misses.
    pub(crate) fn missed(&self, report: &Report) -> Vec<String> {
        let checks = [
            ("loss %", self.max_loss, Some(report.loss_percent)),
            ("p99 delay ms", self.max_p99_ms, Some(report.delay_ms.p99)),
            (
                "failed joins",
                self.max_failed_joins.map(|n| n as f64),
                Some(report.failed() as f64),
            ),
            (
                "join p99 ms",
                self.max_join_p99_ms,
                Some(report.joins.join_ms.p99),
            ),
            (
                "concealed %",
                self.max_concealed,
                Some(report.audio_concealed_percent),
            ),
            ("us/packet", self.max_us_per_packet, report.us_per_packet()),
            (
                "server MB",
                self.max_rss_mb,
                report.server.as_ref().map(|s| s.rss_mb),
            ),
        ];
        let missed = checks
            .into_iter()
            .filter_map(|(name, limit, value)| match (limit?, value) {
                (limit, Some(value)) if value <= limit => None,
                (limit, Some(value)) => {
                    Some(format!("{name} is {value:.3}, at most {limit} wanted"))
                }
                (_, None) => Some(format!("{name} was not measured; give --server-pid")),
            });
        missed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        run: RunArgs,
    }

    fn scenario(args: &[&str]) -> Result<Scenario> {
        let all = std::iter::once(&"run").chain(args);
        Cli::try_parse_from(all)?.run.scenario()
    }

    #[test]
    fn flags_change_the_preset_and_nothing_else() {
        let preset = Scenario::preset("mdt8").expect("listed");
        assert_eq!(scenario(&["mdt8"]).expect("valid"), preset);
        let changed = scenario(&["mdt8", "--publishers", "3", "--layers", "3"]).expect("valid");
        assert_eq!(changed.publishers, 3);
        assert_eq!(changed.video.map(|v| (v.layers, v.packets)), Some((3, 6)));
        assert_eq!(
            scenario(&["mdt8", "--no-video"]).expect("valid").video,
            None
        );
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_started() {
        assert!(scenario(&["unheard-of"]).is_err());
        assert!(scenario(&["mdt8", "--publishers", "0"]).is_err());
        assert!(scenario(&["mdt8", "--layers", "4"]).is_err());
        assert!(scenario(&["mdt8", "--video-size", "9000"]).is_err());
    }
}
