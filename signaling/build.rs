//! Makes a release build notice that the web client was built anew.
//!
//! It never builds the client: a clone without npm must build, and then serves a page that says
//! how to get the client. Debug builds read the client from the file system as they run.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rerun-if-changed=../web-client/dist");
    }
}
