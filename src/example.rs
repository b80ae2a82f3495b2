//! Keeps `deploy/consilium.example.toml` true: it is the defaults with the words of their types.
//!
//! Each value's comment is the documentation of its field, read from the source, so that a number
//! and its reason are written once. `CONSILIUM_UPDATE=1 cargo test example` writes the file anew.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;

/// Which type documents which section.
const SECTIONS: [(&str, &str, &str); 13] = [
    ("", "src/config.rs", "Config"),
    ("log", "src/config.rs", "LogConfig"),
    ("http", "signaling/src/config.rs", "HttpConfig"),
    ("tcp", "signaling/src/config.rs", "TcpConfig"),
    ("rooms", "signaling/src/config.rs", "RoomsConfig"),
    ("webhook", "signaling/src/config.rs", "WebhookConfig"),
    ("limits", "signaling/src/config.rs", "Limits"),
    ("media", "sfu/src/config.rs", "SfuConfig"),
    ("media.limits", "sfu/src/config.rs", "Limits"),
    ("recording", "src/config.rs", "RecordingConfig"),
    ("recording.keys", "recorder/src/config.rs", "KeysConfig"),
    (
        "recording.retention",
        "recorder/src/retention.rs",
        "RetentionConfig",
    ),
    ("recording.limits", "recorder/src/config.rs", "Limits"),
];

const HEAD: &str = "\
# Consilium's configuration: every key with its default, its unit and its reason.
#
# `consilium serve --config consilium.toml` reads it; `consilium check-config` checks it. What is left
# out keeps its default; what is misspelt stops the start. Environment variables are laid over it:
# CONSILIUM_HTTP__PORT=443 sets `port` of `[http]`. Flags are laid over both.
#
# Two things must be set before others can reach the server: a key, and a certificate.

";

const KEYS: &str = "
# The API keys and their secrets, at least 32 bytes each: `openssl rand -base64 32`. Tokens are
# signed with one of them. Better given by the environment: CONSILIUM_KEYS__clinic=...
[keys]
# clinic = \"...\"

# The certificate, PEM. With it, HTTPS and secure WebSockets are spoken, and nothing else.
# [tls]
# cert = \"/etc/consilium/cert.pem\"
# key = \"/etc/consilium/key.pem\"
";

const S3: &str = "
# The object store for closed recordings, if they are not to stay in the folder: anything that
# speaks S3. The bucket must lock new objects for compliance by default.
# [recording.s3]
# bucket = \"consults\"
# endpoint = \"https://s3.example.org\"
# region = \"us-east-1\"
# prefix = \"hospital-a/\"
# access_key_id = \"...\"
# Better given by the environment: CONSILIUM_RECORDING__S3__SECRET_ACCESS_KEY=...
# secret_access_key = \"...\"
# Refuse to start unless the bucket locks.
# worm = true
# Speak plain HTTP to a store that is not on this machine.
# insecure_http = false
# A request that has not been answered by then counts as failed. In seconds.
# timeout = 300
# Keep the local copy so long after the store has all of a recording. In hours.
# keep_local = 0
";

type Words = HashMap<String, String>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The documentation of each field of a type.
fn words(source: &str, name: &str) -> Words {
    let opening = format!("struct {name} {{");
    let body = source
        .split_once(&opening)
        .and_then(|(_, rest)| rest.split_once("\n}"))
        .map_or_else(|| panic!("no struct {name}"), |(body, _)| body);
    let mut words = Words::new();
    let mut pending = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            pending.push(text.trim());
        } else if line.contains("with = \"seconds\"") {
            pending.push("In seconds.");
        } else if line.contains("with = \"millis\"") {
            pending.push("In milliseconds.");
        } else if let Some((field, _)) = line.split_once(": ") {
            let field = field.rsplit(' ').next().expect("at least one word");
            words.insert(field.to_owned(), pending.join(" "));
            pending.clear();
        }
    }
    words
}

fn wrapped(text: &str) -> String {
    let mut lines = vec!["#".to_owned()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a first line");
        if last.len() + word.len() < 100 {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(format!("# {word}"));
        }
    }
    lines.join("\n")
}

fn made() -> String {
    let documented: HashMap<_, _> = SECTIONS
        .iter()
        .map(|(section, file, name)| {
            let source = fs::read_to_string(root().join(file)).expect("the source is there");
            (*section, words(&source, name))
        })
        .collect();
    let mut out = HEAD.to_owned();
    let mut section = "";
    let shown = Config::default().shown();
    for line in shown.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name;
            match name {
                "keys" => out.push_str(KEYS),
                "recording.retention.classes" => {
                    let text = &documented["recording.retention"]["classes"];
                    out.push_str(&format!("\n{}\n{line}\n", wrapped(text)));
                }
                "recording.limits" => out.push_str(&format!("{S3}\n{line}\n")),
                _ => out.push_str(&format!("\n{line}\n")),
            }
        } else {
            let key = line.split(' ').next().expect("a line has a word");
            if section == "recording.retention.classes" {
                // Names of the operator's own, explained above all of them.
                out.push_str(&format!("{line}\n"));
                continue;
            }
            let text = documented[section]
                .get(key)
                .unwrap_or_else(|| panic!("{section}.{key} has no words"));
            out.push_str(&format!("{}\n{line}\n", wrapped(text)));
        }
    }
    out
}

fn file() -> PathBuf {
    Path::new(&root()).join("deploy/consilium.example.toml")
}

#[test]
fn the_example_is_made_from_the_defaults() {
    if std::env::var_os("CONSILIUM_UPDATE").is_some() {
        fs::write(file(), made()).expect("the tree is writable");
    }
    let committed = fs::read_to_string(file()).expect("the example is there");
    assert!(
        committed == made(),
        "write it anew: CONSILIUM_UPDATE=1 cargo test -p consilium example"
    );
}

#[test]
fn the_example_with_a_key_is_a_configuration() {
    let text = fs::read_to_string(file()).expect("the example is there");
    let secret = "x".repeat(32);
    let with_key = text.replace("# clinic = \"...\"", &format!("clinic = \"{secret}\""));
    assert_ne!(text, with_key);
    let config = Config::from_table(with_key.parse().expect("it is TOML")).expect("all keys fit");
    assert!(config.check().is_ok());
    let with_tls = with_key
        .replace("# [tls]", "[tls]")
        .replace("# cert =", "cert =")
        .replace("# key =", "key =");
    let config = Config::from_table(with_tls.parse().expect("it is TOML")).expect("all keys fit");
    assert!(config.tls.is_some());
}
