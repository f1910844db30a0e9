"""What docs/deploy.md tells a person to write is what the chart and Kubernetes take."""

import os
import re
import shlex
import subprocess

import yaml
from chart import BASE, BINARY, ROOT, helm, merged, render, validate_core

TEXT = (ROOT / "docs/deploy.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_yaml_is_values_or_resources():
    resources, values = [], []
    for text in blocks("yaml"):
        for it in yaml.safe_load_all(text):
            (resources if "kind" in it else values).append(it)
    assert len(resources) >= 2
    assert len(values) >= 4
    validate_core(resources, "1.37")
    for it in values:
        render(merged(BASE, it))


def test_what_it_names_is_there():
    for path in re.findall(r"\b(?:helm|docs)/[\w./-]+\w", TEXT):
        # What is written apart from the chart.
        if not path.startswith("helm/hedgerow/files/"):
            assert (ROOT / path).exists(), path
    for page in re.findall(r"\]\(([\w.-]+)\)", TEXT):
        assert (ROOT / "docs" / page).exists(), page


def test_the_configuration_is_checked_as_it_says(tmp_path):
    (script,) = [text for text in blocks("sh") if "--check" in text]
    (values,) = [text for text in blocks("yaml") if text.startswith("# my-values.yaml")]
    (tmp_path / "my-values.yaml").write_text(values)
    (tmp_path / "helm").symlink_to(ROOT / "helm")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/hedgerow").symlink_to(BINARY)
    env = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "configuration is valid" in done.stdout
    assert "[slots.fraud.batch]" in (tmp_path / "hedgerow.toml").read_text()


def test_helms_flags_are_helms():
    commands = [
        shlex.split(line)
        for text in blocks("sh")
        for line in text.replace("\\\n", " ").splitlines()
        if line.startswith("helm ")
    ]
    assert len(commands) >= 6
    for command in commands:
        flags = [it for it in command if it.startswith("--")]
        if command[1] == "repo" or not flags:
            continue
        known = helm(command[1], "--help").stdout
        for flag in (it.partition("=")[0] for it in flags):
            assert re.search(rf"{flag}\b", known), f"helm {command[1]} {flag}"
