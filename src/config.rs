//! The whole configuration: file, then environment, then flags, checked before anything starts.
//!
//! The sections are the libraries' own types, so that a value, its default and its reason stand in
//! one place. Unknown keys are errors that name the key. Environment variables are called
//! `CONSILIUM_<SECTION>__<KEY>`, for example `CONSILIUM_HTTP__PORT=443`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use recorder::config::{ArchiveConfig, KeysConfig};
use recorder::retention::RetentionConfig;
use recorder::store::s3::S3Config;
use serde::{Deserialize, Serialize};
use sfu::config::SfuConfig;
use signaling::config::{
    HttpConfig, Limits, RoomsConfig, Secret, SignalingConfig, TcpConfig, TlsConfig, WebhookConfig,
};
use signaling::consent::Policy;
use toml::{Table, Value};

use crate::cli::{self, ConfigArgs};

/// Everything that the server is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where data is kept.
    pub(crate) data_dir: PathBuf,
    /// What is said about the running server.
    pub(crate) log: LogConfig,
    /// Where the front door listens.
    pub(crate) http: HttpConfig,
    /// The certificate, if HTTPS is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsConfig>,
    /// Media over the port of the front door.
    pub(crate) tcp: TcpConfig,
    /// The API keys and their secrets.
    pub(crate) keys: BTreeMap<String, Secret>,
    /// How rooms live and die.
    pub(crate) rooms: RoomsConfig,
    /// Who is told what happens.
    pub(crate) webhook: WebhookConfig,
    /// The bounds of the front door.
    pub(crate) limits: Limits,
    /// The media plane with its bounds.
    pub(crate) media: SfuConfig,
    /// Recordings: of whom, whose keys they are sealed to, how long and where they are kept.
    pub(crate) recording: RecordingConfig,
}

/// Recordings: of whom, whose keys they are sealed to, how long and where they are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RecordingConfig {
    /// Whether rooms are recorded that nobody said otherwise of: "must" from the first publisher to
    /// the end of the room, "with-consent" when asked for, "never". Where nothing is said `--dev`
    /// takes "must". In all of them nobody is recorded who has not agreed.
    pub(crate) policy: Policy,
    /// Where keys are and who the officers are.
    pub(crate) keys: KeysConfig,
    /// How long recordings are kept.
    pub(crate) retention: RetentionConfig,
    /// The object store for closed recordings; they stay in the folder if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) s3: Option<S3Config>,
    /// The bounds of the writer.
    pub(crate) limits: recorder::config::Limits,
}

/// What is said about the running server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// For people or for machines.
    pub(crate) format: LogFormat,
    /// Which events: a level, or levels by target as in `info,signaling=debug`.
    pub(crate) filter: String,
}

/// For people or for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines of text.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        let signaling = SignalingConfig::default();
        Self {
            data_dir: PathBuf::from("data"),
            log: LogConfig::default(),
            http: signaling.http,
            tls: signaling.tls,
            tcp: signaling.tcp,
            keys: signaling.keys,
            rooms: signaling.rooms,
            webhook: signaling.webhook,
            limits: signaling.limits,
            media: SfuConfig::default(),
            recording: RecordingConfig::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

impl Config {
    /// Reads file, environment and flags, in this order, and checks the result.
    pub(crate) fn load(args: &ConfigArgs) -> anyhow::Result<Self> {
        let mut table = match &args.config {
            Some(path) => read(path)?,
            None => Table::new(),
        };
        overlay(&mut table, std::env::vars_os())?;
        if args.dev {
            record_unless_said_otherwise(&mut table);
        }
        let mut config = Self::from_table(table)?;
        config.apply(args);
        config.check()?;
        Ok(config)
    }

    pub(crate) fn from_table(table: Table) -> anyhow::Result<Self> {
        Value::Table(table)
            .try_into()
            .context("the configuration does not fit")
    }

    fn apply(&mut self, args: &ConfigArgs) {
        if args.dev {
            self.keys.extend(SignalingConfig::dev().keys);
        }
        set(&mut self.http.listen_ip, args.http_ip);
        set(&mut self.http.port, args.http_port);
        set(&mut self.media.listen_ip, args.media_ip);
        set(&mut self.media.port_first, args.media_port);
        set(&mut self.media.workers, args.workers);
        set(&mut self.data_dir, args.data_dir.clone());
        if !args.advertise_ip.is_empty() {
            self.media.advertised_ips.clone_from(&args.advertise_ip);
        }
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.signaling().check()?;
        let media = &self.media;
        if media.listen_ip.is_unspecified() && media.advertised_ips.is_empty() {
            bail!(
                "media.advertised_ips: clients must be told an address, because \
                 media.listen_ip = {} is none",
                media.listen_ip
            );
        }
        let (kept, waited_for) = (media.limits.absence_timeout, self.rooms.resume_timeout);
        if kept < waited_for {
            bail!(
                "media.limits.absence_timeout: {} ms are shorter than rooms.resume_timeout ({} s): \
                 whoever comes back in time for his seat would find his media gone",
                kept.as_millis(),
                waited_for.as_secs()
            );
        }
        let (rooms, shares) = (
            self.limits.forwardings_per_participant_max,
            media.limits.shares_per_publication_max,
        );
        if rooms > shares {
            bail!(
                "limits.forwardings_per_participant_max: {rooms} are more than \
                 media.limits.shares_per_publication_max ({shares}): whoever is forwarded would be \
                 neither seen nor heard"
            );
        }
        if let Some(ip) = media.advertised_ips.iter().find(|ip| ip.is_unspecified()) {
            bail!("media.advertised_ips: nobody can reach {ip}");
        }
        self.archive()
            .check()
            .map_err(|what| anyhow!("recording.{what}"))
    }

    /// The archive's part.
    pub(crate) fn archive(&self) -> ArchiveConfig {
        let RecordingConfig {
            policy: _,
            keys,
            retention,
            s3,
            limits,
        } = self.recording.clone();
        ArchiveConfig {
            data: PathBuf::new(),
            keys,
            retention,
            s3,
            limits,
        }
        .below(&self.data_dir)
    }

    /// The front door's part.
    pub(crate) fn signaling(&self) -> SignalingConfig {
        SignalingConfig {
            http: self.http.clone(),
            tls: self.tls.clone(),
            tcp: self.tcp.clone(),
            keys: self.keys.clone(),
            rooms: self.rooms.clone(),
            webhook: self.webhook.clone(),
            recording: self.recording.policy,
            limits: self.limits.clone(),
        }
    }

    /// Sections, other than the keys, in which another configuration is different.
    pub(crate) fn differing_sections(&self, other: &Self) -> Vec<String> {
        let [ours, theirs] = [self, other].map(|one| {
            let mut table = Table::try_from(one).expect("plain values are TOML");
            table.remove("keys");
            table
        });
        let names = ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>();
        let differing = names
            .into_iter()
            .filter(|name| ours.get(*name) != theirs.get(*name));
        differing.cloned().collect()
    }

    /// The configuration as TOML. Secrets show themselves as such.
    pub(crate) fn shown(&self) -> String {
        toml::to_string(self).expect("plain values are TOML")
    }

    /// The address that a browser on this computer opens.
    pub(crate) fn page(&self, ip: IpAddr, port: u16) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let host = match ip {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        format!("{scheme}://{host}:{port}")
    }
}

/// `consilium check-config`.
pub(crate) fn check(args: &ConfigArgs) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    if let Some(tls) = &config.tls {
        signaling::http::tls::Certificate::read(tls)?;
    }
    cli::say(&config.shown());
    Ok(())
}

fn set<T>(value: &mut T, flag: Option<T>) {
    if let Some(flag) = flag {
        *value = flag;
    }
}

fn read(path: &PathBuf) -> anyhow::Result<Table> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse()
        .with_context(|| format!("{} is not TOML", path.display()))
}

/// On a developer's machine rooms are recorded, so that the whole product is seen; but his own word
/// counts.
fn record_unless_said_otherwise(table: &mut Table) {
    let recording = table.entry("recording");
    if let Value::Table(recording) = recording.or_insert_with(|| Table::new().into()) {
        let policy = recording.entry("policy");
        policy.or_insert_with(|| "must".into());
    }
}

/// Lays environment variables over a table. Only names with a section or a key of the top level
/// are configuration; `CONSILIUM_URL` and the like belong to other tools.
fn overlay(
    table: &mut Table,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> anyhow::Result<()> {
    for (name, value) in variables {
        let Some(name) = name
            .to_str()
            .and_then(|name| name.strip_prefix("CONSILIUM_"))
        else {
            continue;
        };
        if name != "DATA_DIR" && !name.contains("__") {
            continue;
        }
        let value = value
            .to_str()
            .with_context(|| format!("CONSILIUM_{name} is not text"))?;
        insert(table, name, value)?;
    }
    Ok(())
}

fn insert(table: &mut Table, name: &str, value: &str) -> anyhow::Result<()> {
    let mut path: Vec<&str> = name.split("__").collect();
    let key = path.pop().expect("splitting gives at least one part");
    let mut inner = table;
    for section in &path {
        inner = inner
            .entry(section.to_lowercase())
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .with_context(|| format!("CONSILIUM_{name}: {section} is not a section"))?;
    }
    // The ids of API keys are somebody's own names, and their secrets may look like numbers.
    let is_secret = path
        .first()
        .is_some_and(|section| section.eq_ignore_ascii_case("keys"));
    let (key, value) = match is_secret {
        true => (key.to_owned(), Value::String(value.to_owned())),
        false => (key.to_lowercase(), typed(value)),
    };
    inner.insert(key, value);
    Ok(())
}

/// `true`, `7882` and `["10.0.0.1"]` are what they look like; anything else is text.
fn typed(text: &str) -> Value {
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> anyhow::Result<Config> {
        Config::from_table(text.parse().expect("the test writes TOML"))
    }

    fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn an_unknown_key_is_named() {
        for (text, key) in [
            ("prot = 1", "prot"),
            ("[http]\nprot = 1", "prot"),
            ("[limits]\nrooms = 1", "rooms"),
            ("[media.limits]\npackets = 1", "packets"),
            ("[tls]\ncert = 'a'\nkey = 'b'\npem = 'c'", "pem"),
            ("[recording]\ndata = '/'", "data"),
            ("[recording.keys]\nofficers = []", "officers"),
            ("[recording.s3]\nbucket = 'b'\nacl = 'x'", "acl"),
        ] {
            let error = parsed(text).expect_err("must be refused");
            assert!(
                format!("{error:#}").contains(&format!("`{key}`")),
                "{error:#}"
            );
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let mut table: Table = "[http]\nport = 1\n[keys]\na = 'x'".parse().expect("TOML");
        let variables = [
            ("CONSILIUM_HTTP__PORT", "8443"),
            ("CONSILIUM_HTTP__INSECURE_HTTP", "true"),
            ("CONSILIUM_MEDIA__ADVERTISED_IPS", "[\"192.0.2.1\"]"),
            ("CONSILIUM_MEDIA__LIMITS__ROOMS_MAX", "7"),
            ("CONSILIUM_KEYS__Clinic", "0123456789"),
            ("CONSILIUM_DATA_DIR", "/srv/consilium"),
            ("CONSILIUM_URL", "not ours"),
            ("HOME", "/root"),
        ];
        overlay(&mut table, environment(&variables)).expect("all fit");
        let config = Config::from_table(table).expect("all are known");
        assert_eq!(config.http.port, 8443);
        assert!(config.http.insecure_http);
        assert_eq!(config.media.advertised_ips, [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(config.media.limits.rooms_max, 7);
        assert_eq!(config.keys["Clinic"], Secret::new("0123456789"));
        assert_eq!(config.keys["a"], Secret::new("x"));
        assert_eq!(config.data_dir, PathBuf::from("/srv/consilium"));
    }

    #[test]
    fn an_unknown_variable_is_named() {
        let mut table = Table::new();
        overlay(&mut table, environment(&[("CONSILIUM_HTTP__PROT", "1")])).expect("is text");
        let error = Config::from_table(table).expect_err("must be refused");
        assert!(format!("{error:#}").contains("`prot`"), "{error:#}");
    }

    #[test]
    fn flags_win_over_everything() {
        let mut config = parsed("[http]\nport = 1\n[media]\nport_first = 2").expect("fits");
        config.apply(&ConfigArgs {
            http_port: Some(0),
            media_port: Some(9000),
            ..ConfigArgs::default()
        });
        assert_eq!((config.http.port, config.media.port_first), (0, 9000));
    }

    #[test]
    fn the_development_key_stays_on_loopback() {
        let mut config = Config::default();
        config.apply(&ConfigArgs {
            dev: true,
            ..ConfigArgs::default()
        });
        assert!(config.check().is_ok());
        config.apply(&ConfigArgs {
            dev: true,
            http_ip: Some(IpAddr::from([0, 0, 0, 0])),
            ..ConfigArgs::default()
        });
        config.http.insecure_http = true;
        let error = config.check().expect_err("must be refused");
        assert!(error.to_string().contains("keys.devkey"), "{error}");
    }

    #[test]
    fn clients_must_be_told_an_address() {
        let mut config = Config::default();
        config.apply(&ConfigArgs {
            dev: true,
            media_ip: Some(IpAddr::from([0, 0, 0, 0])),
            ..ConfigArgs::default()
        });
        let error = config.check().expect_err("must be refused");
        assert!(
            error.to_string().contains("media.advertised_ips"),
            "{error}"
        );
        config.media.advertised_ips = vec![IpAddr::from([192, 0, 2, 1])];
        assert!(config.check().is_ok());
    }

    #[test]
    fn media_must_not_be_given_up_before_the_seat() {
        let mut config = Config::default();
        config.apply(&ConfigArgs {
            dev: true,
            ..ConfigArgs::default()
        });
        config.rooms.resume_timeout = config.media.limits.absence_timeout;
        assert!(config.check().is_ok(), "as long is long enough");
        config.media.limits.absence_timeout -= std::time::Duration::from_millis(1);
        let error = config.check().expect_err("must be refused").to_string();
        for name in ["media.limits.absence_timeout", "rooms.resume_timeout"] {
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn nobody_is_forwarded_further_than_his_tracks() {
        let mut config = Config::default();
        config.apply(&ConfigArgs {
            dev: true,
            ..ConfigArgs::default()
        });
        let shares = config.media.limits.shares_per_publication_max;
        config.limits.forwardings_per_participant_max = shares + 1;
        let error = config.check().expect_err("must be refused").to_string();
        assert!(error.contains("shares_per_publication_max"), "{error}");
        config.media.limits.shares_per_publication_max += 1;
        assert!(config.check().is_ok());
    }

    #[test]
    fn what_a_reload_does_not_take_is_named_by_its_section() {
        let before = parsed("[keys]\na = 'x'").expect("fits");
        let after = parsed("[keys]\nb = 'y'\n[http]\nport = 1\n[media.limits]\nrooms_max = 1");
        let differing = before.differing_sections(&after.expect("fits"));
        assert_eq!(differing, ["http", "media"]);
        let keys = parsed("[keys]\nb = 'y'").expect("fits");
        assert!(before.differing_sections(&keys).is_empty());
    }

    #[test]
    fn development_records_unless_the_operator_says_otherwise() {
        let policy = |text: &str| {
            let mut table: Table = text.parse().expect("TOML");
            record_unless_said_otherwise(&mut table);
            Config::from_table(table).expect("fits").recording.policy
        };
        assert_eq!(policy(""), SignalingConfig::dev().recording);
        assert_eq!(policy("[recording.limits]"), Policy::Must);
        assert_eq!(policy("[recording]\npolicy = 'never'"), Policy::Never);
    }

    #[test]
    fn wrong_retention_is_named_with_its_section() {
        let config = |text: &str| {
            let mut config = parsed(text).expect("fits");
            config.apply(&ConfigArgs {
                dev: true,
                ..ConfigArgs::default()
            });
            config
        };
        let wrong = config("[recording.retention]\ndefault_class = 'gone'").check();
        let error = wrong.expect_err("is not there").to_string();
        assert!(
            error.contains("recording.retention.default_class"),
            "{error}"
        );
        let good = config("[recording.retention.classes]\nconsult-3y = '3y'\nshort = '30d'");
        assert!(good.check().is_ok());
        assert!(parsed("[recording.retention.classes]\nx = '3 years'").is_err());
    }

    #[test]
    fn the_archive_lies_below_the_data_folder() {
        let config = parsed("data_dir = '/srv'\n[recording.keys]\nrelease = '/hsm/release.txt'");
        let archive = config.expect("fits").archive();
        assert_eq!(archive.data, PathBuf::from("/srv"));
        assert_eq!(archive.keys.node, PathBuf::from("/srv/keys/node.pem"));
        assert_eq!(archive.keys.release, PathBuf::from("/hsm/release.txt"));
    }

    #[test]
    fn no_secret_is_shown() {
        let config =
            parsed("[keys]\nclinic = 'open-sesame-open-sesame-open-sesame'").expect("fits");
        assert!(!config.shown().contains("sesame"));
        assert!(!format!("{config:?}").contains("sesame"));
    }
}
