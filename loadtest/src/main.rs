//! Load generator and benchmark: joins through the front door like any client and measures.
//!
//! It holds the synthetic participants and the bare floor that every figure is compared with. It
//! deliberately links none of our own media code: what checks us is not ours.

mod bench;
mod churn;
mod client;
mod door;
mod floor;
mod impair;
mod metrics;
mod page;
mod procfs;
mod run;
mod scenario;
mod signal;
mod soak;
mod standstill;
mod stat;
mod sys;
mod table;
mod traffic;

use std::process::ExitCode;

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
    /// Let synthetic participants join a server and measure what they get
    Run(Box<run::RunArgs>),
    /// Run the standard scenarios beside the floor and, if wanted, beside Janus
    Bench(bench::BenchArgs),
    /// Let a call go on for long and judge whether memory or delay creep up
    Soak(soak::SoakArgs),
    /// Let people come, go, break off and come back for long, and judge what is left
    Churn(churn::ChurnArgs),
    /// Put figures that others have measured into the page of measured numbers
    Page(page::PageArgs),
    /// Put a bad network between any client and a server
    Impair(impair::ImpairArgs),
}

fn main() -> Result<ExitCode> {
    sys::raise_open_files()?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nobody has chosen a provider before");
    match Cli::parse().command {
        Command::Floor(args) => floor::run(&args)?,
        Command::Page(args) => page::run(&args)?,
        Command::Impair(args) => impair::run(&args)?,
        Command::Bench(args) => return bench::run(&args).map(verdict),
        Command::Run(args) => return run::run(&args).map(verdict),
        Command::Churn(args) => return churn::run(&args).map(verdict),
        Command::Soak(args) => return soak::run(&args).map(verdict),
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
