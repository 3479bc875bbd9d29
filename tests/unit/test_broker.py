"""Where the broker is, without starting one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kombu.utils.url import url_to_parts

from whisperhub.broker import (
    MAX_SOCKET_PATH_BYTES,
    broker_url,
    local_url,
    socket_path,
    to_redis_url,
)
from workers.broker import find_packaged_server, find_server


def test_the_socket_lies_with_the_data():
    folder = Path("/srv/whisperhub/broker")

    assert socket_path(folder) == folder / "broker.sock"


@pytest.mark.parametrize(
    "folder", [Path("/srv") / ("x" * 120), Path("/srv/Ein Ordner"), Path("/srv/50%")]
)
def test_a_path_no_socket_or_url_can_hold_gives_way_to_a_short_one(folder):
    path = socket_path(folder)

    assert len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES
    assert path.parent == Path(f"/tmp/whisperhub-{os.getuid()}")
    assert path == socket_path(folder)
    assert path != socket_path(folder / "other")


def test_kombu_reads_our_url_as_we_mean_it():
    parts = url_to_parts(local_url(Path("/srv/whisperhub/broker")))

    assert parts.scheme == "redis+socket"
    assert parts.path == "srv/whisperhub/broker/broker.sock"
    assert parts.query == {"virtual_host": "0"}


def test_a_configured_broker_is_used(settings):
    settings.BROKER_URL = "redis://broker.example:6380/2"

    assert broker_url() == "redis://broker.example:6380/2"


def test_without_one_ours_is_used(settings, tmp_path):
    settings.BROKER_URL = ""
    settings.BROKER_DIR = Path("/srv/broker")

    assert broker_url() == "redis+socket:///srv/broker/broker.sock?virtual_host=0"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h:6379/1", "redis://h:6379/1"),
        ("redis+socket:///a/b.sock?virtual_host=3", "unix:///a/b.sock?db=3"),
        ("redis+socket:///a/b.sock", "unix:///a/b.sock?db=0"),
        ("redis+socket://:pw@/a/b.sock", "unix://:pw@/a/b.sock?db=0"),
    ],
)
def test_redis_py_gets_its_own_spelling(url, expected):
    assert to_redis_url(url) == expected


def test_a_server_on_the_path_comes_before_the_packaged_one(tmp_path, monkeypatch):
    for name in ("valkey-server", "redis-server"):
        program = tmp_path / name
        program.touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

        assert find_server() == program


def test_with_none_on_the_path_the_packaged_one_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_server() == find_packaged_server()
    assert os.access(find_server(), os.X_OK)
