"""Lens: how a camera turns the painted scene into a photograph."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from datamodules.sources.worlds.canvas import multiply

_DEVIATION = 73.9
"""Standard deviation of 0, 1 ... 255."""


@dataclass(slots=True, frozen=True)
class Lens:
    """Light, focus and noise of one camera; `noise` alone differs from picture to picture.

    `gain` multiplies red, green and blue; `gamma` > 1 darkens the middle tones; `slope` is how much
    light changes across the picture (x, y); `corners` how much light the corners lose; `focus` is a
    blur's sigma in px, `motion` the length and direction (px, rad) the camera moved; `noise` a
    standard deviation in grey levels; `grey` makes an infrared camera.
    """

    gain: tuple[float, float, float]
    gamma: float
    slope: tuple[float, float]
    corners: float
    focus: float
    motion: tuple[float, float]
    noise: float
    grey: bool = False

    @staticmethod
    def random(
        rng: np.random.Generator, grey: float = 0.0, blurred: float = 0.25, gain: float = 0.07
    ) -> "Lens":
        """A lens; `grey` and `blurred` are the probabilities of infrared and of a strong blur."""
        angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25)
        red, green, blue = (rng.uniform(0.85, 1.1) + gain * rng.uniform(-1, 1, 3)).tolist()
        out_of_focus, moved = rng.random(2) < blurred / 2
        return Lens(
            gain=(red, green, blue),
            gamma=float(np.exp(rng.uniform(-0.25, 0.25))),
            slope=(float(slope * np.cos(angle)), float(slope * np.sin(angle))),
            corners=float(max(0.0, rng.uniform(-0.2, 0.3))),
            focus=float(rng.uniform(0.8, 1.4) if out_of_focus else rng.uniform(0.0, 0.6)),
            motion=(float(rng.uniform(3, 6) if moved else 0.0), float(rng.uniform(0, np.pi))),
            noise=float(rng.uniform(1, 9)),
            grey=bool(rng.random() < grey),
        )

    def develop(
        self, canvas: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The photograph."""
        picture = self._blurred(cv2.LUT(canvas, self._curves()))
        if self.grey:
            picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        picture = multiply(picture, self._light(canvas.shape))
        return self._noisy(picture, rng)

    def _curves(self) -> np.ndarray:
        """Per channel what becomes of each of the 256 levels; (1, 256, 3)."""
        level = np.linspace(0, 1, 256)[:, None] ** self.gamma
        return np.clip(255 * level * self.gain, 0, 255).astype(np.uint8)[None]

    def _blurred(self, canvas: np.ndarray) -> np.ndarray:
        if self.focus > 0.3:
            canvas = cv2.GaussianBlur(canvas, (0, 0), self.focus)
        length, direction = self.motion
        if length >= 2:
            half = length / 2 * np.array([np.cos(direction), np.sin(direction)])
            reach = int(np.ceil(length / 2))
            kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
            start, end = (tuple(np.rint(16 * (reach + s * half)).astype(int)) for s in (-1, 1))
            cv2.line(kernel, start, end, 255, 1, cv2.LINE_AA, shift=4)
            canvas = cv2.filter2D(canvas, -1, kernel / np.float32(kernel.sum()))
        return canvas

    def _light(self, hw: tuple[int, ...]) -> np.ndarray:
        y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in hw[:2])
        across = 1 + self.slope[0] * x - self.corners / 2 * x * x
        down = self.slope[1] * y - self.corners / 2 * y * y
        return (across[None, :] + down[:, None]).astype(np.float32)

    def _noisy(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Noise in brightness, and half as much in colour; uniform, which is quick to draw."""
        share = self.noise / _DEVIATION
        bright = rng.integers(0, 256, picture.shape[:2], np.uint8)
        bright = cv2.cvtColor(bright, cv2.COLOR_GRAY2RGB)
        picture = cv2.addWeighted(picture, 1.0, bright, share, -127.5 * share)
        if self.grey:
            return picture
        colour = rng.integers(0, 256, picture.shape, np.uint8)
        return cv2.addWeighted(picture, 1.0, colour, share / 2, -127.5 * share / 2)
