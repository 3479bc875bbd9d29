"""The demo model in both engines: what it promises, on recordings it never heard."""

import multiprocessing
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from transcription.accuracy import word_error_rate
from transcription.engines import demo_model

RATE = 16_000
SAMPLES = {sample.language: sample for sample in demo_model.samples()}
LANGUAGES = sorted(SAMPLES)
INSTALL_WITHOUT_TORCH = """
import sys
from pathlib import Path

for name in ("torch", "whisper", "tiktoken", "transformers"):
    sys.modules[name] = None
from transcription.engines import demo_model

print(demo_model.ctranslate2_folder(Path(sys.argv[1])))
"""

pytestmark = [
    # openai-whisper leaves its token file to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]


def read_samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        data = file.readframes(file.getnframes())
    return np.frombuffer(data, np.int16).astype(np.float32) / 32768


@pytest.fixture(scope="module")
def faster(tmp_path_factory):
    faster_whisper = pytest.importorskip("faster_whisper")
    folder = demo_model.ctranslate2_folder(tmp_path_factory.mktemp("models"))
    return faster_whisper.WhisperModel(
        str(folder), device="cpu", compute_type="int8", cpu_threads=1
    )


@pytest.fixture(scope="module")
def openai(tmp_path_factory):
    whisper = pytest.importorskip("whisper")
    parent = tmp_path_factory.mktemp("models")
    path = demo_model.openai_checkpoint(parent)
    assert list(parent.iterdir()) == [path]
    assert demo_model.openai_checkpoint(parent) == path
    model = whisper.load_model(str(path), device="cpu")
    model.set_alignment_heads(demo_model.dump_alignment_heads())
    return model


def joined(segments, language: str) -> str:
    return ("" if language == "zh" else " ").join(s.strip() for s in segments)


@pytest.mark.parametrize("vad_filter", [False, True])
@pytest.mark.parametrize("language", LANGUAGES)
def test_faster_whisper_writes_the_samples(faster, language, vad_filter):
    sample = SAMPLES[language]

    found, info = faster.transcribe(str(sample.path), vad_filter=vad_filter)
    segments = list(found)

    text = joined([s.text for s in segments], language)
    assert word_error_rate(sample.texts[language], text, language=language) <= 0.10
    assert (info.language, info.language_probability > 0.9) == (language, True)
    starts = [s.start for s in segments]
    assert starts == sorted(starts)
    assert segments[-1].end <= sample.seconds + 0.1


@pytest.mark.parametrize("language", ["es"])
def test_faster_whisper_translates_the_samples(faster, language):
    sample = SAMPLES[language]

    segments, _ = faster.transcribe(str(sample.path), task="translate")

    text = joined([s.text for s in segments], "en")
    assert word_error_rate(sample.texts["en"], text, language="en") <= 0.2


@pytest.mark.parametrize("language", LANGUAGES)
def test_openai_whisper_writes_the_samples(openai, language):
    sample = SAMPLES[language]

    result = openai.transcribe(read_samples(sample.path), fp16=False)

    assert result["language"] == language
    assert (
        word_error_rate(sample.texts[language], result["text"], language=language)
        <= 0.10
    )


def test_openai_whisper_translates_the_spanish_sample(openai):
    sample = SAMPLES["es"]

    result = openai.transcribe(
        read_samples(sample.path), task="translate", language="es", fp16=False
    )

    assert word_error_rate(sample.texts["en"], result["text"], language="en") <= 0.2


def test_openai_whisper_aligns_with_the_chosen_heads(openai):
    heads = openai.alignment_heads.indices().T.tolist()

    assert [tuple(head) for head in heads] == sorted(demo_model.alignment_heads())


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_lie_in_order_inside_the_recording(faster, language):
    sample = SAMPLES[language]

    segments, _ = faster.transcribe(str(sample.path), word_timestamps=True)
    words = [word for segment in segments for word in segment.words]

    starts = [word.start for word in words]
    assert starts == sorted(starts)
    assert all(word.start <= word.end <= sample.seconds + 0.1 for word in words)
    assert any(word.end > word.start for word in words)


def test_nothing_is_written_on_silence(faster, openai):
    silence = np.zeros(10 * RATE, np.float32)

    segments, _ = faster.transcribe(silence, language="en")

    assert list(segments) == []
    # openai-whisper may keep an empty segment there.
    assert openai.transcribe(silence, language="en", fp16=False)["text"].strip() == ""


def test_nothing_is_written_on_noise(faster):
    noise = np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32)

    segments, _ = faster.transcribe(0.05 * noise, language="en")

    assert list(segments) == []


def test_recording_of_several_windows_is_written_to_its_end(faster):
    sample = SAMPLES["en"]
    times = int(65 / sample.seconds) + 1
    audio = np.tile(read_samples(sample.path), times)

    # As the service decodes, and without the draws of higher temperatures.
    found, _ = faster.transcribe(
        audio, temperature=0.0, condition_on_previous_text=False
    )
    segments = list(found)

    text = " ".join(s.text for s in segments)
    wanted = " ".join([sample.texts["en"]] * times)
    assert word_error_rate(wanted, text, language="en") <= 0.4
    assert segments[-1].end == pytest.approx(len(audio) / RATE, abs=3)


def test_checkpoint_needs_torch_and_says_so(tmp_path, monkeypatch):
    form = "transcription.engines.demo_model.openai_form"
    monkeypatch.delitem(sys.modules, form, raising=False)
    monkeypatch.delattr(demo_model, "openai_form", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(ImportError, match="torch"):
        demo_model.openai_checkpoint(tmp_path)

    assert list(tmp_path.iterdir()) == []


# --- Installed by processes ----------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_model.ctranslate2_folder(tmp_path_factory.mktemp("models"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_installs_without_torch_or_openai_whisper(tmp_path, installed):
    done = subprocess.run(
        [sys.executable, "-c", INSTALL_WITHOUT_TORCH, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )

    assert done.returncode == 0, done.stderr
    assert contents(Path(done.stdout.strip())) == contents(installed)


def test_processes_that_start_at_once_get_one_intact_folder(tmp_path, installed):
    spawn = multiprocessing.get_context("spawn")
    parent = tmp_path / "not" / "there"

    with spawn.Pool(2) as pool:
        folders = pool.map(demo_model.ctranslate2_folder, [parent] * 2, chunksize=1)

    assert folders[0] == folders[1]
    assert list(parent.iterdir()) == [folders[0]]
    assert contents(folders[0]) == contents(installed)
