"""Names that may be labels: as many as a process can keep apart, and `other` for all that come after.

Each value of a label is a series that Prometheus keeps, and what users name is theirs to choose.
"""

from __future__ import annotations

from cinelet.domain.errors import ValidationError
from cinelet.domain.model import ModelReference

OTHER = "other"
MAX_CHARACTERS = 120


class BoundedNames:
    """The first names that come, for what the program itself names."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def learn(self, name: str) -> None:
        """Admit a name, if there is room."""
        if len(self._known) < self._most:
            self._known.add(name)

    def knows(self, name: str) -> bool:
        """Tell whether a name was admitted."""
        return name in self._known

    def label(self, name: str) -> str:
        """Return the name, admitted if there is room."""
        self.learn(name)
        return self.label_of_known(name)

    def label_of_known(self, name: str) -> str:
        """Return the name if it was admitted before."""
        return name[:MAX_CHARACTERS] if name in self._known else OTHER


class ModelNames:
    """References of models: those that are configured, and those that did something here; any other is only asked for.

    A way to run a configured model, at one of the known providers, is admitted when it comes.
    """

    def __init__(self, most: int, *, providers: BoundedNames) -> None:
        self._references = BoundedNames(most)
        self._ids = BoundedNames(most)
        self._providers = providers

    def learn(self, model: str) -> None:
        """Admit a model, if there is room."""
        self._references.learn(_shown(model))
        if (parsed := _parsed(model)) is not None:
            self._ids.learn(parsed.name)

    def label(self, model: str) -> str:
        """Return how a model is called."""
        shown = _shown(model)
        if not self._references.knows(shown) and self._is_way_of_known(model):
            self._references.learn(shown)
        return self._references.label_of_known(shown)

    def _is_way_of_known(self, model: str) -> bool:
        parsed = _parsed(model)
        if parsed is None or not self._ids.knows(parsed.name):
            return False
        return parsed.url is None and (parsed.provider is None or self._providers.knows(parsed.provider))


def _shown(model: str) -> str:
    # An address may carry a key in its query.
    return model.partition("?")[0]


def _parsed(model: str) -> ModelReference | None:
    try:
        return ModelReference.parse(model)
    except ValidationError:
        return None
