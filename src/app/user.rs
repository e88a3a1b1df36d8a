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
                "running as root; to give its rights up after the start, write user in [process] \
                 or use --user (the packaged unit does not start as root)"
            );
        }
        return Ok(());
    };
    let account = Account::find(user)?;
    account.assume()?;
    info!("running as user {user} (number {}), without capabilities", account.uid());
    if let Err(error) = sys::open_file(config, Links::Follow) {
        warn!("{}: {error}; as user {user}, no reload can succeed", config.display());
    }
    Ok(())
}
