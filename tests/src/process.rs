//! A child process in a process group of its own, with its output kept.
//!
//! Owns the child to the end: dropping it ends the whole group, so that a failed test leaves no
//! server and no browser behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a condition is looked at that nobody tells us about.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A browser needs a moment to close its own children after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks until the answer is there; `None` after `timeout`.
pub fn wait_until<T>(timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// What a child has said so far.
#[derive(Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    grew: Condvar,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        // A test that failed while it waited is no reason to say nothing about the child.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(self: &Arc<Self>, from: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                output.lock().push(line);
                output.grew.notify_all();
            }
        });
    }
}

/// A running child with its process group.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

impl Process {
    /// Starts `command` in a new process group.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Arc::new(Output::default());
        output.collect(child.stdout.take().expect("stdout is piped"));
        output.collect(child.stderr.take().expect("stderr is piped"));
        Self {
            name: name.to_owned(),
            child,
            output,
        }
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to the child's standard input.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("stdin is piped");
        writeln!(input, "{line}").unwrap_or_else(|error| {
            panic!(
                "{} takes no input ({error}):\n{}",
                self.name,
                self.output.lock().join("\n")
            )
        });
    }

    /// Waits for a line that `wanted` makes something of.
    pub fn expect_line<T>(&self, timeout: Duration, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + timeout;
        let mut lines = self.output.lock();
        let mut seen = 0;
        loop {
            if let Some(found) = lines[seen..].iter().find_map(|line| wanted(line)) {
                return found;
            }
            seen = lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} did not say it within {timeout:?}:\n{}",
                self.name,
                lines.join("\n")
            );
            (lines, _) = self
                .output
                .grew
                .wait_timeout(lines, left)
                .expect("no reader panics");
        }
    }

    /// Waits for the child to end by itself.
    pub fn expect_end(&mut self, timeout: Duration) -> ExitStatus {
        wait_until(timeout, || {
            self.child.try_wait().expect("the child is ours")
        })
        .unwrap_or_else(|| {
            panic!(
                "{} did not end within {timeout:?}:\n{}",
                self.name,
                self.said()
            )
        })
    }

    /// Whether the child still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// Everything that the child said so far.
    pub fn said(&self) -> String {
        self.output.lock().join("\n")
    }

    /// Asks the child to end, as an operator would.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Tells the child to read its configuration again, as an operator would.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Kills the child and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal("KILL");
        // It cannot refuse.
        let _ = self.child.wait();
    }

    fn signal(&self, signal: &str) {
        // A group that has ended in the meantime is what we want anyway.
        let _ = Command::new("kill")
            .args([
                &format!("-{signal}"),
                "--",
                &format!("-{}", self.child.id()),
            ])
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.terminate();
            wait_until(END_TIMEOUT, || self.child.try_wait().ok().flatten());
        }
        self.signal("KILL");
        // Reaped already, unless the kernel refuses to.
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- {} said ----\n{}\n----", self.name, self.said());
        }
    }
}
