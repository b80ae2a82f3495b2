//! Load generator and benchmark: joins through the front door like any client and measures.
//!
//! It will hold the synthetic participants and the bare floor that every figure is compared with.
//! It deliberately links none of our own media code: what checks us is not ours.

fn main() {}
