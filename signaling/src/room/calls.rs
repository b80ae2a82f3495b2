//! Calls of the server API to a participant: a remote procedure call of the SDKs, with the server as
//! its caller.
//!
//! A call, its acknowledgement and its answer are reliable messages; the caller is known by an identity
//! that is the server's own. Owns the calls under way and when they are given up. It does not know who
//! waits for an answer: the room's task does, by number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use sfu::shard::command::DataChannel;

use super::Room;
use super::events::deliver;
use super::participant::ParticipantKey;
use crate::error::{ApiError, Code};
use crate::sid;
use crate::wire::proto::{
    DataPacket, PerformRpcRequest, RpcAck, RpcError, RpcRequest, RpcResponse, data_packet,
    rpc_response,
};

/// Who calls; no token may be for this identity.
pub const CALLER: &str = "consilium.server";

/// The form of calls that every SDK since 2024 understands.
const VERSION: u32 = 1;
/// An SDK acknowledges at once; who has not by then does not hear us.
const ACK_TIMEOUT: Duration = Duration::from_secs(7);
/// What the SDKs wait for an answer where nothing is said.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest wait: a request to the server API is not held for ever.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Bytes of what is sent with a call and of its answer, as in the SDKs.
const PAYLOAD_BYTES_MAX: usize = 15 << 10;
/// Bytes of a method's name.
const METHOD_BYTES_MAX: usize = 64;
/// Calls under way in a room: of a moderator to everybody in it.
const CALLS_MAX: usize = 100;

/// The number of a call, for whoever waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What became of a call.
pub type CallAnswer = Result<String, CallRefusal>;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallRefusal {
    /// There is no such room.
    #[error("requested room does not exist")]
    NoRoom,
    /// There is nobody of that identity.
    #[error("participant does not exist")]
    NoParticipant,
    /// He has left meanwhile.
    #[error("participant has left")]
    Left,
    /// He did not even acknowledge it.
    #[error("participant does not hear the call")]
    NotHeard,
    /// He has not answered in time.
    #[error("participant has not answered in time")]
    TooLate,
    /// He has answered with an error of his own.
    #[error("{code}: {message}")]
    Failed {
        /// The SDK's or the application's.
        code: u32,
        /// In words.
        message: String,
    },
    /// Larger than a bound; its name.
    #[error("{0} is exceeded")]
    TooLarge(&'static str),
    /// The name of a method is needed.
    #[error("method is missing")]
    NoMethod,
    /// A bound is reached.
    #[error("too many calls are under way in this room")]
    Busy,
    /// The room has ended meanwhile.
    #[error("the room is closing")]
    Closing,
}

impl From<CallRefusal> for ApiError {
    fn from(refusal: CallRefusal) -> Self {
        use CallRefusal as Why;
        let code = match refusal {
            Why::NoRoom | Why::NoParticipant => Code::NotFound,
            Why::Left | Why::Failed { .. } => Code::FailedPrecondition,
            Why::NotHeard | Why::TooLate => Code::DeadlineExceeded,
            Why::TooLarge(_) | Why::NoMethod => Code::InvalidArgument,
            Why::Busy => Code::ResourceExhausted,
            Why::Closing => Code::Unavailable,
        };
        Self::Api(code, refusal.to_string())
    }
}

/// The calls under way in a room.
#[derive(Debug, Default)]
pub struct Calls {
    /// By the id that the participant knows.
    waiting: BTreeMap<String, Waiting>,
    answers: Vec<(CallId, CallAnswer)>,
}

#[derive(Debug)]
struct Waiting {
    call: CallId,
    callee: ParticipantKey,
    /// Until when it must be acknowledged; `None` once it is.
    ack_until: Option<Instant>,
    answer_until: Instant,
}

impl Waiting {
    /// Why it is given up now, if it is.
    fn is_over(&self, now: Instant) -> Option<CallRefusal> {
        if self.ack_until.is_some_and(|until| now >= until) {
            return Some(CallRefusal::NotHeard);
        }
        (now >= self.answer_until).then_some(CallRefusal::TooLate)
    }
}

impl Calls {
    /// Answers those calls of which this says why they are over.
    fn end(&mut self, why: impl Fn(&Waiting) -> Option<CallRefusal>) {
        let answers = &mut self.answers;
        self.waiting.retain(|_, waiting| match why(waiting) {
            Some(refusal) => {
                answers.push((waiting.call, Err(refusal)));
                false
            }
            None => true,
        });
    }

    /// Takes what a participant says about a call of his; of anybody else's it is ignored.
    fn hear(&mut self, from: ParticipantKey, value: data_packet::Value) {
        match value {
            data_packet::Value::RpcAck(RpcAck { request_id }) => {
                if let Some(waiting) = self.waiting.get_mut(&request_id)
                    && waiting.callee == from
                {
                    waiting.ack_until = None;
                }
            }
            data_packet::Value::RpcResponse(RpcResponse { request_id, value }) => {
                let is_his = |waiting: &Waiting| waiting.callee == from;
                if self.waiting.get(&request_id).is_some_and(is_his)
                    && let Some(waiting) = self.waiting.remove(&request_id)
                {
                    self.answers.push((waiting.call, answer(value)));
                }
            }
            _ => {}
        }
    }
}

fn answer(value: Option<rpc_response::Value>) -> CallAnswer {
    match value {
        Some(rpc_response::Value::Payload(payload)) if payload.len() <= PAYLOAD_BYTES_MAX => {
            Ok(payload)
        }
        Some(rpc_response::Value::Payload(_)) => Err(CallRefusal::TooLarge("15 KB of an answer")),
        Some(rpc_response::Value::Error(RpcError { code, message, .. })) => {
            Err(CallRefusal::Failed { code, message })
        }
        // Nobody compresses what he answers to a call of the first version.
        Some(rpc_response::Value::CompressedPayload(_)) | None => Err(CallRefusal::Failed {
            code: 0,
            message: "the answer cannot be read".to_owned(),
        }),
    }
}

impl Room {
    /// Calls a participant. The answer comes with [`take_call_answers`](Self::take_call_answers).
    pub fn call(&mut self, now: Instant, call: CallId, asked: PerformRpcRequest) {
        if let Err(refusal) = self.begin_call(now, call, asked) {
            self.calls.answers.push((call, Err(refusal)));
        }
    }

    /// Answers that have come up since the last time.
    pub fn take_call_answers(&mut self) -> Vec<(CallId, CallAnswer)> {
        std::mem::take(&mut self.calls.answers)
    }

    fn begin_call(
        &mut self,
        now: Instant,
        call: CallId,
        asked: PerformRpcRequest,
    ) -> Result<(), CallRefusal> {
        check(&asked)?;
        if self.calls.waiting.len() >= CALLS_MAX {
            return Err(CallRefusal::Busy);
        }
        let mut seats = self.participants.values_mut();
        let callee = seats.find(|one| one.identity == asked.destination_identity);
        let callee = callee.ok_or(CallRefusal::NoParticipant)?;
        if callee.is_guest() {
            return Err(CallRefusal::NotHeard);
        }
        let timeout = match asked.response_timeout_ms {
            0 => ANSWER_TIMEOUT,
            millis => Duration::from_millis(millis.into()).min(ANSWER_TIMEOUT_MAX),
        };
        let id = sid::call_id();
        let packet = packet(&id, timeout, asked);
        if let Some((worker, command)) = deliver(callee, DataChannel::Reliable, &packet) {
            self.spread.send(worker, command);
        }
        let waiting = Waiting {
            call,
            callee: callee.key,
            ack_until: Some(now + ACK_TIMEOUT),
            answer_until: now + timeout,
        };
        self.calls.waiting.insert(id, waiting);
        Ok(())
    }

    /// Reads a message that was sent to the server's own identity.
    pub(super) fn hear_call(&mut self, from: ParticipantKey, payload: &[u8]) {
        if let Ok(DataPacket {
            value: Some(value), ..
        }) = DataPacket::decode(payload)
        {
            self.calls.hear(from, value);
        }
    }

    pub(super) fn give_up_calls(&mut self, now: Instant) {
        self.calls.end(|waiting| waiting.is_over(now));
    }

    /// Whoever has left answers no more.
    pub(super) fn end_calls_to(&mut self, key: ParticipantKey) {
        self.calls
            .end(|waiting| (waiting.callee == key).then_some(CallRefusal::Left));
    }
}

fn check(asked: &PerformRpcRequest) -> Result<(), CallRefusal> {
    if asked.method.is_empty() {
        return Err(CallRefusal::NoMethod);
    }
    if asked.method.len() > METHOD_BYTES_MAX {
        return Err(CallRefusal::TooLarge("64 bytes of a method's name"));
    }
    if asked.payload.len() > PAYLOAD_BYTES_MAX {
        return Err(CallRefusal::TooLarge("15 KB of a call"));
    }
    Ok(())
}

fn packet(id: &str, timeout: Duration, asked: PerformRpcRequest) -> Bytes {
    let request = RpcRequest {
        id: id.to_owned(),
        method: asked.method,
        payload: asked.payload,
        response_timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        version: VERSION,
        ..RpcRequest::default()
    };
    let packet = DataPacket {
        participant_identity: CALLER.to_owned(),
        destination_identities: vec![asked.destination_identity],
        value: Some(data_packet::Value::RpcRequest(request)),
        ..DataPacket::default()
    };
    Bytes::from(packet.encode_to_vec())
}
