//! What a server says of itself at `/metrics`: how busy its media threads are, and how long packets
//! stay inside.
//!
//! Only Consilium's names are known; a server that does not have them, or does not show them to us,
//! simply says nothing. Numbers are refreshed there once a second, so a window should be several.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server answers at once or is not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(2);
const BUSY: &str = "consilium_media_busy_seconds_total";
const RECORDED: &str = "consilium_recording_packets_total";
const DELAY: &str = "consilium_media_forwarding_delay_seconds_bucket";

/// One look.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Look {
    /// Seconds that each worker has worked.
    busy: BTreeMap<String, f64>,
    /// For each edge in nanoseconds how many datagrams took at most so long.
    delays: BTreeMap<u64, u64>,
    /// Packets that are in recordings.
    recorded: f64,
}

/// What happened between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Inside {
    /// The share of its time that the busiest media thread worked.
    pub(crate) busiest: f64,
    /// Half of the datagrams were inside for at most so many milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 of 100.
    pub(crate) p99_ms: f64,
    /// Packets that were recorded.
    pub(crate) recorded_per_second: f64,
}

/// Reads the page of the server at a `ws://` or `http://` address.
pub(crate) async fn look(url: &str) -> Option<Look> {
    let (_, rest) = url.split_once("://")?;
    let host = rest.split('/').next()?;
    let page = tokio::time::timeout(PATIENCE, get(host)).await.ok()?.ok()?;
    let look = Look::parse(&page);
    (look != Look::default()).then_some(look)
}

async fn get(host: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}

impl Look {
    fn parse(page: &str) -> Self {
        let mut look = Self::default();
        for line in page.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            if name == RECORDED {
                look.recorded = value.parse().unwrap_or(0.0);
            }
            if let (true, Some(worker), Ok(seconds)) =
                (name.starts_with(BUSY), label(name, "worker"), value.parse())
            {
                look.busy.insert(worker.to_owned(), seconds);
            }
            if let (true, Some(edge), Ok(count)) = (
                name.starts_with(DELAY),
                label(name, "le"),
                value.parse::<u64>(),
            ) {
                let nanos = edge
                    .parse()
                    .map_or(u64::MAX, |s: f64| (s * 1e9).round() as u64);
                *look.delays.entry(nanos).or_default() += count;
            }
        }
        look
    }

    /// What happened since `earlier`, which was so long ago.
    pub(crate) fn since(&self, earlier: &Self, passed: Duration) -> Inside {
        let worked = self.busy.iter().map(|(worker, seconds)| {
            let before = earlier.busy.get(worker).copied().unwrap_or(0.0);
            (seconds - before) / passed.as_secs_f64()
        });
        Inside {
            busiest: worked.fold(0.0, f64::max),
            p50_ms: self.quantile(earlier, 0.5),
            p99_ms: self.quantile(earlier, 0.99),
            recorded_per_second: (self.recorded - earlier.recorded) / passed.as_secs_f64(),
        }
    }

    /// In milliseconds, evenly spread within a bucket.
    fn quantile(&self, earlier: &Self, share: f64) -> f64 {
        let new = |edge: &u64, count: &u64| {
            count.saturating_sub(earlier.delays.get(edge).copied().unwrap_or(0))
        };
        let all = self
            .delays
            .iter()
            .last()
            .map_or(0, |(edge, n)| new(edge, n));
        if all == 0 {
            return 0.0;
        }
        let rank = all as f64 * share;
        let (mut edge_below, mut count_below) = (0, 0);
        for (&edge, count) in &self.delays {
            let count = new(&edge, count);
            if count as f64 >= rank && count > count_below {
                if edge == u64::MAX {
                    break;
                }
                let part = (rank - count_below as f64) / (count - count_below) as f64;
                return (edge_below as f64 + (edge - edge_below) as f64 * part) / 1e6;
            }
            (edge_below, count_below) = (edge, count);
        }
        edge_below as f64 / 1e6
    }
}

fn label<'a>(name: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = name.split_once(&format!("{key}=\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(counts: [u64; 3], busy: f64) -> String {
        let [a, b, c] = counts;
        format!(
            "# TYPE {DELAY} histogram\n\
             {DELAY}{{worker=\"0\",le=\"0.0001\"}} {a}\n\
             {DELAY}{{worker=\"0\",le=\"0.0002\"}} {b}\n\
             {DELAY}{{worker=\"0\",le=\"+Inf\"}} {c}\n\
             {DELAY}{{worker=\"1\",le=\"0.0001\"}} 0\n\
             {BUSY}{{worker=\"0\"}} {busy}\n{BUSY}{{worker=\"1\"}} 0.1\n"
        )
    }

    #[test]
    fn what_happened_between_two_looks_is_told() {
        let before = Look::parse(&page([10, 10, 10], 1.0));
        let after = Look::parse(&page([60, 110, 110], 2.4));
        let inside = after.since(&before, Duration::from_secs(2));
        assert!((inside.busiest - 0.7).abs() < 1e-9);
        assert!((inside.p50_ms - 0.1).abs() < 1e-9, "{inside:?}");
        assert!((inside.p99_ms - 0.198).abs() < 1e-9, "{inside:?}");
    }

    #[test]
    fn what_is_beyond_the_last_edge_is_at_least_that() {
        let after = Look::parse(&page([0, 0, 5], 0.0));
        assert_eq!(after.quantile(&Look::default(), 0.5), 0.2);
        assert_eq!(after.quantile(&after, 0.5), 0.0, "nothing has left since");
    }

    #[test]
    fn another_servers_page_says_nothing() {
        assert_eq!(
            Look::parse("go_goroutines 7\nx{le=\"1\"} 2\n"),
            Look::default()
        );
    }
}
