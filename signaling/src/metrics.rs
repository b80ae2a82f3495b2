//! What the front door counts, and the text that `/metrics` answers with.
//!
//! Counters are plain atomics without labels from outside, so that nobody can make the page grow.
//! The media plane's counters arrive once a second as values and are kept as they came. The text is
//! Prometheus' exposition format; no name, address or room is in it.

mod recordings;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use recorder::counters::Figures;
use sfu::error::Reject;
use sfu::id::WorkerId;
use sfu::stats::StatsSnapshot;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident => $label:literal, $help:literal;)*) => {
        /// Something that the front door counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count {
            $($(#[$doc])* $name,)*
        }

        impl Count {
            const ALL: &'static [(Count, &'static str, &'static str)] =
                &[$((Count::$name, $label, $help),)*];
        }
    };
}

counts! {
    /// A connection was accepted.
    Connections => "connections_total", "Connections accepted.";
    /// A connection was closed at once because a bound was reached.
    ConnectionsRefused => "connections_refused_total", "Connections closed at once by a limit.";
    /// A TLS handshake failed or took too long.
    HandshakesFailed => "tls_handshakes_failed_total", "TLS handshakes that failed.";
    /// A connection began with a STUN message that nothing here is for, or said too little.
    FirstBytesUnknown => "connections_unknown_total", "Connections closed because nobody could tell what they were for.";
    /// A connection began to carry a peer's packets in frames.
    Streams => "ice_tcp_connections_total", "Connections that carried media in frames (ICE-TCP).";
    /// A connection for a peer's packets was closed at once: no check came, it named nobody, or a bound was reached.
    StreamsRefused => "ice_tcp_connections_refused_total", "Connections for media in frames closed at once.";
    /// A connection for media did not take what it was sent.
    StreamsStalled => "media_connections_stalled_total", "Connections for media closed because they took nothing.";
    /// A client of TURN connected.
    TurnConnections => "turn_connections_total", "Connections of TURN clients.";
    /// A client of TURN got an allocation.
    TurnAllocations => "turn_allocations_total", "Allocations given to TURN clients.";
    /// A request of a client of TURN was refused; every client's first one is.
    TurnRefusals => "turn_refusals_total", "Requests of TURN clients refused, the first of each included.";
    /// A client of TURN checked the path to a transport that is not its own.
    TurnPacketsRefused => "turn_packets_refused_total", "Packets of TURN clients for transports of others.";
    /// The certificate was read anew.
    CertificatesReloaded => "certificates_reloaded_total", "Times that a changed certificate was taken.";
    /// The API keys were read anew.
    KeysReloaded => "keys_reloaded_total", "Times that the API keys were taken from the configuration anew.";
    /// A participant was taken out because the key of its token is gone.
    KeyRemovals => "participants_without_key_total", "Participants taken out because the API key of their token was removed.";
    /// A request was answered.
    Requests => "http_requests_total", "HTTP requests answered.";
    /// A session began.
    Sessions => "sessions_total", "Signalling sessions begun.";
    /// Somebody whose connection broke got his seat back.
    Resumes => "resumes_total", "Sessions that took their seat back after a broken connection.";
    /// Somebody asked for a seat that is not there or not his, and was told to join anew.
    ResumesRefused => "resumes_refused_total", "Sessions that asked for a seat that is not theirs or not there any more.";
    /// A join was refused before or after the upgrade.
    JoinsRefused => "joins_refused_total", "Joins refused.";
    /// An encoder was let in over WHIP.
    WhipSessions => "whip_sessions_total", "Sessions of encoders begun over WHIP.";
    /// An encoder had ICE restarted.
    WhipRestarts => "whip_restarts_total", "Restarts of ICE that encoders asked for.";
    /// A session was closed because it flooded, stalled or did not read.
    SessionsLimited => "sessions_limited_total", "Sessions closed by a limit.";
    /// A signalling message came in.
    MessagesIn => "signal_messages_in_total", "Signalling messages received.";
    /// A signalling message went out.
    MessagesOut => "signal_messages_out_total", "Signalling messages sent.";
    /// A signalling message could not be decoded.
    MessagesMalformed => "signal_messages_malformed_total", "Signalling messages that did not decode.";
    /// The media plane refused a command.
    CommandsRefused => "commands_refused_total", "Commands that the media plane refused.";
    /// A receiver took a webhook.
    WebhooksDelivered => "webhooks_delivered_total", "Webhooks delivered.";
    /// A receiver did not take a webhook; it will get it again.
    WebhooksRefused => "webhooks_refused_total", "Attempts to deliver a webhook that failed.";
    /// A webhook was given up.
    WebhooksLost => "webhooks_lost_total", "Webhooks given up because of their age or number, or never to be taken.";
}

macro_rules! levels {
    ($($(#[$doc:meta])* $name:ident => $label:literal, $help:literal;)*) => {
        /// Something whose present amount is shown.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Level {
            $($(#[$doc])* $name,)*
        }

        impl Level {
            const ALL: &'static [(Level, &'static str, &'static str)] =
                &[$((Level::$name, $label, $help),)*];
        }
    };
}

levels! {
    /// Rooms.
    Rooms => "rooms", "Rooms now.";
    /// Participants.
    Participants => "participants", "Participants now.";
    /// Participants of other rooms who are shown in one.
    Guests => "participants_forwarded", "Participants now who are shown in a room that they are not in, once for each.";
    /// Participants whose connection broke and whose seat is kept.
    SeatsDetached => "seats_detached", "Participants now whose connection broke and whose seat is kept.";
    /// Sessions of encoders.
    WhipSessions => "whip_sessions", "Sessions of encoders now.";
}

/// All numbers of the server.
#[derive(Default)]
pub struct Metrics {
    counts: [AtomicU64; Count::ALL.len()],
    levels: [AtomicU64; Level::ALL.len()],
    workers: Mutex<BTreeMap<WorkerId, StatsSnapshot>>,
}

impl Metrics {
    /// Counts one more.
    pub fn count(&self, what: Count) {
        self.counts[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// There is one more.
    pub fn rise(&self, what: Level) {
        self.levels[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// There is one less.
    pub fn fall(&self, what: Level) {
        let level = &self.levels[what as usize];
        let before = level.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "{what:?} fell below zero");
    }

    /// Keeps what a worker has counted.
    pub fn keep(&self, worker: WorkerId, snapshot: StatsSnapshot) {
        self.workers
            .lock()
            .expect("nothing panics while the counters are locked")
            .insert(worker, snapshot);
    }

    /// The page, `connections` being those open now and `archive` what the recorder has counted.
    pub fn render(&self, connections: usize, archive: Option<&Figures>) -> String {
        let mut page = Page(String::with_capacity(16 << 10));
        for (what, name, help) in Count::ALL {
            let value = self.counts[*what as usize].load(Ordering::Relaxed);
            page.family(name, "counter", help).value("", value);
        }
        for (what, name, help) in Level::ALL {
            let value = self.levels[*what as usize].load(Ordering::Relaxed);
            page.family(name, "gauge", help).value("", value);
        }
        page.family("connections", "gauge", "Connections now.")
            .value("", connections as u64);
        let workers = self
            .workers
            .lock()
            .expect("nothing panics while the counters are locked");
        page.media(&workers);
        drop(workers);
        if let Some(figures) = archive {
            page.recordings(figures);
        }
        page.0
    }
}

/// How a number of a [`StatsSnapshot`] is called, what it is, and its value.
type MediaNumber = (&'static str, &'static str, &'static str, u64);

/// Every number of a snapshot but the drops, the time and the delays; a test counts them.
#[rustfmt::skip]
fn media_numbers(s: &StatsSnapshot) -> [MediaNumber; 50] {
    [
        ("media_datagrams_in_total", "counter", "Datagrams read.", s.datagrams_in),
        ("media_bytes_in_total", "counter", "Bytes read.", s.bytes_in),
        ("media_datagrams_out_total", "counter", "Datagrams handed to the socket.", s.datagrams_out),
        ("media_bytes_out_total", "counter", "Bytes handed to the socket.", s.bytes_out),
        ("media_datagrams_blocked_total", "counter", "Datagrams given up at full buffers of the kernel.", s.datagrams_blocked),
        ("media_datagrams_refused_total", "counter", "Datagrams given up because of where they should go.", s.datagrams_refused),
        ("media_runs_out_total", "counter", "Messages of several datagrams that the socket took.", s.runs_out),
        ("media_runs_refused_total", "counter", "Messages of several datagrams that were sent again one by one.", s.runs_refused),
        ("media_streams", "gauge", "Connections now over which media comes instead of UDP.", s.streams),
        ("media_stream_packets_in_total", "counter", "Packets that came over connections.", s.stream_packets_in),
        ("media_stream_packets_out_total", "counter", "Packets handed to connections.", s.stream_packets_out),
        ("media_stream_packets_dropped_total", "counter", "Packets given up at full queues of connections.", s.stream_packets_dropped),
        ("media_silences_total", "counter", "Peers that fell silent and were told to come another way.", s.silences),
        ("media_packets_in_total", "counter", "RTP packets taken from publishers.", s.packets_in),
        ("media_packets_out_total", "counter", "RTP packets sent to subscribers.", s.packets_out),
        ("media_packets_resent_total", "counter", "Retransmissions to subscribers.", s.packets_resent),
        ("media_sounds_held_total", "counter", "Sounds that waited up to a few milliseconds for others because the worker was busy.", s.sounds_held),
        ("media_padding_bytes_out_total", "counter", "Padding that made packets as long as their neighbours.", s.padding_out),
        ("media_resends_refused_total", "counter", "Retransmissions that were not possible.", s.resends_refused),
        ("media_packets_requested_total", "counter", "Retransmissions asked of publishers.", s.packets_requested),
        ("media_keyframes_requested_total", "counter", "Keyframes asked of publishers.", s.keyframes_requested),
        ("media_bandwidth_reports_total", "counter", "Reports of bandwidth from subscribers.", s.bandwidth_reports),
        ("media_bandwidth_estimates", "gauge", "Subscribers now whose bandwidth is estimated.", s.bandwidth_estimates),
        ("media_bandwidth_estimated_kbps", "gauge", "What fits towards all of them together, in kbit/s.", s.bandwidth_estimated_kbps),
        ("media_pictures_lowered", "gauge", "Pictures now that are smaller than wished because more does not fit.", s.pictures_lowered),
        ("media_pictures_held", "gauge", "Pictures now that are not sent because not even the smallest fits.", s.pictures_held),
        ("media_probes_total", "counter", "Times that padding tried whether more fits.", s.probes),
        ("media_probe_packets_out_total", "counter", "Packets of padding sent for that.", s.probe_packets_out),
        ("media_data_in_total", "counter", "Data messages received.", s.data_in),
        ("media_data_out_total", "counter", "Data messages sent.", s.data_out),
        ("media_data_dropped_total", "counter", "Lossy data messages dropped at a full queue.", s.data_dropped),
        ("media_relay_frames_out_total", "counter", "Frames handed to other workers.", s.relay_frames_out),
        ("media_relay_frames_in_total", "counter", "Frames taken from other workers.", s.relay_frames_in),
        ("media_relay_frames_dropped_total", "counter", "Frames for other workers dropped at a full queue.", s.relay_frames_dropped),
        ("media_relay_frames_useless_total", "counter", "Frames of other workers that nobody waits for any more.", s.relay_frames_useless),
        ("media_relays", "gauge", "Publications of other workers mirrored now.", s.relays),
        ("media_tap_packets_total", "counter", "Packets given to the recorder.", s.tap_packets),
        ("media_tap_packets_dropped_total", "counter", "Packets that the recorder was too slow for.", s.tap_packets_dropped),
        ("media_tap_packets_held_back_total", "counter", "Packets of those who may not be recorded, in rooms that are.", s.tap_packets_held_back),
        ("media_taps", "gauge", "Parts of rooms that are recorded now.", s.taps),
        ("media_segmenting", "gauge", "1 while several datagrams leave as one message.", s.is_segmenting),
        ("media_rooms", "gauge", "Rooms now.", s.rooms),
        ("media_transports", "gauge", "Transports now.", s.transports),
        ("media_publications", "gauge", "Publications now.", s.publications),
        ("media_subscriptions", "gauge", "Subscriptions now.", s.subscriptions),
        ("media_slabs_used", "gauge", "Packet slabs in use now.", s.slabs_used),
        ("media_panics_total", "counter", "Bugs caught.", s.panics),
        ("media_stalls_total", "counter", "Turns of media threads that were a tenth of a second late or long.", s.stalls),
        ("media_transports_lost_total", "counter", "Transports that ended by themselves.", s.transports_lost),
        ("media_events_lost_total", "counter", "Events that the control plane was too slow for.", s.events_lost),
    ]
}

struct Page(String);

impl Page {
    fn family<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Family<'a> {
        let out = &mut self.0;
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(out, "# HELP consilium_{name} {help}");
        let _ = writeln!(out, "# TYPE consilium_{name} {kind}");
        Family { out, name }
    }

    fn media(&mut self, workers: &BTreeMap<WorkerId, StatsSnapshot>) {
        let numbers: Vec<_> = workers
            .iter()
            .map(|(worker, snapshot)| (worker, media_numbers(snapshot)))
            .collect();
        let families = numbers.first().map_or(0, |(_, first)| first.len());
        for at in 0..families {
            let (name, kind, help, _) = numbers[0].1[at];
            let mut family = self.family(name, kind, help);
            for (worker, numbers) in &numbers {
                family.value(&format!("{{worker=\"{}\"}}", worker.0), numbers[at].3);
            }
        }
        let mut busy = self.family("media_busy_seconds_total", "counter", "Time spent working.");
        for (worker, snapshot) in workers {
            busy.seconds(&format!("{{worker=\"{}\"}}", worker.0), snapshot.busy_ns);
        }
        self.delays(workers);
        let mut drops = self.family(
            "media_rejected_total",
            "counter",
            "Datagrams dropped, by reason.",
        );
        for (worker, snapshot) in workers {
            for reason in Reject::ALL {
                let labels = format!("{{worker=\"{}\",reason=\"{}\"}}", worker.0, reason.label());
                drops.value(&labels, snapshot.rejected(*reason));
            }
        }
    }

    fn delays(&mut self, workers: &BTreeMap<WorkerId, StatsSnapshot>) {
        let name = "media_forwarding_delay_seconds";
        let help = "From when a datagram could be read to when what it caused was sent.";
        let mut family = self.family(name, "histogram", help);
        for (worker, snapshot) in workers {
            let sum = snapshot.forwarding.total_ns() as f64 / 1e9;
            let label = format!("worker=\"{}\"", worker.0);
            family.histogram(&label, snapshot.forwarding.cumulative(), sum);
        }
    }
}

struct Family<'a> {
    out: &'a mut String,
    name: &'a str,
}

impl Family<'_> {
    fn value(&mut self, labels: &str, value: u64) {
        let _ = writeln!(self.out, "consilium_{}{labels} {value}", self.name);
    }

    /// `label` stands in every line; edges are in microseconds, counts are cumulative, the last is
    /// all, `sum` is in seconds.
    fn histogram(
        &mut self,
        label: &str,
        buckets: impl Iterator<Item = (Option<u32>, u64)>,
        sum: f64,
    ) {
        let (out, name) = (&mut *self.out, self.name);
        let comma = if label.is_empty() { "" } else { "," };
        let mut count = 0;
        for (edge, so_far) in buckets {
            count = so_far;
            let edge = edge.map_or("+Inf".to_owned(), |us| (f64::from(us) / 1e6).to_string());
            let labels = format!("{{{label}{comma}le=\"{edge}\"}}");
            let _ = writeln!(out, "consilium_{name}_bucket{labels} {count}");
        }
        let labels = match label {
            "" => String::new(),
            label => format!("{{{label}}}"),
        };
        let _ = writeln!(out, "consilium_{name}_sum{labels} {sum:.6}");
        let _ = writeln!(out, "consilium_{name}_count{labels} {count}");
    }

    fn seconds(&mut self, labels: &str, nanoseconds: u64) {
        let seconds = nanoseconds as f64 / 1e9;
        let _ = writeln!(self.out, "consilium_{}{labels} {seconds:.3}", self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_page_shows_every_drop_reason_of_every_worker() {
        let metrics = Metrics::default();
        let mut snapshot = StatsSnapshot::default();
        snapshot.reject(Reject::SrtpReplay);
        snapshot.busy_ns = 1_500_000_000;
        snapshot.forwarding.note(Duration::from_micros(250), 4);
        metrics.keep(WorkerId(1), snapshot);
        metrics.keep(WorkerId(0), StatsSnapshot::default());
        metrics.count(Count::Sessions);
        metrics.rise(Level::Rooms);
        let page = metrics.render(3, None);
        for reason in Reject::ALL {
            let label = reason.label();
            let zero =
                format!("consilium_media_rejected_total{{worker=\"0\",reason=\"{label}\"}} 0\n");
            assert!(page.contains(&zero), "{label}");
        }
        for line in [
            "consilium_media_rejected_total{worker=\"1\",reason=\"srtp_replay\"} 1\n",
            "consilium_media_busy_seconds_total{worker=\"1\"} 1.500\n",
            "consilium_sessions_total 1\n",
            "consilium_rooms 1\n",
            "consilium_connections 3\n",
            "consilium_media_forwarding_delay_seconds_bucket{worker=\"1\",le=\"0.0002\"} 0\n",
            "consilium_media_forwarding_delay_seconds_bucket{worker=\"1\",le=\"0.00025\"} 4\n",
            "consilium_media_forwarding_delay_seconds_bucket{worker=\"1\",le=\"+Inf\"} 4\n",
            "consilium_media_forwarding_delay_seconds_sum{worker=\"1\"} 0.001000\n",
            "consilium_media_forwarding_delay_seconds_count{worker=\"0\"} 0\n",
        ] {
            assert!(page.contains(line), "{line}");
        }
    }

    #[test]
    fn no_number_of_a_snapshot_is_left_out() {
        let snapshot = StatsSnapshot::default();
        let fields = format!("{snapshot:?}").matches(": ").count();
        let of_delays = format!("{:?}", snapshot.forwarding).matches(": ").count();
        // The drops, the time and the delays are shown with labels and units of their own.
        assert_eq!(media_numbers(&snapshot).len() + 3, fields - of_delays);
    }

    #[test]
    fn every_line_is_a_comment_or_a_name_and_a_number() {
        let metrics = Metrics::default();
        metrics.keep(WorkerId(0), StatsSnapshot::default());
        for line in metrics
            .render(0, None)
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let (name, value) = line.rsplit_once(' ').expect("two fields");
            assert!(name.starts_with("consilium_"), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }

    #[test]
    fn levels_rise_and_fall() {
        let metrics = Metrics::default();
        metrics.rise(Level::Participants);
        metrics.rise(Level::Participants);
        metrics.fall(Level::Participants);
        assert!(
            metrics
                .render(0, None)
                .contains("consilium_participants 1\n")
        );
    }
}
