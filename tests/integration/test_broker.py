"""Our own broker as a process, with each server at hand, under Celery and Flower."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest
import redis
from celery import Celery
from celery.contrib.testing.worker import start_worker
from django.core.exceptions import ImproperlyConfigured
from flower.utils.broker import Broker
from kombu import Exchange, Queue

import celeryconfig
from tests.support.waiting import patient
from whisperhub.broker import local_url, socket_path, to_redis_url
from workers.broker import (
    answers,
    find_packaged_server,
    make_private_folder,
    running_broker,
)
from workers.supervisor import ProgramFailedError

SERVERS = [
    path
    for path in (
        shutil.which("redis-server"),
        shutil.which("valkey-server"),
        find_packaged_server(),
    )
    if path
]


@pytest.fixture(params=SERVERS, ids=lambda path: str(Path(path).name))
def server(request, tmp_path, monkeypatch) -> Path:
    """Make one of the servers the one that is found."""
    return use_server(Path(request.param), tmp_path, monkeypatch)


def use_server(server: Path, tmp_path: Path, monkeypatch) -> Path:
    programs = tmp_path / "bin"
    shutil.rmtree(programs, ignore_errors=True)
    programs.mkdir()
    (programs / "redis-server").symlink_to(server)
    monkeypatch.setenv("PATH", str(programs))
    return server


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(to_redis_url(url))


def test_it_serves_on_a_private_socket_and_on_no_port(server, tmp_path):
    folder = tmp_path / "broker"

    with running_broker(folder) as url, client(url) as connection:
        assert connection.ping()
        assert connection.config_get("port") == {"port": "0"}
        assert connection.config_get("maxmemory-policy") == {
            "maxmemory-policy": "noeviction"
        }
        assert connection.config_get("appendfsync") == {"appendfsync": "everysec"}
        mode = stat.S_IMODE(socket_path(folder).parent.stat().st_mode)
        assert mode == 0o700

    assert not answers(url)


def test_messages_outlive_a_restart(server, tmp_path):
    with running_broker(tmp_path) as url, client(url) as connection:
        connection.lpush("queue", "hint")

    with running_broker(tmp_path) as url, client(url) as connection:
        assert connection.lrange("queue", 0, -1) == [b"hint"]


@pytest.mark.skipif(len(SERVERS) < 2, reason="needs two servers on this machine")
def test_another_server_can_take_over_the_data(tmp_path, monkeypatch):
    folder = tmp_path / "broker"
    for number, server in enumerate([*SERVERS, *reversed(SERVERS)]):
        use_server(Path(server), tmp_path, monkeypatch)
        with running_broker(folder) as url, client(url) as connection:
            assert connection.llen("queue") == number
            connection.lpush("queue", "hint")
            connection.bgrewriteaof()


@pytest.mark.parametrize("name", ["Ein Ordner 'mit' \"Zeichen\" \\ 50%", "x" * 120])
def test_a_folder_with_a_difficult_name_works(name, tmp_path):
    folder = tmp_path / name

    with running_broker(folder) as url, client(url) as connection:
        assert connection.ping()
        assert (folder / "appendonlydir").exists()


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)

    with pytest.raises(ImproperlyConfigured, match="belongs to somebody else"):
        make_private_folder(link)
    if os.getuid() == 0:
        os.chown(real, 65534, 65534)
        with pytest.raises(ImproperlyConfigured, match="belongs to somebody else"):
            make_private_folder(real)


def test_damaged_data_are_named_with_the_way_out(tmp_path):
    with running_broker(tmp_path) as url, client(url) as connection:
        connection.lpush("queue", "hint")
    (log,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"*1\r\n$nonsense\r\n" * 3)

    with (
        pytest.raises(ProgramFailedError, match="tasks are kept in the database"),
        running_broker(tmp_path),
    ):
        pass


def test_celery_publishes_consumes_and_answers_pings_over_the_socket(tmp_path):
    with running_broker(tmp_path) as url:
        app = Celery("test", broker=url, set_as_current=False)
        app.conf.broker_transport_options = celeryconfig.broker_transport_options
        app.conf.task_queues = [Queue("q", Exchange("q", "direct"), routing_key="q")]
        app.conf.task_default_queue = "q"
        done = threading.Event()
        app.task(name="finish")(done.set)

        for _ in range(3):
            app.send_task("finish", queue="q")
        flower = Broker(
            app.connection().as_uri(include_password=True),
            broker_options=app.conf.broker_transport_options,
        )
        assert asyncio.run(flower.queues(["q"])) == [{"name": "q", "messages": 3}]

        with start_worker(app, pool="threads", concurrency=1, perform_ping_check=False):
            assert done.wait(patient(10))
            assert app.control.ping(timeout=1)
        app.close()


def test_nobody_answers_where_nothing_runs(tmp_path):
    assert not answers(local_url(tmp_path))
    assert not answers("redis://127.0.0.1:1/0")
