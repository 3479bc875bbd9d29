"""Harms a service of its own at random under a steady load, and checks the books.

`python -m tests.chaos --minutes 10 --database sqlite --seed 7` is `make chaos`.
The same seed sends the same requests and pulls the same plugs. The log of what was done
and the books lie in the folder named by --out.
"""

from __future__ import annotations

import argparse
import random
import secrets
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.support.processes import ONE_OF_EACH, join_service
from tools import services

SQLITE: Final = "sqlite"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--database", choices=[SQLITE, *services.KINDS], default=SQLITE)
    parser.add_argument("--seed", type=int, help="drawn and printed if left out")
    parser.add_argument(
        "--pause", type=float, default=1.5, help="seconds between requests, on average"
    )
    parser.add_argument(
        "--settle", type=float, default=240.0, help="seconds until all must have ended"
    )
    parser.add_argument("--out", type=Path, default=Path("var/chaos"))
    parser.add_argument(
        "--flood",
        type=int,
        default=0,
        help="send so many clips while the broker is down, in place of the random run",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    chosen = parse(arguments)
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    print(
        f"chaos: database={chosen.database} minutes={chosen.minutes:g} seed={seed} "
        f"started={time.strftime('%Y-%m-%d %H:%M:%S')}",
        flush=True,
    )
    # Processes and folders are tidied away then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    chosen.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as resources:
        # Short: the path of the broker's socket lies below it.
        folder = Path(
            resources.enter_context(tempfile.TemporaryDirectory(prefix="wh-chaos-"))
        )
        server = None
        if chosen.database != SQLITE:
            server = services.KINDS[chosen.database].make()
            resources.callback(server.discard)
            server.start()
        # A flood is about one process of each kind, the random run about all there are.
        join_service(
            folder / "data",
            server.url if server else "",
            **(ONE_OF_EACH if chosen.flood else {}),
        )
        from tests.chaos import flood, run

        if chosen.flood:
            result = flood.run(
                folder, database_url=server.url if server else "", tasks=chosen.flood
            )
            print(result.line(), flush=True)
            return 0 if result.is_good else 1
        balance = run.run(
            folder,
            server,
            random.Random(seed),
            seconds=chosen.minutes * 60,
            pause_seconds=chosen.pause,
            settle_seconds=chosen.settle,
            out=chosen.out / f"{chosen.database}-{seed}",
        )
    for fault in balance.faults:
        print(fault)
    print(balance.line(), flush=True)
    return 0 if balance.is_even else 1


if __name__ == "__main__":
    sys.exit(main())
