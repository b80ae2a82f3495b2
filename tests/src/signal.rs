//! A signalling client that does only what it is told, for what no proper SDK would send.
//!
//! Speaks `/rtc/v1` in binary frames. It has no media of its own: [`offer`] writes an offer whose
//! transport the hostile tests then play by hand.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::wrapped_join_request::Compression;
use livekit_protocol::{
    ConnectionSettings, JoinRequest, SessionDescription, SignalRequest, SignalResponse,
    WrappedJoinRequest,
};
use prost::Message as _;
use tungstenite::WebSocket;
use tungstenite::protocol::CloseFrame;

use crate::http;

/// Nothing that a test waits for over a WebSocket takes longer on a busy machine.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// A join request with `offer`, if any, as its publisher offer.
pub fn join_request(offer: Option<String>) -> JoinRequest {
    JoinRequest {
        connection_settings: Some(ConnectionSettings {
            auto_subscribe: true,
            ..ConnectionSettings::default()
        }),
        publisher_offer: offer.map(|sdp| SessionDescription {
            r#type: "offer".to_owned(),
            sdp,
            id: 1,
            ..SessionDescription::default()
        }),
        ..JoinRequest::default()
    }
}

/// The request target that joins with `request`, uncompressed.
pub fn target(token: &str, request: &JoinRequest) -> String {
    target_of(token, Compression::None, request.encode_to_vec())
}

/// The request target that carries `join_request` as it is.
pub fn target_of(token: &str, compression: Compression, join_request: Vec<u8>) -> String {
    let wrapped = WrappedJoinRequest {
        compression: compression as i32,
        join_request,
    };
    let parameter = BASE64.encode(wrapped.encode_to_vec());
    format!("/rtc/v1?access_token={token}&join_request={parameter}")
}

/// The request target of a join with two connections, which says what it wants in the query.
pub fn target_with_two(token: &str, options: &str) -> String {
    format!("/rtc?access_token={token}&auto_subscribe=1&sdk=android&protocol=16{options}")
}

/// How the server ended a WebSocket.
#[derive(Debug)]
pub enum Ending {
    /// With a close frame.
    Closed(Option<CloseFrame>),
    /// By closing or resetting the connection.
    Dropped(String),
}

/// One open signalling WebSocket.
pub struct Session<S> {
    socket: WebSocket<S>,
}

impl Session<std::net::TcpStream> {
    /// Opens a plain WebSocket at `target`.
    pub fn open(server: SocketAddr, target: &str) -> Self {
        Self::open_over(http::connect(server), &format!("ws://{server}{target}"))
    }
}

impl<S: Read + Write> Session<S> {
    /// Opens a WebSocket over `stream`, whatever that is.
    pub fn open_over(stream: S, url: &str) -> Self {
        match tungstenite::client(url, stream) {
            Ok((socket, _)) => Self { socket },
            Err(error) => panic!("the upgrade was refused: {error}"),
        }
    }

    /// Sends one request.
    pub fn send(&mut self, message: Request) {
        self.try_send(message).expect("the server reads");
    }

    /// Sends one request, unless the server has had enough.
    pub fn try_send(&mut self, message: Request) -> Result<(), tungstenite::Error> {
        let bytes = SignalRequest {
            message: Some(message),
        }
        .encode_to_vec();
        self.socket.send(tungstenite::Message::Binary(bytes.into()))
    }

    /// Sends bytes that need not be a request.
    pub fn try_send_bytes(&mut self, bytes: Vec<u8>) -> Result<(), tungstenite::Error> {
        self.socket.send(tungstenite::Message::Binary(bytes.into()))
    }

    /// The next response, or how the WebSocket ended instead.
    pub fn receive(&mut self) -> Result<Response, Ending> {
        loop {
            match self.socket.read() {
                Ok(tungstenite::Message::Binary(bytes)) => {
                    let response = SignalResponse::decode(bytes).expect("responses decode");
                    return Ok(response.message.expect("no response is empty"));
                }
                Ok(tungstenite::Message::Close(frame)) => return Err(Ending::Closed(frame)),
                Ok(_) => {}
                Err(error) => return Err(Ending::Dropped(error.to_string())),
            }
        }
    }

    /// Waits for the response that `wanted` makes something of; others are passed over.
    pub fn expect<T>(&mut self, what: &str, wanted: impl Fn(&Response) -> Option<T>) -> T {
        let deadline = Instant::now() + MESSAGE_TIMEOUT;
        let mut others = Vec::new();
        while Instant::now() < deadline {
            match self.receive() {
                Ok(response) => match wanted(&response) {
                    Some(found) => return found,
                    None => others.push(format!("{response:?}")),
                },
                Err(ending) => panic!("instead of {what}: {ending:?} after {others:#?}"),
            }
        }
        panic!("no {what} within {MESSAGE_TIMEOUT:?}; came: {others:#?}");
    }

    /// Waits until the server ends the WebSocket; `None` when it does not within `timeout`.
    pub fn ending(&mut self, timeout: Duration) -> Option<Ending> {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if let Err(ending) = self.receive() {
                return Some(ending);
            }
        }
        None
    }

    /// The stream underneath.
    pub fn stream(&mut self) -> &mut S {
        self.socket.get_mut()
    }
}

/// The transport that an [`offer`] describes.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The ICE user name fragment.
    pub ufrag: String,
    /// The ICE password.
    pub password: String,
}

/// An offer of one microphone track `cid`, three placeholders to receive each kind, and data.
pub fn offer(local: &Credentials, fingerprint: &str, cid: &str) -> String {
    let transport = format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n",
        local.ufrag, local.password
    );
    let audio = "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=rtcp-mux\r\n\
         a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n";
    let video = "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=rtcp-mux\r\n\
         a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
         a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";
    let mut sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
         a=group:BUNDLE 0 1 2 3\r\na=msid-semantic: WMS\r\n"
        .to_owned();
    sdp += &format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{transport}a=mid:0\r\na=sendonly\r\n\
         a=msid:- {cid}\r\n{audio}"
    );
    sdp +=
        &format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{transport}a=mid:1\r\na=recvonly\r\n{audio}");
    sdp += &format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n{transport}a=mid:2\r\na=recvonly\r\n{video}"
    );
    sdp += &format!(
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n{transport}a=mid:3\r\n\
         a=sctp-port:5000\r\na=max-message-size:262144\r\n"
    );
    sdp
}

/// What an answer says about the server's side of the transport.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The server's ICE credentials.
    pub remote: Credentials,
    /// The server's first UDP candidate.
    pub address: SocketAddr,
}

impl Answered {
    /// Reads the server's credentials and candidate out of `sdp`.
    pub fn parse(sdp: &str) -> Self {
        let value = |name: &str| {
            sdp.lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_else(|| panic!("the answer has no {name}:\n{sdp}"))
        };
        let candidate: Vec<&str> = value("a=candidate:").split(' ').collect();
        let remote = Credentials {
            ufrag: value("a=ice-ufrag:").to_owned(),
            password: value("a=ice-pwd:").to_owned(),
        };
        let address = format!("{}:{}", candidate[4], candidate[5]);
        Self {
            remote,
            address: address.parse().expect("candidates carry an IP address"),
        }
    }
}
