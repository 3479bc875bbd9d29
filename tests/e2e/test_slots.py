"""`manage.py runworkers` as a process: slots that come, go, break and are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.support.processes import is_alive
from tests.support.recordings import RECORDINGS, read_recording, to_wav
from tests.support.waiting import patient, wait_for
from tools import scripted_model
from transcription.accuracy import word_error_rate
from workers.inference import SLOT_TAKEN_STATUS
from workers.stack import Stack, free_port

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 90.0
# A process that has not grown by more than that for so long has started.
NO_GROWTH_BYTES = 2**20
SETTLED_SECONDS = 2.0


class Service:
    """A stack without inference, and a launcher beside it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.plan_file = folder / "slots.txt"
        self.log = folder / "launcher.log"
        self.plan_file.write_text("")
        self.log.touch()
        self.launcher: subprocess.Popen[bytes] | None = None
        self.session = requests.Session()
        self.environment = {
            **os.environ,
            **stack.environment,
            "WHISPERHUB_SLOTS_FILE": str(self.plan_file),
            "WHISPERHUB_HEARTBEAT_SECONDS": "0.3",
            "WHISPERHUB_CPU_THREADS": "1",
        }

    # --- Commands --------------------------------------------------------------------

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=patient(SECONDS),
            check=False,
        )

    def sign_in(self) -> None:
        made = self.manage(
            "shell",
            "-c",
            "from accounts.first_start import ensure_operator;"
            "print('key', ensure_operator()[1].api_key)",
        )
        key = made.stdout.rpartition("key ")[2].strip()
        assert key, made.stderr
        self.session.headers["Authorization"] = f"Bearer {key}"

    def launch(self, plan: str, **variables: str) -> None:
        """Start the launcher with this plan."""
        self.plan_file.write_text(plan)
        with self.log.open("wb") as output:
            self.launcher = subprocess.Popen(
                [sys.executable, "manage.py", "runworkers"],
                cwd=ROOT,
                env={**self.environment, **variables},
                stdout=output,
                stderr=output,
            )

    def replan(self, plan: str) -> None:
        """Change the plan of the running launcher."""
        assert self.launcher is not None
        self.plan_file.write_text(plan)
        self.launcher.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self.launcher is None:
            return
        family = self.family()
        self.launcher.terminate()
        self.launcher.wait(60)
        self.launcher = None
        assert not any(map(is_alive, family))

    def family(self) -> list[int]:
        assert self.launcher is not None
        parent = psutil.Process(self.launcher.pid)
        return [child.pid for child in parent.children(recursive=True)]

    def pid_of(self, slot: str) -> int | None:
        """The process of a slot, below its leash."""
        for pid in self.family():
            try:
                words = psutil.Process(pid).cmdline()
            except psutil.NoSuchProcess:
                continue
            if (
                len(words) > 3
                and words[-2] == "runslot"
                and words[-1].startswith(f"{slot}=")
                and words[1].endswith("manage.py")
            ):
                return pid
        return None

    # --- The API ---------------------------------------------------------------------

    def models(self) -> dict[str, dict[str, Any]]:
        answer = self.session.get(
            f"{self.stack.url}/api/v1/models/", timeout=patient(30)
        )
        assert answer.status_code == 200, answer.text
        return {model["name"]: model for model in answer.json()["results"]}

    def wait_for_state(self, model: str, state: str) -> Any:
        def look() -> Any:
            found = self.models().get(model, {})
            return found if found.get("state") == state else None

        return wait_for(look, seconds=SECONDS, named=self.said)

    def submit(self, **fields: Any) -> requests.Response:
        with RECORDINGS["en"].path.open("rb") as file:
            return self.session.post(
                f"{self.stack.url}/api/v1/tasks/",
                files={"file": file},
                data=fields,
                timeout=patient(30),
            )

    def wait_for_result(self, submitted: requests.Response) -> dict[str, Any]:
        assert submitted.ok, submitted.text
        links = submitted.json()["links"]

        def look() -> Any:
            task = self.session.get(links["self"], timeout=patient(30)).json()
            assert task["status"] not in ("failed", "cancelled"), task
            return task if task["status"] == "completed" else None

        wait_for(look, seconds=SECONDS, named=self.said)
        result: dict[str, Any] = self.session.get(
            links["result"], timeout=patient(30)
        ).json()
        return result

    def detect(self, content: bytes) -> requests.Response:
        return self.session.post(
            f"{self.stack.url}/api/v1/detect-language/",
            files={"file": ("a.wav", content)},
            timeout=patient(60),
        )

    def said(self) -> str:
        return "\n" + self.log.read_text(errors="replace")[-3000:] + "\n"


@pytest.fixture(scope="module")
def nano(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models") / "nano"
    scripted_model.build(folder, "nano", quantization="int8")
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("slots")
    stack = Stack(
        data_dir=folder / "data",
        port=free_port(),
        broker_url="",
        parts=["broker", "migrate", "web", "media", "dispatcher"],
    )
    with stack:
        service = Service(stack, folder)
        service.sign_in()
        yield service
        service.stop()
        service.session.close()


@pytest.fixture
def launch(service: Service) -> Iterator[Callable[..., None]]:
    service.stop()
    yield service.launch
    service.stop()


@pytest.fixture(scope="module", params=["one=cpu=demo"])
def plan_of_one(request: pytest.FixtureRequest) -> str:
    """A plan with one slot; as a parameter it has its tests follow each other."""
    return str(request.param)


@pytest.fixture
def launch_demo(service: Service, plan_of_one: str) -> None:
    """One slot, kept from test to test."""
    if service.launcher is None:
        service.launch(plan_of_one)
    service.wait_for_state("demo", "ready")


def test_two_slots_serve_their_models_and_survive_a_kill(service, nano, launch):
    launch(f"one=cpu=demo, two=cpu={nano}")
    service.wait_for_state("demo", "ready")
    served = service.wait_for_state("nano", "ready")
    assert served["slots"] == 1

    # By name.
    by_demo = service.submit(model="demo", language="en")
    by_nano = service.submit(model="nano", language="en")
    heard = service.wait_for_result(by_demo)
    assert word_error_rate(RECORDINGS["en"].texts["en"], heard["text"]) < 0.3
    assert heard["model"]["name"] == "demo"
    scripted = service.wait_for_result(by_nano)
    assert scripted["model"]["name"] == "nano"
    assert set(scripted["text"].split()) <= set(scripted_model.TEXT.split())

    # A name that nobody serves.
    refused = service.submit(model="large-v3")
    assert refused.status_code == 400
    assert refused.json()["code"] == "unknown_model"
    assert all(name in refused.json()["detail"] for name in ("demo", "nano"))

    # A kill: the launcher starts it again, and a job sent meanwhile is done.
    killed = service.pid_of("one")
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    meanwhile = service.submit(model="demo", language="en")
    assert service.wait_for_result(meanwhile)["model"]["name"] == "demo"
    assert service.pid_of("one") not in (None, killed)

    # A second launcher cannot have the same slots.
    second = service.manage("runslot", "one=cpu=demo")
    assert second.returncode == SLOT_TAKEN_STATUS
    assert "is served by process" in second.stderr
    assert "WHISPERHUB_SLOTS" in second.stderr


@pytest.mark.parametrize("language", sorted(RECORDINGS))
def test_a_language_is_told(service, launch_demo, language):
    answer = service.detect(to_wav(read_recording(language)))

    assert answer.status_code == 200, answer.text
    assert answer.json()["language"] == language
    assert answer.json()["language_probability"] > 0.5


def test_no_language_is_told_of_what_is_no_media(service, launch_demo):
    answer = service.detect(b"This is no sound.")

    assert answer.status_code == 409
    assert answer.json()["code"] == "invalid_media"


def test_a_result_is_had_again_without_work(service, launch_demo):
    first = service.wait_for_result(service.submit(model="demo", language="en"))

    again = service.submit(model="demo", language="en", reuse="true")
    heard = service.wait_for_result(again)

    shown = service.session.get(again.json()["links"]["self"], timeout=30).json()
    assert shown["reused_from"] == first["id"]
    assert (heard["text"], heard["segments"]) == (first["text"], first["segments"])
    assert heard["timings"]["inference"] is None
    assert shown["started_at"] is None


def test_a_cancelled_upload_can_start_again(service, launch_demo):
    service.stop()
    submitted = service.submit(model="demo", language="en").json()
    itself = submitted["links"]["self"]
    cancelled = service.session.post(f"{itself}cancel/", timeout=patient(30)).json()

    def waits() -> bool:
        shown = service.session.get(itself, timeout=patient(30)).json()
        return bool(shown["can_retry"] and shown["retry_until"])

    assert cancelled["status"] in ("cancelled", "preparing")
    wait_for(waits, seconds=SECONDS, named="the end")
    service.launch("one=cpu=demo")

    again = service.session.post(f"{itself}retry/", timeout=patient(30))

    assert again.status_code == 200, again.text
    assert service.wait_for_result(again)["text"]


def test_a_broken_model_fails_alone(service, tmp_path, launch):
    broken = tmp_path / "my-broken-model"
    broken.mkdir()
    (broken / "model.bin").write_bytes(b"\x06\x00\x00\x00nothing")

    launch(f"bad=cpu={broken}, good=cpu=demo")
    wait_for(lambda: service.pid_of("bad"), seconds=SECONDS, named=service.said)
    began = time.monotonic()
    failed = service.wait_for_state("my-broken-model", "failed")

    assert time.monotonic() - began < patient(10)
    assert str(tmp_path) not in failed["message"]
    assert failed["message"].endswith(".")
    assert "\n" not in failed["message"]
    assert failed["slots"] == 0
    service.wait_for_state("demo", "ready")
    assert service.wait_for_result(service.submit(model="demo"))["text"]


def test_the_plan_is_read_again_on_sighup(service, nano, launch):
    launch("one=cpu=demo")
    service.wait_for_state("demo", "ready")
    first = service.pid_of("one")

    # Added.
    service.replan(f"one=cpu=demo, two=cpu={nano}")
    service.wait_for_state("nano", "ready")
    assert service.pid_of("one") == first

    # Removed, and replaced by another model under the same name.
    (nano.parent / "other").symlink_to(nano)
    service.replan(f"two=cpu={nano.parent / 'other'}")
    service.wait_for_state("other", "ready")
    service.wait_for_state("demo", "stopped")
    wait_for(lambda: service.pid_of("one") is None, named=service.said)
    assert "nano" not in service.models()

    # A plan that cannot be read changes nothing.
    service.replan("nonsense")
    wait_for(lambda: "stays as it was" in service.said(), named=service.said)
    assert service.models()["other"]["state"] == "ready"


def test_a_slot_above_its_memory_is_recycled_without_losing_a_job(service, launch):
    # The first start on a machine unpacks the demo model, which takes memory once.
    launch("one=cpu=demo")
    service.wait_for_state("demo", "ready")
    service.stop()
    launch("one=cpu=demo")
    wait_for(lambda: "ready, demo on cpu" in service.log.read_text(), seconds=SECONDS)
    idle_bytes = settled_memory_of(service.pid_of("one"))
    service.wait_for_result(service.submit(model="demo"))
    grown_bytes = settled_memory_of(service.pid_of("one"))
    service.stop()

    limit = (idle_bytes + grown_bytes) // 2
    launch("one=cpu=demo", WHISPERHUB_SLOT_MEMORY_LIMIT=str(limit))
    service.wait_for_state("demo", "ready")
    first = service.pid_of("one")
    submitted = [service.submit(model="demo") for _ in range(3)]

    for task in submitted:
        assert service.wait_for_result(task)["text"]
    wait_for(
        lambda: service.pid_of("one") not in (None, first),
        seconds=SECONDS,
        named=service.said,
    )
    assert "WHISPERHUB_SLOT_MEMORY_LIMIT" in service.log.read_text()


def settled_memory_of(pid: int | None) -> int:
    """The memory of a process, once it does not grow any more: Celery starts late."""
    assert pid is not None
    process = psutil.Process(pid)
    found, since = 0, time.monotonic()

    def has_settled() -> bool:
        nonlocal found, since
        now = int(process.memory_info().rss)
        if now > found + NO_GROWTH_BYTES:
            found, since = now, time.monotonic()
        return time.monotonic() - since > SETTLED_SECONDS

    wait_for(has_settled, seconds=30, named="A process that does not grow")
    return found
