"""Other people's checkpoints: one key map per public release, strict both ways, and no code from files."""

from craik.weights.hf_ijepa import export_hf as export_hf
from craik.weights.loaded import LoadedWeights as LoadedWeights
from craik.weights.loaded import PartInfo as PartInfo
from craik.weights.loaded import WeightsInfo as WeightsInfo
from craik.weights.published import info as info
from craik.weights.published import load as load
from craik.weights.published import load_into as load_into
