"""How mice move: they run, pause and turn, keep off the walls and out of each other's way."""

from dataclasses import dataclass

import numpy as np

from datamodules.sources.worlds.arenas import Arena
from datamodules.sources.worlds.chance import direction, pick
from datamodules.sources.worlds.mice import Coat, Pose

FRAMES_PER_SECOND = 30
"""What speeds refer to."""
_EASE = 0.15
"""Share of the way to a new speed, turn or bend that a frame makes."""
_APART = 0.85
"""Closest that the middles of two mice come, in body lengths: neither covers the other's."""
_REACH = 0.55
"""Of the snout and the tail's base from the middle, in body lengths."""


@dataclass(slots=True)
class _Runner:
    """One mouse: where it is and what it is about to do. Speeds in body lengths and rad per s."""

    coat: Coat
    rng: np.random.Generator
    place: np.ndarray
    heading: float
    speed: float = 0.0
    turn: float = 0.0
    bend: float = 0.0
    tail_bend: float = 0.0
    tail_phase: float = 0.0
    wanted: tuple[float, float] = (0.0, 0.0)
    frames_left: int = 0

    def step(self, arena: Arena) -> None:
        """One frame on."""
        if self.frames_left == 0:
            self._decide()
        self.frames_left -= 1
        speed, turn = self.wanted
        if not arena.holds(self._ahead()):
            speed, turn = 0.4 * speed, self._towards(np.array(arena.centre))
        self.speed += _EASE * (speed - self.speed)
        self.turn += _EASE * (turn - self.turn)
        self.heading += self.turn / FRAMES_PER_SECOND
        forwards = np.array([np.cos(self.heading), np.sin(self.heading)])
        self.place = self.place + forwards * self.speed * self.coat.length / FRAMES_PER_SECOND
        self._keep_inside(arena, forwards)
        self.bend += _EASE * (np.clip(0.35 * self.turn, -1.3, 1.3) - self.bend)
        self.tail_bend += 0.5 * _EASE * (np.clip(-0.5 * self.turn, -1.5, 1.5) - self.tail_bend)
        self.tail_phase += (0.6 + 2.5 * self.speed) / FRAMES_PER_SECOND

    def pose(self) -> Pose:
        x, y = self.place.tolist()
        return Pose((x, y), self.heading, self.bend, self.tail_bend, self.tail_phase)

    def _decide(self) -> None:
        """Run, pause or turn, for a third of a second to two seconds."""
        self.frames_left = int(self.rng.integers(10, 60))
        choice = self.rng.random()
        if choice < 0.55:
            self.wanted = float(self.rng.uniform(1.0, 4.0)), float(self.rng.normal(0, 0.8))
        elif choice < 0.8:
            self.wanted = 0.0, 0.0
        else:
            turn = pick(self.rng, (-1, 1)) * self.rng.uniform(1.5, 4.5)
            self.wanted = float(self.rng.uniform(0.2, 0.8)), float(turn)

    def _ahead(self) -> np.ndarray:
        forwards = np.array([[np.cos(self.heading), np.sin(self.heading)]])
        return self.place + forwards * 0.9 * self.coat.length

    def _towards(self, goal: np.ndarray) -> float:
        """The turn that leads there, rad/s."""
        across = goal - self.place
        error = np.arctan2(across[1], across[0]) - self.heading
        error = (error + np.pi) % (2 * np.pi) - np.pi
        return 5.0 if error > 0 else -5.0

    def _keep_inside(self, arena: Arena, forwards: np.ndarray) -> None:
        """Slides away from a wall, not at once, so that the film stays smooth."""
        ends = self.place + np.array([[-_REACH], [0.0], [_REACH]]) * forwards * self.coat.length
        if not arena.holds(ends):
            inwards = np.array(arena.centre) - self.place
            distance = max(float(np.hypot(*inwards)), 1e-9)
            self.place = self.place + inwards * min(0.04 * self.coat.length / distance, 1.0)


def tracks(coats: list[Coat], arena: Arena, length: int, seed: list[int]) -> list[list[Pose]]:
    """The pose of each mouse in each of `length` frames; [frame][mouse].

    A longer film begins with the same frames.
    """
    runners = [_entering(coat, arena, seed, number) for number, coat in enumerate(coats)]
    frames: list[list[Pose]] = []
    # the first second is not filmed: it parts mice that were put down on top of each other
    for frame in range(-FRAMES_PER_SECOND, length):
        for runner in runners:
            runner.step(arena)
        _part(runners)
        if frame >= 0:
            frames.append([runner.pose() for runner in runners])
    return frames


def _entering(coat: Coat, arena: Arena, seed: list[int], number: int) -> _Runner:
    rng = np.random.default_rng([*seed, number])
    u, v = rng.uniform(-0.5, 0.5, 2).tolist()
    return _Runner(coat, rng, np.array(arena.place(u, v)), direction(rng))


def _part(runners: list[_Runner]) -> None:
    """Mice that are too close make room, each the same."""
    for number, one in enumerate(runners):
        for other in runners[:number]:
            across = one.place - other.place
            distance = max(float(np.hypot(*across)), 1e-3)
            missing = _APART * max(one.coat.length, other.coat.length) - distance
            if missing > 0:
                push = across / distance * missing * 0.25
                one.place, other.place = one.place + push, other.place - push
