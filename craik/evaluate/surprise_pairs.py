"""Does a model know what cannot be? Surprise at pairs of clips, one possible and one not, property by property.

Two protocols. In pairs, the clip with the higher mean surprise over its windows is held to be the impossible one
(relative accuracy). Alone, each clip is judged by its most surprising window: how well that tells impossible from
possible clips at all (AUC), and how often it is right with a threshold below which 90 % of possible clips lie.

The published figures choose the context length for each property and model where it does best on the very clips that
are scored. Here it is chosen on other scenes. Beside a model stand an untrained one, and two that predict pixels.

Source: Garrido et al. 2025 (arXiv 2502.11831); pairs after IntPhys (arXiv 1803.07616), `craik.data.physics`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from craik.data.physics import FRAMES, PROPERTIES, PhysicsPairs, physics_pairs
from craik.errors import UsageError
from craik.evaluate.bootstrap import Interval, mean_interval
from craik.evaluate.success import wilson
from craik.evaluate.surprise import STRIDE
from craik.evaluate.violation import auc_interval

Judge = Callable[[Tensor, Sequence[int]], Tensor]
"""From windows uint8 [B, T, 3, S, S] and context lengths [frames] to the surprise at each, [B, C]."""
REAL = 0.9  # share of possible clips below the threshold that judges clips alone
EVERY = "all"
CHUNK = 16  # windows looked at in one go


def copy_last(windows: Tensor, contexts: Sequence[int]) -> Tensor:
    """Pixels, the last frame of the context again and again: mean absolute error over what follows, [B, C] in [0, 1].

    Args:
        windows: uint8 [B, T, 3, S, S].
        contexts: Frames that are seen.
    """
    x = windows.float() / 255
    return torch.stack([(x[:, c:] - x[:, c - 1 : c]).abs().flatten(1).mean(1) for c in contexts], 1)


def extrapolate(windows: Tensor, contexts: Sequence[int]) -> Tensor:
    """Pixels, each goes on as from the last but one frame of the context to the last, between black and white.

    Arguments and result as of `copy_last`; contexts are of 2 frames at least.
    """
    x = windows.float() / 255
    found = []
    for c in contexts:
        steps = torch.arange(1, x.shape[1] - c + 1)[:, None, None, None]
        pred = (x[:, c - 1 : c] + steps * (x[:, c - 1 : c] - x[:, c - 2 : c - 1])).clamp(0, 1)
        found.append((x[:, c:] - pred).abs().flatten(1).mean(1))
    return torch.stack(found, 1)


def surprises(judge: Judge, clips: np.ndarray, length: int, contexts: Sequence[int], stride: int = STRIDE) -> Tensor:
    """Surprise at every window of clips.

    Args:
        judge: Who is asked.
        clips: uint8 [N, F, S, S, 3].
        length: Frames of a window T.
        contexts: Frames of it that are seen.
        stride: Frames from one window to the next.

    Returns:
        float64 [N, W, C].
    """
    begins = list(range(0, clips.shape[1] - length + 1, stride))
    each = max(1, CHUNK // len(begins))
    found = []
    for start in range(0, len(clips), each):
        x = torch.from_numpy(clips[start : start + each]).movedim(-1, -3)
        windows = torch.stack([x[:, begin : begin + length] for begin in begins], 1)  # [n, W, T, 3, S, S]
        found.append(judge(windows.flatten(0, 1), contexts).double().unflatten(0, (len(x), len(begins))))
    return torch.cat(found)


def fewest_over_contexts(values: Tensor) -> Tensor:
    """Surprise [N, W, C] that no context length explains away: the least over them, [N, W, 1]."""
    return values.amin(2, keepdim=True)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one judge makes of one property. 0.5 is chance in all of them."""

    property: str
    relative: Interval
    """Share of the pairs of which the impossible clip surprises more, ties counted half."""
    auc: Interval
    """Chance that an impossible clip has a more surprising window than a possible one."""
    filtered: Interval
    """As `auc`, of the least surprise over all context lengths."""
    absolute: Interval
    """Share of single clips that a threshold judges rightly."""
    context: int
    """Frames seen in pairs; chosen on other scenes."""
    context_alone: int
    """Frames seen of clips alone."""
    relative_by_context: tuple[float, ...]
    """Relative accuracy at each context length."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one judge makes of each property, and of all pairs at once, which comes last."""

    name: str
    verdicts: tuple[Verdict, ...]

    def of(self, name: str) -> Verdict:
        """The verdict of a property, or of "all"; KeyError if there is none."""
        for verdict in self.verdicts:
            if verdict.property == name:
                return verdict
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class PhysicsReport:
    """The test, of several judges on the same pairs."""

    num_pairs: int
    """Of each property, scored."""
    num_chosen: int
    """Of each property, other scenes that contexts and thresholds were chosen on."""
    frames: int
    """Of a clip."""
    window: int
    """Frames of a window."""
    contexts: tuple[int, ...]
    seed: int
    judges: tuple[Judged, ...]

    def judge(self, name: str) -> Judged:
        """One of the judges; KeyError if it was not asked."""
        for found in self.judges:
            if found.name == name:
                return found
        raise KeyError(name)

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dump`."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    def tables(self) -> Iterator[Table]:
        """A row per property, a column per judge: pairs, then clips alone."""
        yield self._table("Pairs: the impossible clip surprises more [%]; 50 is chance", lambda v: v.relative)
        yield self._table("Clips alone: AUC of the most surprising window [%]; 50 is chance", lambda v: v.auc)

    def lines(self) -> list[str]:
        """How it was measured."""
        contexts = ", ".join(map(str, self.contexts))
        return [
            f"{self.num_pairs} pairs of each property, clips of {self.frames} frames, windows of {self.window} frames "
            f"with stride {STRIDE}. 95 % intervals over scenes; they say nothing of another training seed.",
            f"Context (of {contexts} frames) chosen for each property and judge on {self.num_chosen} pairs of other "
            "scenes. Pixels, copy: the last frame of the context stands still; extrapolate: each pixel goes on as "
            "between the last two; surprise is the mean absolute error.",
        ]

    def _table(self, title: str, figure: Callable[[Verdict], Interval]) -> Table:
        table = Table(title=title)
        table.add_column("property")
        for judge in self.judges:
            table.add_column(judge.name, justify="right")
        for row, verdict in enumerate(self.judges[0].verdicts):
            table.add_row(verdict.property, *(figure(judge.verdicts[row]).percent() for judge in self.judges))
        return table


def physics_test(
    judges: Mapping[str, Judge],
    *,
    window: int,
    contexts: Sequence[int],
    size: int,
    num: int = 40,
    seed: int = 0,
    watch: Callable[[str], None] = lambda line: None,
) -> PhysicsReport:
    """Ask judges about the same pairs of clips.

    Args:
        judges: By the name they have in the report.
        window: Frames of a window T; 32 at most.
        contexts: Frames of it that are seen.
        size: Side of the clips [px].
        num: Pairs of each property, even; as many others choose contexts and thresholds.
        seed: Of the scenes and the resamples.
        watch: Told what is being done.

    Raises:
        UsageError: A window longer than these clips can be, or an odd number of pairs.
    """
    if window > FRAMES[1]:
        raise UsageError(f"windows of {window} frames, and clips of physics have at most {FRAMES[1]}: train with fewer")
    if num < 2 or num % 2:
        raise UsageError(f"{num} pairs of each property: give an even number, for pairs come in twos")
    frames = min(FRAMES[1], max(24, window + 8))
    total = num * len(PROPERTIES)
    chosen_on, scored = (
        physics_pairs(total, frames=frames, size=size, seed=seed, split=split) for split in ("val", "test")
    )
    found = []
    for name, judge in judges.items():
        watch(f"{name}: {4 * total:,} clips")
        found.append(judged(name, judge, chosen_on, scored, window, contexts, seed))
    return PhysicsReport(num, num, frames, window, tuple(contexts), seed, tuple(found))


def judged(
    name: str,
    judge: Judge,
    chosen_on: PhysicsPairs,
    scored: PhysicsPairs,
    window: int,
    contexts: Sequence[int],
    seed: int,
) -> Judged:
    """What one judge makes of everything."""

    def of(pairs: PhysicsPairs) -> tuple[Tensor, Tensor]:
        return surprises(judge, pairs.possible, window, contexts), surprises(judge, pairs.impossible, window, contexts)

    choice, score = of(chosen_on), of(scored)
    verdicts = []
    for number, kind in enumerate((*PROPERTIES, EVERY)):
        rows = [torch.from_numpy((p.property == number) | (kind == EVERY)) for p in (chosen_on, scored)]
        pick = choice[0][rows[0]], choice[1][rows[0]]
        test = score[0][rows[1]], score[1][rows[1]]
        verdicts.append(verdict(kind, pick, test, contexts, seed))
    return Judged(name, tuple(verdicts))


Told = tuple[Tensor, Tensor]
"""Surprise at possible and at impossible clips of the same pairs, [P, W, C] each."""


def verdict(name: str, pick: Told, test: Told, contexts: Sequence[int], seed: int) -> Verdict:
    """What is made of one property: contexts and threshold from `pick`, figures from `test`."""
    choice, score = right(*pick), right(*test)  # [P, C]
    best = int(choice.mean(0).argmax())
    alone = max(range(len(contexts)), key=lambda c: auc(pick[1][..., c], pick[0][..., c]))
    possible, impossible = (side[..., alone].amax(1) for side in test)
    threshold = torch.quantile(pick[0][..., alone].amax(1), REAL)
    judged_right = ((possible <= threshold).double() + (impossible > threshold).double()) / 2
    least, most = (fewest_over_contexts(side)[..., 0].amax(1) for side in test)
    return Verdict(
        property=name,
        relative=quadruplet_interval(score[:, best], seed),
        auc=auc_interval(impossible, possible, seed=seed),
        filtered=auc_interval(most, least, seed=seed),
        absolute=quadruplet_interval(judged_right, seed),
        context=contexts[best],
        context_alone=contexts[alone],
        relative_by_context=tuple(score.mean(0).tolist()),
    )


def right(possible: Tensor, impossible: Tensor) -> Tensor:
    """Whether the impossible clip of each pair [P, W, C] has the higher mean over windows: [P, C], ties 0.5."""
    gap = impossible.mean(1) - possible.mean(1)
    return (gap > 0).double() + (gap == 0).double() / 2


def auc(impossible: Tensor, possible: Tensor) -> float:
    """Chance that an impossible clip [P, W] has a more surprising window than a possible one, ties counted half."""
    more, less = impossible.amax(1).unsqueeze(1), possible.amax(1)
    return float(((more > less).double() + (more == less).double() / 2).mean())


def quadruplet_interval(values: Tensor, seed: int) -> Interval:
    """Interval of the mean of one value per pair [P]; pairs 2 i and 2 i + 1 show the same scenes and go together.

    Quadruplets are drawn anew; where all are alike, which leaves a bootstrap no width, it is Wilson's interval of so
    many quadruplets.
    """
    each = values.unflatten(0, (-1, 2)).mean(1)
    if bool((each == each[0]).all()) and float(each[0]) in (0.0, 1.0):
        return wilson(int(each.sum()), len(each))
    return mean_interval(each, seed=seed)
