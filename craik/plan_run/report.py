"""What an evaluation of planning found, for people and for programs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from craik.agent.critic import CriticReport
from craik.api import Model
from craik.evaluate.bootstrap import Interval
from craik.evaluate.planning import Outcomes, Recorded
from craik.evaluate.success import Band, Paired, bands, wilson
from craik.plan import Usability
from craik.plan_run.reachable import Answers
from craik.train.run import Json, finite, write_atomic

MOST_FILES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """One policy."""

    policy: str
    outcomes: Outcomes

    @property
    def reached(self) -> Interval:
        """Share of episodes that reached the goal at any step."""
        return wilson(int(self.outcomes.reached.sum()), len(self.outcomes))

    @property
    def stayed(self) -> Interval:
        """Share that was at the goal at the last step."""
        return wilson(int(self.outcomes.stayed.sum()), len(self.outcomes))

    @property
    def steps(self) -> float:
        """Median number of steps until the goal, of those that reached it; NaN where none did."""
        steps = self.outcomes.steps[self.outcomes.reached]
        return float(np.median(steps)) if len(steps) else float("nan")

    @property
    def seconds(self) -> float:
        """Mean seconds of looking and planning in an episode until the goal was reached."""
        return float(self.outcomes.seconds.mean())

    @property
    def seconds_per_action(self) -> float:
        """The same for one action of the environment."""
        return float(self.outcomes.seconds.sum() / self.outcomes.steps.sum())

    @property
    def seconds_per_decision(self) -> float:
        """The same for one plan."""
        return float(self.outcomes.seconds.sum() / max(1, self.outcomes.decisions.sum()))

    @property
    def bands(self) -> tuple[Band, ...]:
        """Success by distance."""
        return bands(self.outcomes.reached, self.outcomes.distance)

    def to_json(self) -> Json:
        """Figures, then every episode."""
        o = self.outcomes
        columns = {name: getattr(o, name).tolist() for name in asdict(o)}
        return {
            "policy": self.policy,
            "episodes": len(o),
            "reached": asdict(self.reached),
            "stayed": asdict(self.stayed),
            "median_steps": self.steps,
            "seconds_per_episode": self.seconds,
            "seconds_per_action": self.seconds_per_action,
            "seconds_per_decision": self.seconds_per_decision,
            "bands": [{**band._asdict(), "share": asdict(band.share)} for band in self.bands],
            "each": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        }


@dataclass(frozen=True, slots=True)
class Compared:
    """Two policies on the same episodes."""

    first: str
    second: str
    found: Paired


@dataclass(frozen=True, slots=True, eq=False)
class PlanReport:
    """All of it."""

    settings: Json
    refused: int
    outside: int
    usable: Usability
    critic: CriticReport | None
    scores: tuple[Score, ...]
    compared: tuple[Compared, ...]
    variations: dict[str, str]
    """What each variation is, by the name of its score."""
    reach: Answers | None
    stopped: bool
    failure: str | None
    model: Model
    """That planned."""
    recorded: tuple[Recorded, ...] = ()
    """Episodes to draw."""

    def score(self, policy: str) -> Score | None:
        """That of a policy, if it finished some episodes."""
        return next((score for score in self.scores if score.policy == policy), None)

    def to_json(self) -> Json:
        """Plain values; NaN is null."""
        usable = self.usable
        row: Json = finite(
            {
                "settings": self.settings,
                "starts_refused": self.refused,
                "pairs_outside_the_range": self.outside,
                "usability": {
                    "verdict": usable.verdict,
                    "monotone": usable.monotone,
                    "spearman": usable.spearman,
                    "reach": usable.reach,
                    "bands": [band._asdict() for band in usable.bands],
                },
                "critic": None if self.critic is None else asdict(self.critic),
                "policies": [score.to_json() for score in self.scores],
                "compared": [asdict(one) for one in self.compared],
                "variations": self.variations,
                "reachability": None if self.reach is None else asdict(self.reach),
                "interrupted": self.stopped,
                "failure": self.failure,
            }
        )
        return row

    def table(self) -> Table:
        """A row per policy."""
        budget = self.settings["budget"]
        title = f"Goals reached in {self.settings['env']} within {budget} steps [%], 95 % intervals"
        table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("policy", no_wrap=True, min_width=8)
        for name in ("n", "at any step", "at the last step", "steps", "s/episode"):
            table.add_column(name, justify="right", no_wrap=True)
        for score in self.scores:
            steps = "" if np.isnan(score.steps) else f"{score.steps:.0f}"
            seconds = f"{score.seconds:.2f}"
            thinks = score.policy.startswith("planner") or score.policy == self.rival
            table.add_row(
                score.policy,
                str(len(score.outcomes)),
                score.reached.percent(),
                score.stayed.percent(),
                steps,
                seconds if thinks else "",
            )
        return table

    @property
    def rival(self) -> str | None:
        """The run that this one was compared with."""
        named = self.settings["compare"]
        return None if named is None else str(named).rpartition(", weights ")[0]

    def band_table(self) -> Table:
        """Success of the planner, and its check of the latent distance, by distance."""
        table = Table(title="The planner by distance to the goal [units of the world]", box=SIMPLE)
        for name in ("distance", "episodes", "at any step [%]"):
            table.add_column(name, justify="right")
        planner = self.score("planner")
        for band in () if planner is None else planner.bands:
            table.add_row(f"{band.low:.1f} to {band.high:.1f}", str(band.num), band.share.percent())
        return table

    def distance_table(self) -> Table:
        """The check of the latent distance."""
        table = Table(title="Latent distance on a random walk, by the shortest way", box=SIMPLE)
        for name in ("steps", "pairs", "Spearman", "farther than the band before [%]"):
            table.add_column(name, justify="right")
        for band in self.usable.bands:
            rise = "" if np.isnan(band.rise) else f"{100 * band.rise:.0f}"
            table.add_row(f"{band.low} to {band.high - 1}", str(band.num), f"{band.spearman:.2f}", rise)
        return table

    def lines(self) -> list[str]:
        """Settings and comparisons, for people."""
        s = self.settings
        p = s["planning"]
        radius = "" if s["success_radius"] is None else f" (radius {s['success_radius']:g})"
        clock = "" if s["seconds"] is None else f", at most {s['seconds']:g} s per decision of an episode"
        detour = f"detours at {p['detour']:g} of the way" if p["detour"] else "no detours"
        between = s["goal_distance"]
        between = between if isinstance(between, str) else f"{between[0]:g} to {between[1]:g}"
        found = [
            f"goal: {s['goal']}  distance: {between}",
            f"success: {s['success']}{radius}  last step: {s['last_step']}",
            f"budget {s['budget']} steps, frame skip {s['frame_skip']}, history {s['history']}, seed {s['seed']}, "
            f"{s['together']} episodes side by side",
            f"planning: {p['solver']}, {p['samples']} samples x {p['iterations']} iterations, horizon {p['horizon']}, "
            f"execute {p['execute']}, {p['cost']} cost{clock}; one action per model step "
            f"{'held' if p['hold'] else 'for each step inside'}, {detour}",
            f"starts that satisfied their goal and were drawn again: {self.refused}; outside the range: {self.outside}",
        ]
        found += [c.found.sentence(c.first, c.second) for c in self.compared]
        found += [f"{name}: {what}" for name, what in self.variations.items()]
        return found if self.reach is None else [*found, self.reach.sentence()]


def write(report: PlanReport, out: Path | None, run: Path) -> Path:
    """Write the result; see `keep`."""
    if out is None:
        env = str(report.settings["env"]).rpartition("/")[2].replace(".py:", "-")
        env = "".join(c if c.isalnum() or c in "._-" else "-" for c in env)
        out = run / "planning" / f"{env}-{report.settings['seed']}.json"
    return keep(report.to_json(), out)


def keep(row: Json, out: Path) -> Path:
    """Write a result with its settings, over an older one of the same settings.

    A file of other settings, or a whole result where this one was interrupted, is left: the new file gets a number.
    """
    for number in range(1, MOST_FILES):
        path = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        if may_replace(path, row):
            write_atomic(path, json.dumps(row, indent=1) + "\n")
            return path
    raise FileExistsError(f"{out} and {MOST_FILES - 2} numbered files beside it hold results of other settings")


def may_replace(path: Path, row: Json) -> bool:
    """Whether there is no file, or a result of the same settings that is no more complete."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    if not isinstance(found, dict) or found.get("settings") != json.loads(json.dumps(row["settings"])):
        return False
    cut_short = row["interrupted"] or row["failure"]
    return not cut_short or bool(found.get("interrupted") or found.get("failure"))
