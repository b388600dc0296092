"""The compose file, as far as it can be told without a container engine: what it names exists, and nothing is open."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml

from cinelet.cli.app import app
from cinelet.config import Config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy"
TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "cinelet"}
SETTINGS = {setting.name for setting in Config().settings()}
OF_THE_BUCKET = {"AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
PROMETHEUS = yaml.safe_load((FOLDER / "monitoring" / "prometheus.yml").read_text(encoding="utf-8"))
PROVISIONING = FOLDER / "monitoring" / "grafana" / "provisioning"


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Return what is mounted where: the source by its target."""
    return {mount.split(":")[1]: mount.split(":")[0] for mount in service.get("volumes", [])}


def test_it_is_a_compose_file() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    found = subprocess.run([*command, str(FOLDER / "compose.yaml")], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_ours_is_a_setting(name: str) -> None:
    assert set(OURS[name]["environment"]) <= SETTINGS | OF_THE_BUCKET


@pytest.mark.parametrize("name", OURS)
def test_every_setting_has_a_value_that_can_be_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OURS[name]["environment"].items():
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:?[-?]?[^}]*\}", "" if ":-" in value else "x", value))
    Config()


@pytest.mark.parametrize("name", [name for name in OURS if name != "keys"])
def test_every_command_of_ours_is_understood(name: str) -> None:
    first, *words = OURS[name]["command"]
    command = typer.main.get_command(app).commands[first]  # type: ignore[attr-defined]
    command.make_context(first, list(words))


def test_the_commands_for_keys_are_understood() -> None:
    (script,) = OURS["keys"]["command"]
    (line,) = re.findall(r"cinelet (keys create .*) >", script)
    keys = typer.main.get_command(app).commands["keys"]  # type: ignore[attr-defined]
    words = line.replace("$$name", "prometheus").split()[1:]
    keys.commands["create"].make_context("create", words[1:])
    subprocess.run(["sh", "-n", "-c", script.replace("$$", "$")], check=True)
    subprocess.run(["sh", "-n", "-c", SERVICES["bucket"]["command"][0]], check=True)


def test_only_loopback_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in published)
    assert not any(service.get("network_mode") or service.get("privileged") for service in SERVICES.values())


def test_the_database_and_the_bucket_are_reached_by_containers_alone() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert SERVICES["database"]["networks"] == SERVICES["store"]["networks"] == ["inside"]


def test_no_secret_is_written_down_and_each_is_made() -> None:
    made = re.search(r"for name in ([A-Z_ ]+); do", (FOLDER / "secrets.sh").read_text(encoding="utf-8"))
    assert made
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert required == set(made[1].split())
    for service in SERVICES.values():
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|TOKEN|SECRET|_KEY", variable):
                assert re.fullmatch(r"\$\{\w+:[-?][^}]*\}", value), variable


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    script.write_bytes((FOLDER / "secrets.sh").read_bytes())
    contents = []
    for _ in range(2):
        subprocess.run(["sh", script], check=True, capture_output=True)
        contents.append((tmp_path / ".env").read_text(encoding="utf-8"))
    assert contents[0] == contents[1]
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    values = [line.partition("=")[2] for line in contents[0].splitlines()]
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in values)
    assert len(values) == len(set(values)) == 4
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_everything_that_goes_on_says_how_it_is() -> None:
    for name, service in SERVICES.items():
        goes_on = service.get("restart") == "unless-stopped"
        assert goes_on == ("healthcheck" in service), name
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_healthy" if "healthcheck" in SERVICES[needed] else "service_completed_successfully"
            assert how["condition"] == wanted, f"{name} waits for {needed}"


def test_what_is_mounted_exists() -> None:
    for service in SERVICES.values():
        for source in mounts(service).values():
            if source.startswith("."):
                assert (FOLDER / source).exists()
            else:
                assert source in COMPOSE["volumes"]
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
        assert {each["source"] for each in service.get("configs", [])} <= COMPOSE["configs"].keys()


def test_the_image_holds_what_is_built_in_the_context() -> None:
    build = SERVICES["service"]["build"]
    context = (FOLDER / build["context"]).resolve()
    assert context == ROOT
    dockerfile = (context / build["dockerfile"]).read_text(encoding="utf-8")
    kept = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {word for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()}
    assert copied == kept
    assert all((context / word).exists() for word in copied)
    assert set(re.findall(r"^ENV (\w+)=|^    (\w+)=", dockerfile, re.MULTILINE)[0]) - {""} <= SETTINGS
    assert re.search(r"^USER cinelet$", dockerfile, re.MULTILINE)
    for volume in ("/data", "/keys"):
        assert re.search(rf"install --directory .*{volume}\b", dockerfile), "its user must be able to write there"


def test_prometheus_scrapes_what_is_started_with_the_key_that_is_made() -> None:
    ports = {"service": "8000", "remote-worker": "9464", "local-worker": "9464"}
    assert SERVICES["service"]["command"][-2] == ports["service"]
    for name in ("remote-worker", "local-worker"):
        assert OURS[name]["environment"]["CINELET_METRICS_PORT"] == ports[name]
        assert f":{ports[name]}/metrics" in str(OURS[name]["healthcheck"])
    targets = {
        target
        for job in PROMETHEUS["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    assert targets == {f"{name}:{port}" for name, port in ports.items()}
    places = mounts(SERVICES["prometheus"])
    assert all(f"/etc/prometheus/{file}" in places for file in ("prometheus.yml", *PROMETHEUS["rule_files"]))
    credentials = PROMETHEUS["scrape_configs"][0]["authorization"]["credentials_file"]
    assert places[f"/etc/prometheus/{Path(credentials).parent}"] == mounts(SERVICES["keys"])["/keys"]
    assert f"for name in {Path(credentials).name} " in SERVICES["keys"]["command"][0]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    found = urlsplit(source["url"])
    assert found.hostname in SERVICES
    assert SERVICES[str(found.hostname)]["ports"] == [f"127.0.0.1:{found.port}:{found.port}"]
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "cinelet.yml").read_text())["providers"]
    places = mounts(SERVICES["grafana"])
    assert places["/etc/grafana/provisioning"] == f"./{PROVISIONING.relative_to(FOLDER)}"
    folder = FOLDER / places[provider["options"]["path"]]
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    dashboard = json.loads((folder / home.name).read_text(encoding="utf-8"))
    (variable,) = [each for each in dashboard["templating"]["list"] if each["type"] == "datasource"]
    assert (variable["query"], variable["current"]["value"]) == (source["type"], source["uid"])


def test_the_store_lets_nobody_in_but_the_service() -> None:
    keys = {"STORE_ACCESS_KEY": "an-access-key", "STORE_SECRET_KEY": "a-secret-key"}
    content = re.sub(r"\$\{(\w+)\}", lambda found: keys[found[1]], COMPOSE["configs"]["store"]["content"])
    (identity,) = json.loads(content)["identities"]
    assert identity["credentials"] == [{"accessKey": "an-access-key", "secretKey": "a-secret-key"}]
    bucket = urlsplit(OURS["service"]["environment"]["CINELET_STORAGE_URL"]).netloc
    assert all(action.endswith(f":{bucket}") for action in identity["actions"])
    assert f"s3.bucket.create -name {bucket}" in SERVICES["bucket"]["command"][0]
    command, (config,) = SERVICES["store"]["command"], SERVICES["store"]["configs"]
    assert f"-s3.config={config['target']}" in command
    endpoint = urlsplit(OURS["service"]["environment"]["AWS_ENDPOINT_URL"])
    assert (endpoint.hostname, f"-s3.port={endpoint.port}") == ("store", command[-2])
