"""A world model with a second stage as a user's recipe file, small enough to train in a second."""

from dataclasses import replace

from craik.agent.dynamics import DynamicsTraining
from craik.agent.metric import MetricTraining
from craik.recipes.compass import Config, build, fit, tiny

__all__ = ["Config", "build", "fit", "micro"]


def micro() -> Config:
    """24 px, every second frame."""
    return replace(
        tiny(),
        image=24,
        place_maps=4,
        scene_maps=4,
        place_channels=8,
        scene_channels=8,
        place=4,
        scene=4,
        hidden=16,
        inverse_hidden=16,
        skip=2,
        num_steps=2,
        num_frames=4,
        batch=16,
        dynamics=DynamicsTraining(num_steps=20, batch=32),
        metric=MetricTraining(num_steps=20, batch=32),
        metric_hidden=16,
    )
