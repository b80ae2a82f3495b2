//! A suite of vitest or pytest as a child process, and what became of each of its tests by name.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::Process;
use crate::server::Server;
use crate::tree;

/// What became of a suite's tests, by their full names.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The tests that passed.
    pub passed: BTreeSet<String>,
    /// The tests that failed, with the first lines of why.
    pub failed: BTreeMap<String, String>,
    /// The tests that did not run.
    pub skipped: BTreeSet<String>,
    /// Everything that the suite said.
    pub said: String,
}

impl Outcome {
    /// That so many tests passed and none failed; what `server` said is told otherwise.
    pub fn assert_all_passed(&self, tests: usize, server: &Server) {
        assert!(
            self.failed.is_empty() && self.passed.len() == tests,
            "{:#?}\n{}\n{}",
            self.failed,
            self.said,
            server.said()
        );
    }

    /// How many tests the suite has.
    pub fn total(&self) -> usize {
        self.passed.len() + self.failed.len() + self.skipped.len()
    }

    fn parse(report: &Value) -> Self {
        let mut outcome = Self::default();
        let files = report["testResults"].as_array().into_iter().flatten();
        for test in files.flat_map(|file| file["assertionResults"].as_array().into_iter().flatten())
        {
            let name = test["fullName"]
                .as_str()
                .expect("every test has a name")
                .to_owned();
            match test["status"].as_str() {
                Some("passed") => assert!(outcome.passed.insert(name), "two tests of one name"),
                Some("failed") => {
                    let why = test["failureMessages"][0].as_str().unwrap_or("no message");
                    outcome
                        .failed
                        .insert(name, why.lines().take(8).collect::<Vec<_>>().join("\n"));
                }
                _ => assert!(outcome.skipped.insert(name), "two tests of one name"),
            }
        }
        outcome
    }
}

/// Runs the suite of `tests/python` against `server`, to its end.
pub fn run_python(server: &Server, environment: &[(&str, &str)], timeout: Duration) -> Outcome {
    let mut pytest = Process::spawn(
        "pytest",
        Command::new(tree::root().join("target/python/bin/python"))
            .args(["-m", "pytest", "-rA", "--tb=short"])
            .env("LIVEKIT_URL", server.websocket_url())
            .envs(environment.iter().copied())
            .current_dir(tree::root().join("tests/python")),
    );
    // As above: the exit code says no more than the names.
    pytest.expect_end(timeout);
    let said = pytest.said();
    let mut outcome = Outcome::default();
    for line in said.lines() {
        let mut words = line.splitn(3, ' ');
        let (word, name) = (words.next(), words.next().unwrap_or_default().to_owned());
        if !name.starts_with("test_") {
            // What the SDK logs has such words too.
            continue;
        }
        let why = words.next().unwrap_or_default().to_owned();
        let is_new = match word {
            Some("PASSED") => outcome.passed.insert(name),
            Some("FAILED" | "ERROR") => outcome.failed.insert(name, why).is_none(),
            Some("SKIPPED") => outcome.skipped.insert(name),
            _ => continue,
        };
        assert!(is_new, "two tests of one name: {line}");
    }
    outcome.said = said;
    outcome
}

/// Runs the suite that `config` in `tests/clients` describes, to its end.
pub fn run(config: &str, environment: &[(&str, &str)], timeout: Duration) -> Outcome {
    let report = tree::scratch("suite").join("report.json");
    let mut vitest = Process::spawn(
        config,
        Command::new("node")
            .arg("node_modules/vitest/vitest.mjs")
            .args([
                "run",
                "--config",
                config,
                "--reporter=default",
                "--reporter=json",
            ])
            .arg(format!("--outputFile.json={}", report.display()))
            .envs(environment.iter().copied())
            .current_dir(tree::clients()),
    );
    // The exit code says no more than the report, which also names the tests.
    vitest.expect_end(timeout);
    let text = std::fs::read_to_string(&report)
        .unwrap_or_else(|error| panic!("{config} left no report ({error}):\n{}", vitest.said()));
    let mut outcome = Outcome::parse(&serde_json::from_str(&text).expect("the report is JSON"));
    outcome.said = vitest.said();
    outcome
}
