"""The machine that a run was made on."""

import os
import platform
import subprocess

INSTRUCTIONS = [
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512vbmi",
    "avx512_vbmi2",
    "neon",
    "sve",
]


def describe():
    info = {}
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            key, _, value = line.partition(":")
            info.setdefault(key.strip(), value.strip())
    flags = info.get("flags", info.get("Features", "")).split()
    return {
        "cpu": info.get("model name", platform.processor() or "unknown"),
        "family": f"family {info['cpu family']}, model {info['model']}"
        if "cpu family" in info
        else "",
        "architecture": platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "system": platform.system(),
        "gcc": first_line("gcc", "--version"),
        "rustc": first_line("rustc", "--version"),
    }


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return "not found"
