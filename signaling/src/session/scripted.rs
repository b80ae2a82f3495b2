//! Sessions that fail on purpose, for the signalling suite that ships inside npm `livekit-client`.
//!
//! Compiled with the feature `test-modes` only. A token whose attribute `lk.mock` holds
//! `{"signal": MODE, "leaveAction": ACTION}` gets the scripted behaviour instead of a room: no
//! media, no other participants, short ping times. A release knows nothing of the attribute.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, close_code};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::error::ApiError;
use crate::room::leave;
use crate::token::Grants;
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::signal_request::Message as Asked;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{
    self, DisconnectReason, JoinResponse, ParticipantInfo, Pong, ReconnectResponse,
    RequestResponse, ServerInfo, SignalResponse,
};
use crate::wire::{Encoding, decode_request, encode_response};

/// Between the join and what goes wrong.
const CONNECTED: Duration = Duration::from_millis(200);
/// Between the upgrade and a close without a join.
const UPGRADED: Duration = Duration::from_millis(50);

/// What a token asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct Script {
    #[serde(default)]
    signal: Mode,
    #[serde(default, rename = "leaveAction")]
    leave_action: LeaveAction,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Nothing; a resume is granted.
    #[default]
    Happy,
    #[serde(rename = "validate_500")]
    Validate500,
    ValidateServiceNotFound,
    RoomNotFound,
    NoFirstMessage,
    NoPong,
    CloseBeforeJoin,
    CloseWhenConnected,
    DropWhenConnected,
    LeaveWhenConnected,
    LeaveFirstMessage,
    LeaveDuringReconnect,
    DropOnClose,
}

/// What a leave tells the client to do, by number or by name.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum LeaveAction {
    Number(i32),
    Name(String),
}

impl Default for LeaveAction {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl LeaveAction {
    fn action(&self) -> Action {
        match self {
            Self::Number(number) => Action::try_from(*number).unwrap_or_default(),
            Self::Name(name) => {
                Action::from_str_name(&name.to_ascii_uppercase()).unwrap_or_default()
            }
        }
    }
}

/// The script of a token, if it has one.
pub fn script(grants: &Grants) -> Option<Script> {
    let text = grants.attributes.get("lk.mock")?;
    serde_json::from_str(text).ok()
}

impl Script {
    /// Refuses what the script wants refused before the upgrade.
    pub fn check(&self) -> Result<(), ApiError> {
        match self.signal {
            Mode::Validate500 => Err(ApiError::Internal),
            Mode::ValidateServiceNotFound => Err(ApiError::NotFound),
            Mode::RoomNotFound => Err(ApiError::RoomNotFound),
            _ => Ok(()),
        }
    }

    /// Speaks with a client by the script.
    pub async fn run(self, mut socket: WebSocket, grants: Grants, is_reconnect: bool) {
        let began = Instant::now();
        match self.signal {
            Mode::NoFirstMessage => return listen(&mut socket, self.signal, None).await,
            Mode::CloseBeforeJoin => {
                sleep_until(began + UPGRADED).await;
                return close(&mut socket, close_code::ERROR, "").await;
            }
            Mode::LeaveFirstMessage => return self.leave(&mut socket).await,
            Mode::LeaveDuringReconnect if is_reconnect => return self.leave(&mut socket).await,
            _ => {}
        }
        send(&mut socket, first_message(&grants, is_reconnect)).await;
        let until = Some(began + CONNECTED);
        match self.signal {
            Mode::CloseWhenConnected => {
                listen(&mut socket, self.signal, until).await;
                close(&mut socket, close_code::ERROR, "scripted").await;
            }
            // Without a goodbye the TCP connection just ends.
            Mode::DropWhenConnected => listen(&mut socket, self.signal, until).await,
            Mode::LeaveWhenConnected => {
                listen(&mut socket, self.signal, until).await;
                self.leave(&mut socket).await;
            }
            _ => listen(&mut socket, self.signal, None).await,
        }
    }

    async fn leave(&self, socket: &mut WebSocket) {
        let action = self.leave_action.action();
        let message = Message::Leave(leave(DisconnectReason::ServerShutdown, action));
        send(socket, message).await;
        listen(socket, self.signal, None).await;
    }
}

fn first_message(grants: &Grants, is_reconnect: bool) -> Message {
    let server_info = Some(ServerInfo {
        version: "1.13.5".to_owned(),
        protocol: 17,
        ..Default::default()
    });
    if is_reconnect {
        return Message::Reconnect(ReconnectResponse {
            server_info,
            ..Default::default()
        });
    }
    Message::Join(JoinResponse {
        room: Some(proto::Room {
            sid: "RM_scripted".to_owned(),
            name: grants.video.room.clone(),
            ..Default::default()
        }),
        participant: Some(ParticipantInfo {
            sid: "PA_scripted".to_owned(),
            identity: grants.identity.clone(),
            ..Default::default()
        }),
        ping_interval: 1,
        ping_timeout: 3,
        server_version: "1.13.5".to_owned(),
        server_info,
        ..Default::default()
    })
}

/// Answers what the script lets it answer, until the client goes or `until` has come.
async fn listen(socket: &mut WebSocket, mode: Mode, until: Option<Instant>) {
    let far = Instant::now() + Duration::from_secs(3_600);
    loop {
        let frame = tokio::select! {
            frame = socket.recv() => frame,
            () = sleep_until(until.unwrap_or(far)) => return,
        };
        let frame = match frame {
            None | Some(Err(_)) => return,
            // The answer to a close frame is written with the next read: without one, none is.
            Some(Ok(Frame::Close(_))) if mode == Mode::DropOnClose => return,
            Some(Ok(frame)) => frame,
        };
        let Ok(Some((request, _))) = decode_request(&frame) else {
            continue;
        };
        match request.message {
            Some(Asked::Leave(_)) => return close(socket, close_code::NORMAL, "").await,
            Some(asked) => answer(socket, mode, asked).await,
            None => {}
        }
    }
}

async fn answer(socket: &mut WebSocket, mode: Mode, asked: Asked) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let timestamp = since.unwrap_or_default().as_millis() as i64;
    let message = match asked {
        Asked::Ping(_) if mode != Mode::NoPong => Message::Pong(timestamp),
        Asked::PingReq(ping) if mode != Mode::NoPong => Message::PongResp(Pong {
            last_ping_timestamp: ping.timestamp,
            timestamp,
        }),
        Asked::UpdateMetadata(update) => Message::RequestResponse(RequestResponse {
            request_id: update.request_id,
            ..Default::default()
        }),
        _ => return,
    };
    send(socket, message).await;
}

async fn send(socket: &mut WebSocket, message: Message) {
    let response = SignalResponse {
        message: Some(message),
    };
    // A client that is gone is what half of the scripts want.
    let _ = socket
        .send(encode_response(&response, Encoding::Binary))
        .await;
}

async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    // Likewise; then the client's own close is read, so that the handshake is whole.
    let _ = socket.send(Frame::Close(Some(frame))).await;
    while let Some(Ok(_)) = socket.recv().await {}
}
