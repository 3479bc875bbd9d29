"""What of the stack needs no process."""

from __future__ import annotations

import fcntl
import os

import pytest

from transcription.engines.plan import parse_plan
from workers.devices import cores
from workers.stack import (
    Stack,
    StackError,
    exclusive_lock,
    slots_for,
    web_processes,
)


def test_model_and_engine_become_a_slot_plan():
    (slot,) = parse_plan(
        slots_for("large-v3", "openai-whisper"), default_engine="faster-whisper"
    )

    assert (slot.device, slot.model, slot.engine) == (
        "auto",
        "large-v3",
        "openai-whisper",
    )


def test_what_is_given_reaches_the_children(tmp_path, settings):
    settings.ENGINE = "faster-whisper"

    environment = Stack(data_dir=tmp_path, port=8123, model="tiny").environment

    assert environment["WHISPERHUB_DATA_DIR"] == str(tmp_path)
    assert environment["WHISPERHUB_MEDIA_DIR"] == str(tmp_path / "media")
    assert environment["WHISPERHUB_PORT"] == "8123"
    assert environment["WHISPERHUB_SLOTS"] == "auto=tiny@faster-whisper"
    assert environment["DJANGO_SETTINGS_MODULE"] == "whisperhub.settings"


def test_a_configured_broker_is_not_repeated_in_the_environment(tmp_path, settings):
    # It may hold a password and come from a file.
    settings.BROKER_URL = "redis://:secret@broker.example/0"

    stack = Stack(data_dir=tmp_path)

    assert stack.broker_url == "redis://:secret@broker.example/0"
    assert "WHISPERHUB_BROKER_URL" not in stack.environment


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 1), (2, 2), (4, 4), (5, 4), (128, 4)]
)
def test_a_machine_has_a_web_process_for_each_core_up_to_four(count, expected):
    assert web_processes(count) == expected


def test_cores_that_others_have_do_not_count():
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_open_mode_is_not_served_to_others(tmp_path, settings):
    settings.OPEN_MODE = True

    with (
        pytest.raises(StackError, match="WHISPERHUB_OPEN_MODE"),
        Stack(data_dir=tmp_path, host="192.0.2.7", parts=["web"]),
    ):
        pass


@pytest.mark.parametrize(
    ("user", "password"), [("a:b", "pw"), ("a", "p,w"), ("a", "pässword")]
)
def test_credentials_that_flower_would_misread_are_refused(
    tmp_path, settings, user, password
):
    settings.FLOWER_USER, settings.FLOWER_PASSWORD = user, password

    with pytest.raises(StackError, match="WHISPERHUB_FLOWER_PASSWORD"):
        Stack(data_dir=tmp_path).flower_credentials  # noqa: B018


def test_a_password_for_flower_is_made_once(tmp_path, settings):
    settings.FLOWER_PASSWORD = ""

    first = Stack(data_dir=tmp_path).flower_credentials
    second = Stack(data_dir=tmp_path).flower_credentials

    assert first == second
    assert len(first[1]) > 20


def test_a_lock_whose_holder_died_is_waited_for(tmp_path):
    path = tmp_path / "stack.lock"
    # Held by a guard in the name of a process that is gone: pids are below 2**22.
    path.write_text(f"{2**22 + 1}\n")
    guard = os.open(path, os.O_RDWR)
    fcntl.flock(guard, fcntl.LOCK_EX)

    with pytest.raises(StackError), exclusive_lock(path, seconds=0.2):
        pass
    os.close(guard)

    with exclusive_lock(path, seconds=0.2):
        assert path.read_text() == f"{os.getpid()}\n"
