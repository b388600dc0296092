from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cinelet.config import Config, Setting
from cinelet.domain.errors import ValidationError
from cinelet.domain.request import Limits, Task


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*Config.model_fields, "hugging_face_hub_token", "hf_token_path"]:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def setting(name: str) -> Setting:
    return next(setting for setting in Config().settings() if setting.name == name)


def test_without_a_token_the_default_is_the_embedded_model() -> None:
    assert Config.DEFAULT_TEXT_TO_VIDEO_MODEL == "embedded"
    assert Config().default_models == {Task.TEXT_TO_VIDEO: "embedded", Task.IMAGE_TO_VIDEO: "embedded"}


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_with_a_token_the_defaults_are_the_specifications(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "hf_0123456789")
    assert Config.DEFAULT_TEXT_TO_VIDEO_MODEL == "damo-vilab/text-to-video-ms-1.7b"
    assert Config.DEFAULT_IMAGE_TO_VIDEO_MODEL == "stabilityai/stable-video-diffusion-img2vid"
    assert setting("HF_TOKEN").source == f"environment ({variable})"


def test_the_token_file_counts_as_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_0123456789\n")
    token = Config().hf_token
    assert token is not None
    assert token.get_secret_value() == "hf_0123456789"
    assert Config.DEFAULT_TEXT_TO_VIDEO_MODEL == "damo-vilab/text-to-video-ms-1.7b"
    assert setting("HF_TOKEN").source == f"token file ({tmp_path / 'token'})"


def test_a_configured_model_wins_over_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("DEFAULT_TEXT_TO_VIDEO_MODEL", "embedded")
    assert Config.DEFAULT_TEXT_TO_VIDEO_MODEL == "embedded"


def test_the_class_answers_with_the_specifications_values() -> None:
    assert Config.FALLBACK_TEXT_TO_VIDEO_MODELS[0] == "cerspense/zeroscope_v2_576w"
    assert Config.FALLBACK_TEXT_TO_VIDEO_MODELS[1] == "cerspense/zeroscope_v2_XL"
    assert list(Config.FALLBACK_IMAGE_TO_VIDEO_MODELS) == ["stabilityai/stable-video-diffusion-img2vid-xt"]
    assert Config.MAX_VIDEO_DURATION == 30
    assert Config.MAX_VIDEO_FILE_SIZE == 524288000
    assert Config.VIDEO_QUALITY_PRESET == "medium"
    assert Config().limits == Limits()


def test_the_class_answers_from_the_environment_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_VIDEO_DURATION", "12")
    monkeypatch.setenv("FALLBACK_TEXT_TO_VIDEO_MODELS", "a/b, local:./c ,")
    assert Config.MAX_VIDEO_DURATION == 12
    assert Config.FALLBACK_TEXT_TO_VIDEO_MODELS == ("a/b", "local:./c")


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_VIDEO_DURATION", "")
    monkeypatch.setenv("HF_TOKEN", "")
    assert Config.MAX_VIDEO_DURATION == 30
    assert Config().hf_token is None


def test_the_class_cannot_be_changed_in_silence() -> None:
    with pytest.raises(AttributeError, match="environment variable MAX_VIDEO_DURATION"):
        Config.MAX_VIDEO_DURATION = 5
    with pytest.raises(AttributeError):
        _ = Config.NO_SUCH_SETTING


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAX_VIDEO_DURATION", "ten"),
        ("MAX_VIDEO_DURATION", "0"),
        ("MAX_VIDEO_FILE_SIZE", "-1"),
        ("VIDEO_QUALITY_PRESET", "best"),
        ("DEFAULT_TEXT_TO_VIDEO_MODEL", "nonsense"),
        ("FALLBACK_IMAGE_TO_VIDEO_MODELS", "a/b,nonsense"),
        ("CINELET_DEVICE", "tpu9"),
        ("CINELET_LOG_LEVEL", "LOUD"),
        ("HF_ENDPOINT", "mirror.example"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as caught:
        Config()
    assert set(caught.value.details) == {variable}
    assert str(caught.value).startswith(variable)
    assert "\n" not in str(caught.value)
    assert value in str(caught.value)


def test_words_are_read_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_QUALITY_PRESET", "High")
    monkeypatch.setenv("CINELET_LOG_LEVEL", "debug")
    assert (Config().video_quality_preset, Config().cinelet_log_level) == ("high", "DEBUG")


def test_a_token_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    assert "secretsecret" not in f"{Config()!r} {list(Config().settings())}"


def test_every_setting_says_what_it_does() -> None:
    assert all(setting.description for setting in Config().settings())


def test_without_a_credential_the_fallback_is_the_embedded_model_unless_somebody_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Config().fallback_models[Task.TEXT_TO_VIDEO] == ("embedded",)
    assert setting("FALLBACK_TEXT_TO_VIDEO_MODELS").source == "default, used with a token; without one embedded"
    monkeypatch.setenv("FALLBACK_TEXT_TO_VIDEO_MODELS", "local:a/b")
    assert Config().fallback_models[Task.TEXT_TO_VIDEO] == ("local:a/b",)
    assert Config().fallback_models[Task.IMAGE_TO_VIDEO] == ("embedded",)
    monkeypatch.setenv("FAL_KEY", "key")
    assert Config().fallback_models[Task.IMAGE_TO_VIDEO] == ("stabilityai/stable-video-diffusion-img2vid-xt",)


def test_provider_keys_are_read_by_provider_and_shown_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAL_KEY", " id:secret\n")
    monkeypatch.setenv("WAVESPEED_API_KEY", "other")
    config = Config()
    assert config.provider_keys == {"fal-ai": "id:secret", "wavespeed": "other"}
    assert config.has_credentials
    assert "secret" not in repr(config)
    assert setting("FAL_KEY").value == "***"


def test_tokens_are_given_by_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CINELET_HOST_TOKENS", "GPU.example.org=a=b, other.example.org = c")
    tokens = {host: token.get_secret_value() for host, token in Config().cinelet_host_tokens.items()}
    assert tokens == {"gpu.example.org": "a=b", "other.example.org": "c"}
    assert setting("CINELET_HOST_TOKENS").value == "gpu.example.org=***,other.example.org=***"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CINELET_HOST_TOKENS", "only-a-secret"),
        ("CINELET_CONNECT_TIMEOUT", "0"),
        ("CINELET_ATTEMPT_TIMEOUT", "soon"),
        ("CINELET_DEADLINE", "-1"),
        ("BILL_TO", "two words"),
    ],
)
def test_a_wrong_value_for_remote_models_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Config()
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "only-a-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "environment",
    [{}, {"HF_HOME": "/a"}, {"HF_HUB_CACHE": "/b"}, {"HUGGINGFACE_HUB_CACHE": "/c"}, {"XDG_CACHE_HOME": "/d"}],
    ids=lambda environment: next(iter(environment), "nothing"),
)
def test_the_cache_of_the_hub_is_where_its_own_programs_have_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert str(Config().hub_cache) == theirs
