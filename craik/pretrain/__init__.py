"""Pretraining from start to end: data, recipe, budget, loop, and the folder that comes out of it."""

from craik.pretrain.begin import pretrain
from craik.pretrain.carry_out import Result
from craik.pretrain.go_on import resume
from craik.pretrain.options import Budget, Conduct, Data, Init
from craik.pretrain.prepare import storage_side

__all__ = ["Budget", "Conduct", "Data", "Init", "Result", "pretrain", "resume", "storage_side"]
