"""Every setting, read from the environment in this one file.

The specification's names can be read from the class, as it has them (`Config.MAX_VIDEO_DURATION`), and are looked up
each time; `Config()` reads everything once into a frozen value, which is what the program uses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cinelet.config.money import MoneyVariables
from cinelet.config.scraping import ScrapingVariables
from cinelet.config.selection import SelectionVariables
from cinelet.config.speed import SpeedVariables
from cinelet.config.tracing import TraceVariables
from cinelet.config.values import ByteCount, Folder, HostLimits, HostTokens, Reference, References, Secret, StoreUrl
from cinelet.domain.errors import ValidationError
from cinelet.domain.request import Limits, QualityPreset, Task
from cinelet.observability.redaction import redact

SPECIFIED_TEXT_TO_VIDEO_MODEL = "damo-vilab/text-to-video-ms-1.7b"
SPECIFIED_IMAGE_TO_VIDEO_MODEL = "stabilityai/stable-video-diffusion-img2vid"
EMBEDDED_MODEL = "embedded"

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

PROVIDER_KEYS = {
    "fal-ai": "fal_key",
    "replicate": "replicate_api_token",
    "together": "together_api_key",
    "novita": "novita_api_key",
    "wavespeed": "wavespeed_api_key",
}
"""The setting that holds each provider's own key."""


def _user_data_dir() -> Path:
    from platformdirs import user_data_path

    return user_data_path("cinelet", appauthor=False)


class _NamesFromEnvironment(type(BaseSettings)):  # type: ignore[misc]  # pydantic's metaclass has no public name
    """Answers `Config.MAX_VIDEO_DURATION` from the environment as it is now, and refuses to pretend to change it."""

    def __getattr__(cls, name: str) -> Any:
        if name.isupper() and name.lower() in cls.model_fields:
            return getattr(cls(), name.lower())
        return super().__getattr__(name)

    def __setattr__(cls, name: str, value: Any) -> None:
        if name.isupper() and name.lower() in getattr(cls, "__pydantic_fields__", {}):
            raise AttributeError(f"Set the environment variable {name}; Config only reads it")
        super().__setattr__(name, value)


class Config(
    SpeedVariables,
    MoneyVariables,
    ScrapingVariables,
    SelectionVariables,
    TraceVariables,
    metaclass=_NamesFromEnvironment,
):
    """The settings. Raises `ValidationError`, one line that names the variable, where a value is wrong."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True, use_attribute_docstrings=True
    )

    hf_token: Annotated[Secret | None, Field(validation_alias=AliasChoices("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))] = (
        None
    )
    """Hugging Face token, for gated and remote models. Without the variable, what `hf auth login` stored is used."""

    default_text_to_video_model: Reference = Field(
        default_factory=lambda known: _default_model(known, SPECIFIED_TEXT_TO_VIDEO_MODEL)
    )
    """Model used where a request names none. Default: `embedded` without a token, the specification's with one."""

    default_image_to_video_model: Reference = Field(
        default_factory=lambda known: _default_model(known, SPECIFIED_IMAGE_TO_VIDEO_MODEL)
    )
    """Model used for an image where a request names none. Default: `embedded` without a token."""

    fallback_text_to_video_models: References = ("cerspense/zeroscope_v2_576w", "cerspense/zeroscope_v2_XL")
    """Models to try when the first one fails, in this order, separated by commas."""

    fallback_image_to_video_models: References = ("stabilityai/stable-video-diffusion-img2vid-xt",)
    """The same for images."""

    fal_key: Secret | None = None
    """Key of fal.ai, used directly, without the Hugging Face router."""

    replicate_api_token: Secret | None = None
    """Key of Replicate, used directly."""

    together_api_key: Secret | None = None
    """Key of Together, used directly."""

    novita_api_key: Secret | None = None
    """Key of Novita, used directly."""

    wavespeed_api_key: Secret | None = None
    """Key of WaveSpeed, used directly."""

    bill_to: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")
    """Hugging Face organisation that pays for what goes through the router. Default: the token's own account."""

    cinelet_host_tokens: HostTokens = Field(default_factory=dict)
    """Tokens for hosts of your own endpoints and engines: `host=token`, separated by commas."""

    cinelet_connect_timeout: float = Field(default=10, gt=0, le=600)
    """Seconds to connect to a model's host."""

    cinelet_read_timeout: float = Field(default=60, gt=0, le=3600)
    """Seconds that a model's host may be silent while it answers."""

    cinelet_attempt_timeout: float = Field(default=1800, gt=0, le=86400)
    """Seconds for one attempt of a remote model; then it is cancelled there, and the next model is tried."""

    cinelet_deadline: float | None = Field(default=None, gt=0, le=604800)
    """Seconds for a whole generation where the caller gives no deadline. Default: no limit."""

    max_video_duration: int = Field(default=30, ge=1, le=3600)
    """Longest video that may be asked for, in seconds."""

    max_image_size: int = Field(default=20 * 1024 * 1024, ge=1)
    """Largest image that may be given, in bytes."""

    max_video_file_size: int = Field(default=500 * 1024 * 1024, ge=1)
    """Largest video that may come out, in bytes."""

    video_quality_preset: QualityPreset = "medium"
    """Encoding where a request names no preset: `low`, `medium` or `high`."""

    cinelet_device: str | None = Field(default=None, pattern=r"^(cpu|mps|xpu|cuda(:\d+)?)$")
    """Where local models run: `cpu`, `mps`, `xpu`, `cuda` or `cuda:1`. Default: the best that this machine has."""

    cinelet_model_memory: ByteCount | None = None
    """Most memory for the weights of loaded models, such as `12GB`. Default: what a device has free, less a reserve."""

    cinelet_batch_size: int | None = Field(default=None, ge=1, le=16)
    """Most videos of one model that a device makes in one run. Default: 4 if a GPU is named, else 1."""

    cinelet_preload: References = ()
    """Models that a worker for local models loads when it starts, separated by commas."""

    cinelet_open_models: References = ()
    """Endpoints, engines and directories that keys without the role `admin` may name as well, separated by commas."""

    cinelet_previews: bool = True
    """Whether local models show small pictures of a video while they make it, to whoever watches."""

    cuda_visible_devices: str | None = None
    """NVIDIA's own: which GPUs are used, separated by commas. `cinelet serve` starts a worker for each of them."""

    hf_hub_cache: Path | None = None
    """Folder for models from the Hub. Default: the Hugging Face cache, shared with other programs."""

    hf_endpoint: str | None = Field(default=None, pattern=r"^https?://")
    """Address of the Hub, for a mirror of it. Default: https://huggingface.co."""

    database_url: Secret | None = None
    """PostgreSQL to keep jobs in. Default: a private server in the data directory."""

    cinelet_data_dir: Folder = Field(default_factory=_user_data_dir)
    """Folder for what the program keeps: jobs, finished videos, the cache. Default: this user's data folder."""

    cinelet_storage_url: StoreUrl | None = None
    """Where videos are kept: a folder, `s3://`, `gs://` or `az://`. Default: `storage` in the data directory."""

    cinelet_storage_redirect: bool = True
    """Whether clients are sent to the bucket for files; if not, the service hands them out, as it alone reaches it."""

    cinelet_accel_prefix: str | None = Field(default=None, pattern=r"^/([A-Za-z0-9_-]+/)+$")
    """Where nginx serves the folder of videos to us alone, such as `/protected-videos/`: it then sends the files."""

    cinelet_cache_size: int = Field(default=10 * 1024**3, ge=0)
    """Most bytes that the cache of finished videos holds; 0 keeps nothing."""

    cinelet_cache_ttl: float | None = Field(default=None, gt=0)
    """Seconds after which a cached video is made anew. Default: never."""

    cinelet_queue_length: int = Field(default=10_000, ge=1)
    """Most generations that may wait; one more is refused."""

    cinelet_webhook_allow_private: bool = False
    """Whether webhooks may lead into a network, and be sent without TLS: for tests, and for services of one network."""

    cinelet_provider_limits: HostLimits = Field(default_factory=dict)
    """Most generations at once at each host, for each worker process: `fal-ai=10,replicate=4`. Default: no limit."""

    cinelet_log_format: Literal["auto", "json", "human"] = "auto"
    """Log lines on stderr: `json`, `human`, or `auto`: human on a terminal and JSON elsewhere."""

    cinelet_log_level: LogLevel | None = None
    """Least level that is logged: `DEBUG`, `INFO`, `WARNING` or `ERROR`. Default: the command line logs nothing."""

    cinelet_debug: bool = False
    """Whether the command line shows the traceback of an error."""

    def __init__(self, **values: Any) -> None:
        """Read the environment; `values` (by field name) win over it."""
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            raise _explained(error) from None

    @property
    def hub_cache(self) -> Path:
        """Where models from the Hub are."""
        shared = os.environ.get("HUGGINGFACE_HUB_CACHE") or f"{_hub_home()}/hub"
        return Path(os.path.expandvars(self.hf_hub_cache or shared)).expanduser()

    @field_validator("cinelet_log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("video_quality_preset", "cinelet_log_format", "cinelet_device", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (pydantic passes them by name; we read no files)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Say where values come from, the strongest first: arguments, environment, the Hub's token file."""
        return init_settings, env_settings, _TokenFile(settings_cls)

    @property
    def limits(self) -> Limits:
        """The limits that a request must keep."""
        return Limits(
            max_duration=self.max_video_duration,
            max_image_bytes=self.max_image_size,
            max_video_bytes=self.max_video_file_size,
        )

    @property
    def default_models(self) -> Mapping[Task, str]:
        """The model of a task where a request names none."""
        return {
            Task.TEXT_TO_VIDEO: self.default_text_to_video_model,
            Task.IMAGE_TO_VIDEO: self.default_image_to_video_model,
        }

    @property
    def fallback_models(self) -> Mapping[Task, tuple[str, ...]]:
        """The models to try after one that fails.

        Where nobody chose them and there is no credential: `embedded`. The specification's would then be downloads of
        gigabytes that nobody asked for.
        """
        return {
            task: getattr(self, name) if self._is_used(name) else (EMBEDDED_MODEL,)
            for task, name in (
                (Task.TEXT_TO_VIDEO, "fallback_text_to_video_models"),
                (Task.IMAGE_TO_VIDEO, "fallback_image_to_video_models"),
            )
        }

    @property
    def provider_keys(self) -> Mapping[str, str]:
        """The providers' own keys, by provider."""
        keys = {provider: getattr(self, name) for provider, name in PROVIDER_KEYS.items()}
        return {provider: key.get_secret_value() for provider, key in keys.items() if key is not None}

    @property
    def storage_url(self) -> str:
        """Where videos are kept, as `open_store` takes it."""
        return self.cinelet_storage_url or str(self.cinelet_data_dir / "storage")

    @property
    def has_credentials(self) -> bool:
        """Whether remote models can be asked: there is a token, or a provider's key."""
        return self.hf_token is not None or bool(self.provider_keys)

    def _is_used(self, fallback_setting: str) -> bool:
        return self.has_credentials or fallback_setting in self.model_fields_set

    def settings(self) -> Iterator[Setting]:
        """List every setting with its value (secrets masked) and where that value is from."""
        for field_name, field in type(self).model_fields.items():
            names = _variables(field_name, field)
            value = getattr(self, field_name)
            given = next((name for name in names if os.environ.get(name)), None)
            source = f"environment ({given})" if given else "default"
            if not given and field_name == "hf_token" and value is not None:
                source = f"token file ({_token_path()})"
            if not given and field_name.startswith("fallback_") and not self._is_used(field_name):
                source = f"default, used with a token; without one {EMBEDDED_MODEL}"
            yield Setting(names[0], _shown(value), source, field.description or "")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is shown: the variable's name, the value, where it is from, what it does."""

    name: str
    value: str | float | bool | None
    source: str
    description: str


class _TokenFile(PydanticBaseSettingsSource):
    """The token that `hf auth login` left on this machine."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return nothing: the file is read once, by the call below; the base class wants this method."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        try:
            token = _token_path().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return {}
        return {"HF_TOKEN": token} if token else {}


def _token_path() -> Path:
    """Return where the Hub's own programs keep the token."""
    return Path(os.path.expandvars(os.environ.get("HF_TOKEN_PATH") or f"{_hub_home()}/token")).expanduser()


def _hub_home() -> str:
    """Return the folder of the Hub's own programs, as they find it: to ask them takes longer."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.environ.get("HF_HOME") or f"{cache}/huggingface"


def _variables(field_name: str, field: FieldInfo) -> tuple[str, ...]:
    """Return the environment variables of a field, the strongest first."""
    if isinstance(field.validation_alias, AliasChoices):
        return tuple(str(choice) for choice in field.validation_alias.choices)
    return (field_name.upper(),)


def _default_model(known: Mapping[str, Any], specified: str) -> str:
    return specified if known.get("hf_token") else EMBEDDED_MODEL


def _shown(value: object) -> str | float | bool | None:
    match value:
        case SecretStr():
            return "***"
        case tuple():
            return ",".join(value)
        case dict():
            shown = ((host, "***" if isinstance(one, SecretStr) else one) for host, one in value.items())
            return ",".join(f"{host}={one}" for host, one in shown) or None
        case str():
            return redact(value)  # an address may hold a password
        case None | int() | float():
            return value
        case _:
            return str(value)


_SECRETS = frozenset(
    {
        *("HF_TOKEN", "CINELET_HOST_TOKENS", "DATABASE_URL", "CINELET_STORAGE_URL"),
        *(name.upper() for name in PROVIDER_KEYS.values()),
    }
)
"""Settings whose values are repeated nowhere."""


def _explained(error: pydantic.ValidationError) -> ValidationError:
    """Turn pydantic's report into lines that name the variable; a secret's value is not repeated."""
    details: dict[str, str] = {}
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        if problem["type"] == "default_factory_not_called":
            continue  # The consequence of another problem, which is reported.
        name = str(problem["loc"][0]).upper() if problem["loc"] else "configuration"
        why = problem["msg"].removeprefix("Value error, ")
        details[name] = why
        value = "" if name in _SECRETS else f"={str(problem['input'])[:80]!r}"
        lines.append(f"{name}{value} cannot be used: {why}")
    return ValidationError("; ".join(lines) + "; correct the variable or remove it", details)
