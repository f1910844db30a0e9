//! Binding to a core. Shared by the binaries of the load tests.

/// Binds this thread, and those that it starts from now on, to a core.
///
/// # Errors
/// When there is no such core.
pub fn pin(core: usize) -> Result<(), String> {
    let failed = |reason: &str| format!("cannot run on core {core}: {reason}");
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(failed("the number is too high"));
    }
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).map_err(|error| failed(&error.to_string()))
}
