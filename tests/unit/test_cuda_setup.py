"""What a slot on a GPU finds in its environment, and how it names what is missing."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from transcription.engines.faster_whisper import CUDA_LIBRARIES, check_cuda_libraries
from transcription.engines.plan import SlotPlan
from transcription.errors import ModelUnavailableError
from workers.devices import environment_for


def slot_on(device: str) -> SlotPlan:
    return SlotPlan("a", device, "demo", "faster-whisper", "default")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A place for packages that holds NVIDIA's."""
    for name in ("cublas", "cudnn"):
        (tmp_path / "nvidia" / name / "lib").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def test_a_gpu_slot_finds_the_installed_libraries(site):
    found = environment_for(slot_on("cuda:0"))

    folders = found["LD_LIBRARY_PATH"].split(os.pathsep)
    assert folders == [
        str(site / "nvidia" / name / "lib") for name in ("cublas", "cudnn")
    ]


def test_what_the_operator_set_comes_after_them(site, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/cuda/lib")

    found = environment_for(slot_on("cuda"))

    folders = found["LD_LIBRARY_PATH"].split(os.pathsep)
    assert len(folders) == 3
    assert folders[-1] == "/opt/cuda/lib"


def test_a_cpu_slot_sees_no_gpu_and_keeps_its_libraries(site, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")

    environment = environment_for(slot_on("cpu"))

    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert "LD_LIBRARY_PATH" not in environment


@pytest.mark.parametrize("missing", sorted(CUDA_LIBRARIES))
def test_a_missing_library_is_named_in_one_sentence(monkeypatch, missing):
    def load(name: str) -> None:
        if name == missing:
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", load)

    with pytest.raises(ModelUnavailableError) as caught:
        check_cuda_libraries()

    message = caught.value.message
    assert message.startswith(f"{missing} is missing: ")
    assert message.endswith(".")
    assert "\n" not in message


def test_a_machine_without_a_driver_names_one(monkeypatch):
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        pytest.skip("this machine has the driver")

    with pytest.raises(ModelUnavailableError, match=r"libcuda\.so\.1 is missing"):
        check_cuda_libraries()
