//! The server under test: the built binary as a process of its own on ephemeral ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::http;
use crate::metrics::Metrics;
use crate::process::{Process, wait_until};
use crate::token;
use crate::tree;

/// A debug build on a busy machine needs seconds to read its embedded pages.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The kernel counts CPU time in hundredths of a second (`sysconf(_SC_CLK_TCK)` on Linux).
const TICKS_PER_SECOND: f64 = 100.0;

/// Which binary.
#[derive(Clone, Copy, Debug)]
pub enum Build {
    /// What is released.
    Release,
    /// With the scripted failures of the feature `test-modes`.
    TestModes,
}

impl Build {
    /// Where the binary lies; `CONSILIUM_RELEASE` and `CONSILIUM_TEST_MODES` name another.
    pub fn path(self) -> PathBuf {
        let (variable, built) = match self {
            Self::Release => ("CONSILIUM_RELEASE", "target/release/consilium"),
            Self::TestModes => ("CONSILIUM_TEST_MODES", "target/test-modes/consilium"),
        };
        let path = std::env::var_os(variable).map_or_else(|| tree::root().join(built), Into::into);
        assert!(
            path.exists(),
            "{} is not built: see tests/run-e2e.sh",
            path.display()
        );
        path
    }

    /// A command of that binary, without the caller's own settings.
    pub fn command(self) -> Command {
        without_settings(Command::new(self.path()))
    }
}

fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CONSILIUM_")) {
        command.env_remove(name);
    }
    command
}

/// A running server.
pub struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// Starts `build` with the development key on free ports.
    pub fn dev(build: Build) -> Self {
        Self::with_config(build, "")
    }

    /// Starts `build` with the development key on free ports and further configuration.
    pub fn with_config(build: Build, more: &str) -> Self {
        Self::with_workers(build, 2, more)
    }

    /// The same with so many media threads.
    pub fn with_workers(build: Build, workers: u16, more: &str) -> Self {
        let server = Self::start(build, &config(&tree::scratch("server"), workers, more));
        let is_ready = || (http::get(server.address, "/readyz", &[]).status == 200).then_some(());
        let answer = wait_until(START_TIMEOUT, is_ready);
        assert!(
            answer.is_some(),
            "not ready within {START_TIMEOUT:?}:\n{}",
            server.said()
        );
        server
    }

    /// Starts `build` so that each participant of a room is on another worker than the one before.
    pub fn spread(build: Build) -> Self {
        Self::with_workers(build, 3, "[rooms]\nspill_busy_share = 0.0\n")
    }

    /// Starts `build` with exactly this configuration and waits until it listens.
    pub fn start(build: Build, config: &str) -> Self {
        Self::listening(Self::spawn(build, config))
    }

    /// The same under a system clock that is `offset` from the right one, as in `+20y`.
    pub fn start_at(build: Build, config: &str, offset: &str) -> Self {
        let mut command = build.command();
        set_clock(&mut command, offset);
        Self::listening(Self::serve(command, config))
    }

    fn listening(process: Process) -> Self {
        let address = process.expect_line(START_TIMEOUT, |line| {
            line.strip_prefix("listening http=")?
                .split(' ')
                .next()?
                .parse()
                .ok()
        });
        Self { process, address }
    }

    /// The same as [`Server::start`], but no file may become longer than `bytes`: what a full disk
    /// does to a journal, for one process.
    pub fn start_with_small_files(build: Build, config: &str, bytes: u64) -> Self {
        let mut command = without_settings(Command::new("sh"));
        // Blocks of 512 bytes. Without the signal a write that goes too far is an error.
        let limited = "trap '' XFSZ; ulimit -f \"$0\" && exec \"$@\"";
        command.args(["-c", limited, &(bytes / 512).to_string()]);
        command.arg(build.path());
        Self::listening(Self::serve(command, config))
    }

    /// Starts `build` with exactly this configuration, which may be one that it refuses.
    pub fn spawn(build: Build, config: &str) -> Process {
        Self::serve(build.command(), config)
    }

    fn serve(mut command: Command, config: &str) -> Process {
        let folder = tree::scratch("configuration");
        let file = folder.join("consilium.toml");
        std::fs::write(&file, config).expect("the scratch folder is writable");
        command
            .current_dir(folder)
            .arg("serve")
            .arg("--config")
            .arg(file);
        Process::spawn("consilium", &mut command)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an SDK is given.
    pub fn websocket_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// What a browser is given.
    pub fn page_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything it logged.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// The counters now. Those of the media plane are up to a second old.
    pub fn metrics(&self) -> Metrics {
        let answer = http::get(self.address, "/metrics", &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        Metrics::parse(&answer.body)
    }

    /// Memory in use, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        kilobytes
            .and_then(|n| n.trim().parse::<u64>().ok())
            .expect("Linux tells VmRSS")
            * 1024
    }

    /// CPU time used so far, to a hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = std::fs::read_to_string(path).expect("the server runs");
        // The name in parentheses may hold spaces; user and system time are the 12th and 13th
        // field after it.
        let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
        let ticks: f64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<f64>().expect("times are numbers"))
            .sum();
        Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
    }

    /// Datagrams that the kernel dropped because the socket bound to `port` was full.
    pub fn kernel_drops(port: u16) -> u64 {
        let table = std::fs::read_to_string("/proc/net/udp").expect("Linux lists its sockets");
        let local = format!(":{port:04X}");
        table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields[1].ends_with(&local))
            .filter_map(|fields| fields.last().and_then(|n| n.parse::<u64>().ok()))
            .sum()
    }

    /// Gives it another configuration and tells it to read that.
    pub fn reload(&self, config: &str) {
        let line = std::fs::read_to_string(format!("/proc/{}/cmdline", self.process.id()));
        let line = line.expect("the server runs");
        let mut words = line.split('\0').skip_while(|word| *word != "--config");
        let file = words.nth(1).expect("every server is given a configuration");
        std::fs::write(file, config).expect("the scratch folder is writable");
        self.process.hang_up();
    }

    /// Kills it, as a crash would.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Asks it to stop, as an operator would, and returns what it said until it was gone.
    pub fn stop(mut self) -> String {
        self.process.terminate();
        let status = self.process.expect_end(Duration::from_secs(20));
        assert!(
            status.success(),
            "stopped with {status}:\n{}",
            self.process.said()
        );
        self.process.said()
    }
}

/// Lets `command` run under a system clock that is `offset` from the right one. Only the time of day
/// is wrong: timers run on, as they do when somebody sets the clock.
pub fn set_clock(command: &mut Command, offset: &str) {
    let folders = std::fs::read_dir("/usr/lib").expect("it is there");
    let library = folders
        .map(|folder| {
            let folder = folder.expect("readable").path();
            folder.join("faketime/libfaketimeMT.so.1")
        })
        .find(|library| library.exists())
        .expect("Debian's faketime is installed: run deploy/setup.sh");
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME", offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// A configuration with the development key, ports of the system's choice, data in `folder` and
/// whatever `more` says.
pub fn config(folder: &Path, workers: u16, more: &str) -> String {
    config_at(Ipv4Addr::LOCALHOST, folder, workers, more)
}

/// The same with media at another address: in a namespace, the one that is not loopback.
pub fn config_at(media: Ipv4Addr, folder: &Path, workers: u16, more: &str) -> String {
    format!(
        "data_dir = {:?}\n[http]\nport = 0\n[media]\nworkers = {workers}\nport_first = 0\n\
         listen_ip = \"{media}\"\n[keys]\n{} = {:?}\n{more}",
        folder.join("data"),
        token::KEY,
        token::SECRET
    )
}
