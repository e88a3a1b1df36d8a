//! Who we are to the kernel.

/// The user whose rights this process has, by number.
pub fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The name that this host gives itself; `None` where the kernel does not say.
pub fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
