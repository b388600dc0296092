"""How alike two clips of frames are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW = 7
"""Pixels along a side of what SSIM compares at once."""
SAME_DB = 100.0
"""What stands for the infinite ratio of clips that are equal."""


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    error = float(np.square(one.astype(np.float64) - other).mean())
    return SAME_DB if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the mean SSIM (Wang et al. 2004) of clips [frames, height, width, channels]; 1 if equal."""
    from scipy.ndimage import uniform_filter

    size = (1, WINDOW, WINDOW, 1)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        filtered: NDArray[np.float64] = uniform_filter(values, size)
        return filtered

    first, second = one.astype(np.float64), other.astype(np.float64)
    means = mean(first), mean(second)
    variances = mean(first**2) - means[0] ** 2, mean(second**2) - means[1] ** 2
    covariance = mean(first * second) - means[0] * means[1]
    low, high = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * means[0] * means[1] + low) * (2 * covariance + high)
    below = (means[0] ** 2 + means[1] ** 2 + low) * (variances[0] + variances[1] + high)
    return float((above / below).mean())
