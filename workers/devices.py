"""The devices of this machine, and the slots that a plan makes of them."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from transcription.engines.plan import DEMO, SlotPlan, parse_plan

# glibc keeps an arena for each thread that allocates at the same time: with dozens of
# threads, hundreds of megabytes. (A fixed MALLOC_MMAP_THRESHOLD_ gives yet more back,
# and makes the decoder two and a half times as slow: it allocates in every step.)
ALLOCATOR: Final = {"MALLOC_ARENA_MAX": "1"}
# CTranslate2's threads spin between two steps of a call, by OpenMP's default. Where
# anything else wants the cores, that costs several times the work itself.
IDLE_THREADS: Final = {"OMP_WAIT_POLICY": "PASSIVE"}


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_cuda_devices() -> list[str]:
    """The CUDA devices in plan form (`cuda:0`), found without loading CUDA."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    count = sum(line.startswith("GPU ") for line in listed.splitlines())
    visible = visible_devices()
    if visible is not None:
        count = min(count, len(visible))
    return [f"cuda:{index}" for index in range(count)]


def visible_devices() -> list[str] | None:
    """What an operator left of the CUDA devices; None: nothing was said."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return None
    items = [item.strip() for item in listed.split(",")]
    # CUDA reads up to the first entry that names no device.
    return list(itertools.takewhile(lambda item: item not in ("", "-1"), items))


def plan_slots(text: str, *, default_engine: str) -> list[SlotPlan]:
    """The slots to run: the plan as written, `auto` spread over the devices found.

    Without a plan the demo model runs on the CPU.

    Raises:
        ValueError: the plan is malformed, or names a device that is not visible.
    """
    planned = parse_plan(text or f"cpu={DEMO}", default_engine=default_engine)
    slots: list[SlotPlan] = []
    for slot in planned:
        if slot.device != "auto":
            slots.append(slot)
            continue
        found = find_cuda_devices() or ["cpu"]
        for device in found:
            suffix = device.replace(":", "")
            name = slot.name.replace("auto", suffix)
            if name == slot.name and len(found) > 1:
                name = f"{name}-{suffix}"
            slots.append(dataclasses.replace(slot, name=name, device=device))
    for slot in slots:
        # A device that is not there is an error of the plan, before anything starts.
        environment_for(slot)
    return slots


def environment_for(slot: SlotPlan) -> dict[str, str]:
    """What a slot's process must find in its environment to see only its device.

    Raises:
        ValueError: an operator has hidden this device.
    """
    kind, _, index = slot.device.partition(":")
    if kind != "cuda":
        return {"CUDA_VISIBLE_DEVICES": "", **process_environment(kind)}
    number = int(index or 0)
    # An operator may have narrowed the machine's devices: our numbers count in those.
    visible, device = visible_devices(), str(number)
    if visible:
        if number >= len(visible):
            raise ValueError(
                f"{slot.device} is not among the devices of CUDA_VISIBLE_DEVICES."
            )
        device = visible[number]
    folders = [str(folder) for folder in cuda_library_folders()]
    if inherited := os.environ.get("LD_LIBRARY_PATH"):
        folders.append(inherited)
    return {
        "CUDA_VISIBLE_DEVICES": device,
        "LD_LIBRARY_PATH": os.pathsep.join(folders),
        **process_environment(kind),
    }


def process_environment(kind: str) -> dict[str, str]:
    """What libraries of a slot's process read once, when it starts.

    Whatever an operator has set stays.

    Args:
        kind: cpu or cuda.
    """
    wanted = dict(ALLOCATOR)
    if kind != "cuda":
        wanted |= IDLE_THREADS
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def cuda_library_folders() -> list[Path]:
    """Where the packages of requirements/cuda.txt hold their libraries.

    The dynamic linker reads its path once, when a process starts: so the launcher sets
    it, and not the process that loads the model.
    """
    return sorted(
        folder
        for site in map(Path, sys.path)
        for folder in site.glob("nvidia/*/lib")
        if folder.is_dir()
    )
