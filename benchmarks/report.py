"""What a benchmark found: one line for people, JSON for comparisons."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Report:
    """Collects the figures of one benchmark.

    Attributes:
        name: the benchmark's.
        repeat: how many measurements to take of each side.
        model: what is loaded, where a benchmark leaves the choice.
        device: where.
        seconds: length of the recording of benchmarks that use a long one; 0: its own.
        rows: tasks in the database of benchmarks that fill it; 0: its own.
        file_bytes: size of the file of benchmarks that upload one; 0: its own.
    """

    def __init__(
        self,
        name: str,
        *,
        repeat: int,
        model: str = "demo",
        device: str = "cpu",
        seconds: float = 0.0,
        rows: int = 0,
        file_bytes: int = 0,
    ) -> None:
        """Begin with nothing measured."""
        self.name = name
        self.repeat = repeat
        self.model = model
        self.device = device
        self.seconds = seconds
        self.rows = rows
        self.file_bytes = file_bytes
        self.figures: dict[str, str] = {}
        self.data: dict[str, Any] = {}
        self.target = ""
        self.met = False

    def figure(self, name: str, value: float, unit: str) -> None:
        """Note one figure of the closing line."""
        number = f"{value:.3g}" if value < 100 else f"{value:.0f}"
        self.figures[name] = f"{number} {unit}".rstrip()
        self.data[name] = value

    def judge(self, target: str, *, met: bool) -> None:
        """Note the target, and whether it was met."""
        self.target, self.met = target, met

    def line(self) -> str:
        """The closing line."""
        figures = " ".join(f"{name}={value}" for name, value in self.figures.items())
        verdict = "met" if self.met else "missed"
        return f"{self.name}: {figures} target={self.target} {verdict}"

    def save(self, folder: Path) -> None:
        """Write everything to <folder>/<name>.json."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(
            json.dumps(
                {
                    "name": self.name,
                    "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
                    "machine": {
                        "processor": platform.processor() or platform.machine(),
                        "cores": os.cpu_count(),
                        "python": platform.python_version(),
                    },
                    "repeat": self.repeat,
                    "model": self.model,
                    "device": self.device,
                    "target": self.target,
                    "met": self.met,
                    **self.data,
                },
                indent=2,
            )
            + "\n",
            encoding="utf-8",
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(values: Sequence[float]) -> float:
    """The median of seconds, in milliseconds."""
    return statistics.median(values) * 1000
