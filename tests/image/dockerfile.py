"""Reads the Dockerfile into the steps of its stages. What it does not know is an error, so that
nothing gets into the Dockerfile that the checks do not do."""

import json
import re
import shlex
from dataclasses import dataclass, field

from dockerfile_parse import DockerfileParser

# Instructions that say something of the image and change no file.
ABOUT = {"ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "STOPSIGNAL", "USER"}


@dataclass
class Run:
    command: list


@dataclass
class Copy:
    sources: list
    target: str
    stage: str | None = None
    owner: str | None = None


@dataclass
class Workdir:
    path: str


@dataclass
class Stage:
    base: str
    name: str | None
    steps: list = field(default_factory=list)
    # By instruction: what it says, several times for those that may be repeated.
    about: dict = field(default_factory=dict)

    def said(self, instruction):
        """The last value of an instruction; an error where there is none."""
        return self.about[instruction][-1]

    def healthcheck(self):
        """The command in exec form."""
        return json.loads(self.said("HEALTHCHECK").split(" CMD ", 1)[1])

    def labels(self):
        pairs = (shlex.split(value) for value in self.about["LABEL"])
        return dict(pair.split("=", 1) for line in pairs for pair in line)


def read(path, **arguments):
    """The stages of a Dockerfile, with `arguments` for its global ARGs."""
    with open(path, "rb") as file:
        structure = DockerfileParser(fileobj=file).structure
    stages, names = [], {}
    for line in structure:
        instruction, value = line["instruction"], line["value"]
        if instruction == "COMMENT":
            continue
        if not stages and instruction == "ARG":
            name, default = value.split("=", 1)
            names[name] = arguments.get(name, default)
        elif instruction == "FROM":
            stages.append(stage(re.sub(r"\$\{(\w+)\}", lambda found: names[found[1]], value)))
        elif instruction in ABOUT:
            stages[-1].about.setdefault(instruction, []).append(value)
        else:
            stages[-1].steps.append(step(instruction, value))
    return stages


def stage(value):
    base, *alias = value.split()
    if alias and alias[0].upper() != "AS":
        raise SystemExit(f"Dockerfile: FROM {value}: not known here")
    return Stage(base, alias[1] if alias else None)


def step(instruction, value):
    if instruction == "WORKDIR":
        return Workdir(value)
    # A script of the repository and its arguments, so that no shell has to read it.
    if instruction == "RUN" and re.fullmatch(r"(docker|scripts)/[-\w]+\.sh( [-\w/.=]+)*", value):
        return Run(value.split())
    if instruction == "COPY" and not value.startswith("["):
        return copy(value.split())
    raise SystemExit(f"Dockerfile: {instruction} {value}: not known here")


def copy(words):
    flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    unknown = flags.keys() - {"from", "chown"}
    if unknown:
        raise SystemExit(f"Dockerfile: COPY --{unknown.pop()}: not known here")
    *sources, target = (word for word in words if not word.startswith("--"))
    return Copy(sources, target, flags.get("from"), flags.get("chown"))
