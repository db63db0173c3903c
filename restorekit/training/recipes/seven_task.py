"""Seven tasks and clean pictures: noise, rain, haze, low light, blur, JPEG, snow.

The shares follow what the tasks cost to learn; clean pictures are there so that the network learns when not to act.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from restorekit.data.clean import CleanPictures
from restorekit.data.synthesis import Mixture, Synthesis
from restorekit.training.tasks.restoration import RestorationTask
from restorekit.training.tasks.tone import ToneTask

__all__ = ["MIXTURE", "careful", "seven_task", "tone"]

MIXTURE = Mixture(
    shares={
        "noise": 0.27,
        "rain": 0.18,
        "haze": 0.14,
        "low_light": 0.10,
        "jpeg": 0.11,
        "blur": 0.04,
        "snow": 0.08,
        "clean": 0.08,
    },
    degradations={
        "noise": ("gaussian_noise", "gaussian_noise", "sensor_noise"),
        "rain": ("rain",),
        "haze": ("haze",),
        "low_light": ("low_light",),
        "jpeg": ("jpeg",),
        "blur": ("motion_blur", "defocus_blur", "gaussian_blur"),
        "snow": ("snow",),
        "clean": (),
    },
    tone=frozenset({"haze", "low_light"}),
    whole_picture=frozenset({"haze", "low_light"}),
)


def careful(folders: Sequence[Path], *, warm: bool = True, seed: int = 3) -> RestorationTask:
    """Build the task of a last stage: a low floor throughout, and more of what is nearly clean.

    It takes back the liberties that a network learns while the floor is high, such as taking a fence for rain.

    Args:
        folders: Folders of clean pictures.
        warm: Not used; this stage makes no sense from the start.
        seed: Seed of the synthesis.

    Returns:
        The task.
    """
    shares = {**MIXTURE.shares, "noise": 0.42, "rain": 0.1, "haze": 0.05, "low_light": 0.05, "jpeg": 0.3, "clean": 0.08}
    synthesis = Synthesis(
        clean=CleanPictures(folders),
        mixture=replace(MIXTURE, shares=shares, grey=0.12, gratings=0.5, upright=0.5),
        seed=seed,
    )
    return RestorationTask(synthesis=synthesis, first_floor=3e-5, last_floor=3e-5)


def tone(folders: Sequence[Path], *, warm: bool = False, seed: int = 2) -> ToneTask:
    """Build the task that trains the tone curve alone, on whole scenes.

    Args:
        folders: Folders of clean pictures.
        warm: Not used.
        seed: Seed of the synthesis.

    Returns:
        The task.
    """
    shares = {**MIXTURE.shares, "haze": 0.3, "low_light": 0.2}
    mixture = replace(MIXTURE, shares=shares, whole_picture=frozenset(shares), grey=0.15)
    return ToneTask(synthesis=Synthesis(clean=CleanPictures(folders), mixture=mixture, seed=seed))


def seven_task(folders: Sequence[Path], *, warm: bool = False, seed: int = 1) -> RestorationTask:
    """Build the task.

    Args:
        folders: Folders of clean pictures.
        warm: Whether the network starts from weights that restore already; the floor of the loss then starts lower.
        seed: Seed of the synthesis.

    Returns:
        The task.
    """
    synthesis = Synthesis(clean=CleanPictures(folders), mixture=MIXTURE, seed=seed)
    return RestorationTask(synthesis=synthesis, first_floor=5e-4 if warm else 2e-3)
