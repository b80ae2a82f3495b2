//! A recorded consult leaves the archive: with the officer's key, audited, signed, and opened by others.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::process::{Process, wait_until};
use tests::server::{Build, Server};
use tests::{token, tree};

const PASSPHRASE: &str = "correct horse battery staple";

/// A tone that comes out may be so far from the one that went in.
const TONE_ERROR_HZ: f64 = 10.0;

/// A folder with an archive, and the people around it.
struct House {
    folder: PathBuf,
    config: PathBuf,
}

impl House {
    fn new() -> Self {
        let folder = tree::scratch("export");
        std::fs::write(folder.join("passphrase"), format!("{PASSPHRASE}\n")).expect("is written");
        let house = Self {
            config: folder.join("consilium.toml"),
            folder,
        };
        let officer = house.keygen("officer.age");
        house.keygen("stranger.age");
        // A second officer made his key with the other implementation.
        let mut keygen = Command::new("age-keygen");
        let made = keygen
            .args(["-o", "second.txt"])
            .current_dir(&house.folder)
            .output();
        assert!(made.expect("age-keygen starts").status.success());
        let second = run("age-keygen", &["-y", "second.txt"], &house.folder);
        let second = String::from_utf8_lossy(&second).trim().to_owned();
        let config = format!(
            "data_dir = {:?}\n[http]\nport = 0\n[media]\nworkers = 2\nport_first = 0\n[rooms]\ndeparture_timeout = 2\n[keys]\n{} = {:?}\n\
             [recording]\npolicy = \"must\"\n[recording.limits]\nfree_percent_min = 0\n[recording.keys]\ncompliance = [{officer:?}, {second:?}]\n",
            house.folder.join("data"),
            token::KEY,
            token::SECRET
        );
        std::fs::write(&house.config, config).expect("is written");
        house
    }

    fn keygen(&self, file: &str) -> String {
        let made = self.consilium(&[
            "keygen",
            "compliance",
            "--out",
            file,
            "--passphrase-file",
            "passphrase",
        ]);
        assert!(made.status.success(), "{made:?}");
        let said = String::from_utf8(made.stdout).expect("is text");
        said.lines().next().expect("says it").to_owned()
    }

    fn consilium(&self, arguments: &[&str]) -> Output {
        let mut command = Build::Release.command();
        let command = command.args(arguments).current_dir(&self.folder);
        command.output().expect("the binary starts")
    }

    fn serve(&self) -> Server {
        let config = std::fs::read_to_string(&self.config).expect("was written");
        Server::start(Build::Release, &config)
    }

    /// What `consilium export` answers: whether it was done, and its words.
    fn export(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.consilium(&[&["export"], arguments].concat());
        let words = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8(words).expect("is text"),
        )
    }

    fn recording(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.folder.join("data/recordings")).expect("a folder");
        let all: Vec<_> = entries
            .map(|entry| entry.expect("readable").path())
            .collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }

    /// Action and outcome of every line of the audit, with the reason.
    fn audit(&self) -> Vec<(String, String, String)> {
        let mut days: Vec<_> = std::fs::read_dir(self.folder.join("data/audit"))
            .expect("a folder")
            .map(|day| day.expect("readable").path())
            .filter(|day| day.extension().is_some_and(|it| it == "jsonl"))
            .collect();
        days.sort();
        let lines = days.iter().flat_map(|day| {
            let text = std::fs::read_to_string(day).expect("readable");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines
            .map(|line| {
                let line: Value = serde_json::from_str(&line).expect("is JSON");
                let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                (text("action"), text("outcome"), text("reason"))
            })
            .collect()
    }

    fn has(&self, action: &str, outcome: &str, reason: &str) -> bool {
        let wanted = (action.to_owned(), outcome.to_owned(), reason.to_owned());
        self.audit().contains(&wanted)
    }

    /// The recording's identity as text, put together by `age` and the document alone: the officers'
    /// half and the release service's, one XOR the other.
    fn identity(&self, recording: &Path) -> String {
        let name = recording.file_name().expect("has one").to_string_lossy();
        let share = |key: &str, sealed: &str| -> Vec<u8> {
            let json = run("age", &["-d", "-i", key, sealed], &self.folder);
            let json: Value = serde_json::from_slice(&json).expect("is JSON");
            assert_eq!(json["recording"], *name);
            let value = json["value"].as_str().expect("is text");
            STANDARD.decode(value).expect("is base64")
        };
        let ours = recording.join("share-c.age");
        let ours = share("second.txt", &ours.to_string_lossy());
        let theirs = format!("data/release/{name}.age");
        let theirs = share("data/keys/release.txt", &theirs);
        let secret: Vec<u8> = ours.iter().zip(&theirs).map(|(a, b)| a ^ b).collect();
        bech32("age-secret-key-", &secret).to_uppercase()
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Vec<u8> {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; see deploy/setup.sh"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{program} {arguments:?}: {said}"
    );
    output.stdout
}

/// BIP 173: five bits a character, and six characters of checksum.
fn bech32(kind: &str, bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const STEPS: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    let (mut fives, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for &byte in bytes {
        held = held << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            fives.push((held >> bits & 31) as u8);
        }
    }
    if bits > 0 {
        fives.push((held << (5 - bits) & 31) as u8);
    }
    let high = kind.bytes().map(|letter| letter >> 5);
    let low = kind.bytes().map(|letter| letter & 31);
    let all = high.chain([0]).chain(low).chain(fives.iter().copied());
    let sum = all.chain([0; 6]).fold(1_u32, |sum, five| {
        let top = sum >> 25;
        let sum = (sum & 0x01ff_ffff) << 5 ^ u32::from(five);
        (0..5).fold(sum, |sum, at| sum ^ ((top >> at & 1) * STEPS[at]))
    }) ^ 1;
    fives.extend((0..6).map(|at| (sum >> (5 * (5 - at)) & 31) as u8));
    let text = fives
        .iter()
        .map(|&five| char::from(LETTERS[usize::from(five)]));
    format!("{kind}1{}", text.collect::<String>())
}

/// The sound of a file on the recording's clock, 48 kHz mono.
fn sound(folder: &Path, file: &str) -> Vec<f32> {
    let filter = "aresample=async=1:min_hard_comp=0.01:first_pts=0";
    let options = [
        "-v", "error", "-copyts", "-i", file, "-map", "0:a:0", "-af", filter, "-ac", "1", "-ar",
        "48000",
    ];
    let bytes = run(
        "ffmpeg",
        &[&options[..], &["-f", "f32le", "-"]].concat(),
        folder,
    );
    let sample = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    bytes.chunks_exact(4).map(sample).collect()
}

fn level(sound: &[f32], hz: f64) -> f64 {
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (at, sample) in sound.iter().enumerate() {
        let way = std::f64::consts::TAU * hz * at as f64 / 48_000.0;
        sine += f64::from(*sample) * way.sin();
        cosine += f64::from(*sample) * way.cos();
    }
    2.0 * sine.hypot(cosine) / sound.len() as f64
}

/// The loudest of the tones up to 2 kHz. Looked for in the means of eight samples, which leave those as
/// they are and are an eighth of the work.
fn loudest(sound: &[f32]) -> f64 {
    let means: Vec<f64> = (sound.chunks_exact(8))
        .map(|samples| f64::from(samples.iter().sum::<f32>()) / 8.0)
        .collect();
    let power = |hz: f64| {
        // Goertzel's recurrence: one multiplication for each sample.
        let turn = 2.0 * (std::f64::consts::TAU * hz / 6_000.0).cos();
        let (last, before) = (means.iter()).fold((0.0, 0.0), |(last, before), sample| {
            (sample + turn * last - before, last)
        });
        last * last + before * before - turn * last * before
    };
    (20..400)
        .map(|step| f64::from(step) * 5.0)
        .map(|hz| (power(hz), hz))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .expect("there are some")
        .1
}

/// Both tones are in this piece, and which is louder does not matter.
fn hears(sound: &[f32], hz: f64) -> bool {
    level(sound, hz) > 8.0 * level(sound, hz + 130.0)
}

fn document(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("events.json")).expect("is there");
    serde_json::from_str(&text).expect("is JSON")
}

/// Lines of the list without the one of the events, which names the time of the export.
fn sums(folder: &Path) -> Vec<String> {
    let list = std::fs::read_to_string(folder.join("SHA256SUMS")).expect("is there");
    let lines = list.lines().filter(|line| !line.ends_with("events.json"));
    lines.map(str::to_owned).collect()
}

/// What others make of an export: `sha256sum`, `ffprobe`, `ffmpeg`.
fn look_at(folder: &Path) {
    run("sha256sum", &["--check", "--quiet", "SHA256SUMS"], folder);
    let signature = std::fs::read(folder.join("SHA256SUMS.sig")).expect("is there");
    assert_eq!(signature.len(), 96);
    let document = document(folder);
    assert_eq!(document["verification"]["verdict"], "INTACT");
    let people = document["people"].as_array().expect("a list");
    assert_eq!(people.len(), 2, "whoever comes back is the same person");
    for person in people {
        let who = person["identity"].as_str().expect("has one");
        let (hz, stays) = if who == "li" { (440.0, 2) } else { (700.0, 1) };
        assert_eq!(
            person["stays"].as_array().expect("a list").len(),
            stays,
            "{who}"
        );
        let file = person["files"][0].as_str().expect("has one");
        let kinds = [
            "-v",
            "error",
            "-show_entries",
            "stream=codec_name",
            "-of",
            "csv=p=0",
            file,
        ];
        let kinds = run("ffprobe", &kinds, folder);
        assert_eq!(String::from_utf8_lossy(&kinds), "vp8\nopus\n", "{who}");
        // Cameras keep no even rate: times are counted as the file has them, not in a rate guessed from it.
        let decode = "-v error -i # -map 0 -enc_time_base -1 -f null -";
        let decode: Vec<&str> = (decode.split(' '))
            .map(|word| if word == "#" { file } else { word })
            .collect();
        run("ffmpeg", &decode, folder);
        // Second by second, where something is said.
        let sound = sound(folder, file);
        let heard: Vec<f64> = sound
            .chunks_exact(48_000)
            .filter(|second| second.iter().all(|it| it.is_finite()) && level(second, hz) > 0.05)
            .map(loudest)
            .collect();
        assert!(heard.len() >= 7, "{who} is heard for {} s", heard.len());
        assert!(
            heard.iter().all(|it| (it - hz).abs() <= TONE_ERROR_HZ),
            "{who}: {heard:?}"
        );
    }
    run(
        "ffmpeg",
        &["-v", "error", "-i", "mixed.opus", "-f", "null", "-"],
        folder,
    );
    let mixed = sound(folder, "mixed.opus");
    let both = mixed
        .chunks_exact(48_000)
        .filter(|second| hears(second, 440.0) && hears(second, 700.0));
    assert!(both.count() >= 5, "both are heard together");
    let events: Vec<&str> = (document["events"].as_array().expect("a list").iter())
        .filter_map(|event| event["type"].as_str())
        .collect();
    for kind in ["participant_joined", "participant_left", "consent", "chat"] {
        assert!(events.contains(&kind), "{kind} of {events:?}");
    }
}

#[test]
fn a_consult_is_exported_by_an_officer_with_a_reason_and_opened_by_others() {
    let house = House::new();
    let server = house.serve();
    let mut call = Process::spawn(
        "exported-call",
        Command::new("node")
            .arg("exported-call.mjs")
            .env("LIVEKIT_URL", server.websocket_url())
            .current_dir(tree::clients()),
    );
    call.expect_line(Duration::from_secs(120), |line| {
        (line == "over").then_some(())
    });
    call.expect_end(Duration::from_secs(20));
    let recording = house.recording();
    let is_closed = || recording.join("manifest.proof").exists().then_some(());
    assert!(
        wait_until(Duration::from_secs(60), is_closed).is_some(),
        "{}",
        server.said()
    );
    let name = recording
        .file_name()
        .expect("has one")
        .to_string_lossy()
        .into_owned();

    // From an officer's computer, over the server that runs.
    let mut claims = token::claims("chen", "");
    claims["consilium"] = json!({"role": "compliance"});
    let token = token::sign(&claims, token::SECRET);
    let url = format!("{}/compliance/api/v1/recordings/{name}", server.page_url());
    let remote = |officer: &str, reason: &str, out: &str| {
        house.export(&[
            &url,
            "--token",
            &token,
            "--officer",
            officer,
            "--passphrase-file",
            "passphrase",
            "--reason",
            reason,
            "--out",
            out,
        ])
    };
    let (is_done, words) = remote("stranger.age", "curiosity", "no");
    assert!(
        !is_done && words.contains("not sealed to this officer's key"),
        "{words}"
    );
    let (is_done, words) = remote("officer.age", "", "no");
    assert!(
        !is_done && words.contains("a reason must be given"),
        "{words}"
    );
    let (is_done, words) = remote("officer.age", "complaint 17", "far");
    assert!(is_done, "{words}\n{}", server.said());
    look_at(&house.folder.join("far"));
    let again = remote("officer.age", "complaint 17", "far");
    assert!(
        !again.0 && again.1.contains("never written over"),
        "{}",
        again.1
    );
    // A running server has the archive to itself.
    let own = |officer: &str, reason: &str, out: &str| {
        house.export(&[
            &name,
            "--config",
            "consilium.toml",
            "--actor",
            "chen",
            "--officer",
            officer,
            "--passphrase-file",
            "passphrase",
            "--reason",
            reason,
            "--out",
            out,
        ])
    };
    let (is_done, words) = own("officer.age", "complaint 17", "no");
    assert!(
        !is_done && words.contains("while the server runs"),
        "{words}"
    );
    server.stop();

    // On the server's machine, while no server runs: the same files.
    let (is_done, words) = own("officer.age", "complaint 18", "near");
    assert!(is_done, "{words}");
    look_at(&house.folder.join("near"));
    assert_eq!(
        sums(&house.folder.join("near")),
        sums(&house.folder.join("far"))
    );
    let (is_done, words) = own("stranger.age", "curiosity", "no");
    assert!(
        !is_done && words.contains("not sealed to this officer's key"),
        "{words}"
    );
    for reason in ["complaint 17", "complaint 18"] {
        assert!(house.has("release", "done", reason), "{:?}", house.audit());
    }
    assert!(house.has("release", "refused", "unknown_officer"));
    assert!(house.has("release", "refused", "no_reason"));
    let exports = house
        .audit()
        .into_iter()
        .filter(|line| line.0 == "export" && line.1 == "done");
    assert_eq!(exports.count(), 2);

    // The other implementation opens every segment with the recording's identity.
    let identity = house.identity(&recording);
    std::fs::write(house.folder.join("identity.txt"), identity).expect("is written");
    let mut segments = 0;
    for number in 0.. {
        let segment = recording.join(format!("seg-{number:06}.age"));
        if !segment.exists() {
            break;
        }
        let segment = segment.to_string_lossy();
        let records = run(
            "age",
            &["-d", "-i", "identity.txt", &segment],
            &house.folder,
        );
        assert_eq!(records[0], 1, "a segment begins with its head");
        segments += 1;
    }
    assert!(segments > 0);

    // One of two shares: refused, and in the audit.
    let share = house.folder.join(format!("data/release/{name}.age"));
    std::fs::rename(&share, house.folder.join("share")).expect("was there");
    let (is_done, words) = own("officer.age", "complaint 19", "no");
    assert!(
        !is_done && words.contains("share cannot be read"),
        "{words}"
    );
    assert!(house.has("release", "refused", "share_unreadable"));
    std::fs::rename(house.folder.join("share"), &share).expect("was there");

    // Altered: refused, in the audit; and exported when that is asked for, which the export says.
    break_a_byte(&recording.join("seg-000000.age"));
    let (is_done, words) = own("officer.age", "complaint 20", "no");
    assert!(!is_done && words.contains("does not verify"), "{words}");
    assert!(house.has("export", "refused", "unverified"));
    let (is_done, words) = house.export(&[
        &name,
        "--config",
        "consilium.toml",
        "--actor",
        "chen",
        "--officer",
        "officer.age",
        "--passphrase-file",
        "passphrase",
        "--reason",
        "complaint 21",
        "--out",
        "broken",
        "--although-broken",
    ]);
    assert!(is_done, "{words}");
    let broken = document(&house.folder.join("broken"));
    assert_eq!(broken["verification"]["exported_although_broken"], true);
    assert!(
        !broken["verification"]["findings"]
            .as_array()
            .expect("a list")
            .is_empty()
    );
    assert!(!house.folder.join("no").exists());

    // Where the audit cannot be written, nothing is released.
    let audit = house.folder.join("data/audit");
    std::fs::rename(&audit, house.folder.join("audit")).expect("was there");
    std::fs::write(&audit, "").expect("is written");
    let (is_done, words) = own("officer.age", "complaint 22", "no");
    assert!(!is_done && words.contains("audit"), "{words}");
    assert!(!house.folder.join("no").exists());
}

fn break_a_byte(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("is ours");
    let mut bytes = std::fs::read(path).expect("is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("is written");
}
