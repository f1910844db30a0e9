//! A throw-away PostgreSQL cluster for tests: started from the programs that are installed, reached
//! over a Unix socket in a folder of its own, stopped and removed when the test process ends, however
//! it ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// One cluster.
pub struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    /// Stops the cluster and removes its folder once this process's end of its input is closed.
    watchdog: Child,
}

/// Numbers clusters and databases.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The cluster that the tests of this process share. None when PostgreSQL is not installed and
/// `HEDGEROW_SKIP_POSTGRES` says that this is fine.
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(start).as_ref()
}

/// A cluster of its own, for tests that stop it. None as in [`shared`].
pub fn start() -> Option<Cluster> {
    let Some(programs) = programs() else {
        assert!(
            is_skipped(),
            "PostgreSQL's programs (initdb, pg_ctl) are not installed: install postgresql, or set \
             HEDGEROW_SKIP_POSTGRES=1"
        );
        return None;
    };
    Some(Cluster::start(programs))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the machine's owner says what may be skipped"
)]
fn is_skipped() -> bool {
    std::env::var_os("HEDGEROW_SKIP_POSTGRES").is_some_and(|value| !value.is_empty())
}

#[expect(
    clippy::disallowed_methods,
    reason = "programs are looked for where the machine has them"
)]
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| {
        ["initdb", "pg_ctl", "createdb"]
            .iter()
            .all(|name| folder.join(name).exists())
    })
}

impl Cluster {
    fn start(programs: PathBuf) -> Cluster {
        let name = format!(
            "hedgerow-pg-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        if let Some(user) = other_user() {
            run(Command::new("chown").arg(user).arg(&folder));
        }
        let watchdog = as_user("sh")
            .args(["-c", "trap '' INT TERM HUP; cat; \"$0/pg_ctl\" -D \"$1/data\" -m immediate stop; rm -rf \"$1\""])
            .arg(&programs)
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let cluster = Cluster {
            programs,
            folder,
            watchdog,
        };
        run(cluster
            .program("initdb")
            .arg("-D")
            .arg(cluster.data())
            .args([
                "-U",
                "hedgerow",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ]));
        cluster.resume();
        cluster
    }

    /// The address of a new, empty database.
    pub fn database(&self) -> String {
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        run(self
            .program("createdb")
            .arg("-h")
            .arg(&self.folder)
            .args(["-U", "hedgerow", &name]));
        let host = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://hedgerow@{host}/{name}")
    }

    /// Stops the server, at once and without a goodbye.
    pub fn stop(&self) {
        run(self.program("pg_ctl").arg("-D").arg(self.data()).args([
            "-m",
            "immediate",
            "-w",
            "stop",
        ]));
    }

    /// Starts the server after [`Cluster::stop`].
    pub fn resume(&self) {
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off \
             -c max_connections=100 -c shared_buffers=32MB",
            self.folder.display()
        );
        run(self
            .program("pg_ctl")
            .arg("-D")
            .arg(self.data())
            .arg("-l")
            .arg(self.folder.join("log"))
            .args(["-w", "-o", &options, "start"]));
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = as_user(&self.programs.join(name).display().to_string());
        command.current_dir(Path::new("/"));
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ended = self.watchdog.wait();
    }
}

/// PostgreSQL refuses to run as root: then it runs as its own user, or as nobody.
fn other_user() -> Option<&'static str> {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return None;
    }
    let has_own = Command::new("id").arg("postgres").output().unwrap();
    Some(if has_own.status.success() {
        "postgres"
    } else {
        "nobody"
    })
}

fn as_user(program: &str) -> Command {
    let Some(user) = other_user() else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={user}"))
        .args(["--clear-groups", program]);
    command
}

fn run(command: &mut Command) {
    let done = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}
