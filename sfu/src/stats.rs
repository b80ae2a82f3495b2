//! What a shard counts: plain numbers, owned by one thread, copied out once a second as a value.

use crate::delay::DelayHistogram;
use crate::error::Reject;

/// Everything a worker has counted since it started, and a few levels of the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsSnapshot {
    /// Datagrams read.
    pub datagrams_in: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Datagrams handed to the socket.
    pub datagrams_out: u64,
    /// Bytes handed to the socket.
    pub bytes_out: u64,
    /// Datagrams given up because the kernel's buffers were full.
    pub datagrams_blocked: u64,
    /// Datagrams given up because of where they should go: a firewall, no route.
    pub datagrams_refused: u64,
    /// Messages of several datagrams that the socket took.
    pub runs_out: u64,
    /// Messages of several datagrams that it refused, and that were sent again one by one.
    pub runs_refused: u64,
    /// Connections now over which packets come instead of datagrams.
    pub streams: u64,
    /// Packets that came over connections; they count as datagrams too.
    pub stream_packets_in: u64,
    /// Packets handed to connections, and to no socket.
    pub stream_packets_out: u64,
    /// Packets for connections given up because their queue was full, or they were gone.
    pub stream_packets_dropped: u64,
    /// Peers from whom nothing has come for [`Limits::silence_timeout`](crate::config::Limits), although
    /// they were asked.
    pub silences: u64,
    /// RTP packets taken from publishers.
    pub packets_in: u64,
    /// RTP packets sent to subscribers, retransmissions not counted.
    pub packets_out: u64,
    /// Retransmissions sent to subscribers.
    pub packets_resent: u64,
    /// Bytes of padding that made packets as long as their neighbours.
    pub padding_out: u64,
    /// Sounds that waited for others because the worker was busy.
    pub sounds_held: u64,
    /// Packets that subscribers asked for and that could not be sent again.
    pub resends_refused: u64,
    /// Packets that publishers were asked to send again.
    pub packets_requested: u64,
    /// Requests for a keyframe sent to publishers.
    pub keyframes_requested: u64,
    /// Reports of subscribers about the bandwidth towards them.
    pub bandwidth_reports: u64,
    /// Times that padding was sent to find out whether more fits.
    pub probes: u64,
    /// Packets of padding sent for that.
    pub probe_packets_out: u64,
    /// Subscribers now whose bandwidth is known from their reports, or assumed until they report.
    pub bandwidth_estimates: u64,
    /// What fits towards all of them together, in kilobits per second.
    pub bandwidth_estimated_kbps: u64,
    /// Pictures now that are smaller than wished because more does not fit.
    pub pictures_lowered: u64,
    /// Pictures now that are not sent because not even the smallest fits.
    pub pictures_held: u64,
    /// Data channel messages in.
    pub data_in: u64,
    /// Data channel messages out.
    pub data_out: u64,
    /// Lossy data channel messages dropped because a queue was full.
    pub data_dropped: u64,
    /// Dropped datagrams by [`Reject::ALL`].
    pub rejects: [u64; Reject::ALL.len()],
    /// 1 while several datagrams leave as one message, 0 where kernel, device or configuration do
    /// not want that.
    pub is_segmenting: u64,
    /// Frames handed to other workers.
    pub relay_frames_out: u64,
    /// Frames taken from other workers.
    pub relay_frames_in: u64,
    /// Frames for other workers that found a full queue.
    pub relay_frames_dropped: u64,
    /// Frames of other workers that nobody waits for any more.
    pub relay_frames_useless: u64,
    /// Packets given to taps.
    pub tap_packets: u64,
    /// Packets that taps had no room for; their recordings tell so.
    pub tap_packets_dropped: u64,
    /// Packets of participants who may not be recorded, in rooms that are.
    pub tap_packets_held_back: u64,
    /// Rooms now.
    pub rooms: u64,
    /// Transports now.
    pub transports: u64,
    /// Publications now.
    pub publications: u64,
    /// Publications of other workers mirrored now.
    pub relays: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Taps attached now.
    pub taps: u64,
    /// Slabs in use now.
    pub slabs_used: u64,
    /// Bugs of ours that ended all rooms of the worker.
    pub panics: u64,
    /// Events that the control plane was too slow to take.
    pub events_lost: u64,
    /// Turns that were a tenth of a second late or long.
    pub stalls: u64,
    /// Transports that ended by themselves: fallen silent, closed by their peer, never connected.
    pub transports_lost: u64,
    /// Processor time of the worker's thread, in nanoseconds, of its whole life.
    pub busy_ns: u64,
    /// How long datagrams were inside before they left.
    pub forwarding: DelayHistogram,
}

impl StatsSnapshot {
    /// Counts one dropped datagram.
    pub fn reject(&mut self, reason: Reject) {
        self.rejects[reason as usize] += 1;
    }

    /// How many datagrams were dropped for `reason`.
    pub fn rejected(&self, reason: Reject) -> u64 {
        self.rejects[reason as usize]
    }
}
