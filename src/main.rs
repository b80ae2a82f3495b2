//! The one binary of Consilium.
fn main() {}
