"""The container files: what compose reads, what the image holds, and what the scripts say without an engine."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = (ROOT / "compose.yaml").read_text()
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
SERVICES = {"shard", "train", "evaluate"}
GPU_SERVICES = {"train-gpu", "evaluate-gpu"}


def compose_installed() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_every_variable_has_the_default_that_the_example_shows() -> None:
    used = re.findall(r"\$\{(\w+)(?::-([^}]*))?\}", COMPOSE)
    assert used
    assert COMPOSE.count("$") == len(used), "a variable without braces"
    defaults: dict[str, str] = {}
    for name, default in used:
        assert f"${{{name}:-" in COMPOSE, f"{name} has no default"
        assert defaults.setdefault(name, default) == default, f"{name} has two defaults"
    assert defaults == example()


def test_services_run_without_rights() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    assert set(services) == SERVICES | GPU_SERVICES
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["user"] == "${CONTAINER_UID:-1000}:${CONTAINER_GID:-1000}", name
        assert "privileged" not in service
        for mount in service["volumes"]:
            assert mount["bind"]["create_host_path"] is False, "the engine would create the folder as root"
            if mount["target"] == "/datasets":
                assert mount["read_only"] is True, name


def test_default_folders_of_data_are_part_of_the_project() -> None:
    # Without it, `docker compose up evaluate` with nothing configured could not mount it.
    assert (ROOT / example()["DATASETS"] / "README.md").is_file()


def test_the_image_installs_before_it_copies_the_program() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert copied[0].split() == ["requirements.lock", "requirements.txt", "requirements-demo.txt"]
    assert DOCKERFILE.index("pip install") < DOCKERFILE.index("COPY shards")
    assert {"shards", "pipeline", "training", "evaluation"} <= set(copied)
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert user is not None
    assert user.group(1) != "0"


def test_the_image_gets_everything_it_copies() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for names in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in names.split():
            assert (ROOT / name).exists(), name
            assert name in allowed, f".dockerignore keeps {name} out"


def test_build_arguments_are_those_of_the_dockerfile() -> None:
    arguments = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    for service in yaml.safe_load(COMPOSE)["services"].values():
        assert set(service["build"]["args"]) == arguments


def test_scripts_may_be_run() -> None:
    for script in (ROOT / "docker").glob("*.sh"):
        assert os.access(script, os.X_OK), script.name
        assert subprocess.run(["sh", "-n", script], check=False).returncode == 0, script.name


@pytest.mark.skipif(Path("/runs").exists(), reason="this machine has a folder /runs")
def test_without_a_checkpoint_one_line_says_what_to_mount() -> None:
    done = subprocess.run([ROOT / "docker" / "evaluate.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: no checkpoint quickstart/run/final.pt")
    assert "RUNS and CHECKPOINT" in done.stderr


def test_services_for_gpus_are_the_others_with_gpus() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    for name in GPU_SERVICES:
        gpu = dict(services[name])
        assert gpu.pop("profiles") == ["gpu"], name
        assert gpu.pop("deploy")["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
        assert gpu == services[name.removesuffix("-gpu")]


@pytest.mark.skipif(not compose_installed(), reason="needs docker with its compose plugin")
@pytest.mark.parametrize("profile", [[], ["--profile", "gpu"]])
def test_compose_accepts_the_file(profile: list[str], tmp_path: Path) -> None:
    settings = {**example(), "DATASETS": str(tmp_path), "CHECKPOINT": "paper/final.pt", "PROCESSES": "4"}
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    # A variable of this shell would win over the file.
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    done = subprocess.run(
        ["docker", "compose", *profile, "--env-file", tmp_path / "env", "config", "--format", "json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    assert set(services) == (SERVICES | GPU_SERVICES if profile else SERVICES)
    assert services["evaluate"]["environment"]["CHECKPOINT"] == "paper/final.pt"
    assert {mount["target"]: mount["source"] for mount in services["evaluate"]["volumes"]}["/datasets"] == str(tmp_path)
    command = services["train"]["command"]
    assert command[command.index("--nproc-per-node") + 1] == "4"


def test_no_service_has_rights_that_it_does_not_need() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    assert all(service["cap_drop"] == ["ALL"] for service in services.values())
    assert all(service["security_opt"] == ["no-new-privileges:true"] for service in services.values())
