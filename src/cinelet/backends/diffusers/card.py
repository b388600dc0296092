"""A model card: what a model's folder says about itself in `cinelet.json`, beyond what its configuration tells."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cinelet.domain.errors import ModelUnsupportedError
from cinelet.domain.request import Task
from cinelet.domain.result import Adjustment

CARD_NAME = "cinelet.json"
MAX_CARD_BYTES = 1_000_000
_PIECE = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]+")
"""A word, or what stands between words and is no space."""


class Signature(BaseModel):
    """What reading the pipeline's class tells: it takes PyTorch seconds to be there, and says the same each time.

    frames: multiple, offset and minimum of a frame count. size_multiple: pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[Task, ...]
    parameters: tuple[str, ...]
    frames: tuple[int, int, int]
    size_multiple: int


class ModelCard(BaseModel):
    """Data only; what is None or empty is taken from the family. Sizes are (width, height) in pixels.

    vocabulary: the only words that mean something to the model, by kind; empty for a model that knows any.
    filler_words: words that it has read and that change nothing. examples: prompts that it does well.
    max_frames: of one run; longer clips are continued from their last `continuation_frames`. signature: of a model that
    comes with the package, so that a process that only says what it can do need not load PyTorch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    license: str | None = None
    native_fps: float | None = Field(default=None, gt=0, le=120)
    default_size: tuple[int, int] | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    default_steps: int | None = Field(default=None, ge=1, le=100)
    default_guidance: float | None = Field(default=None, ge=0)
    max_frames: int | None = Field(default=None, ge=1)
    continuation_frames: int | None = Field(default=None, ge=1)
    vocabulary: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    filler_words: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    trained_samples: int | None = None
    signature: Signature | None = None

    def readable(self, prompt: str) -> tuple[str, Adjustment | None]:
        """Return the prompt in the words that the model knows, and the adjustment that lists the others.

        Case and punctuation do not matter; a plural counts as its singular. A model that knows any word gets the
        prompt as it is.
        """
        if not self.vocabulary:
            return prompt, None
        known = {word.lower() for words in (*self.vocabulary.values(), self.filler_words) for word in words}
        kept: list[str] = []
        unknown: dict[str, None] = {}
        for piece in _PIECE.findall(unicodedata.normalize("NFC", prompt)):
            word = piece.lower()
            if word in known:
                kept.append(word)
            elif word.removesuffix("s") in known:
                kept.append(word.removesuffix("s"))
            elif meant := _without_punctuation(piece):
                unknown[meant] = None
        text = " ".join(kept)
        if not unknown:
            return text, None
        drawable = "; ".join(f"{kind}: {', '.join(words)}" for kind, words in self.vocabulary.items())
        reason = f"the model does not know: {', '.join(unknown)}. It knows {drawable}"
        return text, Adjustment("prompt", ", ".join(unknown), text, reason)


def _without_punctuation(piece: str) -> str:
    """Return a word as it is, and of signs those that mean something, as an emoji does and a comma does not."""
    if piece[0].isalnum():
        return piece
    return "".join(character for character in piece if not unicodedata.category(character).startswith("P"))


def read_card(folder: Path) -> ModelCard:
    """Read the card of a model's folder; an empty one where there is none."""
    path = folder / CARD_NAME
    if not path.is_file():
        return ModelCard()
    if path.stat().st_size > MAX_CARD_BYTES:
        raise ModelUnsupportedError(f"{path} is larger than {MAX_CARD_BYTES:,} bytes; it is no model card", str(folder))
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ModelUnsupportedError(f"{path} is broken at {where}: {first['msg']}", str(folder)) from error
