"""Real worker processes on the test database and a broker of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection

from tests.support.engines import GATE_VARIABLE
from tests.support.waiting import patient, wait_for
from transcription.models import WorkerSlot
from whisperhub.queues import CALLBACKS, PREPARE, queue_names
from workers.readiness import READY_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
SLOT = "tests"
START_SECONDS = 90.0
STOP_SECONDS = patient(30.0)


class Worker:
    """One process; its output is in a file, and it never outlives the test run."""

    def __init__(
        self, command: list[str], environment: dict[str, str], log: Path
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                # Ends it when this process dies, however that comes.
                [sys.executable, "-m", "workers.leash", "--", sys.executable, *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def said(self) -> str:
        """The end of its output, for the message of a test that failed."""
        return f"\n{self.log.read_text(errors='replace')[-2000:]}\n"

    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End it and its children as a crash would."""
        if self.is_running():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Ask it to stop and wait; it is killed if it does not."""
        if self.is_running():
            self.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"It did not stop: {self.said()}") from None


class Fleet:
    """A media worker and a dispatcher, and an inference worker when one is wanted.

    Attributes:
        media_root: where these processes expect media.
        broker_url: where they listen for hints.
    """

    def __init__(self, folder: Path, broker_url: str) -> None:
        self.folder = folder
        self.media_root = folder / "media"
        self.broker_url = broker_url
        self._gate = folder / "hold"
        (self.media_root / "incoming").mkdir(parents=True)
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.support.process_settings",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "default",
            "TESTS_DATABASE_NAME": str(connection.settings_dict["NAME"]),
            GATE_VARIABLE: str(folder),
            "WHISPERHUB_MEDIA_DIR": str(self.media_root),
            "WHISPERHUB_BROKER_URL": broker_url,
            # The lease of a killed deliverer is out within seconds.
            "WHISPERHUB_CALLBACK_SECONDS": "2",
            "WHISPERHUB_CALLBACK_DELAYS": "0.1,0.1,0.1",
        }
        self._steady: list[Worker] = []
        self._inference: Worker | None = None

    # --- The steady ones -------------------------------------------------------------

    def start(self) -> None:
        ready = self.folder / "media.ready"
        media = self._launch(
            "media",
            *("-m", "celery", "-A", "whisperhub", "worker", "-n", "media@tests"),
            *("-Q", ",".join(queue_names(PREPARE)), "-P", "prefork", "-c", "1"),
            *("--include", "workers.readiness", "--without-gossip"),
            "--without-mingle",
            **{READY_VARIABLE: str(ready)},
        )
        dispatcher = self._launch("dispatcher", "manage.py", "rundispatcher")
        self._steady = [media, dispatcher]
        wait_for(ready.exists, seconds=START_SECONDS, named=media.said)

    def stop(self) -> None:
        workers = [*self._steady, *([self._inference] if self._inference else [])]
        for worker in workers:
            if worker.is_running():
                worker.terminate()
        for worker in workers:
            worker.kill()

    # --- The inference worker --------------------------------------------------------

    @property
    def inference(self) -> Worker:
        assert self._inference is not None
        return self._inference

    def slot(self, plan: str, name: str = "inference") -> Worker:
        """Start a process for a slot."""
        return self._launch(name, "manage.py", "runslot", plan)

    def deliverer(self, name: str, *, threads: int = 2, **variables: str) -> Worker:
        """Start a process that sends callbacks."""
        return self._launch(
            name,
            *("-m", "celery", "-A", "whisperhub", "worker", "-n", f"{name}@tests"),
            *("-Q", CALLBACKS, "-P", "threads", "-c", str(threads)),
            *("--without-gossip", "--without-mingle"),
            **variables,
        )

    def ensure_inference(self) -> None:
        """Have one inference worker running and ready."""
        if self._inference is not None and self._inference.is_running():
            return
        WorkerSlot.objects.all().delete()
        worker = self._inference = self.slot(f"{SLOT}=cpu=demo")
        ready = WorkerSlot.objects.filter(state=WorkerSlot.State.READY)

        def is_ready() -> bool:
            assert worker.is_running(), worker.said()
            return ready.exists()

        wait_for(is_ready, seconds=START_SECONDS, named=worker.said)

    def ensure_no_inference(self) -> None:
        """Have no inference worker running."""
        if self._inference is not None:
            self._inference.stop()
            self._inference = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every job inside the engine for the length of the block."""
        self._gate.touch()
        try:
            yield
        finally:
            self._gate.unlink()

    @contextmanager
    def media_frozen(self) -> Iterator[None]:
        """Stop the media worker for the length of the block."""
        media, _ = self._steady
        os.killpg(media.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(media.process.pid, signal.SIGCONT)

    @contextmanager
    def stuck(self) -> Iterator[Path]:
        """Have no model call with a prompt return, for the length of the block.

        Gives a path that exists as soon as there is such a call.
        """
        folder = self.folder / "stuck"
        folder.mkdir()
        try:
            yield folder / "call"
        finally:
            shutil.rmtree(folder)

    def said(self) -> str:
        """The end of what each process wrote."""
        workers = [*self._steady, *([self._inference] if self._inference else [])]
        return "".join(worker.said() for worker in workers)

    def _launch(self, name: str, *command: str, **variables: str) -> Worker:
        return Worker(
            list(command),
            {**self.environment, **variables},
            Path(settings.DATA_DIR) / f"{name}.log",
        )
