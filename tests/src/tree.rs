//! Where things are in the source tree and in `target/`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies one level below the root")
        .to_path_buf()
}

/// The folder of the unmodified clients.
pub fn clients() -> PathBuf {
    root().join("tests/clients")
}

/// A fresh, empty folder under `target/e2e` for what one test writes.
pub fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = root().join(format!("target/e2e/{name}-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&path).expect("target/ is writable");
    path
}
