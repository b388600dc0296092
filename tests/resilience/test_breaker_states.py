"""The breaker against a plain model of it, over any order of calls, ends and waits."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import CircuitOpenError, ValidationError
from cinelet.domain.request import VideoRequest
from cinelet.resilience import BreakerBackend, CircuitRules, circuit_of
from tests.resilience.doubles import UNAVAILABLE, ScriptedBackend, context, request

MODEL = "hf:org/first:fal-ai"
ENDINGS = {"made": None, "failed": UNAVAILABLE, "no verdict": ValidationError("wrong"), "cancelled": None}


class BreakerStates(RuleBasedStateMachine):
    """Whole seconds only, so that the model and the breaker never differ by a rounding."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.host = ScriptedBackend(self.until_told)
        rules = CircuitRules(failures=2, window_seconds=20, open_seconds=10, max_open_seconds=40, successes=2)
        self.policy = BreakerBackend(self.host, key=circuit_of, clock=self.clock, rules=rules)
        self.entered = 0
        self.told: asyncio.Future[Any] | None = None
        # The model.
        self.state = "closed"
        self.failures: list[float] = []
        self.open_until = 0.0
        self.open_seconds = 10.0
        self.successes = 0

    async def until_told(self, _: VideoRequest, __: Context) -> None:
        self.entered += 1
        self.told = asyncio.get_running_loop().create_future()
        await self.told

    async def start(self) -> tuple[asyncio.Future[Any], asyncio.Future[Any] | None]:
        self.told = None
        call = asyncio.ensure_future(self.policy.generate(request(MODEL), context(Path(self.folder.name))))
        await asyncio.sleep(0)
        return call, self.told

    async def finish(self, call: asyncio.Future[Any], told: asyncio.Future[Any], how: str) -> None:
        if how == "cancelled":
            call.cancel()
        elif (error := ENDINGS[how]) is not None:
            told.set_exception(error)
        else:
            told.set_result(None)
        await asyncio.gather(call, return_exceptions=True)

    @rule(target=calls)
    def begin(self) -> Any:
        entered = self.entered
        call, told = self.runner.run(self.start())
        may_probe = self.state == "open" and self.clock.monotonic() >= self.open_until
        assert (self.entered > entered) == (self.state == "closed" or may_probe)
        if told is None:
            assert isinstance(call.exception(), CircuitOpenError)
            return multiple()
        if may_probe:
            self.state = "probing"
        return (call, told, may_probe)

    @rule(call=consumes(calls), how=st.sampled_from(sorted(ENDINGS)))
    def end(self, call: Any, how: str) -> None:
        task, told, is_probe = call
        self.runner.run(self.finish(task, told, how))
        now = self.clock.monotonic()
        if self.state == "closed" and not is_probe:
            if how == "made":
                self.failures = []
            elif how == "failed":
                self.failures = [time for time in self.failures if now - time < 20] + [now]
                if len(self.failures) == 2:
                    self.state, self.open_seconds, self.open_until, self.successes = "open", 10, now + 10, 0
        elif is_probe and how == "made":
            self.successes += 1
            self.state, self.open_until = ("closed" if self.successes == 2 else "open"), now
            self.failures = []
        elif is_probe and how == "failed":
            self.open_seconds = min(2 * self.open_seconds, 40)
            self.state, self.open_until, self.successes = "open", now + self.open_seconds, 0
        elif is_probe:
            self.state, self.open_until = "open", now

    @rule(seconds=st.integers(1, 25))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def the_breaker_tells_the_same_state(self) -> None:
        now = self.clock.monotonic()
        told = self.policy.states().get(MODEL)
        if self.state == "closed":
            recent = len([time for time in self.failures if now - time < 20])
            assert (told.state, told.failures) == ("closed", recent) if told else not self.failures
        else:
            seconds = max(0, self.open_until - now) if self.state == "open" else 0
            assert told is not None
            assert (told.state, told.open_seconds) == ("open" if seconds else "half_open", seconds)

    def teardown(self) -> None:
        self.runner.close()
        self.folder.cleanup()


TestBreakerStates = BreakerStates.TestCase
TestBreakerStates.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
