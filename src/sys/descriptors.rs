//! How many files this process may have open.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limits of open files of this process (getrlimit(2), `RLIMIT_NOFILE`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DescriptorLimit {
    /// Files that may be open now.
    pub soft: u64,
    /// What `soft` can be raised to.
    pub hard: u64,
}

/// Raises the limit of open files to `needed`, or as far as the hard limit allows, and returns the
/// limits that hold then. Never lowers it.
///
/// # Errors
/// The limit cannot be read.
pub fn raise_descriptor_limit(needed: u64) -> io::Result<DescriptorLimit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = needed.min(hard);
    if wanted <= soft {
        return Ok(DescriptorLimit { soft, hard });
    }
    // A seccomp filter can forbid it (systemd's @resources): then the limit is what it was.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    Ok(DescriptorLimit { soft: if raised.is_ok() { wanted } else { soft }, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_up_to_the_hard_one_and_never_lowered() {
        let before = raise_descriptor_limit(0).unwrap();
        // Other tests of this process want no lower one, so it stays raised.
        let raised = raise_descriptor_limit(before.soft + 1).unwrap();
        assert_eq!(raised.soft, (before.soft + 1).min(before.hard));
        assert_eq!(raise_descriptor_limit(1).unwrap(), raised);
        assert_eq!(raise_descriptor_limit(u64::MAX).unwrap().soft, before.hard);
    }
}
