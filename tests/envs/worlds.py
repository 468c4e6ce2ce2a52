"""Every world of the tests, by its spec."""

import numpy as np

from craik.envs import find, listing

ALL = [entry.name for entry in listing()]
VARIANTS = [f"{entry.name}:{variant}" for entry in listing() for variant, _ in entry.variants]
SPECS = [*ALL, *VARIANTS, "two_rooms+distractor", "point_mass+noise", "maze+distractor+noise"]
QUICK = [spec for spec in SPECS if spec != "maze:large"]  # its roads take long


def begin(spec, num, seed=0):
    """A world, its state, a goal and the generator that they came from."""
    world, rng = find(spec), np.random.default_rng(seed)
    state = world.reset(num, rng)
    return world, state, world.goal(state, rng), rng


def within(points, boxes, skin=1e-5):
    """Whether points [N, 2] lie in boxes [N, W, 4], written anew."""
    x, y = points[:, None, 0], points[:, None, 1]
    inner = (x > boxes[..., 0] + skin) & (x < boxes[..., 2] - skin)
    return (inner & (y > boxes[..., 1] + skin) & (y < boxes[..., 3] - skin)).any(axis=1)
