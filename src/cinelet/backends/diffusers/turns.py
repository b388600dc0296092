"""Whose turn it is on a device: one run at a time, in which those that are alike and wait go together."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

CHECK_SECONDS = 0.05
"""How late a wait hears that it is to stop."""
GATHER_SECONDS = 0.05
"""How long the first of several that may come waits for the others, where they may go together."""

_Work = TypeVar("_Work")
_Result = TypeVar("_Result")
_Done = TypeVar("_Done")


@dataclass(eq=False)
class Turn(Generic[_Work, _Result]):
    """Work that waits, runs, or has ended. check: raises when its owner wants it no more."""

    work: _Work
    check: Callable[[], None]
    alike: Hashable | None
    errand: Callable[[], Any] | None = None
    """Something else that is to be done in the thread of the device, where it is no run."""
    left: bool = False
    """Whether its owner has gone, and nobody takes the result."""
    ended: bool = False
    result: Any = None
    error: BaseException | None = None
    company: list[Turn[_Work, _Result]] = field(default_factory=list)
    """All that run with it, itself among them."""
    variables: contextvars.Context = field(default_factory=contextvars.copy_context)

    def has_ended(self) -> bool:
        """Tell whether there is a result or an error."""
        return self.ended

    def is_alone(self) -> bool:
        """Tell whether nobody else waits for the run that this is in."""
        return all(turn is self or turn.left for turn in self.company)


class Turns(Generic[_Work, _Result]):
    """Runs work in one thread, in the order in which it comes.

    run: does the work of a turn and of those that it takes from `others`, and ends each with `end`. most: how many may
    run together; 1 for no company.
    """

    def __init__(self, run: Callable[[Turn[_Work, _Result]], None], *, most: int) -> None:
        self.most = most
        self._run = run
        self._changed = threading.Condition()
        self._waiting: deque[Turn[_Work, _Result]] = deque()
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cinelet-device")

    def take(self, work: _Work, *, check: Callable[[], None], alike: Hashable | None = None) -> _Result:
        """Wait for a turn and its end, and return its result; raises what it raised, or what `check` does.

        alike: work that is equal in this may run together; None for none.
        """
        result: _Result = self._ended(Turn(work, check, alike))
        return result

    def _ended(self, turn: Turn[Any, Any]) -> Any:
        """Put a turn behind those that wait, and wait for its end."""
        with self._changed:
            self._waiting.append(turn)
            self._changed.notify_all()
            if not self._busy:
                self._busy = True
                self._thread.submit(self._work)
            while not self._changed.wait_for(turn.has_ended, timeout=CHECK_SECONDS):
                if turn.company and turn.is_alone():
                    continue  # the run itself asks, and must have stopped before its owner goes on
                try:
                    turn.check()
                except BaseException:
                    turn.left = True
                    if turn in self._waiting:
                        self._waiting.remove(turn)
                    raise
        if turn.error is not None:
            raise turn.error
        return turn.result

    def others(self, first: Turn[_Work, _Result], *, most: int) -> list[Turn[_Work, _Result]]:
        """Take those out of the queue that are like the first, so that there are `most` at most with it."""
        with self._changed:
            if first.alike is not None and min(most, self.most) > 1:
                self._changed.wait_for(lambda: self._alike(first) >= most - 1, timeout=GATHER_SECONDS)
                for turn in list(self._waiting):
                    if turn.alike == first.alike and len(first.company) < min(most, self.most):
                        self._waiting.remove(turn)
                        first.company.append(turn)
            for turn in first.company:
                turn.company = first.company
            return [turn for turn in first.company if turn is not first]

    def end(self, turn: Turn[_Work, _Result], *, result: Any = None, error: BaseException | None = None) -> None:
        """Give a turn its result or its error."""
        with self._changed:
            turn.result, turn.error, turn.ended = result, error, True
            self._changed.notify_all()

    def call(self, work: Callable[[], _Done], *, check: Callable[[], None] = lambda: None) -> _Done:
        """Do something else in the thread of the device, when its turn comes, and return what it does.

        Raises what `check` does while it waits; what has begun is brought to its end.
        """
        turn: Turn[Any, Any] = Turn(None, check, None, errand=work)
        done: _Done = self._ended(turn)
        return done

    def close(self) -> None:
        """End the thread when it has nothing more to do."""
        self._thread.shutdown(wait=False)

    def _alike(self, first: Turn[_Work, _Result]) -> int:
        return sum(turn.alike == first.alike for turn in self._waiting)

    def _work(self) -> None:
        """Give everybody who waits a turn."""
        while True:
            with self._changed:
                if not self._waiting:
                    self._busy = False
                    return
                turn = self._waiting.popleft()
                turn.company.append(turn)
            error: BaseException | None = None
            try:
                if turn.errand is None:
                    turn.variables.run(self._run, turn)
                else:
                    self.end(turn, result=turn.variables.run(turn.errand))
            except BaseException as raised:  # noqa: BLE001  (raised again for each of those that wait for it)
                error = raised
            for member in list(turn.company):
                if not member.ended:
                    self.end(member, error=error or RuntimeError("a turn that nobody ended"))


def check_company(turns: Sequence[Turn[Any, Any]]) -> None:
    """Raise if a run is to stop: when nobody waits for it, or the last one who does has gone."""
    waiting = alive(turns)
    if len(waiting) <= 1:
        (waiting or turns)[0].check()


def alive(turns: Sequence[Turn[Any, Any]]) -> list[Turn[Any, Any]]:
    """Return those that somebody waits for."""
    return [turn for turn in turns if not turn.left]
