"""Without a simulator: prediction on recorded episodes, beside baselines."""

import json
from pathlib import Path

from craik import api
from craik.data.episode import Episodes
from craik.errors import UsageError
from craik.evaluate.openloop import OpenLoop, open_loop
from craik.train.run import finite, write_atomic


def evaluate(run: Path, data: Path, seed: int = 0, device: str = "auto") -> OpenLoop:
    """Measure how well a run predicts episodes, which should be others than those it was trained on.

    Raises:
        UsageError: If it is no world model, or the episodes do not fit it.
    """
    model = api.load(run, device=device)
    _ = model.world  # a model of images is refused here
    window = model.recipe.window
    assert window is not None
    episodes = Episodes.open(data)
    if episodes.action_size != window.action_size:
        raise UsageError(
            f"{data} has actions of {episodes.action_size} numbers and {run} takes {window.action_size}: give the data "
            f"of its own world. See craik inspect {data}"
        )
    return open_loop(model, episodes, history=window.history, skip=window.skip, seed=seed)


def write(report: OpenLoop, out: Path | None, run: Path) -> Path:
    """Write the result; RUN/planning/open-loop.json by default, which an older result gives way to."""
    path = out or run / "planning" / "open-loop.json"
    write_atomic(path, json.dumps(finite(report.to_json()), indent=1) + "\n")
    return path
