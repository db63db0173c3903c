"""Layers of falling particles, drawn as sparse points that are smeared: rain and snow."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Layer", "smear", "sparse_points", "streak_kernel"]

Layer = NDArray[np.float32]


def sparse_points(random: np.random.Generator, height: int, width: int, share: float) -> Layer:
    """Put points of random brightness on a share of the pixels of ``(H, W)``."""
    count = random.poisson(share * height * width)
    layer = np.zeros((height, width), np.float32)
    rows, columns = random.integers(0, height, count), random.integers(0, width, count)
    np.maximum.at(layer, (rows, columns), random.uniform(0.15, 1, count).astype(np.float32))
    return layer


def streak_kernel(length_px: float, angle_deg: float, width_px: float) -> Layer:
    """Return the picture of one streak: 1 along a line, at an angle from the vertical, soft across and at its ends."""
    half = math.ceil(length_px / 2 + 2 * width_px)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    angle = math.radians(angle_deg)
    along, across = y * math.cos(angle) + x * math.sin(angle), x * math.cos(angle) - y * math.sin(angle)
    profile = np.exp(-(across**2) / (2 * (0.5 * width_px) ** 2))
    return np.asarray(profile * np.clip((length_px / 2 - np.abs(along)) / (0.25 * length_px) + 0.2, 0, 1), np.float32)


def smear(points: Layer, kernel: Layer) -> Layer:
    """Draw the kernel at every point; where drawings overlap their brightness adds up."""
    return np.asarray(cv2.filter2D(points, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)
