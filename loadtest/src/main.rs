//! Load generator and benchmark: joins through the front door like any client and measures.
//!
//! It holds the synthetic participants and the bare floor that every figure is compared with. It
//! deliberately links none of our own media code: what checks us is not ours.

mod floor;
mod impair;
mod procfs;
mod scenario;
mod stat;
mod sys;
mod table;
mod traffic;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Load generator and benchmark for servers that speak the LiveKit protocol.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the least that forwarding can cost on this machine
    Floor(floor::FloorArgs),
    /// Put a bad network between any client and a server
    Impair(impair::ImpairArgs),
}

fn main() -> Result<()> {
    sys::raise_open_files()?;
    match Cli::parse().command {
        Command::Floor(args) => floor::run(&args),
        Command::Impair(args) => impair::run(&args),
    }
}
