"""Training windows composed out of single clips.

A window is up to 30 s of one language: several sentences with pauses, noise and gain,
the last one perhaps cut off by the end of the window, after the text of an earlier one
as prompt, with or without timestamps, transcribed or translated to English.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from whisper.tokenizer import get_tokenizer

from tools.demo_model.grammar import LANGUAGES, Sentence

RATE = 16_000  # samples per second
STAMPS = 1501  # timestamp tokens: 0.00 s to 30.00 s
STAMP_SECONDS = 0.02  # also the length of one encoder frame
VOCABULARY = 51_865
UNKNOWN = -1  # a token of a prompt that the model has no embedding for
NOT_LEARNT = -100
PROMPT_TOKENS = 223  # half the text context, less one, as both engines cut it
# Sequences end here; what a window says beyond it is not learnt.
MAX_TOKENS = 440

tokens = get_tokenizer(True, num_languages=99, language="en", task="transcribe")
FIRST_STAMP: int = tokens.timestamp_begin

Samples = NDArray[np.float32]


def encode_text(text: str) -> list[int]:
    """Token ids as Whisper writes them: a leading space, but none before Chinese."""
    ids: list[int] = tokens.encode(text if is_chinese(text) else " " + text)
    return ids


def is_chinese(text: str) -> bool:
    """Whether the text begins with a Chinese character."""
    return "\u4e00" <= text[0] <= "\u9fff"


def stamp(seconds: float) -> int:
    """The timestamp token nearest to a time inside a window."""
    return FIRST_STAMP + min(STAMPS - 1, max(0, round(seconds / STAMP_SECONDS)))


@dataclass(frozen=True)
class Clip:
    """One spoken sentence inside a sound file written by synthesise.py."""

    first_sample: int
    n_samples: int
    language: str
    texts: Sentence

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self.n_samples / RATE


class ClipSet:
    """The clips of one or more runs of synthesise.py; sound stays on disk."""

    def __init__(self, names: list[Path]) -> None:
        self.clips: list[tuple[int, Clip]] = []
        self._sounds: list[NDArray[np.int16]] = []
        for number, name in enumerate(names):
            self._sounds.append(np.load(f"{name}.npy", mmap_mode="r"))
            rows = json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))
            self.clips += [(number, Clip(*row)) for row in rows]
        self.by_language = {
            language: [
                i for i, (_, c) in enumerate(self.clips) if c.language == language
            ]
            for language in LANGUAGES
        }

    def clip(self, i: int) -> Clip:
        """The description of clip i."""
        return self.clips[i][1]

    def samples(self, i: int) -> Samples:
        """The sound of clip i, in [-1, 1]."""
        number, clip = self.clips[i]
        last = clip.first_sample + clip.n_samples
        sound = self._sounds[number][clip.first_sample : last]
        return sound.astype(np.float32) / np.float32(32768)


def used_tokens(sentences: list[Sentence]) -> tuple[list[int], list[int]]:
    """Token ids the model can hear or write.

    Returns:
        All ids, and the ids of text among them; both sorted.
    """
    text = {t for texts in sentences for s in texts.values() for t in encode_text(s)}
    text |= set(tokens.encode(" "))
    control = {
        tokens.sot,
        tokens.eot,
        tokens.transcribe,
        tokens.translate,
        tokens.sot_prev,
        tokens.no_speech,
        tokens.no_timestamps,
    }
    languages = {tokens.to_language_token(language) for language in LANGUAGES}
    stamps = set(range(FIRST_STAMP, FIRST_STAMP + STAMPS))
    return sorted(text | control | languages | stamps), sorted(text)


@dataclass
class Window:
    """One example: what is heard, what is written, and where each token was heard."""

    samples: Samples
    offset_frames: int
    sequence: list[int]
    target: list[int]
    spoken: list[int]
    # Per target position, seconds inside the samples between which its sound lies.
    spans: list[tuple[float, float] | None]
    # Samples from which nothing follows but padding.
    padded_from: int | None = None


@dataclass
class _Said:
    start: float
    end: float
    texts: Sentence


@dataclass
class Composer:
    """Draws windows; two composers with the same clips and seed draw the same ones."""

    clips: ClipSet
    seed: int
    random: random.Random = field(init=False)
    noise: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.noise = np.random.default_rng(self.seed)

    def window(self, seconds: float, most: int) -> Window:
        """Compose one window of this length with at most this many sentences."""
        r = self.random
        language = r.choice(LANGUAGES)
        samples, said, cut = self._sound(language, seconds, most)
        # A short window may stand anywhere in the 30 s: this teaches late timestamps
        # at the price of a short window.
        room = int((30 - seconds) / STAMP_SECONDS)
        offset = r.randrange(room + 1) if room and r.random() < 0.5 else 0
        translate = language != "en" and r.random() < 0.3
        window = self._text(language, said, cut, translate, offset)
        end = int((said[-1].end if said else 0) * RATE)
        if cut is None and r.random() < 0.4:
            quiet = len(samples) - end
            window.padded_from = end + int(r.random() ** 2 * quiet)
            samples[window.padded_from :] = 0
        window.samples = samples
        return window

    def _sound(
        self, language: str, seconds: float, most: int
    ) -> tuple[Samples, list[_Said], float | None]:
        """Sentences with pauses; the start of a last one that did not fit, or None."""
        r, n = self.random, int(seconds * RATE)
        samples = np.zeros(n, np.float32)
        said: list[_Said] = []
        cut = None
        position = r.choice([0.0, 0.0, r.random(), r.random() * 0.3])
        # Half of the windows are full, as they are in the middle of a recording.
        count = 99 if r.random() < 0.5 else r.randint(1, most)
        pause_scale = r.choice([0.3, 1.0, 2.0])
        level = r.uniform(-6, 0)
        for _ in range(0 if r.random() < 0.07 else count):
            i = r.choice(self.clips.by_language[language])
            sound = self.clips.samples(i) * 10 ** ((level + r.uniform(-2, 2)) / 20)
            start = int(position * RATE)
            if start + len(sound) > n - 320:
                rest = n - start
                if said and rest > 1600:
                    samples[start : start + len(sound)] = sound[:rest]
                    cut = start / RATE
                break
            samples[start : start + len(sound)] += sound
            end = start + len(sound)
            said.append(_Said(start / RATE, end / RATE, self.clips.clip(i).texts))
            pause = r.choice([0.15, 0.3, 0.5, pause_scale * r.random()])
            position = end / RATE + pause
        self._add_noise(samples, int((said[-1].end if said else seconds) * RATE))
        gain = 10 ** (r.uniform(-18, 3) / 20)
        return np.clip(samples * gain, -1, 1), said, cut

    def _add_noise(self, samples: Samples, speech_end: int) -> None:
        r, n = self.random, len(samples)
        if r.random() < 0.4:
            return
        noise = self.noise.standard_normal(n, dtype=np.float32)
        if r.random() < 0.5:  # brown noise
            noise = np.cumsum(noise)
            noise = (noise - noise.mean()) / (np.abs(noise).max() + 1e-6)
        loudness = float(np.sqrt((samples**2).mean()))
        # Noise alone may be as loud as speech, noise under speech is quieter.
        level = (loudness or 0.5) * 10 ** (-r.uniform(12, 50) / 20)
        end = n if r.random() < 0.5 else speech_end
        samples[:end] += noise[:end] * level

    def _prompt(self, language: str, written: str) -> list[int]:
        """The end of an earlier window, as the engines hand it on, or nothing."""
        r = self.random
        if r.random() < 0.6:
            return []
        ids: list[int] = []
        position, timed = 0.0, r.random() < 0.6
        for _ in range(r.randint(1, 12)):
            clip = self.clips.clip(r.choice(self.clips.by_language[language]))
            text = encode_text(clip.texts[written])
            if timed:
                text = [stamp(position), *text, stamp(position + clip.seconds)]
                position += clip.seconds + r.random()
            ids += text
        if r.random() < 0.15:
            ids = [UNKNOWN if r.random() < 0.7 else token for token in ids]
        return [tokens.sot_prev, *ids[-PROMPT_TOKENS:]]

    def _text(
        self,
        language: str,
        said: list[_Said],
        cut: float | None,
        translate: bool,
        offset: int,
    ) -> Window:
        r = self.random
        written, timed = ("en" if translate else language), r.random() < 0.7
        task = tokens.translate if translate else tokens.transcribe
        language_token = tokens.to_language_token(language)
        sequence = self._prompt(language, written)
        at_sot = len(sequence)
        sequence += [tokens.sot, language_token, task]
        sequence += [] if timed else [tokens.no_timestamps]
        given = len(sequence)
        spans: list[tuple[float, float] | None] = [None] * (given - 1)
        shift = offset * STAMP_SECONDS
        for sentence in said:
            ids = encode_text(sentence.texts[written])
            heard = token_spans(ids, sentence.start, sentence.end, exact=not translate)
            if timed:
                ids = [stamp(sentence.start + shift), *ids, stamp(sentence.end + shift)]
                at_start = (sentence.start - 0.1, sentence.start + 0.2)
                heard = [at_start, *heard, (sentence.end - 0.2, sentence.end + 0.1)]
            if len(sequence) + len(ids) > MAX_TOKENS:
                break
            sequence += ids
            spans += heard
        else:
            if timed and (cut is not None or not said):
                sequence.append(stamp((cut or 0) + shift))
                spans.append(None)
            sequence.append(tokens.eot)
            spans.append(None)
        target = [NOT_LEARNT] * (len(sequence) - 1)
        target[at_sot] = language_token if said else tokens.no_speech
        target[given - 1 :] = sequence[given:]
        spoken = [t for s in said for t in encode_text(s.texts[language])]
        return Window(np.empty(0, np.float32), offset, sequence, target, spoken, spans)


def token_spans(
    ids: list[int], start: float, end: float, *, exact: bool
) -> list[tuple[float, float] | None]:
    """Where each token of a sentence is heard, in seconds.

    Speech is taken to run evenly through the bytes of the text, which is right to
    about a third of a second; a translation (not exact) is only inside its sentence.
    """
    if not exact:
        return [(start - 0.1, end + 0.1)] * len(ids)
    sizes = [len(tokens.encoding.decode_single_token_bytes(t)) for t in ids]
    middles = (np.cumsum(sizes) - np.array(sizes) / 2) / sum(sizes)
    reach = 0.1 + 0.12 * (end - start)
    times = start + middles * (end - start)
    return [(max(start - 0.1, t - reach), min(end + 0.1, t + reach)) for t in times]
