"""`python -m benchmarks [NAME]`: list the benchmarks, or run one."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.report import Report
from workers.devices import process_environment


@dataclass(frozen=True)
class Benchmark:
    """One of the benchmarks: benchmarks.<module> with a `run(report)`.

    Attributes:
        question: what it measures.
        repeat: measurements of each side, unless the command line says how many.
        model: what it loads, likewise.
    """

    question: str
    repeat: int
    model: str = "demo"


BENCHMARKS: Final = {
    "latency": Benchmark(
        "what the service adds to the engine's own time, POST to completed", repeat=30
    ),
    "throughput": Benchmark(
        "many short clips at once, against the library without a service",
        repeat=5,
        model="tiny",
    ),
    "long-file": Benchmark(
        "one long file, against the library's batched pipeline", repeat=5, model="tiny"
    ),
    "urgent": Benchmark(
        "an urgent clip while a long file fills the only slot", repeat=20, model="tiny"
    ),
    "neighbours": Benchmark(
        "whether a job that goes wrong delays those that share its batches",
        repeat=4,
        model="tiny",
    ),
    "memory": Benchmark(
        "what jobs add to the private memory of a worker", repeat=1, model="demo"
    ),
    "api": Benchmark(
        "submissions and the list's filters with a million tasks, 4 and 200 clients",
        repeat=50,
    ),
    "upload": Benchmark(
        "memory and writes of the largest upload, with its length and in chunks",
        repeat=1,
    ),
    "slow-uploaders": Benchmark(
        "the list of tasks beside 50 and 500 uploads at 10 kB/s", repeat=5
    ),
    "limits": Benchmark(
        "what rates and quotas cost a request, on one key beside another", repeat=300
    ),
    "claims": Benchmark(
        "finding whose turn it is, with 120,000 tasks that wait", repeat=300
    ),
    "wer": Benchmark(
        "whether chunks are heard as well as the library hears the whole", repeat=1
    ),
}


def main() -> int:
    """Run what the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHMARKS)
    parser.add_argument("--repeat", type=int, help="measurements to take")
    parser.add_argument(
        "--model", help="a shape of tools/scripted_model.py, or what a slot may name"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        help="length of the long recording, or how long a crowd of clients asks",
    )
    parser.add_argument(
        "--rows", type=int, default=0, help="tasks to fill the database with"
    )
    parser.add_argument(
        "--bytes", type=int, default=0, help="size of the file that is uploaded"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("var/benchmarks"),
        help="folder of the JSON files",
    )
    arguments = parser.parse_args()
    if arguments.name is None:
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:<14} {benchmark.question}")
        return 0
    run_as_a_slot(arguments.device)
    chosen = BENCHMARKS[arguments.name]
    report = Report(
        arguments.name,
        repeat=arguments.repeat or chosen.repeat,
        model=arguments.model or chosen.model,
        device=arguments.device,
        seconds=arguments.seconds,
        rows=arguments.rows,
        file_bytes=arguments.bytes,
    )
    with tempfile.TemporaryDirectory(prefix="whisperhub-bench-") as folder:
        os.environ["WHISPERHUB_DATA_DIR"] = folder
        os.environ.setdefault("WHISPERHUB_LOG_LEVEL", "WARNING")
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")
        import django

        django.setup()
        module = arguments.name.replace("-", "_")
        importlib.import_module(f"benchmarks.{module}").run(report)
    report.save(arguments.out)
    print(report.line())
    return 0


def run_as_a_slot(device: str) -> None:
    """Start again with what the launcher gives a slot; it holds for both sides.

    The libraries that read it do so when a process starts.
    """
    wanted = process_environment(device.partition(":")[0])
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        command = [sys.executable, "-m", "benchmarks", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **wanted})  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
