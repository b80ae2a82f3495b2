//! How a media plane is set up, and every bound that it keeps.
//!
//! A bound has a name, a value and a reason here and nowhere else. Reaching one is counted or
//! answered with an error that names it; nothing grows without one.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The media plane's part of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SfuConfig {
    /// Media threads; 0 means one per core.
    pub workers: u16,
    /// Where the sockets are bound.
    pub listen_ip: IpAddr,
    /// Worker `n` listens on `port_first + n`; 0 lets the system choose.
    pub port_first: u16,
    /// The addresses that clients are told; empty means the address that is bound. Needed behind a
    /// one-to-one NAT and wherever `listen_ip` is unspecified.
    pub advertised_ips: Vec<IpAddr>,
    /// "auto" lets several datagrams to one participant cross the kernel as one message (UDP_SEGMENT,
    /// UDP_GRO), at a third of the price each; "off" is for a network card that does it wrong. Where
    /// kernel or device refuse, a worker goes on without by itself.
    pub segmentation: Segmentation,
    /// The bounds.
    pub limits: Limits,
}

impl Default for SfuConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            listen_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            // One above the HTTP port 7880 and the reserved TCP port 7881.
            port_first: 7882,
            advertised_ips: Vec::new(),
            segmentation: Segmentation::Auto,
            limits: Limits::default(),
        }
    }
}

/// Whether several datagrams may cross the kernel as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Segmentation {
    /// Wherever kernel and device can.
    Auto,
    /// Never.
    Off,
}

/// Every bound of the media plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Datagrams read from a socket before what they caused is sent: 64 amortises a system call
    /// to under a tenth of a microsecond each, and more would only add delay.
    pub datagrams_per_turn_max: usize,
    /// Rooms on one worker.
    pub rooms_max: usize,
    /// Transports on one worker: each holds about 60 KB.
    pub transports_max: usize,
    /// Publications of one transport: a clinician with face, scope, two screens and their sounds
    /// needs six.
    pub publications_per_transport_max: usize,
    /// Subscriptions of one transport.
    pub subscriptions_per_transport_max: usize,
    /// Sources that one transport may send from; 3 layers with retransmission on 8 tracks are 48.
    pub ssrcs_per_transport_max: usize,
    /// RTP and RTCP packets that one transport may send in a second. Three cameras and two screens of
    /// 4 Mbit/s are 2,500; what is above is dropped before anything is paid for it.
    pub packets_per_second_max: u32,
    /// Packets kept per layer for retransmission; a power of two. At 300 packets a second 512 last
    /// for more than a second.
    pub history_packets: usize,
    /// Packets older than this are not kept for retransmission: no picture waits longer.
    #[serde(with = "millis")]
    pub history_age_max: Duration,
    /// Rooms that one publication is shared with, beside its own: twice the four that one participant is
    /// forwarded to, because a room that he has left may say so after one that he has come to.
    pub shares_per_publication_max: usize,
    /// Encodings of one publication: browsers send three at most.
    pub layers_per_publication_max: usize,
    /// Codecs agreed for one publication or subscription: four formats, H.264 in some profiles.
    pub codecs_per_track_max: usize,
    /// Bytes that are gathered before a batch is handed to the socket: 64 KB stay in the second
    /// level cache between encryption and the system call.
    pub batch_bytes_max: usize,
    /// Datagrams to one participant that leave as one message. The first eight bring nearly all that
    /// can be won, and a burst of more than 16 overruns the queues of wireless links.
    pub segments_per_send_max: usize,
    /// Bytes of RTP padding that a packet may get to be as long as its neighbours and leave with
    /// them, 64 at most; 0 switches padding off.
    pub padding_bytes_max: usize,
    /// The share of padding in what leaves as one message, in percent.
    pub padding_percent_max: u32,
    /// A worker that works for this share of its time, in thousandths, lets sounds wait for each
    /// other, so that those of several speakers cross the kernel as one message; below, everything
    /// leaves at once. Above 1000 nothing ever waits.
    pub sound_hold_busy_permille: u32,
    /// How long a sound waits at most on a busy worker: a seventh of its own 20 ms, and little
    /// beside what a jitter buffer adds.
    #[serde(with = "millis")]
    pub sound_hold_max: Duration,
    /// Slabs of 2 KB on one worker, for all histories and everything under way: 128 MB.
    pub slabs_max: usize,
    /// Retransmissions to one subscriber as a share of what it is sent, in percent.
    pub resend_percent_max: u32,
    /// Whether the bandwidth towards each subscriber is estimated from its reports, and pictures are
    /// chosen to fit into it. Who reports nothing is sent what it wishes either way.
    pub bandwidth_is_estimated: bool,
    /// What a path is taken for until its subscriber has reported, in kilobits per second for all
    /// pictures together: a middle one. On a path of 300 what is too much has not filled a queue
    /// before it is noticed, and the largest picture is three steps of a second away.
    pub bandwidth_start_kbps: u32,
    /// No estimate is lower, whatever is reported: a third of the smallest picture, from which a
    /// path that has recovered is found again.
    pub bandwidth_min_kbps: u32,
    /// No estimate is higher, whatever is reported: twenty of the largest pictures.
    pub bandwidth_max_kbps: u32,
    /// No picture is asked for more often than this per layer.
    #[serde(with = "millis")]
    pub keyframe_interval_min: Duration,
    /// Bytes that one data channel message may have; what LiveKit's clients assume.
    pub data_message_bytes_max: usize,
    /// Streams of one association: LiveKit's clients use three.
    pub data_streams_max: usize,
    /// Bytes waiting to be sent over the data channels of one transport.
    pub data_queue_bytes_max: usize,
    /// A peer that never passes a connectivity check is forgotten after this.
    #[serde(with = "millis")]
    pub connect_timeout: Duration,
    /// Without a connectivity check for so long the peer's consent has lapsed (RFC 7675: 30 s at
    /// most).
    #[serde(with = "millis")]
    pub consent_timeout: Duration,
    /// A peer whose consent has lapsed is sent nothing, and kept for so long: when its network is back
    /// it restarts ICE and goes on under the same keys. No shorter than `rooms.resume_timeout`.
    #[serde(with = "millis")]
    pub absence_timeout: Duration,
    /// A connected peer from whom nothing has come for so long, although it was asked in between, is
    /// reported: its path is dead, and it may have another one. Whatever it receives or sends, it says
    /// something every second and a half when asked. No shorter than twice the second in which peers
    /// are looked at.
    #[serde(with = "millis")]
    pub silence_timeout: Duration,
    /// Connections on one worker over which packets come that cannot come by UDP.
    pub streams_max: usize,
    /// Bytes waiting in each direction of such a connection: at 4 Mbit/s half a second. What finds no
    /// room is lost, as in a full socket; a longer queue would only show pictures of the past.
    pub stream_queue_bytes_max: usize,
    /// Publications of other workers that one worker mirrors: a case conference of 100 cameras and
    /// microphones spread over the workers, twenty times.
    pub relays_max: usize,
    /// Frames under way from one worker to another: at 10,000 packets a second a tenth of a second,
    /// in 2 MB. What finds no place is counted and asked for again.
    pub relay_frames_max: usize,
    /// A mirror that has not been heard of for so long has been lost by its worker. They are heard
    /// of every second.
    #[serde(with = "millis")]
    pub relay_silence_max: Duration,
    /// Memory in which packets wait for the writer of one recording: a consult of eight waits in it
    /// for 20 s. Beyond it they are dropped, and the recording tells so.
    pub tap_recording_bytes_max: usize,
    /// Memory in which packets wait for all writers together.
    pub tap_bytes_max: usize,
    /// What is handed to a writer at a time: 200 packets, so that a ring of few places is enough,
    /// and small enough for a second-level cache.
    pub tap_arena_bytes: usize,
    /// A recorded picture that has begun with a keyframe is asked for another one after so long:
    /// whoever searches in the recording has to decode so much. Of four cameras, ten seconds kept
    /// a browser on two cores busy for one. Five cost twice the 5 % of the bit rate that ten do.
    #[serde(with = "millis")]
    pub tap_keyframe_interval: Duration,
    /// Commands waiting for a worker.
    pub commands_queued_max: usize,
    /// Events waiting for the control plane.
    pub events_queued_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            datagrams_per_turn_max: 64,
            rooms_max: 2_000,
            transports_max: 4_000,
            publications_per_transport_max: 16,
            subscriptions_per_transport_max: 256,
            ssrcs_per_transport_max: 64,
            packets_per_second_max: 10_000,
            history_packets: 512,
            history_age_max: Duration::from_millis(1_500),
            shares_per_publication_max: 8,
            layers_per_publication_max: 4,
            codecs_per_track_max: 8,
            batch_bytes_max: 64 * 1024,
            segments_per_send_max: 16,
            padding_bytes_max: 64,
            padding_percent_max: 5,
            sound_hold_busy_permille: 700,
            sound_hold_max: Duration::from_millis(3),
            slabs_max: 65_536,
            resend_percent_max: 20,
            bandwidth_is_estimated: true,
            bandwidth_start_kbps: 500,
            bandwidth_min_kbps: 50,
            bandwidth_max_kbps: 50_000,
            keyframe_interval_min: Duration::from_millis(500),
            data_message_bytes_max: 64_000,
            data_streams_max: 64,
            data_queue_bytes_max: 1 << 20,
            connect_timeout: Duration::from_secs(20),
            consent_timeout: Duration::from_secs(15),
            absence_timeout: Duration::from_secs(60),
            silence_timeout: Duration::from_secs(3),
            streams_max: 4_000,
            stream_queue_bytes_max: 256 << 10,
            relays_max: 4_096,
            relay_frames_max: 1_024,
            relay_silence_max: Duration::from_secs(5),
            tap_recording_bytes_max: 32 << 20,
            tap_bytes_max: 512 << 20,
            tap_arena_bytes: 256 * 1024,
            tap_keyframe_interval: Duration::from_secs(5),
            commands_queued_max: 16_384,
            events_queued_max: 65_536,
        }
    }
}

/// Durations as whole milliseconds in configuration files.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(value.as_millis() as u64)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        u64::deserialize(input).map(Duration::from_millis)
    }
}
