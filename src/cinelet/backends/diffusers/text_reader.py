"""Processors of text and pictures, of which video pipelines use the half that reads text."""

from __future__ import annotations

from typing import Any

from cinelet.backends.diffusers.model_folder import ModelFolder

READ_TEXT = frozenset({"Qwen2VLProcessor", "Qwen2_5_VLProcessor"})


class TextReader:
    """A tokenizer that is called as such a processor is. Reads no pictures, and says so."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, *, text: Any, images: Any = None, videos: Any = None, **settings: Any) -> Any:
        """Return the tokens of a text."""
        if images is not None or videos is not None:
            raise ValueError("pictures are read with the package torchvision only")
        return self.tokenizer(text, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def text_readers(folder: ModelFolder) -> dict[str, TextReader]:
    """Return what stands in for the processors that transformers cannot make here, by component.

    Their pictures need torchvision, which has to fit PyTorch to the letter; a prompt does not.
    """
    import transformers
    from transformers.utils import is_torchvision_available

    if is_torchvision_available():
        return {}
    load: Any = transformers.AutoTokenizer
    return {
        name: TextReader(load.from_pretrained(folder.path / name, local_files_only=True))
        for name, (_, class_name) in folder.components.items()
        if class_name in READ_TEXT
    }
