"""Assembles the final image's root as the Dockerfile does, in target/image/. `build.py` takes what
was compiled on this machine; `build.py --full` runs every step in a clean Debian."""

import argparse
import shutil

import dockerfile
from roots import REPO, Builder, apart, inside

# What the final stage is put on: the default, and the one with a shell that docs/image.md names.
RUNTIMES = {"distroless": None, "debian": "debian:12-slim"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--binary", default=REPO / "target/debug/hedgerow")
    arguments = parser.parse_args()
    apart()

    def take_binary(root):
        target = inside(root, "/build/target/release/hedgerow")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(arguments.binary, target)

    def take_libraries(root):
        shutil.copytree(REPO / "native", inside(root, "/out/usr/lib/hedgerow/native"))

    skipped = {
        "docker/tools.sh": lambda root: None,
        "docker/dependencies.sh": lambda root: None,
        "docker/cargo.sh": take_binary,
        "scripts/native.sh": take_libraries,
    }
    builder = Builder(arguments.full, skipped)
    *stages, final = dockerfile.read(REPO / "Dockerfile")
    for stage in stages:
        print(f"image: stage {stage.name}, from {stage.base}", flush=True)
        builder.build(stage, stage.name)
    for name, base in RUNTIMES.items():
        if base:
            *_, final = dockerfile.read(REPO / "Dockerfile", RUNTIME_IMAGE=base)
        print(f"image: the final stage, from {final.base}", flush=True)
        builder.build(final, name)


main()
