#!/usr/bin/env python3
"""Makes every tiny model and golden.json of this folder again.

    python3 tests/golden/make.py --venvs ../golden-venvs

Each library version gets its own throw-away virtual environment under --venvs,
filled from requirements/ and kept for the next run. Needs Python 3.11 (the
oldest wheels know no later one) and a package registry. An environment that
cannot be made costs its own cases and the rest go on; the exit status says so.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Requirements file: the scripts to run beside it, in order.
OLDER = {
    "xgboost-1.0.2": "xgboost_old.py",
    "xgboost-1.3.3": "xgboost_old.py",
    "xgboost-1.5.2": "xgboost_old.py",
    "xgboost-1.7.6": "xgboost_old.py",
    "xgboost-2.1.4": "xgboost_old.py",
    "xgboost-3.0.5": "xgboost_old.py",
    "lightgbm-2.2.3": "lightgbm_old.py",
    "lightgbm-3.3.5": "lightgbm_old.py",
    "lightgbm-4.0.0": "lightgbm_old.py",
}
CURRENT = [
    "xgboost_cases.py",
    "lightgbm_cases.py",
    "catboost_cases.py",
    "onnx_cases.py",
    "onnx_handmade.py",
]
# These read what the others wrote.
LAST = [["xgboost_old.py", "--check"], ["lightgbm_old.py", "--check"], ["broken_cases.py"]]


def environment(venvs, name):
    """The Python of the environment, made when it is not there yet."""
    folder = venvs / name
    python = folder / "bin" / "python"
    done = folder / "complete"
    if done.exists():
        return python
    print(f"{name}: making its environment", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    # Every dependency is pinned; --no-deps keeps the optional GPU packages out.
    wanted = HERE / "requirements" / f"{name}.txt"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", wanted],
        check=True,
    )
    done.touch()
    return python


def run(python, script, options):
    command = [python, "-W", "ignore", HERE / script[0], *script[1:], "--out", options.out]
    if options.only:
        command += ["--only", options.only]
    subprocess.run(command, check=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--venvs", type=Path, required=True, help="folder for the environments")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write the cases to")
    parser.add_argument("--only", help="make only the cases whose name contains this")
    options = parser.parse_args()
    options.venvs = options.venvs.resolve()
    failed = []
    jobs = [(name, [script]) for name, script in OLDER.items()]
    jobs += [("current", [script]) for script in CURRENT]
    jobs += [("current", script) for script in LAST]
    for name, script in jobs:
        try:
            run(environment(options.venvs, name), script, options)
        except subprocess.CalledProcessError as error:
            failed.append(f"{name} {script[0]}: exit status {error.returncode}")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
