"""Runs the tests on every database: all on SQLite, then again those that use one.

`python -m tools.test_matrix [--beside COMMAND] [pytest arguments]`; `make test` and CI
come here. Servers
come from tools/services.py; in CI each must be there, elsewhere a pass that cannot be
made is named and left out. The last line sums up all passes.

Each pass has several workers, each with a database, a data folder and a broker of its
own. A worker gets whole files, since the tests of a file share processes.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tools import services

TITLES: Final = {
    "sqlite": "SQLite",
    "mariadb": "MariaDB",
    "postgresql": "PostgreSQL",
}
COUNT: Final = re.compile(r"(\d+) (passed|failed|errors?)\b")
# pytest's last line: "=== 3 failed, 97 passed in 12.34s (0:01:02) ===".
SUMMARY: Final = re.compile(r"^=* ?.*\b(?:\d+ \w+|no tests ran).* in [\d.]+s\b.*$")
NOTHING_CHOSEN: Final = 5  # pytest's status when no test matched
# Beside the cores two that wait: tests wait for processes, leases and deadlines. Beyond
# the most, all others would wait for the longest file.
MOST_WORKERS: Final = 6


def cores() -> int:
    """How many cores this process may use.

    Not the function of workers/devices.py: its import would choose the settings of the
    service for all processes that are started here.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_count(cores: int) -> int:
    """How many processes run tests on a machine with so many cores."""
    return min(cores + 2, MOST_WORKERS)


def distribution(workers: int) -> list[str]:
    """The arguments that have pytest share its files among workers."""
    # tests/conftest.py has the order: the longest files come first.
    order = "--no-loadscope-reorder"
    return ["--numprocesses", str(workers), "--dist", "loadfile", order]


def pass_environment(ours: Mapping[str, str], url: str) -> dict[str, str]:
    """The environment of pytest and of all processes that tests start."""
    environment = {
        **ours,
        "WHISPERHUB_DATABASE_URL": url,
        # All workers must name the tests alike, also those with a set among their
        # parameters.
        "PYTHONHASHSEED": str(random.randrange(1, 2**32)),
    }
    # Hundreds of processes would compile all modules, each for itself.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


@dataclass(frozen=True)
class Pass:
    """One finished run of pytest on one database."""

    database: str
    summary: str
    passed: int
    failed: int

    @property
    def is_good(self) -> bool:
        """Whether nothing failed."""
        return self.failed == 0


def run_pass(database: str, url: str, arguments: Sequence[str]) -> Pass:
    """Run pytest on one database, its output going through to ours."""
    command = [
        *(sys.executable, "-m", "pytest"),
        # Of the service itself otherwise, where a variable says so.
        *("--ds", "tests.settings"),
        *distribution(worker_count(cores())),
        *arguments,
    ]
    if database != "sqlite":
        command += ["-p", "tests.database_passes"]
    print(f"\n##### Tests on {TITLES[database]}\n", flush=True)
    with subprocess.Popen(
        command,
        env=pass_environment(os.environ, url),
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            summary = _pass_through(process)
            status = process.wait()
        except SystemExit:
            process.terminate()
            raise
    return read_summary(database, summary, status)


def _pass_through(process: subprocess.Popen[str]) -> str:
    """Print what pytest prints; returns its last summary line."""
    summary = ""
    for line in process.stdout or ():
        print(line, end="", flush=True)
        if SUMMARY.match(line):
            summary = line.strip()
    return summary


def read_summary(database: str, summary: str, status: int) -> Pass:
    """Count what pytest's summary line says.

    A run that ended badly without naming a failure, such as one that was killed or
    could not collect, counts as one failure.
    """
    counts = {"passed": 0, "failed": 0}
    for number, word in COUNT.findall(summary):
        counts["passed" if word == "passed" else "failed"] += int(number)
    if status not in (0, NOTHING_CHOSEN) and not counts["failed"]:
        counts["failed"] = 1
    return Pass(
        database,
        summary or f"pytest ended with status {status}",
        counts["passed"],
        counts["failed"],
    )


@contextmanager
def beside(command: str) -> Iterator[Callable[[], bool]]:
    """Run a command during the block, if one is given.

    Gives a function that waits for its end, shows its output, and returns whether it
    went well.
    """
    if not command:
        yield lambda: True
        return
    with (
        tempfile.TemporaryFile("w+", errors="replace") as output,
        subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):

        def finish() -> bool:
            status = process.wait()
            output.seek(0)
            print(f"\n##### {command}\n\n{output.read()}", flush=True)
            return status == 0

        try:
            yield finish
        finally:
            process.terminate()


def run_all(arguments: Sequence[str], *, complete: bool, command: str = "") -> int:
    """Run every pass and print the sum; returns the exit status.

    Args:
        arguments: for pytest, in every pass.
        complete: whether a database that cannot be had is an error.
        command: another check, run beside the first pass.
    """
    # An empty URL is SQLite in the data folder of the test's settings.
    with beside(command) as finish:
        passes = [run_pass("sqlite", "", arguments)]
        is_other_good = finish()
    try:
        with services.running(required=complete, may_install=complete) as urls:
            passes += [run_pass(name, url, arguments) for name, url in urls.items()]
            missing = [name for name in services.KINDS if name not in urls]
    except services.ServiceError as error:
        print(error, flush=True)
        made = {done.database for done in passes}
        passes += [
            Pass(name, "could not be started", 0, 1)
            for name in services.KINDS
            if name not in made
        ]
        missing = []
    print_sum(passes, missing)
    if not is_other_good:
        print(f"{command} failed, see above")
    passed = sum(done.passed for done in passes)
    failed = sum(done.failed for done in passes)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if is_other_good and all(done.is_good for done in passes) else 1


def print_sum(passes: Sequence[Pass], missing: Sequence[str]) -> None:
    """Print a line for each database."""
    print()
    for done in passes:
        print(f"{TITLES[done.database] + ':':<12}{done.summary.strip('= ')}")
    for name in missing:
        print(f"{TITLES[name] + ':':<12}not run, the server is not installed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(
        prog="python -m tools.test_matrix",
        description=__doc__.partition("\n")[0],
        epilog="All other arguments go to pytest.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--beside",
        default="",
        metavar="COMMAND",
        help="another check, run beside the first pass",
    )
    chosen, given = parser.parse_known_args(arguments)
    return run_all(given, complete=services.is_ci(), command=chosen.beside)


if __name__ == "__main__":
    sys.exit(main())
