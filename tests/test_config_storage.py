"""The settings of what is kept, and of how much happens at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cinelet.config import Config, Setting
from cinelet.domain.errors import ValidationError

NAMES = (
    "DATABASE_URL",
    "CINELET_DATA_DIR",
    "CINELET_STORAGE_URL",
    "CINELET_CACHE_SIZE",
    "CINELET_CACHE_TTL",
    "CINELET_QUEUE_LENGTH",
    "CINELET_PROVIDER_LIMITS",
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


def setting(name: str) -> Setting:
    return next(setting for setting in Config().settings() if setting.name == name)


def test_by_default_everything_is_in_the_users_data_folder(tmp_path: Path) -> None:
    config = Config()
    assert config.cinelet_data_dir.is_relative_to(tmp_path)
    assert config.cinelet_data_dir.name == "cinelet"
    assert config.storage_url == str(config.cinelet_data_dir / "storage")
    assert not config.cinelet_data_dir.exists(), "to read the settings makes nothing"
    assert (config.cinelet_cache_size, config.cinelet_cache_ttl, config.cinelet_queue_length) == (
        10 * 2**30,
        None,
        10_000,
    )
    assert (config.database_url, config.cinelet_provider_limits) == (None, {})


@pytest.mark.parametrize("value", ["data", "~/data", "./data"])
def test_the_data_folder_is_absolute_from_here_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    monkeypatch.setenv("CINELET_DATA_DIR", value)
    config = Config()
    os.chdir("/")
    assert config.cinelet_data_dir == tmp_path / "data"
    assert config.storage_url == str(tmp_path / "data" / "storage")


@pytest.mark.parametrize("value", ["videos", "/srv/videos", "file:/srv/videos", "s3://videos/prefix", "gs://videos"])
def test_videos_are_kept_where_it_says(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CINELET_STORAGE_URL", value)
    assert Config().storage_url == value


def test_the_cache_can_be_small_short_lived_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CINELET_CACHE_SIZE", "0")
    monkeypatch.setenv("CINELET_CACHE_TTL", "0.5")
    assert (Config().cinelet_cache_size, Config().cinelet_cache_ttl) == (0, 0.5)


def test_limits_are_given_by_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CINELET_PROVIDER_LIMITS", "fal-ai=10, GPU.example.org:8000 = 2,")
    assert Config().cinelet_provider_limits == {"fal-ai": 10, "gpu.example.org:8000": 2}
    assert setting("CINELET_PROVIDER_LIMITS").value == "fal-ai=10,gpu.example.org:8000=2"


def test_the_address_of_the_database_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@host/name\n")
    config = Config()
    assert config.database_url is not None
    assert config.database_url.get_secret_value() == "postgresql://user:hunter2@host/name"
    assert setting("DATABASE_URL").value == "***"
    assert "hunter2" not in f"{config!r} {list(config.settings())}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CINELET_DATA_DIR", "~nobody-has-this-name/data"),
        ("CINELET_STORAGE_URL", "ftp://host/videos"),
        ("CINELET_STORAGE_URL", "s3://"),
        ("CINELET_STORAGE_URL", "~nobody-has-this-name/videos"),
        ("CINELET_CACHE_SIZE", "-1"),
        ("CINELET_CACHE_SIZE", "10GB"),
        ("CINELET_CACHE_TTL", "0"),
        ("CINELET_QUEUE_LENGTH", "0"),
        ("CINELET_PROVIDER_LIMITS", "fal-ai"),
        ("CINELET_PROVIDER_LIMITS", "fal-ai=many"),
        ("CINELET_PROVIDER_LIMITS", "fal-ai=0"),
        ("CINELET_PROVIDER_LIMITS", "=3"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Config()
    assert set(caught.value.details) == {name}
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["s3://key:hunter2@bucket", "https://user:hunter2@host/videos", "s3://bucket?k=hunter2"]
)
def test_a_credential_in_the_address_of_the_store_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("CINELET_STORAGE_URL", url)
    with pytest.raises(ValidationError) as caught:
        Config()
    assert "hunter2" not in f"{caught.value} {caught.value.details}"
