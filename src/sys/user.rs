//! Who we are to the kernel.

/// The user whose rights this process has, by number.
pub fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}
