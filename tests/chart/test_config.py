"""The configuration that the chart writes is what the values say, and the server takes it."""

import re
import subprocess
import tomllib

import pytest
from chart import BASE, BINARY, ROOT, config, merged, render

# Values as YAML gives them, through floats: whole numbers, small ones, text that TOML must escape.
DEEP = {
    "server": {"workers": 0, "bodies_bytes_max": 17179869184, "request_timeout_ms": None},
    "journal": {"bytes_max": 9007199254740991, "retention_days": 30},
    "telemetry": {"log_level": 'hedgerow=debug,"warn"\\ \t\x7f\u2028 <&> ü 🌳'},
    "rollout": {
        "alpha": 0.05,
        "rollback_margin": 0.0000001,
        "error_rate_max": 1e-05,
        "cost_limit": 1000.5,
        "stages": ["shadow", "5%", "full"],
        "gates": [],
        "record": True,
        "cost_false_negative": -2.5,
    },
    "slots": {
        "fraud": {"rollout": {"on_arrival": "shadow"}, "cache": {"ttl_s": 60}},
        "a.b c": {"batch": {"max_batch_rows": 64}},
        "empty": {},
    },
}


def check(text, tmp_path):
    file = tmp_path / "hedgerow.toml"
    file.write_text(text)
    return subprocess.run(
        [BINARY, "serve", "--config", file, "--check"], capture_output=True, text=True, env={}
    )


def pruned(table):
    """Without what is null, and without tables that hold nothing."""
    whole = {}
    for key, value in table.items():
        value = pruned(value) if isinstance(value, dict) else value
        if value is not None and value != {}:
            whole[key] = value
    return whole


def test_every_combination_is_a_valid_configuration(rendered, tmp_path):
    texts = {config(resources) for resources in rendered.values()}
    assert len(texts) >= 3
    for text in texts:
        done = check(text, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr + text


def test_numbers_texts_lists_and_tables_survive():
    text = config(render(merged(BASE, {"config": DEEP})))
    written = tomllib.loads(text)
    for section, keys in pruned(DEEP).items():
        assert written[section].items() >= keys.items(), section
    # Equal in Python, but not for a server that asks for a whole number.
    assert "bodies_bytes_max = 17179869184\n" in text
    assert type(written["journal"]["bytes_max"]) is int


def test_the_server_takes_what_it_would_take_from_a_file(tmp_path):
    values = merged(
        DEEP,
        {"telemetry": {"log_level": "info"}, "journal": {"bytes_max": 70368744177664}},
        {"rollout": {"cost_false_negative": 2.5}},
    )
    del values["slots"]["a.b c"]
    done = check(config(render(merged(BASE, {"config": values}))), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_key_is_the_servers_to_refuse(tmp_path):
    done = check(config(render(merged(BASE, {"config": {"batch": {"thread": 1}}}))), tmp_path)
    assert done.returncode == 1
    assert 'unknown key "thread" in [batch]' in done.stdout + done.stderr


def test_every_key_of_the_example_goes_through(tmp_path):
    """hedgerow.example.toml has every key with its default: given as values, it stays the same."""
    text = re.sub(r"(?m)^#(?=[a-z_0-9]+ = )", "", (ROOT / "hedgerow.example.toml").read_text())
    example = tomllib.loads(text)
    for key in ("http", "grpc", "admin", "http_unix", "grpc_unix"):
        del example["server"][key]
    del example["models"]["dir"]
    written = config(render(merged(BASE, {"config": example})))
    parsed = tomllib.loads(written)
    for section, keys in example.items():
        assert parsed[section].items() >= keys.items(), section
    done = check(written, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("mode", ["service", "sidecar"])
def test_addresses(mode):
    server = tomllib.loads(config(render(merged(BASE, {"mode": mode}))))["server"]
    assert server["http"] == ("0.0.0.0:8080" if mode == "service" else "127.0.0.1:8080")
    assert server["admin"] == "127.0.0.1:8082"
    assert ("http_unix" in server) == (mode == "sidecar")


def test_addresses_of_both_families(tmp_path):
    text = config(render(merged(BASE, {"listen": "::", "admin": {"exposed": True}})))
    server = tomllib.loads(text)["server"]
    assert [server[it] for it in ("http", "grpc", "admin")] == ["[::]:8080", "[::]:8081", "[::]:8082"]
    done = check(text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    # Not exposed, the admin port stays on the loopback, and a sidecar does whole.
    assert 'admin = "127.0.0.1:8082"' in config(render(merged(BASE, {"listen": "::"})))
    assert "[::]" not in config(render(merged(BASE, {"listen": "::", "mode": "sidecar"})))
