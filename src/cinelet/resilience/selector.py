"""Which models are tried for a request: found, sifted, ordered and explained, before anything is sent."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from cinelet.clock import Clock
from cinelet.domain.backend import Capabilities
from cinelet.domain.errors import CineletError, ModelNotFoundError, ModelUnsupportedError, NoModelFitsError
from cinelet.domain.model import AUTO, ModelReference
from cinelet.domain.request import Strategy, Task, VideoRequest
from cinelet.domain.result import Attempt
from cinelet.domain.selection import Chosen, LeftOut, Selection
from cinelet.resilience.fitness import unable, unsuited
from cinelet.resilience.hosts import may_be_remote, name_of
from cinelet.resilience.knowledge import Knowledge
from cinelet.resilience.performance import Performance, trials
from cinelet.resilience.selection import Contender, Place, Rules, ordered

LOOK_SECONDS = 10.0
"""How long a model may take to say what it can do; who does not say may be able to."""
REMEMBERED_SECONDS, UNKNOWN_SECONDS = 300.0, 30.0
"""How long it is remembered what it said, and that it could not be asked."""
MAX_REMEMBERED = 1000
LEAST_EVIDENCE = 0.05
"""A twentieth of one outcome says nothing any more."""
NEAR_HALF = 1.2816
"""Standard deviations within which four out of five of a normal distribution lie."""

Expand = Callable[[ModelReference, Task], Awaitable[Sequence[ModelReference]]]
Capable = Callable[[ModelReference], Awaitable[Capabilities]]


class Cost(Protocol):
    """What a video costs with a model, None where nobody knows; as `PriceTable.cost`."""

    def __call__(self, model: ModelReference, *, video_seconds: float, seconds: float) -> float | None:
        """Return it."""
        ...


@dataclass(frozen=True, slots=True)
class _Way:
    """A reference that may be tried. is_asked: whether it is a way of the model that the request names."""

    model: ModelReference
    is_asked: bool


@dataclass(slots=True)
class _Sifting:
    """What is still in, and what is out."""

    ways: list[_Way] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self, way: ModelReference, reason: str) -> None:
        self.ways = [other for other in self.ways if other.model != way]
        self.left_out.append(LeftOut(way, reason))


class Selector:
    """Finds, sifts, orders and explains.

    expand, capable: ask the backends. cost: of a video. rests_seconds: of the open circuit of a model, 0 for none.
    queue_of: whose worker runs a model. auto_models, fallbacks: of each task, in the operator's order. strategy: where
    a request does not say.
    """

    def __init__(
        self,
        *,
        expand: Expand,
        capable: Capable,
        knowledge: Knowledge,
        cost: Cost,
        rests_seconds: Callable[[ModelReference], float],
        queue_of: Callable[[ModelReference], str],
        auto_models: Mapping[Task, Sequence[str]],
        fallbacks: Mapping[Task, Sequence[str]],
        strategy: Strategy,
        random: Random,
        clock: Clock,
        rules: Rules | None = None,
    ) -> None:
        self.knowledge = knowledge
        self._expand = expand
        self._capable = capable
        self._cost = cost
        self._rests_seconds = rests_seconds
        self._queue_of = queue_of
        self._auto_models = {task: _references(models) for task, models in auto_models.items()}
        self._fallbacks = {task: _references(models) for task, models in fallbacks.items()}
        self._strategy = strategy
        self._random = random
        self._clock = clock
        self._rules = rules or Rules()
        self._said: dict[ModelReference, tuple[float, Capabilities | str | None]] = {}

    def chooses(self, request: VideoRequest) -> bool:
        """Tell whether there is anything to choose; else the models are tried as they are named."""
        return (
            (request.prefer or self._strategy) != "ordered"
            or request.max_cost is not None
            or request.max_seconds is not None
            or ModelReference.parse(request.model or "") == AUTO
        )

    def models_of_auto(self) -> Sequence[ModelReference]:
        """Return all that "auto" may choose, for whatever task."""
        return list(dict.fromkeys(model for models in self._auto_models.values() for model in models))

    async def capabilities_of_auto(self) -> Capabilities:
        """Return what "auto" can do: what any of its models can."""
        models = self.models_of_auto()
        said = [one for one in await asyncio.gather(*map(self._capabilities, models)) if isinstance(one, Capabilities)]
        return Capabilities(
            model=str(AUTO),
            tasks=frozenset(task for task, chosen in self._auto_models.items() if chosen),
            runs_on="where the chosen model runs",
            parameters=frozenset().union(*(one.parameters for one in said)),
            description=f"Chooses among {', '.join(map(str, models))} by how they perform." if models else "",
        )

    def learn(self, request: VideoRequest, attempts: Sequence[Attempt]) -> None:
        """Take how attempts have ended."""
        ended = (
            (
                name_of(ModelReference.parse(attempt.model)),
                attempt.error is None if attempt.telling else None,
                attempt.seconds,
                request.duration,
            )
            for attempt in attempts
        )
        for model, trial in trials(ended).items():
            self.knowledge.learn(model, request.task, trial)

    async def capabilities(self, model: ModelReference) -> Capabilities | None:
        """Return what a model can do, as it said lately or says soon; None where nobody knows."""
        said = await self._capabilities(model)
        return said if isinstance(said, Capabilities) else None

    async def select(self, request: VideoRequest, *, queue: str | None = None) -> Selection:
        """Return the order for a request whose `model` is set. Raises `NoModelFitsError`.

        queue: whose worker asks; what it does not run itself goes last, so that it loads no model of another's.
        """
        asked = ModelReference.parse(request.model or "")
        strategy = request.prefer or self._strategy
        sifting = await self._found(request, asked)
        await self._sift_by_capabilities(request, sifting, strict=asked == AUTO)
        names = [name_of(way.model) for way in sifting.ways]
        known = await self.knowledge.known(names, request.task) if names else {}
        groups = [[way.model for way in sifting.ways if way.is_asked is named] for named in (True, False)]
        chosen: list[Chosen] = []
        for group in groups:
            places = self._ordered(request, group, known, strategy)
            chosen += [self._chosen(place, group, strategy) for place in places]
        fitting = [one for one in chosen if self._within_limits(request, one, sifting)]
        if not fitting:
            raise NoModelFitsError({str(one.model): one.reason for one in sifting.left_out})
        if request.max_seconds is not None:
            fitting.sort(key=lambda one: one.seconds is None)  # who may well take too long comes last
        if queue is not None:
            fitting.sort(key=lambda one: self._queue_of(one.model) != queue)
        return Selection(strategy, tuple(fitting), tuple(sifting.left_out))

    async def _found(self, request: VideoRequest, asked: ModelReference) -> _Sifting:
        """Return every way to run the models that may be tried, each once."""
        if asked == AUTO:
            models = [(model, False) for model in self._auto_models.get(request.task, ())]
        else:
            fallbacks = self._fallbacks.get(request.task, ()) if request.fallback and may_be_remote(asked) else ()
            models = [(asked, True), *((model, False) for model in fallbacks if model != asked)]
        sifting = _Sifting()
        found = await asyncio.gather(*(self._ways(model, request.task) for model, _ in models))
        seen: set[ModelReference] = set()
        for (model, is_asked), ways in zip(models, found, strict=True):
            if isinstance(ways, str):
                if is_asked:  # whoever named it is told what is wrong with it
                    sifting.ways.append(_Way(model, is_asked=True))
                else:
                    sifting.left_out.append(LeftOut(model, ways))
                continue
            sifting.ways += [_Way(way, is_asked) for way in ways if way not in seen]
            seen.update(ways)
        return sifting

    async def _ways(self, model: ModelReference, task: Task) -> Sequence[ModelReference] | str:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._expand(model, task)
        except TimeoutError:
            return f"nobody said within {LOOK_SECONDS:g} s who runs it"
        except CineletError as error:
            return str(error)

    async def _sift_by_capabilities(self, request: VideoRequest, sifting: _Sifting, *, strict: bool) -> None:
        """Leave out who cannot do it. strict: also who would adjust what was given, while others would not."""
        said = await asyncio.gather(*(self._capabilities(way.model) for way in sifting.ways))
        unsuited_ways: dict[ModelReference, str] = {}
        for way, capabilities in zip(list(sifting.ways), said, strict=True):
            if way.is_asked:
                continue  # as above
            if isinstance(capabilities, str):
                sifting.leave_out(way.model, capabilities)
            elif capabilities is not None:
                if reason := unable(request, capabilities):
                    sifting.leave_out(way.model, reason)
                elif strict and (reason := unsuited(request, capabilities)):
                    unsuited_ways[way.model] = reason
        if len(unsuited_ways) < len(sifting.ways):
            for model, reason in unsuited_ways.items():
                sifting.leave_out(model, reason)

    async def _capabilities(self, model: ModelReference) -> Capabilities | str | None:
        """Return what a model can do, or why it cannot be had; None where nobody knows."""
        until, said = self._said.get(model, (-math.inf, None))
        if self._clock.monotonic() < until:
            return said
        seconds = REMEMBERED_SECONDS
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                said = await self._capable(model)
        except (ModelNotFoundError, ModelUnsupportedError) as error:
            said = str(error)
        except (CineletError, TimeoutError):
            said, seconds = None, UNKNOWN_SECONDS
        if len(self._said) >= MAX_REMEMBERED:
            self._said.clear()
        self._said[model] = (self._clock.monotonic() + seconds, said)
        return said

    def _ordered(
        self,
        request: VideoRequest,
        models: Sequence[ModelReference],
        known: Mapping[str, Performance],
        strategy: Strategy,
    ) -> list[Place]:
        contenders = [
            Contender(
                str(number),
                known.get(name_of(model), Performance()),
                lambda seconds, model=model: self._cost(model, video_seconds=request.duration, seconds=seconds),  # type: ignore[misc]  # bound now
                self._rests_seconds(model),
            )
            for number, model in enumerate(models)
        ]
        return ordered(
            contenders,
            strategy=strategy,
            video_seconds=request.duration,
            now=self._clock.monotonic(),
            random=self._random,
            rules=self._rules,
        )

    def _chosen(self, place: Place, models: Sequence[ModelReference], strategy: Strategy) -> Chosen:
        belief = place.belief
        samples = place.contender.performance.samples
        timed = belief.successes > 0.05
        spread = math.sqrt(belief.variance + belief.spread**2) * NEAR_HALF
        median = math.exp(belief.log_seconds)
        return Chosen(
            models[int(place.contender.name)],
            _why(place, strategy, timed=timed),
            success=belief.success if belief.outcomes > 0.05 else None,
            seconds=belief.seconds if timed else None,
            low=median * math.exp(-spread) if timed else None,
            high=median * math.exp(spread) if timed else None,
            cost=belief.cost,
            samples=samples,
            explored=place.reason in {"draw", "probe"},
        )

    def _within_limits(self, request: VideoRequest, one: Chosen, sifting: _Sifting) -> bool:
        reason = None
        if request.max_cost is not None:
            if one.cost is None:
                reason = "its price is unknown, and max_cost is given"
            elif one.cost > request.max_cost:
                reason = f"it is expected to cost {one.cost:g}, and max_cost is {request.max_cost:g}"
        too_slow = request.max_seconds is not None and one.seconds is not None and one.seconds > request.max_seconds
        if reason is None and too_slow:
            reason = f"it is expected to take {one.seconds:.0f} s, and max_seconds is {request.max_seconds:g}"
        if reason is not None:
            sifting.leave_out(one.model, reason)
        return reason is None


def _why(place: Place, strategy: Strategy, *, timed: bool) -> str:
    """Return in one line what a place is by."""
    belief, samples = place.belief, place.contender.performance.samples
    facts = [f"{belief.seconds:.3g} s expected"] if timed else []
    facts += [f"{belief.success:.0%} succeed"] if samples else []
    facts += [f"costs {belief.cost:.4g}"] if belief.cost is not None else []
    facts.append("1 outcome" if samples == 1 else f"{samples} outcomes" if samples else "no outcome known")
    rests = f"left alone for {math.ceil(place.contender.rests_seconds)} s after failures"
    notes = {"draw": "it may be better, so it is tried", "probe": "tried to know it better", "rest": rests}
    note = notes.get(place.reason)
    return f"{strategy.replace('_', ' ')}: {', '.join(facts)}{f'; {note}' if note else ''}"


def _references(models: Iterable[str]) -> list[ModelReference]:
    """Return references without "auto", which cannot be a choice of its own."""
    return [reference for model in models if (reference := ModelReference.parse(model)) != AUTO]
