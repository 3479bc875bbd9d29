"""Which devices a machine has, and what a slot's process sees of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from transcription.engines.plan import SlotPlan
from workers import devices
from workers.devices import environment_for, find_cuda_devices, plan_slots


@pytest.fixture(autouse=True)
def nothing_narrowed(monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def slot_on(device: str) -> SlotPlan:
    return SlotPlan("a", device, "demo", "faster-whisper", "default")


def install_nvidia_smi(
    folder: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.fixture
def two_gpus(tmp_path, monkeypatch) -> None:
    install_nvidia_smi(
        tmp_path,
        monkeypatch,
        "echo 'GPU 0: H200 (UUID: GPU-a)'; echo 'GPU 1: H200 (UUID: GPU-b)'",
    )


def test_every_gpu_is_found(two_gpus):
    assert find_cuda_devices() == ["cuda:0", "cuda:1"]


@pytest.mark.parametrize(
    ("visible", "found"),
    [("1", ["cuda:0"]), ("0,1", ["cuda:0", "cuda:1"]), ("", []), ("-1", [])],
)
def test_only_the_visible_ones_count(two_gpus, monkeypatch, visible, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert find_cuda_devices() == found


def test_a_machine_without_the_driver_has_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_cuda_devices() == []


def test_a_driver_that_fails_has_none(tmp_path, monkeypatch):
    install_nvidia_smi(tmp_path, monkeypatch, "echo 'GPU 0: x'; exit 9")

    assert find_cuda_devices() == []


def test_without_a_plan_the_demo_model_runs_on_the_cpu():
    (slot,) = plan_slots("", default_engine="faster-whisper")

    assert (slot.device, slot.model) == ("cpu", "demo")


def test_auto_is_one_slot_for_each_device(monkeypatch):
    monkeypatch.setattr(devices, "find_cuda_devices", lambda: ["cuda:0", "cuda:1"])

    slots = plan_slots("auto=small", default_engine="faster-whisper")

    assert [slot.device for slot in slots] == ["cuda:0", "cuda:1"]
    assert len({slot.name for slot in slots}) == 2


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(devices, "find_cuda_devices", list)

    (slot,) = plan_slots("auto=small", default_engine="faster-whisper")

    assert (slot.name, slot.device) == ("cpu-0", "cpu")


def test_slots_that_auto_spreads_have_names_of_their_own(monkeypatch):
    monkeypatch.setattr(devices, "find_cuda_devices", lambda: ["cuda:0", "cuda:1"])

    slots = plan_slots("mine=auto=small", default_engine="faster-whisper")

    assert len({slot.name for slot in slots}) == 2
    assert all(slot.name.startswith("mine") for slot in slots)


def test_a_named_auto_slot_keeps_its_name_on_one_device(monkeypatch):
    monkeypatch.setattr(devices, "find_cuda_devices", list)

    (slot,) = plan_slots("mine=auto=small", default_engine="faster-whisper")

    assert slot.name == "mine"


@pytest.mark.parametrize(
    ("device", "visible", "seen"),
    [
        ("cpu", None, ""),
        ("cpu", "0,1", ""),
        ("cuda", None, "0"),
        ("cuda:2", None, "2"),
        ("cuda:1", "4,6", "6"),
        ("cuda:0", "GPU-a,GPU-b", "GPU-a"),
    ],
)
def test_a_process_sees_its_device_only(monkeypatch, device, visible, seen):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert environment_for(slot_on(device))["CUDA_VISIBLE_DEVICES"] == seen


def test_a_device_beyond_the_visible_ones_is_an_error_of_the_plan(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")

    with pytest.raises(ValueError, match="cuda:2"):
        plan_slots("cuda:2=small", default_engine="faster-whisper")


def test_model_threads_on_the_cpu_do_not_spin_unless_the_operator_wants_it(
    monkeypatch,
):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)

    chosen = environment_for(slot_on("cpu"))
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    inherited = environment_for(slot_on("cpu"))

    assert chosen["OMP_WAIT_POLICY"] == "PASSIVE"
    assert inherited["OMP_WAIT_POLICY"] == "ACTIVE"
