"""Folders that stand for images: how base images are made from Debian's packages, and how the steps
of a Dockerfile change one. Needs root; mounts what a build needs, so run it in a mount namespace of
its own."""

import os
import pathlib
import shutil
import subprocess

from dockerfile import Copy, Run, Workdir

REPO = pathlib.Path(__file__).resolve().parents[2]
CACHE = REPO / "target" / "image"
# What gcr.io/distroless/cc-debian12 is made of that a program could need to start. It holds more
# (certificates, libssl, libgomp): what starts with this starts with that.
DISTROLESS = ("base-files", "libc6", "libgcc-s1", "libstdc++6", "tzdata")
# The slim variant of the official Rust image: Debian, these packages, and the toolchain.
RUST_PACKAGES = ("ca-certificates", "gcc", "libc6-dev")
RUST = "/usr/local/rust"
CARGO_HOME = "/usr/local/cargo"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def call(*command, **options):
    subprocess.run([str(word) for word in command], check=True, **options)


def apart():
    """Ends the program where its mounts would outlive it: roots are deleted with what is below them."""
    if os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{os.getppid()}/ns/mnt"):
        raise SystemExit("expected a mount namespace of its own; run scripts/image.sh")


class Builder:
    """Makes the roots of stages. Where it is not `full`, the steps of `skipped` do not run, and what
    they would have made comes from the host."""

    def __init__(self, full, skipped):
        self.full, self.skipped = full, skipped
        self.roots = {}

    def build(self, stage, folder):
        root = CACHE / ("full" if self.full else "quick") / folder
        root.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        base(stage.base, root, self.full)
        if stage.name:
            self.roots[stage.name] = root
        workdir = "/"
        for step in stage.steps:
            match step:
                case Workdir(path):
                    workdir = path
                    inside(root, path).mkdir(parents=True, exist_ok=True)
                case Copy():
                    self.copy(root, workdir, step)
                case Run(command):
                    self.run(root, workdir, command)
        return root

    def copy(self, root, workdir, step):
        of = self.roots[step.stage] if step.stage else None
        user, group = map(int, (step.owner or "0:0").split(":"))
        for source in step.sources:
            path = inside(of, source) if of else REPO / source
            target = inside(root, os.path.join(workdir, step.target))
            # As COPY does: of a folder what is in it, and a file into a folder that ends in "/".
            if step.target.endswith("/") and path.is_file():
                target /= path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not put(path, target, (user, group), lambda path: of or sent(path)):
                raise SystemExit(f"COPY {source}: .dockerignore leaves it out")

    def run(self, root, workdir, command):
        script = command[0]
        if not self.full and script in self.skipped:
            print(f"    {' '.join(command)}: from the host")
            self.skipped[script](root)
            return
        print(f"    {' '.join(command)}", flush=True)
        chroot(root, workdir, command)


def inside(root, path):
    return root / path.lstrip("/")


def put(source, target, owner, wanted):
    """Copies a file or what is in a folder, and says whether there was anything that is wanted."""
    if not source.is_dir() or source.is_symlink():
        if wanted(source):
            shutil.copy2(source, target, follow_symlinks=False)
            os.chown(target, *owner, follow_symlinks=False)
        return wanted(source)
    if not target.exists():
        target.mkdir()
        os.chown(target, *owner)
    copied = [put(path, target / path.name, owner, wanted) for path in sorted(source.iterdir())]
    return any(copied) or not copied


def sent(path):
    """Whether .dockerignore, which leaves out all but the names after "!", lets a file through."""
    lines = [line.strip() for line in (REPO / ".dockerignore").read_text().splitlines()]
    first, *rules = (line for line in lines if line and not line.startswith("#"))
    if first != "*" or not all(rule.startswith("!") for rule in rules):
        raise SystemExit('.dockerignore: expected "*" and then lines that start with "!"')
    return any(path == REPO / rule[1:] or REPO / rule[1:] in path.parents for rule in rules)


def base(image, root, full):
    """Makes the root of a base image."""
    kind = image.split(":")[0]
    if kind == "rust" and "bookworm" in image or image == "debian:12-slim":
        call("cp", "-a", minbase(), root)
    elif kind == "gcr.io/distroless/cc-debian12":
        distroless(root)
    else:
        raise SystemExit(f"Dockerfile: FROM {image}: not known here")
    if kind == "rust" and full:
        install_rust(root)


def packages():
    """The packages of a minimal Debian 12, as debootstrap takes them."""
    archive = CACHE / "bookworm.tar"
    if not archive.exists():
        scratch = CACHE / "bookworm.part"
        shutil.rmtree(scratch, ignore_errors=True)
        call("debootstrap", "--variant=minbase", f"--make-tarball={archive}.part", "bookworm", scratch, stdout=subprocess.DEVNULL)
        shutil.rmtree(scratch, ignore_errors=True)
        os.rename(f"{archive}.part", archive)
    return archive


def minbase():
    root = CACHE / "bookworm"
    if not root.exists():
        scratch = CACHE / "bookworm.part"
        shutil.rmtree(scratch, ignore_errors=True)
        call("debootstrap", "--variant=minbase", f"--unpack-tarball={packages()}", "bookworm", scratch, stdout=subprocess.DEVNULL)
        scratch.rename(root)
    return root


def distroless(root):
    """Unpacks packages; nothing of them is run, and there is no shell."""
    debs = CACHE / "debs"
    shutil.rmtree(debs, ignore_errors=True)
    debs.mkdir()
    call("tar", "-xf", packages(), "-C", debs, "--wildcards", "*.deb")
    root.mkdir()
    for package in DISTROLESS:
        [deb] = debs.glob(f"**/{package}_*.deb")
        call("dpkg-deb", "-x", deb, root)
    shutil.rmtree(debs)


def install_rust(root):
    shutil.copy("/etc/resolv.conf", inside(root, "/etc/resolv.conf"))
    mount(root)
    environment = {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive"}
    call("chroot", root, "apt-get", "update", "-qq", env=environment)
    call("chroot", root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *RUST_PACKAGES, env=environment, stdout=subprocess.DEVNULL)
    # This machine's certificates too: its registries may be behind a proxy of its own.
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    shutil.copy(certificates, inside(root, certificates))


def mount(root):
    """Mounts /proc and /dev, this machine's Rust, its downloaded crates, and a kept target folder."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True, cwd=REPO)
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    bound = {
        RUST: sysroot.stdout.strip(),
        f"{CARGO_HOME}/registry": home / "registry",
        "/build/target": CACHE / "target",
        "/dev": "/dev",
    }
    for inner, outer in bound.items():
        pathlib.Path(outer).mkdir(parents=True, exist_ok=True)
        inside(root, inner).mkdir(parents=True, exist_ok=True)
        call("mount", "--rbind", outer, inside(root, inner))
    call("mount", "-t", "proc", "proc", inside(root, "/proc"))


def chroot(root, workdir, command):
    environment = {"PATH": f"{RUST}/bin:{PATH}", "HOME": "/root", "CARGO_HOME": CARGO_HOME, "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"}
    call("chroot", root, "/bin/sh", "-c", 'cd "$0" && exec "$@"', workdir, *command, env=environment)
