"""What became of an agent, for people and for programs."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from craik.act_run.player import Deeds
from craik.plan_run.reachable import Answers
from craik.plan_run.report import Compared, Score
from craik.train.run import Json, finite


@dataclass(frozen=True, slots=True, eq=False)
class Lived:
    """Episodes of the agent in one mode."""

    score: Score
    deeds: Deeds

    def to_json(self) -> Json:
        """Figures, then every episode."""
        row, deeds = self.score.to_json(), self.deeds
        each = row.pop("each")
        columns: dict[str, Any] = {name: getattr(deeds, name).tolist() for name in asdict(deeds)}
        return {
            **row,
            "share_mode_1": deeds.share_reacting,
            "share_detours": deeds.share_straying,
            "evaluations_per_decision": deeds.evaluations_per_decision,
            "searches": int(deeds.planned.sum()),
            "surprises": int(deeds.surprised.sum()),
            "said_cannot_reach": int(deeds.alarm.sum()),
            "each": [
                {**one, **dict(zip(columns, more, strict=True))}
                for one, more in zip(each, zip(*columns.values(), strict=True), strict=True)
            ],
        }


@dataclass(frozen=True, slots=True, eq=False)
class ActReport:
    """All of it."""

    settings: Json
    critic: str
    """How good the critic is."""
    edge: float
    """Largest usual surprise: 1 is a prediction that has nothing to do with what came."""
    rounds: tuple[Lived, ...]
    """Of learning."""
    lives: tuple[Lived, ...]
    """The modes that were measured."""
    baselines: tuple[Score, ...]
    beside: tuple[Compared, ...]
    reach: Answers | None
    stopped: bool
    failure: str | None
    """What the environment raised."""

    def life(self, name: str) -> Lived | None:
        """In the mode of that name, if some episodes were finished."""
        return next((life for life in self.lives if life.score.policy == name), None)

    def to_json(self) -> Json:
        """Plain values; NaN is null."""
        row: Json = finite(
            {
                "settings": self.settings,
                "critic": self.critic,
                "surprise_edge": self.edge,
                "rounds": [life.to_json() for life in self.rounds],
                "modes": [life.to_json() for life in self.lives],
                "baselines": [score.to_json() for score in self.baselines],
                "compared": [asdict(one) for one in self.beside],
                "reachability": None if self.reach is None else asdict(self.reach),
                "interrupted": self.stopped,
                "failure": self.failure,
            }
        )
        return row

    def table(self) -> Table:
        """A row per mode and baseline, on the same starts and goals."""
        budget = self.settings["budget"]
        table = Table(title=f"Goals reached in {self.settings['env']} [%], 95 % intervals, budget {budget} steps")
        table.add_column("who")
        for name in ("episodes", "reached", "median steps", "Mode-1 [%]", "s/decision", "futures/decision"):
            table.add_column(name, justify="right")
        for score in self.baselines:
            table.add_row(score.policy, *figures(score), "", "", "")
        for life in (*self.rounds, *self.lives):
            deeds = life.deeds
            costs = (f"{100 * deeds.share_reacting:.0f}", f"{life.score.seconds_per_decision:.4f}")
            table.add_row(life.score.policy, *figures(life.score), *costs, f"{deeds.evaluations_per_decision:.0f}")
        return table

    def lines(self) -> list[str]:
        """What the table does not say."""
        s = self.settings
        p = s["planning"]
        found = [
            f"success: the goal is reached at any step; seed {s['seed']}, {s['together']} episodes side by side share "
            "the seconds",
            f"Mode-2: {p['solver']}, {p['samples']} samples x {p['iterations']} iterations, horizon {p['horizon']}, "
            f"execute {p['execute']}, {p['cost']} cost, actions {'held' if p['hold'] else 'free'}; a step of a plan "
            "that was made before counts as a decision",
            self.critic,
            f"usual surprise: up to {self.edge:.3g}, at {100 * s['surprise_rate']:.3g} % false alarms",
        ]
        if p["detour"]:
            shares = ", ".join(f"{one.score.policy} {100 * one.deeds.share_straying:.0f} %" for one in self.lives)
            found.append(f"random moves where a step led elsewhere, of all decisions: {shares}")
        found += [one.found.sentence(one.first, one.second) for one in self.beside]
        return found + ([] if self.reach is None else [answers(self.reach), *self.said()])

    def said(self) -> list[str]:
        """What the agent said of the goals of the measured episodes, and what became of them."""
        found = []
        for life in self.lives:
            alarm, reached = life.deeds.alarm, life.score.outcomes.reached
            if life.deeds.planned.any():
                found.append(
                    f"{life.score.policy}: said 'cannot reach' at the start of {int(alarm.sum())} of {len(alarm)} "
                    f"episodes, and reached {int((alarm & reached).sum())} of these"
                )
        return found


def figures(score: Score) -> tuple[str, str, str]:
    """Episodes, success and median steps of a row."""
    steps = "" if math.isnan(score.steps) else f"{score.steps:.0f}"
    return str(len(score.outcomes)), score.reached.percent(), steps


def answers(reach: Answers) -> str:
    """How far 'cannot reach' can be trusted; goals elsewhere are left out where every layout is the same."""
    whole = reach.sentence()
    return whole if not math.isnan(reach.detected.value) else whole.partition(", of goals")[0]
