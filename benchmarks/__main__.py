"""`python -m benchmarks [NAME]`: list the benchmarks, or run one."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.report import Report

# Name to what it measures; each is the module benchmarks.<name> with a `run(report)`.
BENCHMARKS: Final = {
    "latency": "what the service adds to the engine's own time, POST to completed",
}


def main() -> int:
    """Run what the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHMARKS)
    parser.add_argument("--repeat", type=int, default=30, help="measurements to take")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("var/benchmarks"),
        help="folder of the JSON files",
    )
    arguments = parser.parse_args()
    if arguments.name is None:
        for name, summary in BENCHMARKS.items():
            print(f"{name:<12} {summary}")
        return 0
    report = Report(arguments.name, repeat=arguments.repeat)
    with tempfile.TemporaryDirectory(prefix="whisperhub-bench-") as folder:
        os.environ["WHISPERHUB_DATA_DIR"] = folder
        os.environ.setdefault("WHISPERHUB_LOG_LEVEL", "WARNING")
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")
        import django

        django.setup()
        importlib.import_module(f"benchmarks.{arguments.name}").run(report)
    report.save(arguments.out)
    print(report.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
