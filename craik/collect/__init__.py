"""Collecting episodes from simulated worlds: in parallel, repeatable, and going on where it was interrupted."""

from craik.collect.crew import num_cores
from craik.collect.gather import Outcome, Plan, collect
from craik.collect.simulate import Failure

__all__ = ["Failure", "Outcome", "Plan", "collect", "num_cores"]
