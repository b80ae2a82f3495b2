//! The same against moto, a store that somebody else wrote.
//!
//! Not everything that moto does is right (it lets a compliance lock be shortened), so what it
//! cannot show is shown by the double alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::spawn;
use std::time::Duration;

use recorder::store::s3::{Hidden, S3Config, S3Error};

use crate::objects::{Scene, is_fine};

const BUCKET: &str = "consults";

/// moto's server, killed when dropped.
struct Moto {
    child: Child,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    let installed = || {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        root.join("target/moto/bin/moto_server")
    };
    std::env::var_os("CONSILIUM_MOTO").map_or_else(installed, PathBuf::from)
}

/// Of its line `Running on http://127.0.0.1:45889`.
fn port_in(line: &str) -> Option<u16> {
    let (_, port) = line.split_once("Running on http://127.0.0.1:")?;
    port.trim().parse().ok()
}

impl Moto {
    /// It takes a port itself: one that we had found free could be somebody else's by then.
    fn start() -> Self {
        let mut child = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; run deploy/setup.sh", program().display())
            });
        let said = BufReader::new(child.stderr.take().expect("it is piped"));
        let (found, port) = channel();
        // Reads to the end, for it logs every request and would wait for a full pipe.
        spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if let Some(port) = port_in(&line) {
                    let _ = found.send(port); // whoever asked may have given up
                }
            }
        });
        let mut moto = Self { child, port: 0 };
        let port = port.recv_timeout(Duration::from_secs(120));
        moto.port = port.expect("moto listens");
        moto
    }

    /// A request without a signature, which moto takes.
    fn put(&self, path: &str, header: &str, body: &str) -> String {
        let port = self.port;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let length = body.len();
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{header}Content-Length: {length}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=a/20261122/us-east-1/s3/aws4_request\r\n\
             Connection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn make_bucket(&self, is_locking: bool) {
        let header = match is_locking {
            true => "x-amz-bucket-object-lock-enabled: true\r\n",
            false => "",
        };
        let made = self.put(&format!("/{BUCKET}"), header, "");
        assert!(made.starts_with("HTTP/1.1 200"), "{made}");
        if is_locking {
            let lock = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>\
                        <Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days>\
                        </DefaultRetention></Rule></ObjectLockConfiguration>";
            let made = self.put(&format!("/{BUCKET}?object-lock"), "", lock);
            assert!(made.starts_with("HTTP/1.1 200"), "{made}");
        }
    }

    fn config(&self) -> S3Config {
        S3Config {
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            access_key_id: Some("a".into()),
            secret_access_key: Some(Hidden::new("b")),
            ..S3Config::new(BUCKET)
        }
    }
}

#[test]
fn a_recording_is_brought_away_against_moto() {
    let moto = Moto::start();
    moto.make_bucket(true);
    let mut scene = Scene::new(&moto.config());
    assert_eq!(scene.uploader.check_lock(), Ok(()));
    is_fine(&scene.turn());
    scene.is_brought_away();
    let (id, notes) = (scene.wanted.id, scene.notes());
    assert!(scene.uploader.delete(id, &notes).is_err(), "is locked");
    scene.wanted.until = scene.wanted.until.years_later(12);
    scene.wanted.is_held = true;
    is_fine(&scene.turn());
    scene.is_brought_away();
    assert!(scene.notes().stored.values().all(|stored| stored.is_held));
    assert_eq!(
        scene.store.put(&scene.name("header.json"), vec![1]),
        Err(S3Error::Exists)
    );
}

#[test]
fn a_bucket_without_a_lock_is_refused_against_moto() {
    let moto = Moto::start();
    moto.make_bucket(false);
    let scene = Scene::new(&moto.config());
    let refused = scene.uploader.check_lock();
    assert!(matches!(refused, Err(S3Error::Refused(_))), "{refused:?}");
}
