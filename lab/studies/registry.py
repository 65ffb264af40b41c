"""The studies that exist, by name; others join through the entry point group ``eavesplit.studies``."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from lab.studies.base import Study
from wire.errors import InputError

STUDIES: dict[str, str] = {
    "demo-lidar": "lab.studies.demo_lidar:STUDY",
    "demo-image": "lab.studies.demo_image:STUDY",
    "demo-radiance": "lab.studies.demo_radiance:STUDY",
    "concretizer": "lab.studies.concretizer:STUDY",
    "threat-model": "lab.studies.threat_model:STUDY",
    "tradeoff": "lab.studies.tradeoff:STUDY",
    "visual-secrets-whitebox": "lab.studies.visual_secrets_whitebox:STUDY",
    "visual-secrets-steps": "lab.studies.visual_secrets_steps:STUDY",
    "visual-secrets-text": "lab.studies.visual_secrets_text:STUDY",
    "visual-secrets-findings": "lab.studies.visual_secrets_findings:STUDY",
    "visual-secrets-noise": "lab.studies.visual_secrets_noise:STUDY",
    "visual-secrets-blackbox": "lab.studies.visual_secrets_blackbox:STUDY",
    "visual-secrets-queries": "lab.studies.visual_secrets_queries:STUDY",
    "visual-secrets-video": "lab.studies.visual_secrets_video:STUDY",
    "visual-secrets-photos": "lab.studies.visual_secrets_photos:STUDY",
    "s2nerf-utility": "lab.studies.s2nerf_utility:STUDY",
    "s2nerf-surrogate": "lab.studies.s2nerf_surrogate:STUDY",
    "s2nerf-scene-aided": "lab.studies.s2nerf_scene_aided:STUDY",
    "s2nerf-defense": "lab.studies.s2nerf_defense:STUDY",
}
"""Name -> ``module:attribute``, imported when asked for."""


def names() -> list[str]:
    """Every study's name, ours in the order of the registry."""
    installed = {point.name for point in entry_points(group="eavesplit.studies")}
    return [*STUDIES, *sorted(installed - set(STUDIES))]


def study(name: str) -> Study:
    """The study called ``name``; InputError lists the ones that exist."""
    where = STUDIES.get(name)
    if where is None:
        for point in entry_points(group="eavesplit.studies"):
            if point.name == name:
                found: Study = point.load()
                return found
        raise InputError(f"study {name!r} does not exist; there are: {', '.join(names())}")
    module, _, attribute = where.partition(":")
    result: Study = getattr(import_module(module), attribute)
    return result
