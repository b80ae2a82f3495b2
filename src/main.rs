//! The one binary of Consilium: reads the command line and runs what it asks for.
//!
//! Everything that can be used on its own lives in the libraries; this package only composes them,
//! reads configuration and talks to the operator.

mod archive;
mod cli;
mod config;
#[cfg(test)]
mod example;
mod export;
mod invite;
mod keygen;
mod process;
mod remote;
mod retention;
mod serve;
mod telemetry;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Task};

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Serve(task) => serve::run(&task).map(|()| ExitCode::SUCCESS),
        Task::Token(task) => invite::run(&task).map(|()| ExitCode::SUCCESS),
        Task::CheckConfig(task) => config::check(&task).map(|()| ExitCode::SUCCESS),
        Task::Keygen(task) => keygen::run(&task).map(|()| ExitCode::SUCCESS),
        Task::Export(task) => export::run(&task).map(|()| ExitCode::SUCCESS),
        Task::Retention(task) => retention::run(&task).map(|()| ExitCode::SUCCESS),
        // What these find is their status; 1 is a finding, so a failure to look is 2.
        Task::Verify(task) => return or_unseen(verify::run(&task)),
        Task::Salvage(task) => verify::salvage(&task),
        Task::Audit(task) => return or_unseen(verify::audit(&task)),
    };
    done.unwrap_or_else(|error| {
        cli::complain(&error);
        ExitCode::FAILURE
    })
}

fn or_unseen(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        cli::complain(&error);
        ExitCode::from(2)
    })
}
