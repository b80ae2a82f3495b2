//! A plain HTTP/1.1 request over a fresh connection, so that a test sees exactly what the server
//! answered: status, headers and body.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// No answer of the server may take longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Reads one answer, to the end of its declared length or of the connection.
    pub fn read(mut from: impl Read) -> Self {
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 << 10];
        while !is_whole(&bytes) {
            match from.read(&mut chunk) {
                // A reset after the answer is legal; what was read counts.
                Ok(0) | Err(_) => break,
                Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            }
        }
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let chunked = headers
            .iter()
            .any(|(n, v)| n == "transfer-encoding" && v == "chunked");
        let body = if chunked {
            dechunk(body)
        } else {
            body.to_owned()
        };
        Self {
            status,
            headers,
            body,
        }
    }
}

/// Whether the answer has all the bytes that its head declares.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let declared = head.to_ascii_lowercase();
    let length = declared
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    length
        .and_then(|n| n.trim().parse().ok())
        .is_some_and(|length: usize| body.len() >= length)
}

fn dechunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Some(chunk) = usize::from_str_radix(size, 16)
            .ok()
            .and_then(|n| rest.get(..n))
        else {
            break;
        };
        out.push_str(chunk);
        body = rest.get(chunk.len() + 2..).unwrap_or("");
    }
    out
}

/// A connection on which no read or write takes forever.
pub fn connect(to: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(to).expect("the server listens"))
}

/// The same from another address of this computer: 127.0.0.`last`.
pub fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("the system has sockets");
    let bound = socket.bind(&from.into());
    bound.expect("all of 127.0.0.0/8 is loopback");
    socket.connect(&to.into()).expect("the server listens");
    patient(TcpStream::from(socket))
}

fn patient(stream: TcpStream) -> TcpStream {
    stream
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .expect("the timeout is not zero");
    stream
        .set_write_timeout(Some(ANSWER_TIMEOUT))
        .expect("the timeout is not zero");
    stream.set_nodelay(true).expect("the socket is open");
    stream
}

/// Asks for `target` with further header lines.
pub fn get(server: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Response {
    send(server, "GET", target, headers, "")
}

/// Sends `body` to `target` with any method and further header lines.
pub fn send(
    server: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut stream = connect(server);
    let mut request =
        format!("{method} {target} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if method != "GET" {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream
        .write_all(request.as_bytes())
        .expect("the server reads the request");
    Response::read(stream)
}

/// Sends JSON to `target` with further header lines.
pub fn post(server: SocketAddr, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut stream = connect(server);
    let length = body.len();
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream
        .write_all(request.as_bytes())
        .expect("the server reads the request");
    Response::read(stream)
}

/// Asks for a WebSocket upgrade of `target` and reads the refusal. Panics when it is granted.
pub fn refused_upgrade(server: SocketAddr, target: &str) -> Response {
    refused_upgrade_over(connect(server), target)
}

/// The same over a fresh connection that is there.
pub fn refused_upgrade_over(mut stream: TcpStream, target: &str) -> Response {
    let server = stream.peer_addr().expect("it is connected");
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .expect("the server reads the request");
    let response = Response::read(stream);
    assert_ne!(response.status, 101, "the upgrade should have been refused");
    response
}

/// Sends a request line of `length` bytes, which is more than the server reads. `None`: it closed
/// the connection while we were still writing, which may destroy its answer.
pub fn oversized_request(server: SocketAddr, length: usize) -> Option<Response> {
    let mut stream = connect(server);
    let request = format!(
        "GET /{} HTTP/1.1\r\nHost: {server}\r\n\r\n",
        "x".repeat(length)
    );
    // What is wanted is how it ends, not that all of it is taken.
    let _ = stream.write_all(request.as_bytes());
    let mut first = [0; 1_024];
    let length = stream.read(&mut first).ok().filter(|length| *length > 0)?;
    Some(Response::parse(&String::from_utf8_lossy(&first[..length])))
}
