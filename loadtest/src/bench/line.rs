//! One line of the result: figures beside the floor and a peer, and what is wanted of them.
//!
//! Lines are kept in a JSON file, which several runs of the program fill together: servers with
//! different settings make different lines of the same table.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::table::Table;

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) scenario: String,
    /// Server CPU time for each delivered packet, where that is what the line is about.
    pub(super) us_per_packet: Option<f64>,
    pub(super) floor_us: Option<f64>,
    pub(super) ratio: Option<f64>,
    /// Of the ratio.
    pub(super) limit: Option<f64>,
    /// Everything else.
    pub(super) figures: Vec<Figure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peer_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peer_factor: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peer_factor_min: Option<f64>,
}

/// A figure by name, with its bound if it has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at_most: Option<f64>,
}

impl Figure {
    /// Something worth telling.
    pub(super) fn told(name: &str, value: f64) -> Self {
        Self {
            name: name.to_owned(),
            value,
            at_most: None,
        }
    }

    /// Something with a bound.
    pub(super) fn bound(name: &str, value: f64, at_most: f64) -> Self {
        Self {
            at_most: Some(at_most),
            ..Self::told(name, value)
        }
    }

    fn is_good(&self) -> bool {
        self.at_most.is_none_or(|at_most| self.value <= at_most)
    }
}

impl Line {
    /// A line of which nothing is known yet.
    pub(super) fn of(scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            us_per_packet: None,
            floor_us: None,
            ratio: None,
            limit: None,
            figures: Vec::new(),
            peer: None,
            peer_us: None,
            peer_factor: None,
            peer_factor_min: None,
        }
    }

    /// Sets the server's cost beside the floor's.
    pub(super) fn beside_floor(mut self, us: f64, floor: f64, limit: Option<f64>) -> Self {
        (self.us_per_packet, self.floor_us) = (Some(us), Some(floor));
        (self.ratio, self.limit) = (Some(us / floor), limit);
        self
    }

    /// Whether everything that is bounded is within its bounds.
    pub(super) fn is_good(&self) -> bool {
        let is_near_floor = self.ratio.zip(self.limit).is_none_or(|(is, max)| is <= max);
        let factors = self.peer_factor.zip(self.peer_factor_min);
        let is_cheaper = factors.is_none_or(|(is, min)| is >= min);
        is_near_floor && is_cheaper && self.figures.iter().all(Figure::is_good)
    }
}

/// Puts lines into a file in place of earlier ones of the same scenario, and gives all of them.
pub(super) fn merge(path: &Path, lines: &[Line]) -> Result<Vec<Line>> {
    let before = std::fs::read_to_string(path).unwrap_or_else(|_| "[]".to_owned());
    let mut all: Vec<Line> = serde_json::from_str(&before).context("--json holds other things")?;
    for line in lines {
        match all.iter_mut().find(|old| old.scenario == line.scenario) {
            Some(old) => old.clone_from(line),
            None => all.push(line.clone()),
        }
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context("--json")?;
    }
    std::fs::write(path, serde_json::to_string_pretty(&all)?).context("--json")?;
    Ok(all)
}

/// The tables: what a packet costs, and everything else.
pub(super) fn render(lines: &[Line]) -> String {
    let mut costs = Table::new(&[
        "scenario",
        "us/packet",
        "floor us",
        "ratio",
        "at most",
        "Janus us",
        "times less",
        "at least",
        "good",
    ]);
    let mut figures = Table::new(&["scenario", "figure", "value", "at most", "good"]);
    let good = |is_good| if is_good { "yes" } else { "**no**" }.to_owned();
    for line in lines {
        let some = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.2}"));
        if line.us_per_packet.is_some() {
            let is_cost_good = Line {
                figures: Vec::new(),
                ..line.clone()
            };
            costs.row(vec![
                line.scenario.clone(),
                some(line.us_per_packet),
                some(line.floor_us),
                some(line.ratio),
                some(line.limit),
                some(line.peer_us),
                some(line.peer_factor),
                some(line.peer_factor_min),
                good(is_cost_good.is_good()),
            ]);
        }
        for figure in &line.figures {
            figures.row(vec![
                line.scenario.clone(),
                figure.name.clone(),
                format!("{:.3}", figure.value),
                figure.at_most.map_or(String::new(), |v| v.to_string()),
                figure
                    .at_most
                    .map_or(String::new(), |_| good(figure.is_good())),
            ]);
        }
    }
    format!("{}\n{}", costs.markdown(), figures.markdown())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            peer: Some("janus".into()),
            peer_us: Some(26.0),
            peer_factor: Some(10.0),
            peer_factor_min: Some(8.0),
            figures: vec![Figure::bound("loss %", 0.0, 0.1), Figure::told("MB", 30.0)],
            ..Line::of("mdt8")
        }
        .beside_floor(2.6, 2.0, Some(1.3))
    }

    #[test]
    fn a_line_is_good_when_everything_bounded_is() {
        assert!(line().is_good());
        let dear = line().beside_floor(2.62, 2.0, Some(1.3));
        let like_janus = Line {
            peer_factor: Some(7.9),
            ..line()
        };
        let lossy = Line {
            figures: vec![Figure::bound("loss %", 0.11, 0.1)],
            ..line()
        };
        assert!(![dear, like_janus, lossy].iter().any(Line::is_good));
        assert!(Line::of("nothing measured, nothing missed").is_good());
    }

    #[test]
    fn the_file_has_the_agreed_names() {
        let json = serde_json::to_value([line()]).expect("plain values");
        let names = "scenario us_per_packet floor_us ratio limit peer peer_us";
        for name in names.split(' ') {
            assert!(!json[0][name].is_null(), "{name}");
        }
    }

    #[test]
    fn later_runs_replace_their_own_lines() {
        let folder = std::env::temp_dir().join(format!("lines-{}", std::process::id()));
        let path = folder.join("ends.json");
        merge(&path, &[line(), Line::of("memory")]).expect("writable");
        let again = line().beside_floor(9.0, 2.0, None);
        let all = merge(&path, &[again]).expect("writable");
        std::fs::remove_dir_all(folder).expect("ours");
        let us: Vec<_> = all.iter().map(|line| line.us_per_packet).collect();
        assert_eq!(us, [Some(9.0), None]);
        let text = render(&all);
        assert!(
            text.contains("| mdt8 ") && !text.contains("memory"),
            "{text}"
        );
    }
}
