//! A publication as one transport receives it: select, rewrite, remember how to send again.
//!
//! A subscription turns packets of any layer into [`Outgoing`] ones of its own stream, or into
//! nothing. It is pure bookkeeping over plain values: payloads stay in the publication's history
//! until [`Subscription::seal`] lays header and payload down, once per turn.

pub mod codec;
pub mod resend;
pub mod rewriter;
pub mod selector;
pub mod thinner;

use std::time::{Duration, Instant};

use self::codec::{CodecMap, SentCodec};
use self::resend::Resend;
use self::rewriter::{PictureIds, Rewriter, Rewritten, StreamKey};
use self::selector::{Bound, Decision, Selector};
use self::thinner::{Passage, Thinner};
use crate::congestion::allocation::Priority;
use crate::id::SubscriptionId;
use crate::media::{Codec, LayerWish, MediaKind, SubscriptionParams};
use crate::publication::history::{PacketInfo, split_descriptor};
use crate::publication::layer::SenderClock;
use crate::publication::{LayerViews, Publication};
use crate::rtp::codec::{red, vp8};
use crate::rtp::extension::AudioLevel;
use crate::rtp::packet::{OutgoingExtensions, OutgoingHeader};
use crate::rtp::rtcp::report::ReportBlock;
use crate::rtp::rtx;
use crate::shard::padding::PADDING_MAX;
use crate::slab::PacketRef;
use crate::transport::params::ExtensionIds;
use crate::unit::{SeqNo, Ssrc};

/// Bytes of a packet that is nothing but padding: what eight bits can count, less than a block.
const PROBE_PADDING: usize = 240;

/// More packets than anybody is sent between two reports.
const EXPECTED_MAX: u32 = 1 << 16;

/// On which of a subscription's two streams a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Media,
    /// As a retransmission with this number (RFC 4588).
    Repair(SeqNo),
}

/// A packet that has been decided on, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    form: Form,
    codec: SentCodec,
    numbers: Rewritten,
    marker: bool,
    /// Its number is needed, its payload is not.
    is_empty: bool,
    audio_level: Option<u8>,
    orientation: Option<u8>,
    /// So many bytes behind the payload are its dependency descriptor.
    descriptor: u8,
}

impl Outgoing {
    /// Whether it has been sent before.
    pub fn is_repair(&self) -> bool {
        self.form != Form::Media
    }

    /// Whether it is sound.
    pub fn is_sound(&self) -> bool {
        matches!(self.codec.codec, Codec::Opus | Codec::Red)
    }

    /// Whether this is the only packet that will ever have its number: what is sent again gets a
    /// number of its own, on the stream of retransmissions. Only such a packet may be padded, for
    /// under one number SRTP must never seal two different ones.
    pub fn is_sent_once(&self) -> bool {
        self.codec.rtx_payload_type.is_some()
    }
}

#[cfg(test)]
impl Outgoing {
    /// Some sound.
    pub(crate) fn sample() -> Self {
        Self {
            form: Form::Media,
            codec: SentCodec {
                codec: Codec::Opus,
                payload_type: crate::unit::PayloadType(111),
                rtx_payload_type: None,
                unwraps_red: false,
            },
            numbers: Rewritten {
                seq: SeqNo::first(1),
                timestamp: 0,
                picture: PictureIds::default(),
            },
            marker: false,
            is_empty: false,
            audio_level: None,
            orientation: None,
            descriptor: 0,
        }
    }
}

/// What became of a packet that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// It is to be sent like this.
    pub outgoing: Option<Outgoing>,
    /// Another layer is sent from here on.
    pub has_switched: bool,
}

impl Offer {
    const NOTHING: Self = Self {
        outgoing: None,
        has_switched: false,
    };
}

/// A packet as it is numbered for the rewriter, and whether only its number goes through.
fn through(passage: Passage, info: &PacketInfo) -> Option<(PacketInfo, bool)> {
    match passage {
        Passage::Not => None,
        Passage::Whole { seq, ends_picture } => {
            let marker = ends_picture;
            Some((
                PacketInfo {
                    seq,
                    marker,
                    ..*info
                },
                false,
            ))
        }
        Passage::Empty(seq) => Some((PacketInfo { seq, ..*info }, true)),
    }
}

/// What we sent, for sender reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets, retransmissions not counted.
    pub packets: u32,
    /// Bytes of their payload.
    pub bytes: u32,
}

/// A publication as one transport receives it.
pub struct Subscription {
    id: SubscriptionId,
    selector: Selector,
    /// Where one stream carries several sizes.
    thinner: Option<Box<Thinner>>,
    rewriter: Rewriter,
    resend: Resend,
    codecs: CodecMap,
    ssrc: Ssrc,
    rtx_ssrc: Option<Ssrc>,
    header: OutgoingHeader,
    rtx_header: Option<OutgoingHeader>,
    /// The receiver's number of dependency descriptors, if it takes them.
    descriptor_id: Option<u8>,
    rtx_next: SeqNo,
    sent: Sent,
    sent_at_report: Sent,
    reported: Option<Reported>,
    /// How much its picture matters to the subscriber.
    pub priority: Priority,
    /// It may be sent nothing where not even its smallest size fits.
    pub may_pause: bool,
    bound: Bound,
}

/// Where things stood at a receiver report.
#[derive(Clone, Copy, Debug)]
struct Reported {
    highest: u32,
    lost: u32,
    /// Numbers under which we had sent nothing, because nothing had come to us.
    holes: u32,
}

impl Subscription {
    /// A subscription that nothing has been sent of; `None` if there is no codec in common.
    /// `random` numbers its streams.
    pub fn new(
        id: SubscriptionId,
        publication: &Publication,
        params: &SubscriptionParams,
        extensions: &ExtensionIds,
        resend_percent_max: u32,
        random: [u8; 8],
    ) -> Option<Self> {
        let codecs = CodecMap::new(publication.codecs(), params)?;
        let word = |at: usize| u16::from_be_bytes([random[at], random[at + 1]]);
        let timestamp = u32::from(word(2)) << 16 | u32::from(word(4));
        let descriptor_id = extensions.dependency_descriptor;
        let is_sent_once = codecs.is_always_repaired();
        let extensions = outgoing_extensions(publication.kind(), extensions, params, is_sent_once);
        Some(Self {
            id,
            selector: Selector::new(),
            thinner: carries_layers(publication)
                .then(|| Box::new(Thinner::new(publication.spatial_layers()))),
            rewriter: Rewriter::new(word(0), timestamp),
            resend: Resend::new(resend_percent_max),
            codecs,
            ssrc: params.ssrc,
            rtx_ssrc: params.rtx_ssrc,
            header: OutgoingHeader::new(params.ssrc, &extensions),
            rtx_header: params
                .rtx_ssrc
                .map(|ssrc| OutgoingHeader::new(ssrc, &extensions)),
            descriptor_id,
            // In the lower half, so that a lost first packet does not look like a wrap.
            rtx_next: SeqNo::first(word(6) & 0x7fff),
            sent: Sent::default(),
            sent_at_report: Sent::default(),
            reported: None,
            priority: Priority::default(),
            may_pause: false,
            bound: Bound::None,
        })
    }

    /// Whether its packets carry transport-wide numbers.
    pub fn is_numbered(&self) -> bool {
        self.header.is_numbered()
    }

    /// How much of what is wished fits now.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// Whether padding can be sent beside it.
    pub fn can_pad(&self) -> bool {
        let header = self.rtx_header.as_ref();
        header.is_some_and(OutgoingHeader::is_numbered)
            && self.codecs.repair_payload_type().is_some()
    }

    /// How long a packet that is nothing but padding becomes, in plain.
    pub fn padding_len(&self) -> usize {
        let header = self.rtx_header.as_ref();
        header.map_or(0, |header| header.bytes().len() + PROBE_PADDING)
    }

    /// Whether a larger layer than wanted goes on until the wanted one can be decoded.
    pub fn sends_too_much(&self) -> bool {
        self.selector.current() > self.selector.wanted()
    }

    /// The largest size that is wished of a stream that carries several.
    pub fn spatial_wished(&self) -> Option<u8> {
        self.thinner.as_ref()?.wished()
    }

    /// Takes a new bound. Returns whether something is no longer sent.
    pub fn set_bound(&mut self, bound: Bound, layers: &LayerViews) -> bool {
        self.bound = bound;
        let thinner = self.thinner.as_mut();
        match (thinner.filter(|one| one.wished().is_some()), bound) {
            (Some(thinner), Bound::Rank(rank)) => {
                thinner.set_bound(rank);
                self.selector.set_bound(Bound::None);
            }
            (Some(thinner), Bound::None) => {
                thinner.set_bound(u8::MAX);
                self.selector.set_bound(Bound::None);
            }
            _ => self.selector.set_bound(bound),
        }
        self.selector.update(layers)
    }

    /// Its id.
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// The source of its media.
    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// The source of its retransmissions, if they have one.
    pub fn rtx_ssrc(&self) -> Option<Ssrc> {
        self.rtx_ssrc
    }

    /// Takes a new wish. Returns whether something is no longer sent.
    pub fn set_wish(&mut self, wish: LayerWish, layers: &LayerViews) -> bool {
        if let Some(thinner) = &mut self.thinner {
            thinner.set_wish(wish);
        }
        self.selector.set_wish(wish);
        self.selector.update(layers)
    }

    /// Layers have come or gone. Returns whether something is no longer sent.
    pub fn update(&mut self, layers: &LayerViews) -> bool {
        self.selector.update(layers)
    }

    /// A layer restarts, or the publication is muted. Returns whether something is no longer sent.
    pub fn interrupt(&mut self) -> bool {
        let was_sent = self.selector.current().is_some();
        self.selector.interrupt();
        was_sent
    }

    /// What the subscriber asked for.
    pub fn wish(&self) -> LayerWish {
        self.selector.wish()
    }

    /// The layer that is sent now.
    pub fn current(&self) -> Option<u8> {
        self.selector.current()
    }

    /// The layer that a keyframe is needed of.
    pub fn awaited(&self) -> Option<u8> {
        let awaits_size = |thinner: &Thinner| thinner.awaits_keyframe();
        let is_small = self.thinner.as_deref().is_some_and(awaits_size);
        let current = self.selector.current().filter(|_| is_small);
        self.selector.awaited().or(current)
    }

    /// The largest size that is sent of a stream that carries several.
    pub fn spatial(&self) -> Option<u8> {
        self.thinner.as_ref()?.current()
    }

    /// The layer whose keyframe would help a subscriber that asks for one.
    pub fn keyframe_rank(&self) -> Option<u8> {
        self.selector.wanted()
    }

    /// Decides on a packet that has just arrived. `clocks` are the sender clocks by rank.
    pub fn offer(
        &mut self,
        now: Instant,
        stream: StreamKey,
        info: &PacketInfo,
        publication: &Publication,
    ) -> Offer {
        let decision = match self.codecs.sent(info.codec) {
            Some(_) => self.selector.decide(stream.rank, info.starts_keyframe),
            None => Decision::Skip,
        };
        if decision == Decision::Skip {
            return Offer::NOTHING;
        }
        if self.thinner.is_some() {
            return self.thin(now, stream, info, decision, publication);
        }
        self.number(now, stream, info, false, decision, publication)
    }

    /// The same for a packet of a stream that carries several sizes. Apart, because most do not.
    #[inline(never)]
    fn thin(
        &mut self,
        now: Instant,
        stream: StreamKey,
        info: &PacketInfo,
        decision: Decision,
        publication: &Publication,
    ) -> Offer {
        let is_other = decision == Decision::Switch && self.rewriter.stream() != Some(stream);
        let passage = self.thinner.as_mut().map(|thinner| {
            if is_other {
                thinner.restart();
            }
            thinner.pass(info)
        });
        match passage.and_then(|passage| through(passage, info)) {
            Some((info, is_empty)) => {
                self.number(now, stream, &info, is_empty, decision, publication)
            }
            None => Offer::NOTHING,
        }
    }

    /// Gives a packet that goes through its numbers.
    #[inline(always)]
    fn number(
        &mut self,
        now: Instant,
        stream: StreamKey,
        info: &PacketInfo,
        is_empty: bool,
        decision: Decision,
        publication: &Publication,
    ) -> Offer {
        let has_switched = decision == Decision::Switch;
        if has_switched {
            let aligned = self.aligned(stream, info, publication);
            let clock_rate = publication.clock_rate();
            self.rewriter.switch(now, stream, info, clock_rate, aligned);
        }
        let numbers = self.rewriter.rewrite(now, stream, info);
        Offer {
            outgoing: numbers
                .and_then(|numbers| self.outgoing(Form::Media, numbers, info, is_empty)),
            has_switched,
        }
    }

    /// Answers one request for a lost packet, if it is still here and allowed.
    pub fn answer<'a>(
        &mut self,
        now: Instant,
        wire: u16,
        publication: &'a Publication,
        round_trip: Duration,
        len: impl FnOnce(&PacketRef) -> usize,
    ) -> Option<(Outgoing, &'a PacketRef)> {
        let (stream, seq) = self.rewriter.origin(wire)?;
        let layer = publication.layer(stream.rank);
        if publication.is_muted() || layer.stream() != stream {
            return None;
        }
        let seq = match &self.thinner {
            Some(thinner) => thinner.origin(seq)?,
            None => seq,
        };
        let (info, packet) = layer.packet(seq)?;
        let (info, is_empty) = match &self.thinner {
            Some(thinner) => through(thinner.pass_again(info.seq), info)?,
            None => (*info, false),
        };
        let info = &info;
        let numbers = self.rewriter.rewrite_again(stream, info)?;
        let codec = self.codecs.sent(info.codec)?;
        if !self
            .resend
            .try_spend(now, numbers.seq, len(packet), round_trip)
        {
            return None;
        }
        let form = match (codec.rtx_payload_type, &self.rtx_header) {
            (Some(_), Some(_)) => {
                let seq = self.rtx_next;
                self.rtx_next = SeqNo(seq.0 + 1);
                Form::Repair(seq)
            }
            // The same bytes under the same number: no extension below depends on the time.
            _ => Form::Media,
        };
        Some((self.outgoing(form, numbers, info, is_empty)?, packet))
    }

    /// How long a packet of which so many bytes are kept becomes, in plain and without padding. An
    /// upper bound where redundant copies are left out.
    pub fn sealed_len(&self, outgoing: &Outgoing, kept: usize) -> usize {
        if outgoing.descriptor > 0 {
            return self.described_len(outgoing, kept);
        }
        match (&self.rtx_header, outgoing.form) {
            (Some(header), Form::Repair(_)) => header.bytes().len() + rtx::PREFIX_LEN + kept,
            _ => self.header.bytes().len() + kept,
        }
    }

    /// The same with a dependency descriptor. Apart, because most packets have none.
    #[inline(never)]
    fn described_len(&self, outgoing: &Outgoing, kept: usize) -> usize {
        let (header, prefix) = match (&self.rtx_header, outgoing.form) {
            (Some(header), Form::Repair(_)) => (header, rtx::PREFIX_LEN),
            _ => (&self.header, 0),
        };
        let descriptor = usize::from(outgoing.descriptor);
        let header_len = match self.descriptor_id {
            Some(id) => header.described_len(id, descriptor),
            None => header.bytes().len(),
        };
        header_len + prefix + kept.saturating_sub(descriptor)
    }

    /// Lays header, payload and so many bytes of padding down for `seal`, which says whether the
    /// packet can leave. `kept` are all bytes that are kept of it.
    /// `number` is its transport-wide number, where it carries one.
    pub fn seal(
        &mut self,
        outgoing: &Outgoing,
        kept: &[u8],
        padding: usize,
        number: u16,
        seal: impl FnOnce(SeqNo, &[u8], &[&[u8]]) -> bool,
    ) -> bool {
        if outgoing.descriptor > 0 {
            return self.seal_described(outgoing, kept, padding, number, seal);
        }
        let payload = match outgoing.codec.unwraps_red {
            _ if outgoing.is_empty => &[],
            true => match red::primary(kept) {
                Ok(block) => block.payload,
                Err(_) => return false,
            },
            false => kept,
        };
        debug_assert!(
            padding == 0 || outgoing.is_sent_once(),
            "one number, one packet"
        );
        let mut prefix = [0; vp8::DESCRIPTOR_MAX];
        let (prefix, rest) = renumber(outgoing, payload, &mut prefix);
        let mut tail = [0; PADDING_MAX];
        let tail = fill(&mut tail, padding);
        match outgoing.form {
            Form::Media => {
                set(&mut self.header, outgoing, outgoing.numbers.seq);
                self.header.set_transport_cc(number);
                self.header.set_padded(padding > 0);
                let parts = [prefix, rest, tail];
                if seal(outgoing.numbers.seq, self.header.bytes(), &parts) {
                    self.note_sent(payload.len());
                    return true;
                }
                false
            }
            Form::Repair(seq) => {
                let header = self
                    .rtx_header
                    .as_mut()
                    .expect("a repair is only made where there is a stream for it");
                set(header, outgoing, seq);
                header.set_transport_cc(number);
                header.set_padded(padding > 0);
                let original = rtx::prefix(outgoing.numbers.seq.wire());
                seal(seq, header.bytes(), &[&original, prefix, rest, tail])
            }
        }
    }

    /// The same for a packet with a dependency descriptor, which goes along under the receiver's
    /// number if it takes it. Apart, because most packets have none.
    #[inline(never)]
    fn seal_described(
        &mut self,
        outgoing: &Outgoing,
        kept: &[u8],
        padding: usize,
        number: u16,
        seal: impl FnOnce(SeqNo, &[u8], &[&[u8]]) -> bool,
    ) -> bool {
        let (payload, value) = split_descriptor(kept, outgoing.descriptor);
        let payload = if outgoing.is_empty { &[] } else { payload };
        let mut tail = [0; PADDING_MAX];
        let tail = fill(&mut tail, padding);
        let (header, seq) = match outgoing.form {
            Form::Media => (&mut self.header, outgoing.numbers.seq),
            Form::Repair(seq) => {
                let header = self.rtx_header.as_mut();
                let header = header.expect("a repair is only made where there is a stream for it");
                (header, seq)
            }
        };
        set(header, outgoing, seq);
        header.set_transport_cc(number);
        header.set_padded(padding > 0);
        let described;
        let bytes = match self.descriptor_id.filter(|_| !outgoing.is_empty) {
            Some(id) => {
                described = header.described(id, value);
                described.bytes()
            }
            None => header.bytes(),
        };
        if outgoing.is_repair() {
            let original = rtx::prefix(outgoing.numbers.seq.wire());
            return seal(seq, bytes, &[&original, payload, tail]);
        }
        let is_sealed = seal(seq, bytes, &[payload, tail]);
        if is_sealed {
            self.note_sent(payload.len());
        }
        is_sealed
    }

    /// Lays a packet down that is nothing but padding, on the stream of retransmissions, where there
    /// is one that carries numbers. What receives it has nothing to do with it but to report it.
    pub fn seal_padding(
        &mut self,
        number: u16,
        seal: impl FnOnce(SeqNo, &[u8], &[&[u8]]) -> bool,
    ) -> bool {
        let payload_type = self.codecs.repair_payload_type();
        let (Some(header), Some(payload_type)) = (&mut self.rtx_header, payload_type) else {
            return false;
        };
        if !header.is_numbered() {
            return false;
        }
        let seq = self.rtx_next;
        self.rtx_next = SeqNo(seq.0 + 1);
        header.set(payload_type, false, seq, 0);
        header.set_transport_cc(number);
        header.set_audio_level(None);
        header.set_video_orientation(None);
        header.set_padded(true);
        let mut tail = [0; PROBE_PADDING];
        tail[PROBE_PADDING - 1] = PROBE_PADDING as u8;
        seal(seq, header.bytes(), &[&tail])
    }

    /// The source and number under which SRTP seals a packet of this subscription.
    pub fn sealed_as(&self, outgoing: &Outgoing) -> (Ssrc, SeqNo) {
        match outgoing.form {
            Form::Media => (self.ssrc, outgoing.numbers.seq),
            Form::Repair(seq) => (self.rtx_ssrc.unwrap_or(self.ssrc), seq),
        }
    }

    /// Counts for a sender report that is due now: `None` if nothing was sent since the last one.
    pub fn report(&mut self) -> Option<Sent> {
        let has_news = self.sent != self.sent_at_report;
        self.sent_at_report = self.sent;
        has_news.then_some(self.sent)
    }

    /// Takes what the receiver reports: how many packets it should have had since its last report,
    /// and how many it lost of those that we sent.
    pub fn take_report(&mut self, block: &ReportBlock) -> Option<(u32, u32)> {
        let now = Reported {
            highest: block.highest,
            lost: block.lost as u32,
            holes: (self.rewriter.span() as u32).wrapping_sub(self.sent.packets),
        };
        let before = self.reported.replace(now)?;
        // Reports may overtake each other.
        let expected = now.highest.wrapping_sub(before.highest);
        let expected = (expected as i32 > 0).then_some(expected.min(EXPECTED_MAX))?;
        let lost = now.lost.wrapping_sub(before.lost) as i32;
        let holes = now.holes.wrapping_sub(before.holes) as i32;
        let lost = lost.saturating_sub(holes).clamp(0, expected as i32);
        Some((expected, lost as u32))
    }

    /// A timestamp of the layer that is sent, on our scale.
    pub fn timestamp_out(&self, stream: StreamKey, timestamp: u32) -> Option<u32> {
        self.rewriter.timestamp_out(stream, timestamp)
    }

    fn note_sent(&mut self, bytes: usize) {
        self.sent.packets = self.sent.packets.wrapping_add(1);
        self.sent.bytes = self.sent.bytes.wrapping_add(bytes as u32);
        self.resend.earn(bytes);
    }

    fn outgoing(
        &self,
        form: Form,
        numbers: Rewritten,
        info: &PacketInfo,
        is_empty: bool,
    ) -> Option<Outgoing> {
        Some(Outgoing {
            form,
            codec: self.codecs.sent(info.codec)?,
            numbers,
            marker: info.marker,
            is_empty,
            audio_level: info.audio_level,
            orientation: info.orientation,
            descriptor: info.descriptor,
        })
    }

    /// The moment of a new layer's packet on the scale of the layer before.
    fn aligned(
        &self,
        stream: StreamKey,
        info: &PacketInfo,
        publication: &Publication,
    ) -> Option<u32> {
        let before = self.rewriter.stream()?;
        let old = publication.layer(before.rank);
        if old.stream() != before {
            return None;
        }
        let new: &SenderClock = publication.layer(stream.rank).clock()?;
        Some(
            old.clock()?
                .translate(new, info.timestamp, publication.clock_rate()),
        )
    }
}

/// Only what is the same whenever a packet is sent: a packet that is sent again without a stream
/// for retransmissions must be the same bytes under the same SRTP number. So transport-wide numbers
/// stand only where every packet has its own; and only on pictures, see the estimator.
fn outgoing_extensions(
    kind: MediaKind,
    ids: &ExtensionIds,
    params: &SubscriptionParams,
    is_sent_once: bool,
) -> OutgoingExtensions {
    let is_numbered = kind == MediaKind::Video && is_sent_once;
    OutgoingExtensions {
        mid: ids.mid.map(|id| (id, params.mid)),
        transport_cc: ids.transport_cc.filter(|_| is_numbered),
        abs_send_time: None,
        audio_level: ids.audio_level.filter(|_| kind == MediaKind::Audio),
        video_orientation: ids.video_orientation.filter(|_| kind == MediaKind::Video),
    }
}

fn set(header: &mut OutgoingHeader, outgoing: &Outgoing, seq: SeqNo) {
    let payload_type = match outgoing.form {
        Form::Media => outgoing.codec.payload_type,
        Form::Repair(_) => outgoing
            .codec
            .rtx_payload_type
            .expect("a repair is only made where it has a payload type"),
    };
    header.set(
        payload_type,
        outgoing.marker,
        seq,
        outgoing.numbers.timestamp,
    );
    header.set_audio_level(outgoing.audio_level.map(audio_level));
    header.set_video_orientation(outgoing.orientation);
}

/// Whether the one stream of a publication may carry several sizes or rates.
fn carries_layers(publication: &Publication) -> bool {
    let first = publication.codecs().first().map(|params| params.codec);
    matches!(first, Some(Codec::Vp9 | Codec::Av1)) && publication.layers().len() == 1
}

/// So many bytes of padding, of which the last counts them (RFC 3550 section 5.1).
fn fill(tail: &mut [u8; PADDING_MAX], padding: usize) -> &[u8] {
    if let Some(last) = padding.checked_sub(1) {
        tail[last] = padding as u8;
    }
    &tail[..padding]
}

fn audio_level(byte: u8) -> AudioLevel {
    AudioLevel {
        level: byte & 0x7f,
        voice: byte & 0x80 != 0,
    }
}

/// The payload in two parts: a renumbered copy of the VP8 descriptor, if it has one, and the rest.
fn renumber<'a>(
    outgoing: &Outgoing,
    payload: &'a [u8],
    prefix: &'a mut [u8; vp8::DESCRIPTOR_MAX],
) -> (&'a [u8], &'a [u8]) {
    let picture = outgoing.numbers.picture;
    if outgoing.codec.codec != Codec::Vp8 || picture == PictureIds::default() {
        return (&[], payload);
    }
    let Ok(descriptor) = vp8::Descriptor::parse(payload) else {
        return (&[], payload);
    };
    let len = descriptor.len.min(vp8::DESCRIPTOR_MAX);
    prefix[..len].copy_from_slice(&payload[..len]);
    descriptor.renumber(
        vp8::Numbers {
            picture_id: picture.picture_id.unwrap_or(0),
            tl0_index: picture.tl0_index.unwrap_or(0),
            key_index: picture.key_index.unwrap_or(0),
        },
        &mut prefix[..],
    );
    (&prefix[..len], &payload[len..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_packet_touches_for_each_subscriber_is_less_than_a_kilobyte() {
        let size = size_of::<Subscription>();
        assert!(size < 1024, "{size} bytes");
    }
}
