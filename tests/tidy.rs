//! Facts about the tree that a reader relies on: who may use whom, that every file says what it is,
//! and that documents point at things that exist.
//!
//! Reads source files only; what the code does is for other tests.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this extension, except what is built or fetched.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            let is_ours = !matches!(&*name, "target" | "node_modules" | "dist" | "data" | ".git");
            if is_ours {
                found.extend(files(&path, extension));
            }
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

#[test]
fn every_rust_file_opens_with_what_it_is() {
    let silent: Vec<_> = files(&root(), "rs")
        .into_iter()
        .filter(|path| !read(path).starts_with("//! "))
        .map(|path| shown(&path))
        .collect();
    assert!(silent.is_empty(), "without `//!`: {silent:#?}");
}

/// The names under `[dependencies]` of a member.
fn dependencies(member: &str) -> Vec<String> {
    let manifest: toml::Table = read(&root().join(member).join("Cargo.toml"))
        .parse()
        .expect("a manifest is TOML");
    let table = manifest.get("dependencies").and_then(|it| it.as_table());
    table.map_or(Vec::new(), |it| it.keys().cloned().collect())
}

#[test]
fn crates_use_only_what_stands_left_of_them() {
    let ours = [
        "sfu",
        "recorder",
        "signaling",
        "consilium",
        "loadtest",
        "tests",
    ];
    let line: [(&str, &[&str]); 6] = [
        ("sfu", &[]),
        ("recorder", &["sfu"]),
        ("signaling", &["sfu", "recorder"]),
        (".", &["sfu", "recorder", "signaling"]),
        ("loadtest", &[]),
        ("tests", &[]),
    ];
    for (member, allowed) in line {
        for used in dependencies(member) {
            let is_ours = ours.contains(&used.as_str());
            assert!(
                !is_ours || allowed.contains(&used.as_str()),
                "{member} must not use {used}"
            );
        }
    }
}

#[test]
fn the_media_plane_knows_neither_runtime_nor_protocol() {
    let foreign = [
        "axum",
        "hyper",
        "livekit-protocol",
        "rtc-sdp",
        "serde_json",
        "tokio",
        "tracing",
    ];
    for used in dependencies("sfu") {
        assert!(!foreign.contains(&used.as_str()), "sfu must not use {used}");
    }
}

/// Targets of `[text](target)` in a document.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .collect()
}

#[test]
fn links_in_documents_resolve() {
    let mut broken = Vec::new();
    for document in files(&root(), "md") {
        let text = read(&document);
        let folder = document.parent().expect("a file lies in a folder");
        for link in links(&text) {
            let file = link.split('#').next().unwrap_or_default();
            let is_elsewhere = file.is_empty() || file.contains("://");
            if !is_elsewhere && !folder.join(file).exists() {
                broken.push(format!("{}: {link}", shown(&document)));
            }
        }
    }
    assert!(broken.is_empty(), "broken links: {broken:#?}");
}

/// Words in backticks that look like a path from the root of the tree.
fn paths(text: &str) -> Vec<&str> {
    let tops = [
        "sfu/",
        "recorder/",
        "signaling/",
        "src/",
        "loadtest/",
        "tests/",
        "web-client/",
        "docs/",
        "deploy/",
    ];
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| tops.iter().any(|top| word.starts_with(top)))
        .filter(|word| !word.contains([' ', '*', '{', '<', '\n']))
        .collect()
}

#[test]
fn the_map_names_only_what_exists() {
    // Made by the build, not part of a clone.
    let built = ["web-client/dist"];
    let map = root().join("docs/architecture.md");
    let text = read(&map);
    let named = paths(&text);
    assert!(named.len() > 30, "the map names only {} paths", named.len());
    let missing: Vec<_> = named
        .into_iter()
        .filter(|path| !built.iter().any(|built| path.starts_with(built)))
        .filter(|path| !root().join(path).exists())
        .collect();
    assert!(missing.is_empty(), "not in the tree: {missing:#?}");
}

#[test]
fn no_file_is_named_by_a_word_that_says_nothing() {
    let empty = [
        "utils", "util", "helpers", "helper", "misc", "common", "manager",
    ];
    for path in files(&root(), "rs") {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        assert!(!empty.contains(&&*stem), "{}", shown(&path));
    }
}

#[test]
fn every_test_that_the_table_of_attacks_names_exists() {
    let table = read(&root().join("docs/attacks.md"));
    let is_name = |word: &&str| {
        let letters = word
            .chars()
            .all(|sign| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '_');
        letters && word.contains('_')
    };
    let words = table.split('`').skip(1).step_by(2);
    let named: Vec<_> = words.filter(is_name).collect();
    assert!(named.len() > 50, "only {} tests are named", named.len());
    let code: String = files(&root(), "rs").iter().map(|path| read(path)).collect();
    let missing: Vec<_> = named
        .into_iter()
        .filter(|name| {
            !code.contains(&format!("fn {name}(")) && !code.contains(&format!("\"{name}\""))
        })
        .collect();
    assert!(missing.is_empty(), "not in the tree: {missing:#?}");
}
