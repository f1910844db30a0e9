//! File descriptors: each connection takes one, and so do models' files, the journal and operators.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for everything that is not a client's connection.
const RESERVED: u64 = 512;

/// Raises the limit of this process as far as it may, and says how many of `wanted` connections it
/// leaves room for. Without room, clients that open connections would keep models from being loaded
/// and operators from looking.
pub fn room(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // It was the limit already, or stays what it was.
    let _raised = setrlimit(Resource::Nofile, raised);
    let Some(files) = getrlimit(Resource::Nofile).current else {
        return wanted;
    };
    let room = usize::try_from(connections(files)).unwrap_or(usize::MAX);
    if room < wanted {
        tracing::warn!(
            key = "server.connections_max",
            wanted,
            room,
            files,
            "fewer connections: the limit on open files leaves no room for more"
        );
    }
    wanted.min(room)
}

/// The connections that so many files leave room for; of few files, half of them.
fn connections(files: u64) -> u64 {
    files.saturating_sub(RESERVED).max(files / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn files_are_kept_for_everything_else() {
        let cases = [(0, 1), (256, 128), (1024, 512), (1 << 20, (1 << 20) - 512)];
        for (files, expected) in cases {
            assert_eq!(connections(files), expected, "{files}");
        }
    }
}
