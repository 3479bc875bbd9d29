"""How engines read a plan's device."""

from __future__ import annotations

import pytest

from transcription.engines.devices import resolve_device


@pytest.fixture(autouse=True)
def nothing_narrowed(monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("device", "resolved"),
    [("cpu", ("cpu", 0)), ("cuda", ("cuda", 0)), ("cuda:2", ("cuda", 2))],
)
def test_a_named_device_is_taken_without_a_look_at_the_machine(device, resolved):
    def fail() -> int:
        raise AssertionError("CUDA was asked")

    assert resolve_device(device, fail) == resolved


def test_auto_takes_a_gpu_where_there_is_one():
    assert resolve_device("auto", lambda: 2) == ("cuda", 0)
    assert resolve_device("auto", lambda: 0) == ("cpu", 0)


def test_the_one_device_left_to_a_process_is_its_number_0(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")

    assert resolve_device("cuda:3", lambda: 1) == ("cuda", 0)
