"""Puts a `Speed` on a loaded pipeline for one run, takes all of it off again, and tells what was used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from cinelet.backends.diffusers.speed import Speed
from cinelet.domain.result import Adjustment

if TYPE_CHECKING:
    from cinelet.backends.diffusers.context_group import ContextGroup


class Acceleration:
    """The speed of one generation, run by run. device: torch's name; videos: made at once by a run.

    group: the devices that share it, where several do.
    """

    def __init__(self, speed: Speed, *, device: str, videos: int = 1, group: ContextGroup | None = None) -> None:
        from cinelet.backends.diffusers.compilation import CompileLog

        self.speed = speed
        self.log = CompileLog()
        self._device = device
        self._videos = videos
        self._group = group
        self._used: dict[str, Any] = {}
        self._lacking: dict[str, Adjustment] = {}
        self._uncached: str | None = None
        """Why no run of the generation has a step cache."""

    @contextmanager
    def on(self, pipeline: Any, arguments: Mapping[str, Any], *, guidance: float | None = None) -> Iterator[None]:
        """Have a pipeline run fast until the end of the block; afterwards, however it ended, it is as before.

        arguments: of the run. guidance: where it is no argument.
        """
        speed, cache = self.speed, None
        with ExitStack() as stack:
            if speed.quantization is not None:
                self._enter(stack, "quantization", speed.quantization, *_quantization(pipeline))
            if speed.channels_last:
                self._enter(stack, "channels_last", True, *_memory_format(pipeline))  # noqa: FBT003  (a value)
            if self._is_shared(stack, pipeline):
                self._decline_unshared()
            else:
                cache = self._enter_unshared(stack, pipeline, arguments, guidance)
            yield
        if cache is not None and not cache.had_effect:
            self._took_nothing(speed.step_cache)

    @property
    def applied(self) -> dict[str, Any]:
        """What was used, for the result."""
        used = dict(self._used)
        if self.log.failure is not None:
            used.pop("compile", None)
        return {"quality": self.speed.quality, **used}

    def timings(self, *, denoising_seconds: float) -> dict[str, float]:
        """Split what denoising took into compiling and the rest."""
        compiling = self.log.seconds
        if not compiling:
            return {"denoising": denoising_seconds}
        return {"compiling": compiling, "denoising": max(0.0, denoising_seconds - compiling)}

    @property
    def adjustments(self) -> tuple[Adjustment, ...]:
        """What somebody asked for and did not get."""
        found = dict(self._lacking)
        if self.log.failure is not None:
            found["compile"] = _without("compile", True, f"compiling failed: {self.log.failure}")  # noqa: FBT003
        if self.speed.asked and self.speed.quality == "fast" and set(self.applied) == {"quality"}:
            reason = self._uncached or "nothing makes this model faster here without more loss"
            found["quality"] = Adjustment("quality", "fast", "exact", f"{reason}, so it ran as it is")
        return (*self.speed.declined, *found.values())

    def _is_shared(self, stack: ExitStack, pipeline: Any) -> bool:
        """Have several devices share the run, if they are to and can."""
        group = self._group
        if group is None:
            return False
        self._enter(
            stack,
            "context_parallel",
            self.speed.context_parallel,
            group.why_not(pipeline),
            lambda: group.sharing(pipeline),
        )
        return "context_parallel" in self._used

    def _enter_unshared(
        self, stack: ExitStack, pipeline: Any, arguments: Mapping[str, Any], guidance: float | None
    ) -> Any:
        """Put on what one device can have, and return the step cache."""
        speed = self.speed
        if speed.attention is not None:
            self._enter(stack, "attention", speed.attention, *_attention(speed.attention, pipeline, self._device))
        # Before the cache, which wraps what it finds: a step that is not computed is then no reason to compile.
        if speed.compile:
            self._enter(stack, "compile", True, *_compilation(pipeline, self.log))  # noqa: FBT003
        return self._enter_cache(stack, pipeline, arguments, guidance) if speed.step_cache is not None else None

    def _decline_unshared(self) -> None:
        """Say what a run that several devices share does not have: all must do the same in each call."""
        speed = self.speed
        asked = {"attention": speed.attention, "compile": speed.compile, "step_cache": speed.step_cache}
        for name in self.speed.insisted.intersection(asked):
            reason = f"{speed.context_parallel} devices share the run"
            self._lacking[name] = _without(name, asked[name], reason)

    def _enter_cache(
        self, stack: ExitStack, pipeline: Any, arguments: Mapping[str, Any], guidance: float | None
    ) -> Any:
        from cinelet.backends.diffusers import step_cache

        # What one run could not have, the generation's others go without, so that one thing is true of all.
        self._uncached = self._uncached or step_cache.why_none(pipeline)
        if self._uncached is not None:
            return self._enter(stack, "step_cache", self.speed.step_cache, self._uncached, nullcontext)
        steps = _argument(pipeline, arguments, "num_inference_steps")
        run = step_cache.Run(
            pipeline,
            steps=int(steps or 50),
            guided=_is_guided(pipeline, arguments, guidance),
            videos=self._videos,
        )
        name = self.speed.step_cache
        if name == "auto":
            name = step_cache.best_cache(run)  # type: ignore[assignment]
        if name is None:
            return None
        return self._enter(
            stack, "step_cache", name, step_cache.why_not(name, run), lambda: step_cache.step_cached(name, run)
        )

    def _took_nothing(self, cache: str | None) -> None:
        self._used.pop("step_cache", None)
        if "step_cache" in self.speed.insisted:
            self._lacking["step_cache"] = _without("step_cache", cache, "no step could take anything from another")

    def _enter(self, stack: ExitStack, name: str, value: Any, why_not: str | None, enter: _Enter) -> Any:
        """Put one thing on and return what it gives, or keep why it cannot be and return None."""
        if why_not is None:
            self._used[name] = value
            return stack.enter_context(enter())
        if name in self.speed.insisted:
            self._lacking[name] = _without(name, value, why_not)
        return None


_Enter = Callable[[], AbstractContextManager[Any]]
_Way = tuple[str | None, _Enter]
"""Why something cannot be put on, or None, and how it is."""


def _quantization(pipeline: Any) -> _Way:
    """Tell what became of it when the pipeline was loaded."""
    from cinelet.backends.diffusers.quantization import is_quantized

    lacking = "the weights are in few bits already, or the model has no network of the kind that is quantized"
    return None if is_quantized(pipeline) else lacking, nullcontext


def _memory_format(pipeline: Any) -> _Way:
    from cinelet.backends.diffusers import memory_format

    return memory_format.why_not(pipeline), lambda: memory_format.channels_last(pipeline)


def _attention(name: str, pipeline: Any, device: str) -> _Way:
    from cinelet.backends.diffusers import attention

    return attention.why_not(name, pipeline, device=device), lambda: attention.attending(name, pipeline)


def _compilation(pipeline: Any, log: Any) -> _Way:
    from cinelet.backends.diffusers import compilation

    return compilation.why_not(pipeline), lambda: compilation.compiled(pipeline, log)


def _without(name: str, value: Any, why: str) -> Adjustment:
    return Adjustment(name, value, None, why)


def _is_guided(pipeline: Any, arguments: Mapping[str, Any], guidance: float | None) -> bool:
    """Tell whether each step also sees what the prompt is told apart from."""
    if guidance is not None:
        return guidance > 1
    for name in ("true_cfg_scale", "max_guidance_scale", "guidance_scale"):
        scale = _argument(pipeline, arguments, name)
        if scale is not None:
            return float(scale) > 1
    return getattr(pipeline, "guider", None) is not None


def _argument(pipeline: Any, arguments: Mapping[str, Any], name: str) -> Any:
    """Return what an argument of a run is, given or by default; None where there is none."""
    import inspect

    if arguments.get(name) is not None:
        return arguments[name]
    parameter = inspect.signature(type(pipeline).__call__).parameters.get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default
