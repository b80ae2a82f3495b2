//! Compliance officers: their keys and links by the program's own commands, and what they ask of the
//! archive over HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::http::{self, Response};
use crate::server::Build;
use crate::tree;

/// The passphrase of every officer here.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// An officer with a key of his own.
#[derive(Debug)]
pub struct Officer {
    /// Where the key lies, behind the passphrase.
    pub key: PathBuf,
    /// The file with that passphrase.
    pub passphrase: PathBuf,
    /// To whom recordings are sealed.
    pub recipient: String,
}

impl Officer {
    /// Makes a key with `consilium keygen compliance`.
    pub fn new() -> Self {
        let folder = tree::scratch("officer");
        let (key, passphrase) = (folder.join("officer.age"), folder.join("passphrase"));
        std::fs::write(&passphrase, PASSPHRASE).expect("the scratch folder is writable");
        let said = say(Build::Release
            .command()
            .args(["keygen", "compliance", "--out"])
            .arg(&key)
            .arg("--passphrase-file")
            .arg(&passphrase));
        let recipient = said.lines().next().expect("it says whose key it is");
        assert!(recipient.starts_with("age1"), "{said}");
        Self {
            key,
            passphrase,
            recipient: recipient.to_owned(),
        }
    }
}

impl Default for Officer {
    fn default() -> Self {
        Self::new()
    }
}

/// A token for the archive, signed by an API key; with `link` the link to the console at that page.
pub fn token(identity: &str, key: &str, secret: &str, link: Option<&str>) -> String {
    let mut command = Build::Release.command();
    command.args(["token", "--role", "compliance", "--identity", identity]);
    command.args(["--key", key, "--secret", secret]);
    command.args(link.iter().flat_map(|page| ["--link", page]));
    say(&mut command).trim().to_owned()
}

fn say(command: &mut std::process::Command) -> String {
    let output = command.output().expect("the binary starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it speaks UTF-8")
}

/// Somebody who asks the archive with a token.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Where it is.
    pub server: SocketAddr,
    /// Who asks.
    pub token: String,
}

impl Archive {
    /// Asks for something below `/compliance/api/v1`.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend(headers);
        http::get(self.server, &format!("/compliance/api/v1{path}"), &all)
    }

    /// Sends JSON to something below it.
    pub fn post(&self, path: &str, body: &Value) -> Response {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("Authorization", bearer.as_str())];
        let path = format!("/compliance/api/v1{path}");
        http::post(self.server, &path, &headers, &body.to_string())
    }
}

/// The word for why something was refused.
pub fn code(answer: &Response) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

/// Every line of the audit below a data folder, first things first.
pub fn audit(data: &Path) -> Vec<Value> {
    let entries = std::fs::read_dir(data.join("audit")).expect("it is there");
    let mut days: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    days.sort();
    let text: String = days
        .iter()
        .map(|day| std::fs::read_to_string(day).expect("readable"))
        .collect();
    let parsed = text.lines().map(serde_json::from_str);
    parsed.map(|line| line.expect("JSON")).collect()
}
