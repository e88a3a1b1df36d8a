//! The user that the daemon runs as.

use std::path::Path;

use tracing::{info, warn};

use crate::sys::{self, Account, Links, UserError};

/// Becomes `user`, a name or a number; call it after all sockets are bound. If root runs the daemon
/// and no user is given, logs that the daemon stays root.
///
/// # Errors
/// There is no such user, or this process cannot become it.
pub(super) fn change(user: Option<&str>, config: &Path) -> Result<(), UserError> {
    let Some(user) = user else {
        if sys::effective_user() == 0 {
            info!(
                "running as root; set user in [process], or use --user, so that the daemon gives up \
                 root's rights after the start (the packaged unit does not start as root)"
            );
        }
        return Ok(());
    };
    let account = Account::find(user)?;
    account.assume()?;
    info!("running as user {user} (number {}), without capabilities", account.uid());
    if let Err(error) = sys::open_file(config, Links::Follow) {
        warn!("{}: {error}; user {user} cannot read the file, so reloads fail", config.display());
    }
    Ok(())
}
