"""`make demo`: the whole service once through, as a client of its HTTP API."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import requests
from django.utils import timezone

from accounts.first_start import FirstCredentials, ensure_operator
from accounts.models import ApiKey
from transcription.accuracy import word_error_rate
from transcription.engines import demo_model, natural_speech
from whisperhub.console import progress_bar

POLL_SECONDS: Final = 0.2
REQUEST_SECONDS: Final = 60.0
KEY_LIFETIME: Final = timedelta(days=1)


class DemoError(Exception):
    """The demo cannot go on; a sentence for the person who started it."""


@dataclass(frozen=True)
class Recording:
    """One file to send.

    Attributes:
        reference: what is said in it, in `reference_language`; empty if unknown.
    """

    path: Path
    task_type: str = "transcribe"
    language: str = ""
    reference: str = ""
    reference_language: str = "en"


def sample_recordings() -> list[Recording]:
    """The bundled samples: English, Spanish, and Spanish translated to English."""
    samples = {sample.language: sample for sample in demo_model.samples()}
    english, spanish = samples["en"], samples["es"]
    return [
        Recording(english.path, reference=english.texts["en"]),
        Recording(spanish.path, reference=spanish.texts["es"], reference_language="es"),
        Recording(spanish.path, task_type="translate", reference=spanish.texts["en"]),
    ]


def natural_recording() -> list[Recording]:
    """The bundled recording of natural speech, for real models."""
    return [Recording(natural_speech.RECORDING, reference=natural_speech.reference())]


class Client:
    """Speaks to the service as any program would."""

    def __init__(self, url: str, api_key: str) -> None:
        """Connect to a running service."""
        self.url = url
        self.session = requests.Session()
        # What the user's environment says of proxies is not for this address.
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {api_key}"

    def get(self, address: str, **parameters: str) -> requests.Response:
        """GET an address of the service."""
        return self._checked(
            self.session.get(address, params=parameters, timeout=REQUEST_SECONDS)
        )

    def submit(self, recording: Recording, *, model: str) -> dict[str, Any]:
        """Upload a recording; returns the task."""
        with recording.path.open("rb") as file:
            answer = self.session.post(
                f"{self.url}/api/v1/tasks/",
                files={"file": (recording.path.name, file)},
                data={
                    "task_type": recording.task_type,
                    "language": recording.language,
                    "model": model,
                },
                timeout=REQUEST_SECONDS,
            )
        task: dict[str, Any] = self._checked(answer).json()
        return task

    def model_state(self, name: str) -> tuple[str, str]:
        """State of a served model and why it failed; empty if nobody knows it yet."""
        for model in self.get(f"{self.url}/api/v1/models/").json()["results"]:
            if model["name"] == name:
                return model["state"], model["message"]
        return "", ""

    @staticmethod
    def _checked(answer: requests.Response) -> requests.Response:
        if answer.status_code >= requests.codes.bad_request:
            problem = answer.json()
            raise DemoError(
                f"The service answered {problem['status']}: "
                f"{problem['detail']} ({problem['code']})"
            )
        return answer


class Progress:
    """One line that shows how far something is: redrawn on a terminal."""

    def __init__(self, label: str) -> None:
        """Show progress of something."""
        self.label = label
        self.shown = ""
        self.is_terminal = sys.stdout.isatty()

    def show(self, state: str, share: float | None = None) -> None:
        """Draw the line if it changed."""
        line = f"{self.label}: {state}"
        if share is not None:
            line += f" {progress_bar(share)}"
        if line == self.shown:
            return
        self.shown = line
        if self.is_terminal:
            sys.stdout.write(f"\r\033[K{line}")
        else:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def end(self) -> None:
        """Leave the line as it stands."""
        if self.is_terminal:
            sys.stdout.write("\n")


def say(text: str = "") -> None:
    """Print a line for the person at the console."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def announce(credentials: FirstCredentials | None) -> None:
    """Print what was made at the first start; it is not shown again."""
    if credentials is None:
        return
    say("Made at this first start, shown this once:")
    say(f"  admin user   {credentials.username}")
    say(f"  password     {credentials.password}")
    say(f"  API key      {credentials.api_key}")
    say()


@contextmanager
def temporary_key() -> Iterator[str]:
    """An API key of the operator's for the length of a demo."""
    operator, credentials = ensure_operator()
    announce(credentials)
    key, secret = ApiKey.issue(
        operator, "make demo", expires_at=timezone.now() + KEY_LIFETIME
    )
    try:
        yield secret
    finally:
        key.delete()


def run_demo(url: str, recordings: list[Recording], *, model: str) -> None:
    """Send recordings to a running service and print what comes back.

    Raises:
        DemoError: the model is not to be had, or a task failed.
    """
    with temporary_key() as api_key:
        client = Client(url, api_key)
        wait_for_model(client, model)
        for recording in recordings:
            transcribe(client, recording, model=model)


def wait_for_model(client: Client, model: str) -> None:
    """Wait until the model is served.

    Raises:
        DemoError: its slot says that it cannot be.
    """
    progress = Progress(f"model {model}")
    try:
        while True:
            state, message = client.model_state(model)
            progress.show(state or "starting")
            if state == "ready":
                return
            if state == "failed":
                raise DemoError(message)
            time.sleep(POLL_SECONDS)
    finally:
        progress.end()


def transcribe(client: Client, recording: Recording, *, model: str) -> None:
    """Send one recording, follow it, print text, segments and subtitles.

    Raises:
        DemoError: the task failed.
    """
    say()
    say(f"== {recording.path.name}, {recording.task_type}")
    task = client.submit(recording, model=model)
    progress = Progress(f"task {task['id'][:8]}")
    while task["status"] not in {"completed", "failed", "cancelled"}:
        progress.show(task["status"], task["progress"]["share"])
        time.sleep(POLL_SECONDS)
        task = client.get(task["links"]["self"]).json()
    progress.show(task["status"], task["progress"]["share"])
    progress.end()
    if task["status"] != "completed":
        error = task["error"] or {"code": task["status"], "message": ""}
        raise DemoError(f"The task {task['status']}: {error['message']}")
    result = client.get(task["links"]["result"]).json()
    subtitles = client.get(task["links"]["subtitles"], output_format="srt").text
    print_result(recording, task, result, subtitles)


def print_result(
    recording: Recording, task: dict[str, Any], result: dict[str, Any], subtitles: str
) -> None:
    """Print one result in full."""
    say()
    say(
        f"Text ({result['language']}, {result['duration']:.1f} s of audio, "
        f"{task['inference_seconds']:.2f} s of work on {result['model']['device']}):"
    )
    say(f"  {result['text']}")
    if recording.reference:
        rate = word_error_rate(
            recording.reference, result["text"], language=recording.reference_language
        )
        say(f"  word error rate {rate:.2f} against: {recording.reference}")
    say("Segments:")
    for segment in result["segments"]:
        say(f"  {segment['start']:7.2f} - {segment['end']:7.2f} {segment['text']}")
    say("SRT:")
    for line in subtitles.rstrip().splitlines():
        say(f"  {line}".rstrip())
    for notice in result["notices"]:
        say(f"Note: {notice['message']}")
