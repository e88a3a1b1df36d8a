//! The C library's heap.

/// Gives back to the system what was freed. A large configuration leaves tens of mebibytes behind,
/// in holes that the allocator would keep for the next one.
pub fn give_back_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; it may run beside any other use of the heap (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
