//! `consilium retention`: what an operator says to the archive that no web page may say.
//!
//! The archive is open in the running server alone, so what is said here is left in a file, which
//! the server takes up within a minute, or at its next start.

use std::time::SystemTime;

use anyhow::Context;
use recorder::confirmation::Confirmation;
use recorder::wall::Wall;

use crate::cli::{self, ConfirmClock, Retention};
use crate::config::Config;

/// `consilium retention`.
pub(crate) fn run(task: &Retention) -> anyhow::Result<()> {
    match task {
        Retention::ConfirmClock(task) => confirm_clock(task),
    }
}

fn confirm_clock(task: &ConfirmClock) -> anyhow::Result<()> {
    let config = Config::load(&task.config)?;
    let now = Wall::from(SystemTime::now());
    let confirmation = Confirmation {
        at: now,
        operator: task.operator.clone(),
        reason: task.reason.clone(),
    };
    let data = &config.data_dir;
    confirmation
        .leave(data)
        .with_context(|| format!("cannot write below {}", data.display()))?;
    cli::say(&format!(
        "The clock of this machine says {now}, and you vouch for it. The server takes this up within \
         a minute, or when it starts; recordings whose date has passed then expire."
    ));
    Ok(())
}
