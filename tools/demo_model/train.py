"""Train the demo Whisper on synthetic speech, from scratch or from a checkpoint.

The data are what synthesise.py wrote. Two losses besides the usual one speed training
up and leave no trace in the checkpoint: CTC on the encoder, and, on a few heads, the
share of cross-attention that falls where the token was heard. Two CPU cores do about
70 s of sound per second in bfloat16; a GPU, which is used if there is one, far more.

The result is an openai-whisper checkpoint in half precision; beside it NAME.state holds
what is needed to go on (--start takes either).
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows)
from torch import Tensor
from whisper.audio import mel_filters
from whisper.model import ModelDimensions, Whisper, sinusoids

from tools.demo_model.windows import (
    FIRST_STAMP,
    NOT_LEARNT,
    STAMP_SECONDS,
    STAMPS,
    VOCABULARY,
    ClipSet,
    Composer,
    Window,
    tokens,
    used_tokens,
)

WIDTH = 192
HEADS = WIDTH // 64
LAYERS = 3
DIMS = ModelDimensions(
    80, 1500, WIDTH, HEADS, LAYERS, VOCABULARY, 448, WIDTH, HEADS, LAYERS
)
# Heads (layer, head) whose cross-attention is taught to look where the token is heard.
GUIDED_HEADS = ((1, 0), (2, 0))
CTC_WEIGHT = 0.3
GUIDE_WEIGHT = 0.3
# Standard deviation, first and last, in frames, of the timestamps that share a target.
FIRST_WIDTH, LAST_WIDTH = 4.0, 1.0
NEAR_FRAMES = 10
CTC_ALONE_STEPS = 100  # a new CTC layer learns before it may pull at the encoder
WARM_UP_STEPS = 50
STATE_SECONDS = 240  # between two writes of the state


@dataclass(frozen=True)
class WindowKind:
    """A length of window with what fits into it and how many go into a batch."""

    seconds: float
    most_sentences: int
    batch_size: int


KINDS = (WindowKind(7.0, 2, 16), WindowKind(15.0, 5, 8), WindowKind(30.0, 11, 4))


@dataclass
class Batch:
    """Windows of one kind as tensors; see Window for the fields."""

    mel: Tensor
    offsets: Tensor
    sequence: Tensor
    target: Tensor
    spans: Tensor
    spoken: list[list[int]]


class Features:
    """Log-mel features as Whisper computes them, for whole batches."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.filters = mel_filters(device, 80)
        self.hann = torch.hann_window(400, device=device)

    def __call__(self, windows: list[Window], rng: random.Random) -> Tensor:
        """Shape (batch, 80, frames of 10 ms)."""
        samples = torch.from_numpy(np.stack([w.samples for w in windows]))
        spectrum = torch.stft(
            samples.to(self.device), 400, 160, window=self.hann, return_complex=True
        )
        power = spectrum[..., :-1].abs() ** 2
        mel = (self.filters @ power).clamp(min=1e-10).log10()
        # The loudest point may lie elsewhere in the recording.
        louder = [rng.random() * 1.5 if rng.random() < 0.3 else 0.0 for _ in windows]
        top = mel.amax(dim=(1, 2)) + torch.tensor(louder, device=self.device)
        quiet = [rng.uniform(-2, 3) if not w.spoken else -9.0 for w in windows]
        top = torch.maximum(top, torch.tensor(quiet, device=self.device))
        mel = (torch.maximum(mel, top[:, None, None] - 8.0) + 4) / 4
        for row, window in enumerate(windows):
            # faster-whisper pads the features with zeros, openai-whisper the sound.
            if window.padded_from is not None and rng.random() < 0.6:
                mel[row, :, window.padded_from // 160 + 1 :] = 0
        return mel


def collate(windows: list[Window], features: Features, rng: random.Random) -> Batch:
    """Windows of the same length to tensors on the device of the features."""
    width = max(len(w.sequence) for w in windows)
    size = len(windows)
    sequence = torch.full((size, width), tokens.eot)
    target = torch.full((size, width - 1), NOT_LEARNT)
    spans = torch.full((size, width - 1, 2), -1.0)
    for i, w in enumerate(windows):
        sequence[i, : len(w.sequence)] = torch.tensor(w.sequence)
        target[i, : len(w.target)] = torch.tensor(w.target)
        spans[i, : len(w.spans)] = torch.tensor([s or (-1.0, -1.0) for s in w.spans])
    device = features.device
    return Batch(
        features(windows, rng),
        torch.tensor([w.offset_frames for w in windows], device=device),
        sequence.to(device),
        target.to(device),
        spans.to(device),
        [w.spoken for w in windows],
    )


def encode(model: Whisper, mel: Tensor, offsets: Tensor) -> Tensor:
    """The encoder on windows of any length that begin at the given frames."""
    e = model.encoder
    x = F.gelu(e.conv2(F.gelu(e.conv1(mel)))).permute(0, 2, 1)
    places = offsets[:, None] + torch.arange(x.shape[1], device=mel.device)
    x = x + e.positional_embedding[places].to(x.dtype)
    for block in e.blocks:
        x = block(x)
    encoded: Tensor = e.ln_post(x)
    return encoded


def decode(model: Whisper, embedded: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
    """The decoder on whole sequences.

    Returns:
        Last states, and attention of the guided heads: (heads, batch, token, frame).
    """
    d = model.decoder
    x = (embedded + d.positional_embedding[: embedded.shape[1]]).to(heard.dtype)
    looks = []
    for layer, block in enumerate(d.blocks):
        x = x + block.attn(block.attn_ln(x), mask=d.mask)[0]
        asking = block.cross_attn_ln(x)
        for head in (h for at, h in GUIDED_HEADS if at == layer):
            part = slice(head * 64, head * 64 + 64)
            query = block.cross_attn.query(asking)[..., part]
            key = block.cross_attn.key(heard)[..., part]
            looks.append((query @ key.transpose(1, 2) / 8).float().softmax(-1))
        x = x + block.cross_attn(asking, heard)[0]
        x = x + block.mlp(block.mlp_ln(x))
    return d.ln(x), torch.stack(looks)


class Trainer:
    """Model, losses and optimiser; the embedding holds only the rows in use."""

    def __init__(
        self, clips: ClipSet, device: torch.device, start: Path | None, rate: float
    ) -> None:
        self.device = device
        self.used, text = used_tokens([clip.texts for _, clip in clips.clips])
        # One more index than tokens in use: the zero row that stands for all others.
        self.compact = torch.full((VOCABULARY + 1,), len(self.used), device=device)
        self.compact[torch.tensor(self.used)] = torch.arange(
            len(self.used), device=device
        )
        self.ctc_id = {token: i + 1 for i, token in enumerate(text)}
        dims = ModelDimensions(**{**vars(DIMS), "n_vocab": len(self.used)})
        self.model = Whisper(dims).to(device)
        torch.nn.init.normal_(self.model.decoder.token_embedding.weight, std=0.02)
        torch.nn.init.normal_(self.model.decoder.positional_embedding, std=0.01)
        self.ctc = torch.nn.Linear(WIDTH, len(text) + 1).to(device)
        # The row of a timestamp is its own part plus a map of the encoder's position of
        # the same moment: what is learnt about one moment then helps at all others.
        self.positions = sinusoids(STAMPS, WIDTH).to(device)
        self.stamp_map = torch.nn.Linear(WIDTH, WIDTH, bias=False).to(device)
        torch.nn.init.zeros_(self.stamp_map.weight)
        self.ctc_alone_until = 0
        if start is not None:
            self._load(start)
        # The other tokens' rows are zero: so is each of their logits.
        self.unused = math.log(VOCABULARY - len(self.used))
        self.parameters: list[Tensor] = [
            *self.model.parameters(),
            *self.ctc.parameters(),
            *self.stamp_map.parameters(),
        ]
        self.rate = rate
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01
        )

    def _load(self, start: Path) -> None:
        saved = torch.load(start, map_location=self.device)
        if "model" in saved:
            self.model.load_state_dict(saved["model"])
            self.ctc.load_state_dict(saved["ctc"])
            self.stamp_map.load_state_dict(saved["stamp_map"])
            return
        weights = {k: v.float() for k, v in saved["model_state_dict"].items()}
        name = "decoder.token_embedding.weight"
        weights[name] = weights[name][torch.tensor(self.used, device=self.device)]
        self.model.load_state_dict(weights)
        self.ctc_alone_until = CTC_ALONE_STEPS

    def embedding(self) -> Tensor:
        """The rows in use; timestamps have the highest ids and come last."""
        rows: Tensor = self.model.decoder.token_embedding.weight
        stamps = rows[-STAMPS:] + self.stamp_map(self.positions)
        return torch.cat([rows[:-STAMPS], stamps])

    def loss(
        self, batch: Batch, step: int, done: float
    ) -> tuple[Tensor, dict[str, float]]:
        """The sum that is minimised, and its parts for the log."""
        weight = self.embedding()
        rows = torch.cat([weight, weight.new_zeros(1, WIDTH)])
        with torch.autocast(self.device.type, torch.bfloat16):
            heard = encode(self.model, batch.mel, batch.offsets)
            embedded = rows[self.compact[batch.sequence[:, :-1]]]
            states, looks = decode(self.model, embedded, heard)
            logits = (states @ weight.t()).float()
            alone = step < self.ctc_alone_until
            frames = self.ctc(heard.detach() if alone else heard)
        text_loss, stamp_loss = self._token_losses(logits, batch.target, done)
        guide_loss = self._guide_loss(looks, batch.spans)
        ctc_loss = self._ctc_loss(frames, batch.spoken)
        loss = (
            text_loss + stamp_loss + GUIDE_WEIGHT * guide_loss + CTC_WEIGHT * ctc_loss
        )
        parts = {
            "text": text_loss.item(),
            "stamp": stamp_loss.item(),
            "guide": guide_loss.item(),
            "ctc": ctc_loss.item(),
        }
        return loss, parts

    def _token_losses(
        self, logits: Tensor, target: Tensor, done: float
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of text and of timestamps, each per token that is learnt.

        A timestamp near the wanted one is nearly right: at first those within some
        frames share the target, in the end the nearest ones.
        """
        learnt = target >= 0
        timed = target >= FIRST_STAMP
        wanted = self.compact[target.clamp(min=0)].clamp(max=len(self.used) - 1)
        norm = torch.logsumexp(logits, -1)
        norm = torch.logaddexp(norm, torch.full_like(norm, self.unused))
        exact = norm - logits.gather(-1, wanted[..., None])[..., 0]
        near = torch.arange(-NEAR_FRAMES, NEAR_FRAMES + 1, device=self.device)
        width = FIRST_WIDTH + (LAST_WIDTH - FIRST_WIDTH) * done
        shares = torch.softmax(-0.5 * (near / width) ** 2, 0)
        first, last = len(self.used) - STAMPS, len(self.used) - 1
        ids = (wanted[timed][:, None] + near).clamp(first, last)
        scores = (logits[timed].gather(-1, ids) * shares).sum(-1)
        count = learnt.sum()
        text_loss = exact[learnt & ~timed].sum() / count
        return text_loss, (norm[timed] - scores).sum() / count

    def _guide_loss(self, looks: Tensor, spans: Tensor) -> Tensor:
        frames = torch.arange(looks.shape[-1], device=self.device) * STAMP_SECONDS
        inside = (frames >= spans[..., :1]) & (frames <= spans[..., 1:])
        mass = (looks * inside).sum(-1)
        known = spans[..., 1] > 0
        if not known.any():
            return looks.new_zeros(())
        return -(mass[:, known] + 1e-4).log().mean()

    def _ctc_loss(self, frames: Tensor, spoken: list[list[int]]) -> Tensor:
        labels = [self.ctc_id[token] for row in spoken for token in row]
        if not labels:
            return frames.new_zeros(()).float()
        lengths = torch.tensor([len(row) for row in spoken])
        scores = frames.float().log_softmax(-1).transpose(0, 1)
        sizes = torch.full((len(spoken),), scores.shape[0])
        return F.ctc_loss(
            scores,
            torch.tensor(labels, device=self.device),
            sizes,
            lengths,
            zero_infinity=True,
        )

    def step(self, batch: Batch, step: int, done: float) -> dict[str, float]:
        """One update; done is the share of the time that has passed, in [0, 1]."""
        cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))
        rate = self.rate * min(1, (step + 1) / WARM_UP_STEPS) * cosine
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, parts = self.loss(batch, step, done)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return parts | {"rate": rate}

    def save(self, out: Path) -> None:
        """Write the checkpoint and the state, each at once or not at all."""
        parts = {"model": self.model, "ctc": self.ctc, "stamp_map": self.stamp_map}
        state = {name: part.state_dict() for name, part in parts.items()}
        _save(state, Path(f"{out}.state"))
        weights = dict(self.model.state_dict())
        full = torch.zeros(VOCABULARY, WIDTH)
        name = "decoder.token_embedding.weight"
        full[torch.tensor(self.used)] = self.embedding().detach().cpu()
        weights[name] = full
        half = {name: value.cpu().half() for name, value in weights.items()}
        _save({"dims": vars(DIMS), "model_state_dict": half}, out)


def _save(content: dict[str, Any], path: Path) -> None:
    new = path.with_suffix(path.suffix + ".new")
    torch.save(content, new)
    new.replace(path)


def batches(
    composer: Composer,
    features: Features,
    shares: list[float],
    batch_factor: float,
    seed: int,
) -> Iterator[Batch]:
    """Batches without end, each composed while the one before it is learnt."""
    rng = random.Random(seed)

    def draw() -> Batch:
        kind = rng.choices(KINDS, shares)[0]
        windows = [
            composer.window(kind.seconds, kind.most_sentences)
            for _ in range(max(1, round(kind.batch_size * batch_factor)))
        ]
        return collate(windows, features, rng)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(draw)
        while True:
            batch, coming = coming.result(), pool.submit(draw)
            yield batch


def main() -> None:
    """Train for a given time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="checkpoint to write")
    parser.add_argument("data", type=Path, nargs="+", help="OUT of synthesise.py")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--start", type=Path, help="checkpoint or state to go on from")
    parser.add_argument(
        "--rate", type=float, default=8e-4, help="highest learning rate"
    )
    parser.add_argument(
        "--shares",
        type=float,
        nargs=3,
        default=[0.2, 0.2, 0.6],
        metavar="SHARE",
        help="shares of the batches with 7, 15 and 30 s windows",
    )
    parser.add_argument(
        "--batch-factor",
        type=float,
        default=1.0,
        help="multiplies the batch sizes: below 1 where steps are scarce",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clips = ClipSet(options.data)
    trainer = Trainer(clips, device, options.start, options.rate)
    source = batches(
        Composer(clips, options.seed),
        Features(device),
        options.shares,
        options.batch_factor,
        options.seed,
    )
    began = saved = time.monotonic()
    log: list[dict[str, float]] = []
    while (now := time.monotonic()) - began < options.minutes * 60:
        done = (now - began) / (options.minutes * 60)
        log.append(trainer.step(next(source), len(log), done))
        if len(log) % 50 == 0:
            means = {k: np.mean([row[k] for row in log[-50:]]) for k in log[-1]}
            values = ", ".join(f"{k} {v:.3g}" for k, v in means.items())
            print(f"{now - began:.0f} s, step {len(log)}: {values}", flush=True)
        if now - saved > STATE_SECONDS:
            trainer.save(options.out)
            saved = now
    trainer.save(options.out)


if __name__ == "__main__":
    main()
