"""Figures of a run on robot episodes that say more than those of whole episodes: python measure.py RUN EPISODES OUT."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

import craik
from craik.data.episode import Episodes
from craik.data.windows import Windows
from craik.evaluate.landscape import landscape, strongest_axes
from craik.evaluate.openloop import open_loop, variance
from craik.report.episodes import as_picture
from craik.report.landscape import Ground, landscape_sheet

HORIZON = 4  # model steps
MOVES = slice(0, 3)  # x, y, z


def main(run: str, data: str, out: str) -> None:
    """Every window of five frames: error against horizon, the true action among others, four energy landscapes."""
    model, episodes = craik.load(run, device="cpu"), Episodes.open(data)
    found = open_loop(model, episodes, history=1, horizon=HORIZON, num_random=64)
    (Path(out) / "open-loop.json").write_text(json.dumps(found.to_json(), indent=1) + "\n")
    for row in found.ahead:
        errors = (row.model, row.copy, row.no_action, row.wrong_action)
        print(row.steps, *(f"{e.value:.4f} ({e.low:.4f} to {e.high:.4f})" for e in errors))
        print("  model - copy", row.over_copy, "model - wrong", row.over_wrong_action)
    print(found.action)
    actions = torch.from_numpy(episodes.known_actions())
    axes = strongest_axes(actions[:, MOVES])
    ranges = tuple((float(actions[:, axis].min()), float(actions[:, axis].max())) for axis in axes)
    windows = Windows(episodes, 2)
    clips = windows.read(np.array([4, 13, 22, 31]))  # the middle of each episode
    frames = torch.from_numpy(episodes.frames.read(episodes.every_row)).permute(0, 3, 1, 2)
    spread = variance(model.encode(frames.unsqueeze(1)))
    grounds = [
        Ground(as_picture(before), as_picture(after), one.x, one.y, one.energy, one.true, one.lowest)
        for (before, after), one in zip(
            clips.frames.permute(0, 1, 3, 4, 2).numpy(),
            landscape(model, clips, axes, ranges, history=1, variance=spread),
            strict=True,
        )
    ]
    names = (f"move along {'xyz'[axes[0]]} [m]", f"move along {'xyz'[axes[1]]} [m]")
    landscape_sheet(grounds, names, "Energy one step ahead, over two axes of the hand's move").savefig(
        Path(out) / "landscape.png", dpi=80
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
