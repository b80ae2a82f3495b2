//! The command line: what can be asked for, in words that a newcomer understands.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Consilium: a video consultation server for hospitals and clinics.
///
/// It speaks the protocol of the LiveKit client SDKs and brings its own web page.
///
/// To try it on this computer: `consilium serve --dev`, then open the two links that it prints.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Run the server.
    Serve(Serve),
    /// Make a token or a link that lets one person into one room, or an officer into the archive.
    Token(Token),
    /// Check the configuration and show it, without secrets.
    CheckConfig(ConfigArgs),
    /// Verify a recording: is every byte what was signed when it was recorded? Needs no key.
    Verify(Verify),
    /// Take a recording out of the archive, into files that anybody can play. Needs an officer's key
    /// and a reason; it is a replay, and audited like one.
    ///
    /// One WebM for each person (MP4 where the picture is H.264), mixed.opus with the sound of all,
    /// events.json with what happened and what is missing, SHA256SUMS over all of it with the
    /// installation's signature beside it. All files are on the recording's clock.
    ///
    /// On an officer's computer, from a server that runs, so that the key stays there:
    /// `consilium export https://host/compliance/api/v1/recordings/01J... --token ... --officer
    /// officer.age --reason "complaint 17"`.
    ///
    /// On the server's machine, while the server is stopped: `consilium export 01J... --config
    /// consilium.toml --actor "Chen" --officer officer.age --reason "complaint 17"`.
    Export(Export),
    /// Put recordings in order that lost their writer. The server does it by itself at its start.
    Salvage(Salvage),
    /// Look at the audit: who did what to which recording.
    #[command(subcommand)]
    Audit(AuditTask),
    /// Make a key for recordings.
    #[command(subcommand)]
    Keygen(Keygen),
    /// Say something about how long recordings are kept.
    #[command(subcommand)]
    Retention(Retention),
}

/// `consilium keygen`.
#[derive(Debug, Subcommand)]
pub(crate) enum Keygen {
    /// An officer's key, behind a passphrase: for him alone, on his own computer.
    Compliance(OfficerKey),
    /// The release service's key; made by itself at the first start.
    Release(ServerKey),
    /// The installation's signing key; made by itself at the first start.
    Node(ServerKey),
}

/// `consilium keygen compliance`.
#[derive(Debug, Args)]
pub(crate) struct OfficerKey {
    /// Write the key to this new file.
    #[arg(long, value_name = "FILE", default_value = "officer.age")]
    pub(crate) out: PathBuf,
    /// Take the passphrase from the first line of this file instead of asking for it.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// `consilium keygen release` and `node`.
#[derive(Debug, Args)]
pub(crate) struct ServerKey {
    /// Write the key to this new file.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// `consilium retention`.
#[derive(Debug, Subcommand)]
pub(crate) enum Retention {
    /// Vouch for the clock of this machine after it jumped or the server was off for over a day.
    /// Nothing expires before.
    ConfirmClock(ConfirmClock),
}

/// `consilium retention confirm-clock`.
#[derive(Debug, Args)]
pub(crate) struct ConfirmClock {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Who vouches for it.
    #[arg(long)]
    pub(crate) operator: String,
    /// Why it had jumped, or seemed to.
    #[arg(long)]
    pub(crate) reason: String,
}

/// Where the configuration comes from: the file, then the environment, then these flags.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ConfigArgs {
    /// Try it on this computer: well-known key, loopback addresses only.
    #[arg(long)]
    pub(crate) dev: bool,
    /// The configuration file. `deploy/consilium.example.toml` explains every key.
    #[arg(long, value_name = "FILE", env = "CONSILIUM_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Serve HTTP and WebSocket on this address.
    #[arg(long, value_name = "IP")]
    pub(crate) http_ip: Option<IpAddr>,
    /// Serve HTTP and WebSocket on this port; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub(crate) http_port: Option<u16>,
    /// Receive media on this address.
    #[arg(long, value_name = "IP")]
    pub(crate) media_ip: Option<IpAddr>,
    /// Receive media on UDP ports from this one on, one for each worker; 0 takes free ones.
    #[arg(long, value_name = "PORT")]
    pub(crate) media_port: Option<u16>,
    /// Tell clients to send media to this address; may be repeated.
    #[arg(long, value_name = "IP")]
    pub(crate) advertise_ip: Vec<IpAddr>,
    /// Media threads; 0 means one for each core.
    #[arg(long, value_name = "COUNT")]
    pub(crate) workers: Option<u16>,
    /// Keep data in this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// `consilium serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Write the addresses to this file once everything is ready, for scripts.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// `consilium token`.
#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The room. Without it, `--role compliance` opens the archive of recordings.
    #[arg(long, required_unless_present = "role")]
    pub(crate) room: Option<String>,
    /// Who it is; unique in the room.
    #[arg(long)]
    pub(crate) identity: String,
    /// The name that people see; the identity if absent.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What the person does in the consult.
    #[arg(long, value_enum, default_value_t = Role::Specialist)]
    pub(crate) role: Role,
    /// How long the token is good, for example 90s, 30m, 6h or 2d.
    #[arg(long, value_parser = parse_ttl, default_value = "6h")]
    pub(crate) ttl: Duration,
    /// Further grants as JSON, as in LiveKit's `video` claim: '{"canPublish": false}'.
    #[arg(long, value_name = "JSON")]
    pub(crate) grants: Option<String>,
    /// The API key to sign with, if there are several.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// The secret of the API key, if it is not configured here.
    #[arg(
        long,
        requires = "key",
        env = "CONSILIUM_SECRET",
        hide_env_values = true
    )]
    pub(crate) secret: Option<String>,
    /// Print a link to the web page at this address instead of the bare token.
    #[arg(long, value_name = "URL")]
    pub(crate) link: Option<String>,
}

/// `consilium verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The recording's folder, or its address:
    /// `https://.../compliance/api/v1/recordings/<recording>`.
    #[arg(value_name = "DIR|URL")]
    pub(crate) recording: String,
    /// The node's public key in base64, or a file with it, from a place that you trust. Without it
    /// the recording itself says whose key it is.
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) node_key: Option<String>,
    /// The transparency log, if it does not lie in the archive that the recording lies in.
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) log: Option<String>,
    /// A checkpoint of the log that was kept elsewhere; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Vec<PathBuf>,
    /// The token of a compliance officer, for an address.
    #[arg(long, env = "CONSILIUM_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The replay under which segments are read, for an address.
    #[arg(long, value_name = "ID")]
    pub(crate) replay: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `consilium export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The recording, or its address:
    /// `https://.../compliance/api/v1/recordings/<recording>`.
    #[arg(value_name = "RECORDING|URL")]
    pub(crate) recording: String,
    /// An officer's key file. Repeat it where several officers must open a recording together.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) officer: Vec<PathBuf>,
    /// Take the passphrases from the first lines of these files, one for each officer in the same
    /// order, instead of asking for them.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Vec<PathBuf>,
    /// Why; the audit keeps it.
    #[arg(long)]
    pub(crate) reason: String,
    /// Write to this new folder; its name is the recording's if absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Export as much as can be read of a recording that does not verify. The export says so.
    #[arg(long)]
    pub(crate) although_broken: bool,
    /// Who exports, without a server: the audit keeps it.
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// The API key whose recording it is, without a server; found by itself if it is configured.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// The token of a compliance officer, for an address.
    #[arg(long, env = "CONSILIUM_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The node's public key in base64, or a file with it, from a place that you trust, for an
    /// address. Without it the recording itself says whose key it is.
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) node_key: Option<String>,
}

/// `consilium salvage`.
#[derive(Debug, Args)]
pub(crate) struct Salvage {
    /// The folder with `recordings` and `log` in it.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data_dir: PathBuf,
    /// The node key; `keys/node.pem` in the data folder if absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) node_key_file: Option<PathBuf>,
    /// Leave recordings open that were written to less than this ago, for their rooms to go on.
    #[arg(long, value_parser = parse_ttl, default_value = "0s")]
    pub(crate) grace: Duration,
}

/// `consilium audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditTask {
    /// Verify that no line was altered, dropped, added or moved.
    Verify(VerifyAudit),
}

/// `consilium audit verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyAudit {
    /// The audit's folder.
    #[arg(value_name = "DIR")]
    pub(crate) audit: PathBuf,
    /// The node's public key in base64, or a file with it, from a place that you trust.
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) node_key: Option<String>,
    /// The transparency log; the folder `log` beside the audit if absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) log: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a person does in a consult; decides what the token grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Gives the opinion: speaks, shows, sees everything.
    Specialist,
    /// Presents the case from the clinic: speaks, shows, sees everything.
    Presenter,
    /// Is the patient: speaks and is seen.
    Patient,
    /// Sees and hears, and is not heard or seen.
    Observer,
    /// With a room: watches over a consult without being announced. Without: opens the recordings
    /// of the API key.
    Compliance,
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let count: u64 = digits
        .parse()
        .map_err(|_| "give a number and s, m, h or d")?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("give a number and s, m, h or d".to_owned()),
    };
    count
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(|| "that is too long".to_owned())
}

/// Prints a line for the person or script at the other end. A closed pipe is their affair.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints why nothing was done.
pub(crate) fn complain(error: &anyhow::Error) {
    let _ = writeln!(io::stderr(), "consilium: {error:#}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_to_live_have_units() {
        assert_eq!(parse_ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_ttl("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in [
            "",
            "6",
            "h",
            "-1h",
            "6 weeks",
            "99999999999999999999d",
            "9999999999999999999d",
        ] {
            assert!(parse_ttl(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_help_names_the_first_thing_to_try() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("consilium serve --dev"), "{help}");
    }
}
