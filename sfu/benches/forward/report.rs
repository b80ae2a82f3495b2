//! The table, on the screen and in `target/bench/forward.json`.

use std::fmt::Write;
use std::path::Path;

/// What a line is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Microseconds a packet.
    Micros(f64),
    /// Multiples of the floor.
    Ratio(f64),
}

/// One line of the table, in microseconds a packet.
pub(crate) struct Line {
    scenario: String,
    pub(crate) us: f64,
    floor: f64,
    limit: Limit,
}

impl Line {
    /// The medians of both.
    pub(crate) fn new(scenario: String, ours: &mut [f64], floor: &mut [f64], limit: Limit) -> Self {
        Self::compared(scenario, median(ours), median(floor), limit)
    }

    pub(crate) fn compared(scenario: String, us: f64, floor: f64, limit: Limit) -> Self {
        Self {
            scenario,
            us,
            floor,
            limit,
        }
    }

    fn ratio(&self) -> f64 {
        self.us / self.floor
    }

    /// The limit, what it limits, and whether it is kept.
    fn verdict(&self) -> (f64, &'static str, bool) {
        match self.limit {
            Limit::Micros(limit) => (limit, "us_per_packet", self.us <= limit),
            Limit::Ratio(limit) => (limit, "ratio", self.ratio() <= limit),
        }
    }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

#[derive(Default)]
pub(crate) struct Report(Vec<Line>);

impl Report {
    pub(crate) fn add(&mut self, line: Line) {
        if self.0.is_empty() {
            println!(
                "{:<58} {:>7} {:>7} {:>6}  limit",
                "scenario", "us", "floor", "ratio"
            );
        }
        let (limit, of, is_kept) = line.verdict();
        println!(
            "{:<58} {:>7.3} {:>7.3} {:>6.2}  {limit} {of}{}",
            line.scenario,
            line.us,
            line.floor,
            line.ratio(),
            if is_kept { "" } else { "  MISSED" },
        );
        self.0.push(line);
    }

    pub(crate) fn write(&self) {
        let objects: Vec<_> = self.0.iter().map(object).collect();
        let text = format!("[\n{}\n]\n", objects.join(",\n"));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
        std::fs::create_dir_all(&folder).expect("the tree is writable");
        std::fs::write(folder.join("forward.json"), text).expect("the tree is writable");
    }
}

fn object(line: &Line) -> String {
    let (limit, of, _) = line.verdict();
    let mut out = String::new();
    // Scenarios are our own words: nothing in them needs an escape.
    let _infallible = write!(
        out,
        "  {{\"scenario\": \"{}\", \"us_per_packet\": {:.4}, \"floor_us\": {:.4}, \
         \"ratio\": {:.4}, \"limit\": {limit}, \"limit_of\": \"{of}\"}}",
        line.scenario,
        line.us,
        line.floor,
        line.ratio(),
    );
    out
}
