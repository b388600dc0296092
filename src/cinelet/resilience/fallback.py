"""FallbackBackend: one model after another, until one makes the video; the result says which, and what failed."""

from __future__ import annotations

import asyncio
import difflib
import shutil
import textwrap
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cinelet.clock import Clock, watched
from cinelet.domain.backend import Backend, Capabilities, Context, GeneratedVideo
from cinelet.domain.condition import Condition, condition_of
from cinelet.domain.errors import (
    AllModelsFailedError,
    AuthenticationError,
    CapacityError,
    CineletError,
    DeadlineExceededError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ModelUnsupportedError,
    NoModelFitsError,
    ProcessingError,
    SubmissionUnknownError,
    ValidationError,
)
from cinelet.domain.model import AUTO, ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.result import Adjustment, Attempt
from cinelet.domain.selection import Selection
from cinelet.observability import metrics
from cinelet.observability.logs import get_logger
from cinelet.resilience.attempts import collect, collecting, count_attempts, failed, succeeded
from cinelet.resilience.candidates import Candidate, candidates, chosen_candidates, is_way_of, resumed_model
from cinelet.resilience.hosts import is_remote, may_be_remote
from cinelet.resilience.selector import Selector

Expand = Callable[[ModelReference, Task], Awaitable[Sequence[ModelReference]]]

MAX_REASON_CHARACTERS = 200
_ANOTHER_MAY_DO_BETTER = (
    HuggingFaceAPIError,
    ModelUnsupportedError,
    CapacityError,
    ProcessingError,
    DeadlineExceededError,
)

_logger = get_logger(__name__)


class FallbackBackend:
    """A backend that goes on to other providers of a model, and then to other models, where one fails.

    expand: lists the ways to run a model, the best first. fallbacks: the models of each task, in order, for requests
    that allow it and name a remote model or a plain Hub id: who names this machine or a plugin gets that or an error.
    selector: where a request leaves a choice, says which models are tried in which order, instead of all that.
    attempt_seconds: for each attempt of a remote model; the caller's deadline counts as well. known_models: what the
    name of an unknown model is compared with.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        expand: Expand,
        fallbacks: Mapping[Task, Sequence[str]],
        clock: Clock,
        attempt_seconds: float | None = None,
        known_models: Iterable[str] = (),
        selector: Selector | None = None,
    ) -> None:
        self._backend = backend
        self._expand = expand
        self._fallbacks = {
            task: [ModelReference.parse(model) for model in models] for task, models in fallbacks.items()
        }
        self._clock = clock
        self._attempt_seconds = attempt_seconds
        self._selector = selector
        self._known_models = {ModelReference.parse(model).name.lower(): model for model in known_models}

    async def capabilities(self, model: ModelReference) -> Capabilities:
        """Ask about the model itself; no other one answers for it. "auto" can what any of its models can."""
        if model == AUTO and self._selector is not None:
            return await self._selector.capabilities_of_auto()
        try:
            return await self._backend.capabilities(model)
        except ModelNotFoundError as error:
            raise self._with_suggestion(error, model) from error

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        """Make the video with the first model that can.

        If only one was tried its error is raised, else an `AllModelsFailedError` with the error of each. What another
        model would not change is raised at once: a wrong request, a cancel, the caller's deadline, a credential that
        nobody set. So is an unknown submission: it may be running and billed, and a second model would be as well.
        Whoever is `collecting` then has the attempts, which an error cannot hand over as a result does.
        """
        attempts: list[Attempt] = []
        try:
            return await self._first_that_can(request, context, attempts)
        except BaseException:
            for attempt in attempts:
                collect(attempt)
            raise
        finally:
            count_attempts(attempts)
            if self._selector is not None:
                self._selector.learn(request, attempts)

    async def select(self, request: VideoRequest) -> Selection:
        """Return what would be tried, as `Selects` has it."""
        if self._selector is None:
            raise ModelUnsupportedError("This backend chooses no models; name one", str(request.model))
        return await self._selector.select(request)

    def chooses(self, request: VideoRequest) -> bool:
        """Tell whether a request leaves anything to choose."""
        return self._selector is not None and self._selector.chooses(request)

    async def known_capabilities(self, model: ModelReference) -> Capabilities | None:
        """Return what a model can do, as it was told lately or is told soon; None where nobody knows."""
        return None if self._selector is None else await self._selector.capabilities(model)

    def learn_from(self, knowledge: object) -> None:
        """Have what is known of models come from there."""
        if self._selector is not None:
            self._selector.knowledge = knowledge  # type: ignore[assignment]  # the protocol lies above the domain

    async def _first_that_can(self, request: VideoRequest, context: Context, attempts: list[Attempt]) -> GeneratedVideo:
        asked = ModelReference.parse(request.model or "")
        resumed = resumed_model(context.handle)
        selection = await self._selection(request, context, resumed)
        if selection is None:
            may_fall_back = request.fallback and may_be_remote(asked)
            todo = candidates(asked, self._fallbacks.get(request.task, ()) if may_fall_back else (), resumed=resumed)
        else:
            todo = chosen_candidates(
                asked, selection.order, resumed=resumed, left=(context.handle or {}).get("before", ())
            )
        files_before = set(context.folder.iterdir())
        failures: list[tuple[ModelReference, CineletError]] = []
        while todo:
            candidate = todo.popleft()
            model = candidate.model
            began = self._clock.monotonic()
            with collecting() as collected:
                try:
                    if not candidate.is_expanded:
                        ways = await watched(self._expand(model, request.task), context=context)
                        if resumed in ways:
                            ways = ways[ways.index(resumed) + 1 :]
                        fresh = [way for way in ways if way not in dict(failures)]
                        todo.extendleft(replace(candidate, model=way, is_expanded=True) for way in reversed(fresh))
                        continue
                    if failures:
                        # Until the next one has sent its request, the job stays known, and is not paid for again.
                        await context.set_handle_aside()
                    video = await self._attempt(model, request, context)
                except (GenerationCancelledError, ValidationError):
                    attempts += _explained(collected, candidate)  # no failure of this model's
                    raise
                except CineletError as error:
                    failure = error if candidate.is_fallback else self._with_suggestion(error, model)
                    tried = collected or [failed(model, failure, seconds=self._clock.monotonic() - began)]
                    attempts += _explained(tried, candidate)
                    if isinstance(error, DeadlineExceededError) and context.remaining_seconds() == 0.0:
                        attempts[-1] = replace(attempts[-1], telling=False)  # the caller's time was over
                    _raise_if_final(error, candidate, context)
                else:
                    tried = collected or [succeeded(model, video, seconds=self._clock.monotonic() - began)]
                    attempts += _explained(tried, candidate)
                    if candidate.is_fallback or asked == AUTO:
                        note = _replacement(asked, video, failures, selection)
                        video = replace(video, adjustments=(note, *video.adjustments))
                    return replace(video, attempts=tuple(attempts))
            failures.append((model, failure))
            _logger.info("A model failed", extra={"model": str(model), "code": failure.code, "reason": str(failure)})
            await _remove(set(context.folder.iterdir()) - files_before)
            if context.remaining_seconds() == 0.0:
                break
        raise _summary(failures)

    async def _selection(
        self, request: VideoRequest, context: Context, resumed: ModelReference | None
    ) -> Selection | None:
        """Return what is chosen; None where there is no choice."""
        if self._selector is None or not self.chooses(request):
            return None
        try:
            selection = await watched(self._selector.select(request, queue=context.queue), context=context)
        except NoModelFitsError:
            if resumed is None:
                raise
            # It fitted when it began, and is paid for.
            return Selection(request.prefer or "ordered", ())
        metrics.chosen(str(selection.order[0].model), selection.strategy)
        return selection

    def condition(self) -> Condition:
        """Return how the backend is."""
        return condition_of(self._backend)

    async def aclose(self) -> None:
        """Close the backend."""
        await self._backend.aclose()

    async def _attempt(self, model: ModelReference, request: VideoRequest, context: Context) -> GeneratedVideo:
        bounded = context.within(self._attempt_seconds if is_remote(model) else None)
        return await self._backend.generate(request.model_copy(update={"model": str(model)}), bounded)

    def _with_suggestion(self, error: CineletError, model: ModelReference) -> CineletError:
        """Add to the error of an unknown model the configured models that are named most alike."""
        others = {name: known for name, known in self._known_models.items() if name != model.name.lower()}
        if not isinstance(error, ModelNotFoundError) or not others:
            return error
        close = [others[name] for name in difflib.get_close_matches(model.name.lower(), others)]
        hint = f"did you mean {' or '.join(close)}?" if close else f"configured are {', '.join([*others.values()][:3])}"
        return ModelNotFoundError(
            f"{error.message}; {hint}",
            status=error.status,
            provider=error.provider,
            request_id=error.request_id,
            retry_after=error.retry_after,
            accepted=error.accepted,
        ).with_traceback(error.__traceback__)


def _raise_if_final(error: CineletError, candidate: Candidate, context: Context) -> None:
    """Raise what ends the generation, and return if another model may be tried."""
    if not isinstance(error, _ANOTHER_MAY_DO_BETTER):
        raise error
    if context.cancelled:
        context.check()
    if isinstance(error, SubmissionUnknownError):
        raise error
    if isinstance(error, AuthenticationError) and error.status is None and not candidate.is_fallback:
        # No host refused it: a credential was never set, and whoever asked for this model can set it.
        raise error
    if isinstance(error, DeadlineExceededError):
        if context.remaining_seconds() == 0.0:
            raise error
        if context.handle is not None and context.handle.get("submitting"):
            message = f"The time for {candidate.model} was over while the request was being sent"
            todo = "it may run and be billed, so no other model is tried: look into the account there"
            raise SubmissionUnknownError(f"{message}; {todo}", provider=candidate.model.provider) from error


def _explained(attempts: Iterable[Attempt], candidate: Candidate) -> list[Attempt]:
    return [replace(attempt, why=candidate.why) for attempt in attempts]


def _replacement(
    asked: ModelReference,
    video: GeneratedVideo,
    failures: Sequence[tuple[ModelReference, CineletError]],
    selection: Selection | None,
) -> Adjustment:
    """Return the note that another model made the video, or one that was chosen, and why; count it."""
    if asked == AUTO:
        how = selection.summary() if selection is not None and selection.order else "it was begun before"
        failed_first = f"{failures[0][0]} failed ({_reason(failures[0][1])}); " if failures else ""
        return Adjustment("model", "auto", video.model, f"{failed_first}{how}")
    metrics.fell_back(str(asked), video.model)
    out = next((one.reason for one in selection.left_out if is_way_of(asked, one.model)), None) if selection else None
    if out is not None and not failures:
        return Adjustment("model", str(asked), video.model, f"{asked} was left out, so {video.model} was used: {out}")
    # A process that goes on with a fallback's job was not there when the first model failed.
    why = _reason(failures[0][1]) if failures else "it failed before this process took over"
    return Adjustment("model", str(asked), video.model, f"{asked} failed, so {video.model} was used: {why}")


def _summary(failures: Sequence[tuple[ModelReference, CineletError]]) -> CineletError:
    """Return the one error of them all; at least one failed."""
    if len(failures) == 1:
        return failures[0][1]
    each = "; ".join(f"{model} ({_reason(error)})" for model, error in failures)
    errors = [error for _, error in failures]
    todo = "Try again later, or name" if any(error.retryable for error in errors) else "Name"
    return AllModelsFailedError(f"All {len(failures)} attempts failed: {each}. {todo} another model", errors)


def _reason(error: CineletError) -> str:
    return textwrap.shorten(str(error), MAX_REASON_CHARACTERS, placeholder=" ...")


async def _remove(paths: Iterable[Path]) -> None:
    """Remove what a failed attempt left; a backend should have done so, and the next one must not meet it."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        else:
            await asyncio.to_thread(path.unlink, missing_ok=True)
