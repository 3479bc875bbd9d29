"""Sends thousands of requests that the OpenAPI document allows, and that it forbids.

`python -m tests.fuzz --cases 10000 --seed 7` is `make fuzz CASES=10000 SEED=7`. A whole
service runs for it, on SQLite, in a temporary folder. The report, with a line of curl
for each request that failed, lies in the folder named by --out.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from tests.support.processes import ONE_OF_EACH, join_service

ROOT: Final = Path(__file__).resolve().parents[2]
CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")
# Examples and coverage come to so many cases, whatever is asked for.
SURE_CASES: Final = 2_500
# Cases that come of one more example for each operation, sequences of them included.
CASES_OF_EXAMPLE: Final = 60
LEAST_EXAMPLES: Final = 5
MAX_ROUNDS: Final = 20
ALL_PHASES: Final = "examples,coverage,fuzzing,stateful"
# Those that a new seed makes others of.
RANDOM_PHASES: Final = "fuzzing,stateful"


@dataclass
class Verdict:
    """What all rounds found.

    Attributes:
        cases: requests that were judged.
        operations: that they were sent to.
        failures: unlike failures of checks, and what stopped the fuzzer.
        server_errors: lines of the log about answers of 500 and above.
        tracebacks: from any process.
    """

    cases: int = 0
    operations: int = 0
    failures: int = 0
    server_errors: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)

    def add(self, report: dict[str, Any]) -> None:
        """Count a round."""
        tested = report["operations"] or {}
        self.cases += report["test_cases"]["generated"]
        self.operations = max(self.operations, tested.get("tested", 0))
        self.failures += report["test_cases"]["unique_failures"]
        self.failures += sum(error["count"] for error in report["errors"])

    @property
    def is_good(self) -> bool:
        """Whether nothing was found."""
        return not (self.failures or self.server_errors or self.tracebacks)

    def line(self) -> str:
        """The last line of the run."""
        return (
            f"fuzz: cases={self.cases} operations={self.operations} "
            f"failures={self.failures} server_errors={len(self.server_errors)} "
            f"tracebacks={len(self.tracebacks)}"
        )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="at least so many")
    parser.add_argument("--seed", type=int, help="drawn and printed if left out")
    parser.add_argument("--out", type=Path, default=Path("var/fuzz"))
    return parser.parse_args(arguments)


def fuzz(
    address: str,
    environment: dict[str, str],
    *,
    seed: int,
    examples: int,
    phases: str,
    report: TextIO,
) -> dict[str, Any]:
    """Run schemathesis once; what it reports of itself.

    Raises:
        RuntimeError: it did not even start.
    """
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.json"
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(CONFIGURATION), "run", "--no-color"),
                *("--seed", str(seed), "--max-examples", str(examples)),
                *("--phases", phases),
                *("--report", "json", "--report-json-path", str(summary)),
                f"{address}/api/v1/schema/",
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                report.write(line)
        if not summary.exists():
            raise RuntimeError("schemathesis has left no report.")
        told: dict[str, Any] = json.loads(summary.read_text())
        return told


def run(folder: Path, *, cases: int, seed: int, out: Path) -> Verdict:
    """Run the service and the fuzzer until there were enough cases.

    Args:
        folder: of the service's data.
        cases: at least so many, unless the fuzzer knows no more.
        seed: of the first round; each further one has the next.
        out: the folder of the report.
    """
    from tests.fuzz.service import Neighbour, running_service

    verdict = Verdict()
    with ExitStack() as resources:
        neighbour = resources.enter_context(closing(Neighbour()))
        report = resources.enter_context(
            (out / f"{seed}.txt").open("w", encoding="utf-8")
        )
        variables = {
            "DJANGO_SETTINGS_MODULE": "tests.fuzz.settings",
            "WHISPERHUB_CPU_THREADS": "1",
            "WHISPERHUB_MIN_FREE_SPACE": "16MiB",
            "WHISPERHUB_OUTGOING_ALLOWED": "127.0.0.0/8",
            "WHISPERHUB_OUTGOING_PORTS": "1024-65535",
            "WHISPERHUB_LOG_TO_FILE": "true",
            "WHISPERHUB_LOG_LEVEL": "INFO",
            # Nothing is turned over: all of it is read at the end.
            "WHISPERHUB_LOG_FILE_SIZE": "1GiB",
        }
        service = resources.enter_context(running_service(folder / "data", variables))
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "FUZZ_SERVICE_URL": service.stack.url,
            "FUZZ_SERVICE_KEY": service.key,
            "FUZZ_KEY_ID": service.key_id,
            "FUZZ_MEDIA_URL": neighbour.origin,
        }
        before = service.megabytes()
        phases, sure = ALL_PHASES, SURE_CASES
        for number in range(MAX_ROUNDS):
            missing = cases - verdict.cases
            if missing <= 0:
                break
            told = fuzz(
                service.stack.url,
                environment,
                seed=seed + number,
                examples=max(LEAST_EXAMPLES, (missing - sure) // CASES_OF_EXAMPLE),
                phases=phases,
                report=report,
            )
            verdict.add(told)
            phases, sure = RANDOM_PHASES, 0
        after = service.megabytes()
        verdict.server_errors = service.server_errors()
        verdict.tracebacks = service.tracebacks()
        for line in [*verdict.server_errors, *verdict.tracebacks]:
            print(line)
            report.write(f"{line}\n")
        print(
            "fuzz: megabytes "
            + " ".join(
                f"{part}={before[part]:.0f}->{after[part]:.0f}" for part in after
            )
        )
    return verdict


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    chosen = parse(arguments)
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    print(f"fuzz: wanted={chosen.cases} seed={seed}", flush=True)
    # Processes and folders are tidied away then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    chosen.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    # Short: the path of the broker's socket lies below it.
    with tempfile.TemporaryDirectory(prefix="wh-fuzz-") as folder:
        join_service(Path(folder) / "data", **ONE_OF_EACH)
        verdict = run(Path(folder), cases=chosen.cases, seed=seed, out=chosen.out)
    print(f"fuzz: seconds={time.monotonic() - began:.0f} seed={seed}")
    print(verdict.line(), flush=True)
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
