//! The little HTTP that a churn needs: requests to the server, and reading those that it sends.
//!
//! A connection for each request of ours; what comes is a head and a body of a stated length. It is
//! no general implementation and speaks to nothing but the server under test.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Bytes that a body of the server may have: a webhook carries a room, a participant and a track.
const BODY_MAX: usize = 1 << 20;

/// A request that came in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// The header of that name.
    pub(super) authorization: String,
    /// Everything behind the head.
    pub(super) body: Vec<u8>,
}

/// Reads the next request of a connection; `None` when there is none any more.
pub(super) async fn read(stream: &mut BufReader<TcpStream>) -> Result<Option<Request>> {
    let (mut request, mut length, mut line) = (Request::default(), 0, String::new());
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    loop {
        line.clear();
        ensure!(stream.read_line(&mut line).await? > 0, "half a head");
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.authorization = value.to_owned(),
            "content-length" => length = value.parse().context("a length")?,
            _ => {}
        }
    }
    ensure!(length <= BODY_MAX, "a body of {length} bytes");
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).await?;
    Ok(Some(request))
}

/// Reads a page of the server at `host`.
pub(super) async fn get(host: &str, path: &str) -> Result<String> {
    let head = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    exchange(host, head).await
}

/// Calls a method of the server API.
pub(super) async fn call(host: &str, method: &str, token: &str, body: &Value) -> Result<Value> {
    let body = body.to_string();
    let request = format!(
        "POST /twirp/livekit.RoomService/{method} HTTP/1.0\r\nHost: {host}\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    serde_json::from_str(&exchange(host, request).await?).context("an answer in JSON")
}

async fn exchange(host: &str, request: String) -> Result<String> {
    let mut stream = TcpStream::connect(host)
        .await
        .context("reaching the server")?;
    stream.write_all(request.as_bytes()).await?;
    // Version 1.0: the answer ends with the connection.
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "status {status}: {body}");
    Ok(body.to_owned())
}
