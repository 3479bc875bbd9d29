"""`manage.py runstack` as a process of its own, as operators start it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import psutil
import pytest

from tests.support.processes import ONE_OF_EACH, operators_environment
from tests.support.waiting import patient
from workers.stack import free_port

ROOT = Path(__file__).resolve().parents[2]
# The parts that need no model.
PARTS = "broker,migrate,web,media,callbacks,dispatcher,flower"


class RunStack:
    """`manage.py runstack` on a data folder of its own."""

    def __init__(self, data_dir: Path, *, parts: str = PARTS, **variables: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.flower_port = free_port()
        self.parts = parts
        self.variables = variables
        self.process: subprocess.Popen[str] | None = None
        self.lines: list[str] = []

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "runstack", "--only", self.parts],
            cwd=ROOT,
            env=operators_environment(
                WHISPERHUB_DATA_DIR=str(self.data_dir),
                WHISPERHUB_PORT=str(self.port),
                WHISPERHUB_FLOWER_PORT=str(self.flower_port),
                # The receiver of callbacks.
                WHISPERHUB_OUTGOING_ALLOWED="127.0.0.0/8",
                WHISPERHUB_OUTGOING_PORTS="1024-65535",
                **ONE_OF_EACH,
                # Without a plan the best model that can be had would be fetched.
                **{"WHISPERHUB_SLOTS": "cpu=demo", **self.variables},
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if "Press Ctrl-C" in line:
                return
        raise AssertionError("\n".join(self.lines))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        """Of the operator; it was printed at the first start."""
        (key,) = re.findall(r"API key +(\S+)", "\n".join(self.lines))
        return str(key)

    def family(self) -> list[int]:
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        return [child.pid for child in parent.children(recursive=True)]

    def refused(self) -> str:
        """Start it where it cannot start; its last words."""
        with pytest.raises(AssertionError) as caught:
            self.start()
        self.end()
        assert self.process is not None
        assert self.process.returncode == 1
        return str(caught.value).splitlines()[-1]

    def end(self) -> str:
        """Wait for its end; what it still had to say."""
        assert self.process is not None
        rest, _ = self.process.communicate(timeout=patient(40))
        return rest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.end()
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
