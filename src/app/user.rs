//! The user that the daemon runs as.

use std::path::Path;

use tracing::{info, warn};

use crate::sys::{self, Account, Links, UserError};

/// The user that the daemon becomes once its sockets are bound. It differs from the present user.
pub(super) struct NextUser<'a> {
    /// As the operator wrote it: a name or a number.
    pub(super) name: &'a str,
    account: Account,
}

impl<'a> NextUser<'a> {
    /// Finds `user`. `None`: the daemon stays the user that it is, and the log says so if root runs
    /// it or if it is `user` already.
    ///
    /// # Errors
    /// There is no such user.
    pub(super) fn find(user: Option<&'a str>) -> Result<Option<Self>, UserError> {
        let us = sys::effective_user();
        let Some(name) = user else {
            if us == 0 {
                info!(
                    "running as root; set user in [process], or use --user, so that the daemon gives \
                     up root's rights after the start (the packaged unit does not start as root)"
                );
            }
            return Ok(None);
        };
        let account = Account::find(name)?;
        if account.uid() == us {
            info!("already running as user {name} (number {us}), with the capabilities it has");
            return Ok(None);
        }
        Ok(Some(Self { name, account }))
    }

    /// Becomes this user; call it after all sockets are bound.
    ///
    /// # Errors
    /// This process cannot become this user.
    pub(super) fn assume(self, config: &Path) -> Result<(), UserError> {
        let Self { name, account } = self;
        account.assume()?;
        info!("running as user {name} (number {}), without capabilities", account.uid());
        if let Err(error) = sys::open_file(config, Links::Follow) {
            let config = config.display();
            warn!("{config}: {error}; user {name} cannot read the file, so reloads fail");
        }
        Ok(())
    }
}
