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
struct Said {
    lines: Vec<String>,
    /// The ways on which it can still say something. It has closed all of them once it has ended.
    open: usize,
}

#[derive(Default)]
struct Output {
    said: Mutex<Said>,
    changed: Condvar,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Said> {
        // A test that failed while it waited is no reason to say nothing about the child.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(self: &Arc<Self>, from: impl Read + Send + 'static) {
        self.lock().open += 1;
        let output = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                output.lock().lines.push(line);
                output.changed.notify_all();
            }
            output.lock().open -= 1;
            output.changed.notify_all();
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
            panic!("{} takes no input ({error}):\n{}", self.name, self.said())
        });
    }

    /// Waits for a line that `wanted` makes something of. Panics after `timeout`, and as soon as the
    /// child has closed its output without having said it.
    pub fn expect_line<T>(&self, timeout: Duration, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + timeout;
        let mut said = self.output.lock();
        let mut seen = 0;
        loop {
            if let Some(found) = said.lines[seen..].iter().find_map(|line| wanted(line)) {
                return found;
            }
            seen = said.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let why = match said.open {
                0 => "before it ended".to_owned(),
                _ if left.is_zero() => format!("within {timeout:?}"),
                _ => {
                    let waited = self.output.changed.wait_timeout(said, left);
                    (said, _) = waited.expect("no reader panics");
                    continue;
                }
            };
            panic!(
                "{} did not say it {why}:\n{}",
                self.name,
                said.lines.join("\n")
            );
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
        self.output.lock().lines.join("\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn child(script: &str) -> Process {
        Process::spawn("child", Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn the_last_line_of_a_child_that_ends_is_found() {
        let child = child("echo one; echo two >&2");
        let two = |line: &str| (line == "two").then_some(());
        child.expect_line(Duration::from_secs(60), two);
    }

    #[test]
    #[should_panic(expected = "did not say it before it ended")]
    fn a_child_that_ends_is_not_waited_for() {
        child("echo one").expect_line(Duration::from_secs(3_600), |_| None::<()>);
    }
}
