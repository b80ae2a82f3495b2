//! The one binary of Consilium: reads the command line and runs what it asks for.
//!
//! Everything that can be used on its own lives in the libraries; this package only composes them,
//! reads configuration and talks to the operator.

mod cli;
mod config;
#[cfg(test)]
mod example;
mod invite;
mod process;
mod serve;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Task};

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Serve(task) => serve::run(&task),
        Task::Token(task) => invite::run(&task),
        Task::CheckConfig(task) => config::check(&task),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&error);
            ExitCode::FAILURE
        }
    }
}
