//! The user of this process, and the change to another user.

use std::ffi::CString;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setgroups, setuid};

/// The user whose rights this process has, by number.
pub fn effective_user() -> u32 {
    geteuid().as_raw()
}

/// A user that this process can become.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    uid: Uid,
    gid: Gid,
    /// As the host knows it; `None`: the host has no user of this number.
    name: Option<CString>,
}

/// Why this process cannot become another user.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UserError {
    /// The host has no such user.
    #[error(
        "this host has no user {0:?}; create the user (useradd --system {0}), or write a user number"
    )]
    Unknown(String),
    /// The list of users cannot be read.
    #[error("cannot look up the user {user:?}: {why}")]
    Unread {
        /// As it was written.
        user: String,
        /// What the system says.
        why: Errno,
    },
    /// Only root can become another user.
    #[error(
        "this process runs as user {us}, and only root can become user {user}; start it as root, or \
         remove the user setting"
    )]
    NotRoot {
        /// The user that runs this process.
        us: u32,
        /// The user that was asked for, by number.
        user: u32,
    },
    /// A call of the system failed.
    #[error("cannot become user {user}: {step}: {why}")]
    Refused {
        /// The user that was asked for, by number.
        user: u32,
        /// The call.
        step: &'static str,
        /// What the system says.
        why: Errno,
    },
}

impl Account {
    /// The user of this name or number. A number needs no user of this host, because containers
    /// often have none: its group is then the group of the same number.
    ///
    /// # Errors
    /// No such user.
    pub fn find(user: &str) -> Result<Self, UserError> {
        let number = user.parse::<u32>().ok().map(Uid::from_raw);
        let found = match number {
            Some(uid) => User::from_uid(uid),
            None => User::from_name(user),
        };
        let found = found.map_err(|why| UserError::Unread { user: user.to_owned(), why });
        match (found, number) {
            (Ok(Some(found)), _) => {
                let name = CString::new(found.name).ok();
                Ok(Self { uid: found.uid, gid: found.gid, name })
            }
            (Ok(None) | Err(_), Some(uid)) => {
                Ok(Self { uid, gid: Gid::from_raw(uid.as_raw()), name: None })
            }
            (Ok(None), None) => Err(UserError::Unknown(user.to_owned())),
            (Err(error), None) => Err(error),
        }
    }

    /// Its number.
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// Gives all threads of this process the rights of this user for good: its groups, its group,
    /// itself. Every capability goes with root's rights (capabilities(7)). Does nothing if this
    /// process is the user's already.
    ///
    /// # Errors
    /// This process is not root's, or the system refuses. Then the process must end, because it may
    /// have changed in part.
    pub fn assume(&self) -> Result<(), UserError> {
        let (us, user) = (effective_user(), self.uid());
        if us == user {
            return Ok(());
        }
        if us != 0 {
            return Err(UserError::NotRoot { us, user });
        }
        let refused = |step| move |why| UserError::Refused { user, step, why };
        // The C library makes every thread do the same, which the kernel's own calls do not.
        match &self.name {
            Some(name) => initgroups(name, self.gid).map_err(refused("initgroups"))?,
            None => setgroups(&[self.gid]).map_err(refused("setgroups"))?,
        }
        setgid(self.gid).map_err(refused("setgid"))?;
        setuid(self.uid).map_err(refused("setuid"))
    }
}

/// The name that this host gives itself; `None` where the kernel does not say.
pub fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let root = Account::find("root").unwrap();
        assert_eq!((root.uid(), root.gid), (0, Gid::from_raw(0)));
        assert_eq!(Account::find("0").unwrap(), root);
        let nobody = Account::find("4000000001").unwrap();
        assert_eq!((nobody.uid(), nobody.name), (4_000_000_001, None));
        assert_eq!(nobody.gid.as_raw(), 4_000_000_001);
        for unknown in ["no-such-user-here", "", "-1", "4294967296"] {
            let error = Account::find(unknown).unwrap_err();
            assert_eq!(error, UserError::Unknown(unknown.to_owned()));
        }
        let said = Account::find("no-such-user-here").unwrap_err().to_string();
        assert!(said.starts_with("this host has no user \"no-such-user-here\"; create"), "{said}");
    }

    #[test]
    fn a_process_is_already_its_own_users() {
        let us = Account::find(&effective_user().to_string()).unwrap();
        assert_eq!(us.assume(), Ok(()));
    }
}
