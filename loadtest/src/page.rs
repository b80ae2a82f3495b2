//! A section of the page of measured numbers: the table with machine, commit and command.
//!
//! The page holds one marked section for each measurement; a new run replaces its own and leaves
//! the others.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

/// What a section says besides its figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section<'a> {
    /// Its mark in the page.
    pub(crate) name: &'a str,
    /// Its heading.
    pub(crate) title: &'a str,
    /// What a reader runs to get the same.
    pub(crate) command: &'a str,
}

/// Options of `loadtest page`.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// The section's mark in the page
    name: String,
    /// Its heading
    #[arg(long)]
    title: String,
    /// What a reader runs to get the same
    #[arg(long)]
    command: String,
    /// The page
    #[arg(long, value_name = "FILE")]
    page: PathBuf,
}

/// Puts what comes on standard input into the page: for figures that others have measured.
pub(crate) fn run(args: &PageArgs) -> Result<()> {
    let mut body = String::new();
    std::io::stdin()
        .read_to_string(&mut body)
        .context("reading standard input")?;
    ensure!(!body.trim().is_empty(), "there is nothing to put in");
    let section = Section {
        name: &args.name,
        title: &args.title,
        command: &args.command,
    };
    write(&args.page, section, &body)
}

/// Puts `body` into a section of the page.
pub(crate) fn write(path: &Path, section: Section<'_>, body: &str) -> Result<()> {
    let Section {
        name,
        title,
        command,
    } = section;
    let page = std::fs::read_to_string(path).unwrap_or_else(|_| "# Measured numbers\n".to_owned());
    let source = format!("{}; commit {}; `{command}`", machine(), commit());
    let section = format!("## {title}\n\n{body}\n{source}\n");
    std::fs::write(path, replaced(&page, name, &section)).context("writing the page")
}

fn replaced(page: &str, name: &str, section: &str) -> String {
    let (opening, closing) = (
        format!("<!-- {name} -->"),
        format!("<!-- end of {name} -->"),
    );
    let marked = format!("{opening}\n{section}{closing}");
    match (page.find(&opening), page.find(&closing)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{marked}{}", &page[..from], &page[to + closing.len()..])
        }
        _ => format!("{}\n\n{marked}\n", page.trim_end()),
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
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
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    let text = output
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    text.map(|text| text.trim().to_owned())
        .filter(|t| !t.is_empty())
        .unwrap_or("unknown".into())
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn a_section_takes_the_place_of_its_predecessor_and_no_others() {
        let page = replaced("# Numbers\n", "a", "one\n");
        let page = replaced(&page, "b", "two\n");
        let page = replaced(&page, "a", "three\n");
        assert_eq!(
            page,
            "# Numbers\n\n<!-- a -->\nthree\n<!-- end of a -->\n\n<!-- b -->\ntwo\n<!-- end of b -->\n"
        );
    }
}
