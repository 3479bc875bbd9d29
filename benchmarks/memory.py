"""What jobs add to the private memory of a process that holds an engine.

Each case has a process of its own, in which nothing but the engine is loaded. This one
looks at its private memory (USS: what would be free if it ended) all the time.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import psutil
from django.conf import settings
from tqdm import tqdm

from benchmarks.material import OPTIONS, load_engine, model_path, speech
from benchmarks.report import Report
from transcription.audio import SAMPLE_RATE
from transcription.engines.base import SilentListener
from transcription.samples import load_samples

SHORT_JOBS: Final = 8
SHORT_SECONDS: Final = 39.0
FILE_SECONDS: Final = 2 * 3600.0
# The long file is written piece by piece: this process has no need of it.
PIECE_SECONDS: Final = 300.0
MOST_MIB: Final = 150.0
LOOK_SECONDS: Final = 0.05
MIB: Final = 2**20


def run(report: Report) -> None:
    """Measure eight short jobs, then one long one, each in a new process."""
    model_path(report.model, device=report.device)
    folder = Path(settings.DATA_DIR)
    short = [
        write_speech(folder / f"short-{number}.s16", SHORT_SECONDS, offset=number * 2.7)
        for number in range(SHORT_JOBS)
    ]
    long = write_speech(folder / "long.s16", report.seconds or FILE_SECONDS)
    cases = {"short": short, "long": [long]}
    for name, files in cases.items():
        loaded, peak, end = grown(report, name, files)
        report.figure(f"{name}_peak", peak - loaded, "MiB")
        report.figure(f"{name}_after", end - loaded, "MiB")
        report.data[f"{name}_loaded"] = loaded
    report.figure("loaded", report.data["short_loaded"], "MiB")
    report.judge(
        f"peak<=+{MOST_MIB:.0f}MiB",
        met=all(report.data[f"{name}_peak"] <= MOST_MIB for name in cases),
    )


def write_speech(path: Path, seconds: float, *, offset: float = 0.0) -> Path:
    """Prepared samples, as a media worker leaves them."""
    with path.open("wb") as file:
        done = 0.0
        while done < seconds:
            piece = min(PIECE_SECONDS, seconds - done)
            file.write(speech(piece, offset_seconds=offset + done).tobytes())
            done += piece
    return path


def grown(report: Report, name: str, files: list[Path]) -> tuple[float, float, float]:
    """Private memory in MiB: engine loaded, the most while jobs run, and after them."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=work, args=(there, report, files), daemon=True)
    child.start()
    # Else the end of the child would not be heard of.
    there.close()
    process = psutil.Process(child.pid)
    here.recv()
    loaded = peak = private_mib(process)
    here.send("go")
    audio_seconds = sum(file.stat().st_size for file in files) / 2 / SAMPLE_RATE
    with tqdm(total=round(audio_seconds), desc=name, unit="s") as bar:
        while True:
            peak = max(peak, private_mib(process))
            bar.set_postfix_str(f"+{peak - loaded:.0f} MiB", refresh=False)
            if here.poll(LOOK_SECONDS):
                seconds = here.recv()
                if seconds is None:
                    break
                bar.update(round(seconds) - bar.n)
    end = private_mib(process)
    here.send("end")
    child.join()
    return loaded, peak, end


def private_mib(process: psutil.Process) -> float:
    """The private memory of a process."""
    return float(process.memory_full_info().uss) / MIB


class Teller(SilentListener):
    """A job that tells another process how far it is."""

    def __init__(self, connection: Connection) -> None:
        """Tell it through a connection."""
        self._connection = connection
        self._told_at = 0.0

    def __call__(self, seconds_done: float) -> None:
        """Tell it now and then."""
        now = time.monotonic()
        if now - self._told_at > 1.0:
            self._told_at = now
            self._connection.send(seconds_done)


def work(connection: Connection, report: Report, files: list[Path]) -> None:
    """Run jobs on an engine, in a process of their own."""
    import django

    django.setup()
    engine = load_engine(report)
    connection.send("ready")
    connection.recv()
    alone = len(files) == 1
    with ThreadPoolExecutor(len(files)) as pool:
        jobs = [
            pool.submit(
                engine.transcribe,
                load_samples(file),
                OPTIONS,
                Teller(connection) if alone else SilentListener(),
            )
            for file in files
        ]
        for job in jobs:
            job.result()
    connection.send(None)
    connection.recv()
