//! What the kernel tells about another process: CPU time, memory, threads.
//!
//! Reads `/proc/<pid>` and the process's CPU clock. This is how a server is judged from
//! outside, the same way for every server.

use std::io;
use std::time::Duration;

use crate::sys;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ProcessSample {
    /// CPU time of all its threads since it started.
    pub(crate) cpu: Duration,
    /// Clock ticks in user space and in the kernel; only good for their proportion.
    pub(crate) ticks: (u64, u64),
    /// Resident memory in bytes.
    pub(crate) resident: u64,
    /// Threads.
    pub(crate) threads: u64,
    /// Open files, sockets among them.
    pub(crate) files: u64,
}

impl ProcessSample {
    /// Looks at `pid` now.
    pub(crate) fn take(pid: u32) -> io::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let ticks = parse_ticks(&stat).ok_or_else(|| io::Error::other("unreadable stat"))?;
        let kib = status_field(&status, "VmRSS:").unwrap_or(0);
        let threads = status_field(&status, "Threads:").unwrap_or(0);
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Self {
            files,
            cpu: sys::process_cpu(pid)?,
            ticks,
            resident: kib * 1024,
            threads,
        })
    }

    /// The share of the CPU time since `earlier` that was spent in user space.
    pub(crate) fn user_share_since(&self, earlier: &Self) -> f64 {
        let user = self.ticks.0.saturating_sub(earlier.ticks.0) as f64;
        let system = self.ticks.1.saturating_sub(earlier.ticks.1) as f64;
        if user + system > 0.0 {
            user / (user + system)
        } else {
            0.0
        }
    }
}

/// Fields 14 and 15; the second field is a name in brackets that may itself hold brackets.
fn parse_ticks(stat: &str) -> Option<(u64, u64)> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn status_field(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 111 222 13 14";
        assert_eq!(parse_ticks(stat), Some((111, 222)));
        assert_eq!(parse_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_threads_and_a_clock() {
        let sample = ProcessSample::take(std::process::id()).expect("own process");
        assert!(sample.resident > 100_000 && sample.threads >= 1);
        assert!(sample.files >= 3);
        assert!(sample.cpu > Duration::ZERO);
        assert!(ProcessSample::take(u32::MAX).is_err());
    }
}
