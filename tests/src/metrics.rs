//! The server's counters as `/metrics` tells them.

use std::collections::BTreeMap;

/// One reading of every series: its name with labels, and its value.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the Prometheus text format.
    pub fn parse(text: &str) -> Self {
        let series = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        Self(series)
    }

    /// The sum of all series of that name, whatever their labels.
    pub fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|(_, value)| value).sum()
    }

    /// The values of `name` by the value of its label `label`, summed over the other labels.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut out = BTreeMap::new();
        let opening = format!("{label}=\"");
        for (labels, value) in self.series(name) {
            let of = labels
                .split_once(&opening)
                .and_then(|(_, rest)| rest.split('"').next());
            *out.entry(of.unwrap_or("").to_owned()).or_default() += value;
        }
        out
    }

    /// That padded packets left as runs, and that the socket took everything.
    pub fn assert_padded_and_unhindered(&self) {
        let sum = |name: &str| self.sum(&format!("consilium_media_{name}_total"));
        let (runs, padding) = (sum("runs_out"), sum("padding_bytes_out"));
        eprintln!("{runs} runs, {padding} bytes of padding");
        assert!(runs > 0.0, "nothing left as a run");
        assert!(padding > 0.0, "nothing was padded");
        for name in ["runs_refused", "datagrams_blocked", "datagrams_refused"] {
            assert_eq!(sum(name), 0.0, "{name}");
        }
    }

    /// That publications crossed between workers, and nothing of them got lost there.
    pub fn assert_spread(&self) {
        let sum = |name: &str| self.sum(&format!("consilium_media_relay_frames_{name}_total"));
        let crossed = sum("in");
        eprintln!("{crossed} frames crossed between workers");
        assert!(crossed > 100.0, "everybody was on one worker: {crossed}");
        assert_eq!(sum("dropped"), 0.0, "a lane was full");
    }

    fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(series, value)| {
            let labels = series.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn series_are_summed_over_their_labels() {
        let metrics = Metrics::parse(
            "# HELP a x\na{worker=\"0\",reason=\"dtls\"} 2\na{worker=\"1\",reason=\"dtls\"} 3\n\
             a{worker=\"1\",reason=\"length\"} 4\nab 7\n",
        );
        assert_eq!(metrics.sum("a"), 9.0);
        assert_eq!(metrics.sum("ab"), 7.0);
        assert_eq!(metrics.by_label("a", "reason")["dtls"], 5.0);
    }
}
