//! What the control plane may tell a shard: the whole downward half of its interface.
//!
//! A command needs no answer. One that cannot be carried out (an unknown id, a limit, an old
//! epoch) is refused by an [`EventKind::Refused`](super::event::EventKind::Refused) and changes nothing.

use bytes::Bytes;

use crate::congestion::allocation::Priority;
use crate::id::{Epoch, PublicationId, RoomId, SubscriptionId, TransportId, WorkerId};
use crate::media::{LayerWish, PublicationParams, SubscriptionParams};
use crate::tap::{PictureSize, Tap};
use crate::transport::params::{ExtensionIds, IceCredentials, SctpParams, TransportParams};

/// A command with the room it belongs to and the epoch of that room's placement.
#[derive(Debug)]
pub struct Directive {
    /// The room; every other id in the command lives in it.
    pub room: RoomId,
    /// Refused if older than the newest epoch that the worker has seen for the room.
    pub epoch: Epoch,
    /// What to do.
    pub command: Command,
}

/// One wish of the control plane.
#[derive(Debug)]
pub enum Command {
    /// Makes an empty room.
    OpenRoom,
    /// Ends the room and everything in it.
    CloseRoom,
    /// Makes a transport and waits for its peer's first connectivity check.
    AddTransport {
        /// Its id.
        transport: TransportId,
        /// What was agreed.
        params: Box<TransportParams>,
    },
    /// Replaces the ICE credentials of both sides; DTLS and SRTP go on as they are.
    RestartIce {
        /// Which one.
        transport: TransportId,
        /// Ours, fresh.
        local: IceCredentials,
        /// The peer's, fresh.
        remote: IceCredentials,
    },
    /// The peer has added data channels to a transport that had none.
    AddSctp {
        /// Which one.
        transport: TransportId,
        /// What was agreed.
        params: SctpParams,
    },
    /// Opens the data channels from our side, once there is an association: for a peer that waits
    /// for them. One that opens them itself needs no such command.
    OpenDataChannels {
        /// Which one.
        transport: TransportId,
    },
    /// The peer has numbered header extensions that it did not mention before: Firefox names those
    /// of simulcast when it first offers to send a picture.
    LearnExtensions {
        /// Which one.
        transport: TransportId,
        /// The numbers; what is known already stays.
        extensions: ExtensionIds,
    },
    /// Says goodbye (DTLS close) and forgets the transport, its publications and subscriptions.
    RemoveTransport {
        /// Which one.
        transport: TransportId,
    },
    /// Takes a transport that another room has on this worker over into this one. Connection, keys and
    /// data channels stay as they are; what it was sent ends, and what it publishes goes along,
    /// closed to the archive. If it is there no more, that is reported as
    /// [`Disconnected`](super::event::EventKind::Disconnected).
    MoveTransport {
        /// Which one.
        transport: TransportId,
        /// The room that it is in.
        from: RoomId,
        /// What its publications are called there, and what here: a name is of one room. Those that
        /// are not mentioned end.
        publications: Vec<(PublicationId, PublicationId)>,
    },
    /// Accepts a track from a transport.
    Publish {
        /// Who sends it.
        transport: TransportId,
        /// Its id.
        publication: PublicationId,
        /// What was agreed.
        params: Box<PublicationParams>,
    },
    /// Stops forwarding a publication while `muted`, whatever its sender does; its packets are
    /// still authenticated and counted.
    SetMuted {
        /// Which one.
        publication: PublicationId,
        /// Silence it, or let it through again.
        muted: bool,
    },
    /// Forgets a publication and all subscriptions to it.
    Unpublish {
        /// Which one.
        publication: PublicationId,
    },
    /// Makes a publication of another room available in this one, under a name that is free. It stays
    /// where it is: muted, ended and recorded it is there and nowhere else. What hangs on it here ends
    /// with it, with its going over to another room, and with this room.
    Share {
        /// What it is called in its room. Its transport is on this worker.
        publication: PublicationId,
        /// Its room.
        from: RoomId,
        /// What it is called here.
        name: PublicationId,
    },
    /// Takes it from the room again. If it has ended, there is nothing to do.
    Unshare {
        /// What it is called here.
        name: PublicationId,
    },
    /// Makes a publication that another worker receives available to the transports of the room
    /// that are on this one. May be given again; the relay ends by itself when the last
    /// subscription here has ended, and with the publication.
    OpenRelay {
        /// What is relayed.
        publication: PublicationId,
        /// The worker that has its publisher.
        owner: WorkerId,
        /// Its publisher.
        publisher: TransportId,
        /// What was agreed about it, as in `Publish`.
        params: Box<PublicationParams>,
    },
    /// Sends a publication to a transport of the same room.
    Subscribe {
        /// Who receives it.
        transport: TransportId,
        /// Its id.
        subscription: SubscriptionId,
        /// What is received.
        publication: PublicationId,
        /// How it is numbered on the receiver's side.
        params: Box<SubscriptionParams>,
    },
    /// Changes which layer a subscription gets.
    SetWish {
        /// Which one.
        subscription: SubscriptionId,
        /// The wish.
        wish: LayerWish,
    },
    /// How a subscription fares where not everything fits that is wished. Before it is given a picture
    /// matters as little as any and is never left out.
    SetImportance {
        /// Which one.
        subscription: SubscriptionId,
        /// How much it matters: what matters more is served first.
        priority: Priority,
        /// It may be sent nothing where not even its smallest size fits, which is reported by
        /// [`PictureHeld`](super::event::EventKind::PictureHeld).
        may_pause: bool,
    },
    /// Stops sending a publication to a transport.
    Unsubscribe {
        /// Which one.
        subscription: SubscriptionId,
    },
    /// Begins to record what is published in the room by transports that are on this worker. A room
    /// that is spread over several needs a tap on each. Replaces the tap that was there, which
    /// ends. What is recorded begins with keyframes, which are asked for.
    AttachTap {
        /// Where packets go. Its reader is the recorder's.
        tap: Box<Tap>,
        /// The largest layer that is recorded where `SetTapWish` does not say otherwise;
        /// [`PICTURE_MAX`](crate::tap::PICTURE_MAX) is a good one.
        picture_max: PictureSize,
    },
    /// Ends the recording here. Its reader is told all that came before.
    DetachTap,
    /// The recorder has lost what it was given for a while: every picture that is recorded here gets
    /// a keyframe. Without a tap it does nothing.
    RefreshTap,
    /// Whether what a transport publishes may be recorded: not before this has said so. With a tap
    /// or without one, it counts from the next packet on. Opening asks for keyframes.
    SetTapGate {
        /// Whose publications.
        transport: TransportId,
        /// They may be recorded; or not any more.
        is_open: bool,
    },
    /// Which layer of a publication is recorded, as a subscriber would wish: `Best` for a screen
    /// whose text shall be read, `Paused` for none.
    SetTapWish {
        /// Which one.
        publication: PublicationId,
        /// The wish; `None` for the largest layer within the tap's bound.
        wish: Option<LayerWish>,
    },
    /// Sends one message over a data channel. What does not fit the bounded send queue is refused
    /// for `Reliable` and dropped, counted, for `Lossy`.
    SendData {
        /// To whom.
        transport: TransportId,
        /// Over which channel.
        channel: DataChannel,
        /// The message.
        payload: Bytes,
    },
}

/// The two data channels that clients of the LiveKit protocol open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataChannel {
    /// Label `_reliable`: ordered, retransmitted without end.
    Reliable,
    /// Label `_lossy`: unordered, never retransmitted.
    Lossy,
}
