"""What `docker compose up` would start, read from its files: who can reach whom, and who is told what."""

from __future__ import annotations

import re
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from attacker.config import AttackerConfig, WorkerConfig
from cloud.config import CloudConfig
from console.config import ConsoleConfig
from edge.config import EdgeConfig
from victims.base import weights_folder
from wire.address import parse_address
from wire.relay import read_config
from wire.rolefile import read

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = sorted(set(SERVICES) - {"redis"})
MODALITIES = sorted(path.name for path in (ROOT / "compose").iterdir() if path.is_dir())

MAY_TALK = {
    frozenset(pair)
    for pair in (
        ("edge", "link"),
        ("link", "cloud"),
        ("link", "attacker"),  # the mirror
        ("attacker", "console"),  # its results
        ("attacker", "redis"),
        ("attacker", "worker"),
        ("worker", "redis"),
        ("edge", "console"),
        ("link", "console"),
        ("cloud", "console"),
    )
}


def networks(service: str) -> dict[str, list[str]]:
    """Network -> the names that the service has on it beside its own."""
    given = SERVICES[service]["networks"]
    table = dict.fromkeys(given) if isinstance(given, list) else given
    return {name: (said or {}).get("aliases", []) for name, said in table.items()}


def role(service: str, modality: str) -> dict[str, Any]:
    """The role file that is mounted into the service."""
    (mount,) = (m for m in SERVICES[service]["volumes"] if m.endswith(":/role.toml:ro"))
    path = mount.removesuffix(":/role.toml:ro").replace("${COMPOSE_PROFILES:-lidar}", modality)
    return tomllib.loads((ROOT / path).read_text())


def test_every_modality_is_a_profile_of_every_service() -> None:
    assert all(set(said.get("profiles", MODALITIES)) == set(MODALITIES) for said in SERVICES.values())


def test_each_pair_that_must_talk_shares_a_network_and_no_other_pair_does() -> None:
    shared = {frozenset(pair) for pair in combinations(SERVICES, 2) if set(networks(pair[0])) & set(networks(pair[1]))}
    assert shared == MAY_TALK


def test_only_the_page_leads_out_and_only_to_this_machine() -> None:
    assert [name for name, said in COMPOSE["networks"].items() if not (said or {}).get("internal")] == ["page"]
    assert [service for service in SERVICES if "page" in networks(service)] == ["console"]
    ports = {service: said["ports"] for service, said in SERVICES.items() if "ports" in said}
    assert ports == {"console": ["127.0.0.1:${EAVESPLIT_PORT:-8080}:8080"]}


def test_no_volume_is_shared_and_the_link_has_a_spool_of_its_own() -> None:
    mounted = [
        (volume.split(":")[0], service)
        for service, said in SERVICES.items()
        for volume in said.get("volumes", [])
        if not volume.startswith(".")
    ]
    assert dict(mounted) == {"truth": "edge", "capture": "attacker", "spool": "link"}
    assert len(mounted) == len(COMPOSE["volumes"])


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_container_has_no_more_than_it_needs(service: str) -> None:
    said = SERVICES[service]
    assert said["read_only"] and said["init"]
    assert said["cap_drop"] == ["ALL"]
    assert said["security_opt"] == ["no-new-privileges:true"]
    assert said["sysctls"] == {"net.ipv4.ip_forward": 0}
    assert said["restart"] == "unless-stopped"
    assert {"mem_limit", "pids_limit", "healthcheck", "tmpfs"} <= set(said)
    assert said["healthcheck"]["start_interval"] == "1s"


def test_the_listener_holds_no_key_to_another_process() -> None:
    keys = {
        name: SERVICES[name]["environment"]["EAVESPLIT_CONTROL_TOKEN"]
        for name in ("edge", "cloud", "link", "attacker", "worker")
    }
    assert keys["edge"] == keys["cloud"] == keys["link"]
    assert keys["attacker"] == keys["worker"] == SERVICES["console"]["environment"]["EAVESPLIT_ATTACKER_TOKEN"]
    assert not set(re.findall(r"[A-Z_]{4,}|demo[a-z-]*", keys["edge"])) & set(
        re.findall(r"[A-Z_]{4,}|demo[a-z-]*", keys["attacker"])
    )


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_role_file_is_accepted_and_they_agree(modality: str) -> None:
    folder = ROOT / "compose" / modality
    edge, cloud = read(EdgeConfig, folder / "edge.toml"), read(CloudConfig, folder / "cloud.toml")
    attacker, worker = read(AttackerConfig, folder / "attacker.toml"), read(WorkerConfig, folder / "worker.toml")
    console = read(ConsoleConfig, folder / "console.toml")
    read_config(["--config", str(folder.parent / "link.toml")])
    # A training ends with its last step; every other source goes round for ever.
    assert (edge.mode, edge.loop) == ("live", modality != "radiance")
    assert edge.victim == cloud.victim == console.victim
    assert set(edge.splits) == set(cloud.splits) == set(console.splits)
    assert edge.split == console.split
    assert edge.split in edge.splits
    assert worker.attacks == attacker.attacks
    assert (worker.knowledge, worker.redis, worker.seed) == (attacker.knowledge, attacker.redis, attacker.seed)
    (shown,) = (attack for attack in attacker.attacks if attack.row == console.shown)
    if modality == "radiance":
        assert (edge.splits, edge.victim_settings) == ([edge.split], cloud.victim_settings)
    else:
        assert set(shown.splits) == set(edge.splits), "the attack that is shown has weights for every split point"
    for attack in attacker.attacks:
        for path in attack.every_file:
            assert path.parent == Path("/app/weights")
            assert (weights_folder() / path.name).is_file()


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("service", OURS)
def test_a_process_listens_on_one_network_and_dials_what_it_shares_one_with(service: str, modality: str) -> None:
    """By name: a name that belongs to one network cannot be found, nor what listens on it, from another."""
    said = role(service, modality)
    own = [alias for aliases in networks(service).values() for alias in aliases]
    listens = [said[key] for key in ("listen", "control") if key in said]
    if service == "attacker":
        listens.append(said.pop("mirror"))
    for address in listens:
        assert parse_address(address, "")[0] in ([*own, "127.0.0.1"] if service == "worker" else own)
    reached = {
        alias: other
        for network in networks(service)
        for other in SERVICES
        if other != service
        for alias in networks(other).get(network, [])
    }
    for key in ("address", "forward", "mirror", "edge", "attacker", "link", "cloud"):
        if key in said:
            assert parse_address(said[key], "")[0] in reached, key


def test_a_health_check_asks_where_the_process_listens() -> None:
    for service in OURS:
        *command, url = SERVICES[service]["healthcheck"]["test"]
        assert command == ["CMD", "python", "-m", "wire.health"]
        said = role(service, MODALITIES[0])
        assert url.partition("://")[2] in (said.get("listen"), said.get("control"))


def test_the_image_has_the_torch_that_is_pinned() -> None:
    pin = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    assert f"ARG TORCH={pin}\n" in (ROOT / "Dockerfile").read_text()


def test_every_room_is_in_the_image() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    carried = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {package.split(".")[0] for package in packages} | {"weights", "pyproject.toml", "constraints.txt"} == carried


def test_the_page_names_the_extras_that_the_image_is_built_with() -> None:
    (built,) = re.findall(r"^ARG EXTRAS=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert f"`EXTRAS` (default `{built}`)" in (ROOT / "docs/compose.md").read_text()
