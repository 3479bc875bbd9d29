"""Times of segments and words on every way through the engines.

The scripted model says three sentences, up to 29.90 s, in every window: also in those
that are shorter.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.support.recordings import silence
from tools import scripted_model
from transcription.audio import SAMPLE_RATE
from transcription.engines import chunked
from transcription.engines.base import Segment, SilentListener, Transcription
from transcription.engines.faster_whisper import FasterWhisperEngine
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import parse_slot
from transcription.engines.speech import Span

CHUNKED = {"vad_filter": False}
WAYS = [
    CHUNKED,
    {"vad_filter": False, "batching": "off"},
    {"vad_filter": False, "condition_on_previous_text": True},
]


class Listener(SilentListener):
    """Notes what it hears while the job runs."""

    def __init__(self) -> None:
        self.heard: list[Segment] = []
        self.progress: list[float] = []

    def __call__(self, seconds_done: float) -> None:
        self.progress.append(seconds_done)

    def segments(self, segments: list[Segment]) -> None:
        self.heard.extend(segments)


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Iterator[FasterWhisperEngine]:
    folder = tmp_path_factory.mktemp("models") / "nano"
    scripted_model.build(folder, "nano")
    slot = parse_slot(f"cpu={folder}", 0, "faster-whisper")
    engine = FasterWhisperEngine(slot, model_dir=folder.parent, cpu_threads=1)
    engine.load()
    yield engine
    engine.unload()


def transcribe(
    engine: Any, seconds: float, *, listener: Any = None, **options: Any
) -> Transcription:
    given = {"language": "en", "temperature": (0.0,), "beam_size": 1, **options}
    heard: Transcription = engine.transcribe(
        silence(seconds), DecodeOptions(**given), listener or Listener()
    )
    return heard


def assert_apart(segments: list[Segment], duration: float) -> None:
    assert segments
    assert all(0 <= part.start <= part.end <= duration for part in segments)
    assert all(left.end <= right.start for left, right in pairwise(segments))
    words = [word for part in segments for word in part.words or ()]
    assert all(left.end <= right.start for left, right in pairwise(words))
    for part in segments:
        for word in part.words or ():
            assert part.start <= word.start <= word.end <= part.end


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("seconds", [0.3, 9.0, 41.0])
@pytest.mark.parametrize("words", [False, True])
def test_nothing_ends_after_the_recording(engine, options, seconds, words):
    listener = Listener()

    heard = transcribe(
        engine, seconds, listener=listener, word_timestamps=words, **options
    )

    assert_apart(heard.segments, heard.duration_seconds)
    assert listener.heard == heard.segments
    assert max(listener.progress) <= heard.duration_seconds


@pytest.mark.parametrize("batching", ["auto", "off"])
def test_nothing_ends_after_its_clip(engine, batching):
    heard = transcribe(
        engine, 60.0, clip_timestamps=(2.0, 7.0, 8.0, 20.0), batching=batching
    )

    assert_apart(heard.segments, 20.0)
    assert {part.seek for part in heard.segments} == {200, 800}
    for part in heard.segments:
        begin, end = (2.0, 7.0) if part.seek == 200 else (8.0, 20.0)
        assert begin <= part.start
        assert part.end <= end


def test_nothing_ends_after_its_chunk(engine, monkeypatch):
    samples_of_chunks = [(0, 8.0), (8.0, 16.5), (16.5, 20.0)]
    chunks = [
        Span(int(start * SAMPLE_RATE), int(end * SAMPLE_RATE))
        for start, end in samples_of_chunks
    ]
    monkeypatch.setattr(chunked, "plan_chunks", lambda *_, **__: (chunks, 20.0))

    heard = transcribe(engine, 20.0, vad_filter=False)

    assert_apart(heard.segments, 20.0)
    for start, end in samples_of_chunks:
        of_chunk = [part for part in heard.segments if part.seek == start * 100]
        assert len(of_chunk) == 3
        assert all(start <= part.start and part.end <= end for part in of_chunk)
