"""openai-whisper's own functions, bent to a service: the module that imports them.

`whisper.transcribe` stays as it is, but for one name: where it would compute the
spectrogram of the whole recording, it is handed one that is computed as it slices it.
That bounds the memory and tells where it is; hooks on the model stop it in between.
"""

from __future__ import annotations

import base64
import gzip
import logging
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
import whisper
from whisper.audio import HOP_LENGTH, N_FFT, N_FRAMES, mel_filters, pad_or_trim
from whisper.model import Conv1d, Linear
from whisper.timing import find_alignment
from whisper.tokenizer import LANGUAGES, get_tokenizer

from transcription.audio import SAMPLE_RATE
from transcription.engines.base import Progress
from transcription.errors import EngineError
from transcription.samples import Samples, to_float
from whisperhub.sentences import Sentence

logger = logging.getLogger(__name__)

FRAMES_PER_SECOND: Final[int] = SAMPLE_RATE // HOP_LENGTH  # seek counts in these
# Speech is at most so much softer than the loudest moment: powers of ten, 20 dB.
AUDIBLE: Final = 2.0
# A check costs a microsecond, what is behind it perhaps more.
CHECK_SECONDS: Final = 0.05
# The library looks again at a window it did not advance from, and may do so forever.
MAX_LOOKS_AT_ONE_WINDOW: Final = 10


class Watch:
    """Tells one job's caller how far it is, and lets the caller raise.

    Attributes:
        seconds_done: of the media; never falls.
        checked_at: when the library was last between two layers, by `time.monotonic`.
    """

    def __init__(self, on_progress: Progress) -> None:
        """Begin a job."""
        self.seconds_done = 0.0
        self.checked_at = time.monotonic()
        self._on_progress = on_progress
        self._next_check = 0.0
        self._window = (-1, 0)

    def check(self) -> None:
        """Report, unless that was done a moment ago; raises if the job is to stop."""
        now = self.checked_at = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            self._on_progress(self.seconds_done)

    def reach(self, frame: int) -> None:
        """Note that the window which begins at this frame is decoded next.

        Raises:
            EngineError: the library is caught in a loop.
        """
        before, looks = self._window
        self._window = (frame, looks + 1 if frame == before else 1)
        if self._window[1] > MAX_LOOKS_AT_ONE_WINDOW:
            raise EngineError(Sentence("The engine does not advance in this audio."))
        self.seconds_done = max(self.seconds_done, frame / FRAMES_PER_SECOND)
        self._next_check = 0.0
        self.check()


class Spectrogram:
    """What `log_mel_spectrogram` would return, computed window by window.

    It has the parts of a tensor that `whisper.transcribe` uses: the last of its shape,
    and slices of frames. A day of audio would be 15 GB at once. As in the library,
    30 s of silence follow the recording, and the loudest moment of all sets the scale.
    """

    def __init__(self, model: Any, samples: Samples, watch: Watch) -> None:
        """Listen to a recording once, for its loudest moment."""
        self._samples = samples
        self.shape = (model.dims.n_mels, self.content_frames + N_FRAMES)
        self._device = model.device
        self._watch = watch
        self._filters = mel_filters(model.device, model.dims.n_mels)
        self._hann = torch.hann_window(N_FFT).to(model.device)
        self._levels = self._measure()
        self._loudest = max(self._levels.max().item(), -10.0)

    @property
    def content_frames(self) -> int:
        """Frames without the silence at the end."""
        return len(self._samples) * FRAMES_PER_SECOND // SAMPLE_RATE

    def __getitem__(self, key: tuple[slice, slice]) -> torch.Tensor:
        """The window that is decoded next, shape (n_mels, n_frames)."""
        start, stop, _ = key[1].indices(self.shape[1])
        self._watch.reach(start)
        return self.window(start, stop)

    def window(self, start: int, stop: int) -> torch.Tensor:
        """Frames of the recording, shape (n_mels, stop - start)."""
        logarithm = self._logarithm(start, stop)
        return (torch.clamp(logarithm, min=self._loudest - 8.0) + 4.0) / 4.0

    def window_with_sound(self, start: int) -> torch.Tensor:
        """The first window from a frame on that does not begin with a long silence.

        It is the one that is decoded first, if that will do: it is encoded only once.
        """
        if start >= self.content_frames:
            start = 0
        loud = (self._levels[start:] > self._loudest - AUDIBLE).nonzero()
        silent_frames = int(loud[0]) if len(loud) else 0
        if silent_frames > N_FRAMES // 2:
            start += silent_frames
        return self.window(start, min(start + N_FRAMES, self.content_frames))

    def _measure(self) -> torch.Tensor:
        """How loud each frame is, in the units of the spectrogram."""
        # Some frames of the silence still touch the end of the recording.
        end = self.content_frames + N_FFT // HOP_LENGTH + 1
        levels: list[torch.Tensor] = []
        for start in range(0, end, N_FRAMES):
            self._watch.check()
            part = self._logarithm(start, min(start + N_FRAMES, end))
            levels.append(part.amax(dim=0).cpu())
        return torch.cat(levels)

    def _logarithm(self, start: int, stop: int) -> torch.Tensor:
        """As the library computes it, before it is scaled."""
        if stop <= start:
            return torch.empty(self.shape[0], 0, device=self._device)
        first, end = start * HOP_LENGTH - N_FFT // 2, stop * HOP_LENGTH + N_FFT // 2
        heard = torch.from_numpy(to_float(self._samples[max(first, 0) : end]))
        audio = torch.zeros(end - max(first, 0), device=self._device)
        audio[: len(heard)] = heard.to(self._device)
        if first < 0:
            # Frames are centred: the first reaches back over the mirrored beginning.
            audio = torch.cat([audio[1 : 1 - first].flip(0), audio])
        spectrum = torch.stft(
            audio,
            N_FFT,
            HOP_LENGTH,
            window=self._hann,
            center=False,
            return_complex=True,
        )
        power = self._filters @ spectrum[..., :-1].abs() ** 2
        return torch.clamp(power, min=1e-10).log10()


class EncoderMemo:
    """Stands in for an encoder's `forward` and remembers its last answer.

    The library encodes a window anew to detect its language, for each temperature and
    to align its words.
    """

    def __init__(self, forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Stand in for this function."""
        self._forward = forward
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, mel: torch.Tensor) -> torch.Tensor:
        """Encode a window."""
        if self._last is not None:
            known, encoded = self._last
            if known.dtype == mel.dtype and torch.equal(known, mel):
                return encoded
        encoded = self._forward(mel)
        self._last = (mel, encoded)
        return encoded

    def forget(self) -> None:
        """Let the memory go."""
        self._last = None


def prepare(model: Any, *, device: str, half: bool) -> Any:
    """Make a model loaded on the CPU ready for a service; returns it on its device."""
    model.eval().requires_grad_(False)
    if half:
        # Kept in single precision, weights would be cast anew at every step and take
        # twice the room. OpenAI's are stored in half precision: nothing is lost. Norms
        # are computed in single precision.
        for module in model.modules():
            if isinstance(module, (Linear, Conv1d, torch.nn.Embedding)):
                module.half()
    for block in model.decoder.blocks:
        block.cross_attn.qkv_attention = _same_batch(block.cross_attn.qkv_attention)
    model = model.to(device)
    model.encoder.forward = EncoderMemo(model.encoder.forward)
    return model


@contextmanager
def watched(model: Any, watch: Watch) -> Iterator[None]:
    """Check between any two layers, so that a job ends soon after it is to stop."""

    def check(*_: Any) -> None:
        watch.check()

    for block in (*model.encoder.blocks, *model.decoder.blocks):
        block.register_forward_pre_hook(check)
    try:
        yield
    finally:
        _forget_job(model)


def transcribe(model: Any, spectrogram: Spectrogram, **arguments: Any) -> Any:
    """Run `whisper.transcribe` on a spectrogram of ours."""
    function = whisper.transcribe
    changed = {
        "log_mel_spectrogram": lambda audio, *_, **__: audio,
        # What it has to say is for the log, not for standard error.
        "warnings": types.SimpleNamespace(warn=_log_warning),
    }
    own = types.FunctionType(
        function.__code__, {**function.__globals__, **changed}, function.__name__
    )
    own.__kwdefaults__ = function.__kwdefaults__
    return own(model, spectrogram, verbose=None, **arguments)


def language_probabilities(
    model: Any, mel: torch.Tensor, *, half: bool
) -> dict[str, float]:
    """The probability of each language in one window of at most 30 s."""
    window = pad_or_trim(mel, N_FRAMES).to(model.device)
    _, probabilities = model.detect_language(window.half() if half else window)
    return dict(probabilities)


def known_languages(model: Any) -> tuple[str, ...]:
    """The codes of the languages that a model has tokens for."""
    if not model.is_multilingual:
        return ("en",)
    return tuple(LANGUAGES)[: model.num_languages]


def align_as_official(model: Any, name: str) -> None:
    """Time words by the heads that OpenAI chose for its model of this name and size.

    A checkpoint does not say which they are; without them half the decoder is used.
    """
    heads = whisper._ALIGNMENT_HEADS.get(name)
    if heads is None:
        return
    n_heads = len(gzip.decompress(base64.b85decode(heads)))
    if n_heads == model.dims.n_text_layer * model.dims.n_text_head:
        model.set_alignment_heads(heads)


def time_a_word(model: Any, *, half: bool) -> None:
    """Run what finds the times of words: it is compiled when it is first called."""
    mel = torch.zeros(model.dims.n_mels, N_FRAMES, device=model.device)
    tokenizer = get_tokenizer(
        model.is_multilingual, num_languages=model.num_languages, language="en"
    )
    tokens = tokenizer.encode(" one two")
    find_alignment(model, tokenizer, tokens, mel.half() if half else mel, N_FRAMES)


def official_revision(name: str) -> str:
    """What the checksum of one of OpenAI's models begins with."""
    url: str = whisper._MODELS[name]
    return url.split("/")[-2][:12]


def _same_batch(attend: Callable[..., Any]) -> Callable[..., Any]:
    """Let several beams look at one recording as PyTorch's fast kernels want it.

    The library leaves keys and values at a batch of one, for which only a kernel many
    times slower is to be had. An expanded tensor takes no room.
    """

    def attend_expanded(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: Any
    ) -> Any:
        beams = q.shape[0]
        return attend(q, k.expand(beams, -1, -1), v.expand(beams, -1, -1), *rest)

    return attend_expanded


def _forget_job(model: Any) -> None:
    # A job that is stopped while words are aligned leaves the library's hooks behind,
    # at which the next job would fail. Between jobs the model has none.
    for module in model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    model.encoder.forward.forget()


def _log_warning(message: str, *_: Any) -> None:
    logger.debug("openai-whisper: %s", message)
