//! Measured numbers in `docs/benchmarks.md`: one marked section for each measurement, with the
//! machine, the commit and the command.

use std::fs;
use std::process::Command;

use crate::tree;

/// The value below which `share` of the sorted `values` lie (nearest rank).
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Puts `body` into the section `name`, in place of what an earlier run wrote there.
#[expect(
    clippy::print_stdout,
    reason = "a measurement is also shown to whoever runs it"
)]
pub fn write(name: &str, title: &str, command: &str, body: &str) {
    let path = tree::root().join("docs/benchmarks.md");
    let page = fs::read_to_string(&path).unwrap_or_else(|_| "# Measured numbers\n".to_owned());
    let source = format!("{}; commit {}; `{command}`", machine(), commit());
    let section = format!("## {title}\n\n{body}\n{source}\n");
    fs::write(path, replaced(&page, name, &section)).expect("docs/ is writable");
    println!("{section}");
}

fn replaced(page: &str, name: &str, section: &str) -> String {
    let (opening, closing) = (
        format!("<!-- {name} -->"),
        format!("<!-- end of {name} -->"),
    );
    let marked = format!("{opening}\n{section}{closing}");
    match (page.find(&opening), page.find(&closing)) {
        (Some(from), Some(to)) => {
            format!("{}{marked}{}", &page[..from], &page[to + closing.len()..])
        }
        _ => format!("{}\n\n{marked}\n", page.trim_end()),
    }
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores of {}",
        model.unwrap_or("an unknown processor")
    )
}

fn commit() -> String {
    let arguments = ["describe", "--always", "--dirty"];
    let output = Command::new("git")
        .args(arguments)
        .current_dir(tree::root())
        .output();
    output.map_or_else(
        |_| "unknown".into(),
        |o| String::from_utf8_lossy(&o.stdout).trim().into(),
    )
}

#[cfg(test)]
mod tests {
    use super::{quantile, replaced};

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&values, 0.5), 2.0);
        assert_eq!(quantile(&values, 0.95), 4.0);
    }

    #[test]
    fn a_section_is_written_in_its_own_place() {
        let page = replaced("# Measured numbers\n", "a", "one\n");
        let page = replaced(&page, "b", "two\n");
        let page = replaced(&page, "a", "three\n");
        assert_eq!(
            page,
            "# Measured numbers\n\n<!-- a -->\nthree\n<!-- end of a -->\n\n\
             <!-- b -->\ntwo\n<!-- end of b -->\n"
        );
    }
}
