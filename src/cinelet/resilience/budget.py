"""How much repeating a provider is worth: where all of it fails, repeating each request would only add to its load."""

from __future__ import annotations

import threading

RETRY_TOKENS = 5
NO_ANSWER_TOKENS = 10
"""The price of a retry where the host did not even answer."""
SUCCESS_TOKENS = 1
"""What a success without a retry earns."""
MAX_KEYS = 10_000
"""Users name hosts, so their number must not be theirs to choose; the one not used for longest is forgotten."""


class RetryBudgets:
    """A bucket of tokens for each provider: a retry takes some, a success gives some back. Safe from any thread.

    The numbers are those of the standard retry mode of the AWS SDKs: with 500 tokens, 100 retries in a row.
    """

    def __init__(self, *, tokens: int = 500) -> None:
        self._capacity = tokens
        self._left: dict[str, int] = {}
        self._lock = threading.Lock()

    def left(self, key: str) -> int:
        """Return the tokens that are left."""
        return self._left.get(key, self._capacity)

    def take(self, key: str, tokens: int) -> bool:
        """Take tokens for a retry and tell whether there were enough; if not, none are taken."""
        with self._lock:
            left = self.left(key)
            if left < tokens:
                return False
            self._put(key, left - tokens)
            return True

    def give(self, key: str, tokens: int) -> None:
        """Put tokens back after a success, up to the bucket's size."""
        with self._lock:
            self._put(key, self.left(key) + tokens)

    def _put(self, key: str, tokens: int) -> None:
        self._left.pop(key, None)
        if tokens < self._capacity:
            self._left[key] = tokens
        if len(self._left) > MAX_KEYS:
            del self._left[next(iter(self._left))]
