//! A recording or a log that another Consilium serves, read over HTTP.
//!
//! Reads the compliance interface: the list of files of a recording with their sizes, and each file.
//! Segments are only given for a replay, so that every byte that leaves the archive is audited; a
//! verification over the network therefore names one. Nothing is believed that comes from there:
//! the verifier checks the bytes as it checks those of a folder.

use std::io::{self, Read};
use std::time::Duration;

use recorder::source::{Listed, Source};
use reqwest::blocking::{Client, Response};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

/// An answer longer than this is none about a recording.
const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Names the replay under which segments are read.
const REPLAY: HeaderName = HeaderName::from_static("consilium-replay");

/// Why a server does not do what it was asked.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    /// A word for programs.
    pub(crate) code: String,
    /// A sentence for people.
    pub(crate) message: String,
}

/// Files behind a URL.
pub(crate) struct Remote {
    client: Client,
    /// Where the list is; a log has none.
    list: Option<String>,
    /// What a file's name is put behind.
    files: String,
}

impl Remote {
    /// The recording at `url`, `…/compliance/api/v1/recordings/<recording>`.
    pub(crate) fn recording(
        url: &str,
        token: Option<&str>,
        replay: Option<&str>,
    ) -> anyhow::Result<Self> {
        let client = client(token, replay)?;
        Ok(Self {
            client,
            list: Some(url.to_owned()),
            files: format!("{url}/files"),
        })
    }

    /// The log at `url`, `…/compliance/api/v1/log`.
    pub(crate) fn log(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let files = url.trim_end_matches('/').to_owned();
        Ok(Self {
            client: client(token, None)?,
            list: None,
            files,
        })
    }

    /// Asks the compliance interface for something; the answer, or the code and words of its refusal.
    pub(crate) fn ask(&self, url: &str, body: &Value) -> Result<Value, Refusal> {
        let lost = |error: &dyn std::fmt::Display| Refusal {
            code: "unanswered".to_owned(),
            message: format!("the server does not answer: {error}"),
        };
        let response = self.client.post(url).json(body).send();
        let response = response.map_err(|error| lost(&error))?;
        let is_done = response.status().is_success();
        let mut bytes = Vec::new();
        let read = response.take(LIST_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| lost(&error))?;
        if is_done {
            return Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null));
        }
        Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| lost(&"it is no Consilium")))
    }

    fn get(&self, url: &str) -> io::Result<Response> {
        let response = self.client.get(url).send().map_err(io::Error::other)?;
        let status = response.status();
        match status.as_u16() {
            200 => Ok(response),
            404 | 410 => Err(io::ErrorKind::NotFound.into()),
            401 => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the server wants a token: give it with --token",
            )),
            403 => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the server refuses; segments need a replay: give it with --replay",
            )),
            _ => Err(io::Error::other(format!("the server answers {status}"))),
        }
    }
}

impl Source for Remote {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let Some(url) = &self.list else {
            return Ok(Vec::new());
        };
        let mut bytes = Vec::new();
        self.get(url)?
            .take(LIST_BYTES_MAX)
            .read_to_end(&mut bytes)?;
        listed(&bytes).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the server's answer lists no files",
            )
        })
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.get(&format!("{}/{name}", self.files))?))
    }
}

/// The member `files` of the answer: objects with `name` and `bytes`.
fn listed(bytes: &[u8]) -> Option<Vec<Listed>> {
    let answer: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let file = |file: &serde_json::Value| {
        let (name, size) = (file.get("name")?.as_str()?, file.get("bytes")?.as_u64()?);
        Some(Listed {
            name: name.to_owned(),
            size,
        })
    };
    answer.get("files")?.as_array()?.iter().map(file).collect()
}

fn client(token: Option<&str>, replay: Option<&str>) -> anyhow::Result<Client> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    if let Some(replay) = replay {
        headers.insert(REPLAY, HeaderValue::from_str(replay)?);
    }
    // A server that stops in the middle of a segment ends the verification, not the patience.
    let client = Client::builder()
        .default_headers(headers)
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(300));
    Ok(client.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    #[test]
    fn a_list_of_files_has_names_and_sizes() {
        let files =
            listed(br#"{"recording":"x","files":[{"name":"header.json","bytes":7,"more":1}]}"#);
        assert_eq!(
            files,
            Some(vec![Listed {
                name: "header.json".into(),
                size: 7
            }])
        );
        for wrong in [
            "",
            "{}",
            r#"{"files":[{"name":"a"}]}"#,
            r#"{"files":[{"name":"a","bytes":-1}]}"#,
        ] {
            assert_eq!(listed(wrong.as_bytes()), None, "{wrong}");
        }
    }

    /// A server that answers one request with what it was asked, and tells the headers it got.
    fn serve(
        status: &'static str,
        body: &'static str,
    ) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!(
            "http://{}/recordings/x",
            listener.local_addr().expect("an address")
        );
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a caller");
            let lines = BufReader::new(socket.try_clone().expect("a socket")).lines();
            let lines = lines
                .map(|line| line.expect("text"))
                .take_while(|line| !line.is_empty());
            let lines: Vec<String> = lines.collect();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(answer.as_bytes()).expect("is sent");
            lines
        });
        (url, server)
    }

    #[test]
    fn files_are_asked_for_with_token_and_replay() {
        let (url, server) = serve("200 OK", "sealed");
        let remote = Remote::recording(&url, Some("secret-token"), Some("RP_1")).expect("a client");
        assert_eq!(
            remote.read("seg-000000.age", 100).expect("is served"),
            b"sealed"
        );
        let lines = server.join().expect("served");
        assert!(
            lines[0].starts_with("GET /recordings/x/files/seg-000000.age "),
            "{lines:?}"
        );
        for header in [
            "authorization: Bearer secret-token",
            "consilium-replay: RP_1",
        ] {
            assert!(
                lines.iter().any(|line| line.eq_ignore_ascii_case(header)),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        for (status, words) in [
            ("401 Unauthorized", "--token"),
            ("403 Forbidden", "--replay"),
            ("503 Busy", "503"),
        ] {
            let (url, server) = serve(status, "");
            let remote = Remote::recording(&url, None, None).expect("a client");
            let error = remote.list().expect_err("is refused");
            assert!(error.to_string().contains(words), "{error}");
            server.join().expect("served");
        }
    }
}
