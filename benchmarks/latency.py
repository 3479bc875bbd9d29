"""What an idle service adds to a tiny job: from POST to the moment it is completed.

The engine's own time is taken from the same job, so that a noisy machine slows both
sides; the engine alone, in this process, is shown beside it.
"""

from __future__ import annotations

import io
import time
import wave
from datetime import datetime
from typing import Any, Final

import numpy as np
import requests
from django.conf import settings
from tqdm import trange

from benchmarks.report import Report, milliseconds, percentile
from transcription.audio import SAMPLE_RATE
from transcription.engines import demo_model
from transcription.engines.base import SilentListener
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import parse_plan
from transcription.engines.registry import create_engine
from workers.demo import Client, temporary_key, wait_for_model
from workers.stack import Stack, free_port

CLIP_SECONDS: Final = 3
TARGET_SECONDS: Final = 0.100
POLL_SECONDS: Final = 0.1
WARM_UP_JOBS: Final = 3
# No Flower: nothing but the service itself should use the cores.
PARTS: Final = ("broker", "migrate", "web", "media", "inference", "dispatcher")


def run(report: Report) -> None:
    """Measure jobs one after the other, the engine alone between them."""
    samples = clip()
    upload = as_wav(samples)
    (plan,) = parse_plan("cpu=demo", default_engine="faster-whisper")
    engine = create_engine(plan, model_dir=settings.MODEL_DIR, cpu_threads=0)
    engine.load()
    totals, engines, alone = [], [], []
    stack = Stack(
        data_dir=settings.DATA_DIR, port=free_port(), model="demo", parts=PARTS
    )
    with stack, temporary_key() as api_key:
        client = Client(stack.url, api_key)
        wait_for_model(client, "demo")
        for _ in range(WARM_UP_JOBS):
            one_job(client, upload)
        for _ in trange(report.repeat, desc="latency", unit="job"):
            total, inference = one_job(client, upload)
            totals.append(total)
            engines.append(inference)
            alone.append(engine_alone(engine, samples))
    added = [
        total - inference for total, inference in zip(totals, engines, strict=True)
    ]
    report.figure("added_median", milliseconds(added), "ms")
    report.figure("added_p95", percentile(added, 0.95) * 1000, "ms")
    report.figure("engine_in_job", milliseconds(engines), "ms")
    report.figure("engine_alone", milliseconds(alone), "ms")
    report.data["added_seconds"] = added
    report.judge(
        f"added_median<={TARGET_SECONDS * 1000:.0f}ms",
        met=milliseconds(added) <= TARGET_SECONDS * 1000,
    )


def clip() -> Any:
    """The first seconds of the English sample, int16."""
    sample = next(s for s in demo_model.samples() if s.language == "en")
    with wave.open(str(sample.path)) as file:
        frames = file.readframes(CLIP_SECONDS * SAMPLE_RATE)
    return np.frombuffer(frames, dtype=np.int16)


def as_wav(samples: Any) -> bytes:
    """The samples as a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def one_job(client: Client, upload: bytes) -> tuple[float, float]:
    """Seconds from the POST to completed, and the engine's part of them."""
    began = time.time()
    answer = client.session.post(
        f"{client.url}/api/v1/tasks/", files={"file": ("clip.wav", upload)}, timeout=60
    )
    answer.raise_for_status()
    task = answer.json()
    while task["status"] != "completed":
        # The moment of completion comes from the row: how often we look is no matter.
        time.sleep(POLL_SECONDS)
        looked: requests.Response = client.get(task["links"]["self"])
        task = looked.json()
        if task["status"] == "failed":
            raise RuntimeError(task["error"]["message"])
    finished = datetime.fromisoformat(task["finished_at"]).timestamp()
    return finished - began, task["inference_seconds"]


def engine_alone(engine: Any, samples: Any) -> float:
    """Seconds the engine takes in this process."""
    began = time.perf_counter()
    engine.transcribe(samples, DecodeOptions(), SilentListener())
    return time.perf_counter() - began
