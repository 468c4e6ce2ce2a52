"""An evaluation of planning in a simulator, from beginning to end."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from craik import __version__
from craik.collect.bar import Bar
from craik.collect.worlds import settings_of
from craik.envs.world import World
from craik.evaluate.planning import Outcomes, Rules, play
from craik.evaluate.policies import Policy, baselines
from craik.evaluate.recorder import Recorder
from craik.evaluate.scenes import Scenes, draw
from craik.evaluate.success import Paired, paired
from craik.evaluate.variations import varied
from craik.plan_run.asked import Asked
from craik.plan_run.prepare import Prepared, prepare
from craik.plan_run.reachable import Answers, ask_reachability
from craik.plan_run.report import Compared, PlanReport, Score
from craik.plan_run.subject import Guarded, Subject, WorldFailed, check, guarded, open_world
from craik.train.run import Json
from craik.train.stop import StopSignal

Say = Callable[[str], None]


@dataclass(slots=True)
class Evening:
    """What has been played so far; an interruption or a failing world leaves it as it is."""

    scores: list[Score]
    stopped: bool = False
    failure: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether more may be played."""
        return not self.stopped and self.failure is None

    def outcomes(self, name: str) -> Outcomes | None:
        """Of a policy, if it finished some episodes."""
        return next((score.outcomes for score in self.scores if score.policy == name), None)


def plan_run(asked: Asked, say: Say) -> PlanReport:
    """Evaluate planning, beside baselines that are played on the same episodes.

    Args:
        asked: What to evaluate.
        say: Told what is going on, line by line.

    Raises:
        UsageError: If run and world do not go together, or something was asked that cannot be.
    """
    subject = Subject.open(asked.run, asked)
    plain = open_world(asked.env, subject.model.recipe.view.size)
    others = varied(plain, asked.vary)
    rival = None if asked.compare is None else Subject.open(asked.compare, asked)
    world = guarded(plain, asked.env)
    for one in (subject, *([] if rival is None else [rival])):
        for note in check(one, world, asked.env):
            say(note)
    scenes = draw(world, asked.episodes, asked.seed, asked.distance)
    prepared = prepare(subject, world, asked, say)
    rules = Rules(asked.max_steps or world.max_steps, asked.stay)
    recorder = Recorder(range(asked.pictures)) if asked.pictures else None
    evening = Evening([])
    reach: Answers | None = None
    with StopSignal() as signal:
        turn = Turn(asked, rules, evening, lambda: signal.asked)
        for policy in baselines(world):
            turn.play(world, scenes, policy, policy.name)
        turn.play(world, scenes, prepared.planner(subject, world, asked), "planner", recorder)
        if rival is not None and evening.goes_on:
            say(f"{asked.compare}: the run to compare with")
            theirs = prepare(rival, world, asked, say)
            turn.play(world, scenes, theirs.planner(rival, world, asked), str(asked.compare))
        for other in others:
            if evening.goes_on:
                there = guarded(other.world, asked.env)
                again = draw(there, asked.episodes, asked.seed, asked.distance)
                turn.play(there, again, prepared.planner(subject, there, asked), f"planner, {other.name}")
        if asked.reach and evening.goes_on:
            reach = ask_reachability(subject, world, asked, prepared, lambda: signal.asked)
    return PlanReport(
        settings=settings(asked, subject, rival, world, rules, prepared),
        refused=scenes.refused,
        outside=scenes.outside,
        usable=prepared.usable,
        critic=prepared.critic,
        scores=tuple(evening.scores),
        compared=tuple(comparisons(evening, asked)),
        variations={f"planner, {other.name}": other.what for other in others},
        reach=reach,
        stopped=evening.stopped,
        failure=evening.failure,
        model=subject.model,
        recorded=() if recorder is None else recorder.episodes(),
    )


@dataclass(frozen=True, slots=True)
class Turn:
    """Lets one policy after the other play."""

    asked: Asked
    rules: Rules
    evening: Evening
    stop: Callable[[], bool]

    def play(
        self, world: World[Any], scenes: Scenes, policy: Policy, name: str, record: Recorder | None = None
    ) -> None:
        """Play all episodes, and note what came of them; nothing once the evening is over."""
        if not self.evening.goes_on:
            return
        found: list[Outcomes] = []
        with Bar(f"{name} in {self.asked.env}", "steps") as bar, noted(self.evening):
            for outcomes in play(
                world,
                scenes,
                policy,
                self.rules,
                self.asked.seed,
                together=self.asked.together,
                advance=lambda ended, steps: bar.advance(ended, len(scenes), steps),
                stop=self.stop,
                record=record,
            ):
                found.append(outcomes)
        if found:
            self.evening.scores.append(Score(name, Outcomes.join(found)))
        if self.stop():
            self.evening.stopped = True


@contextmanager
def noted(evening: Evening) -> Iterator[None]:
    """Remembers that a user's world failed."""
    try:
        yield
    except WorldFailed as failed:
        evening.failure = str(failed)


def comparisons(evening: Evening, asked: Asked) -> Iterator[Compared]:
    """The planner beside every other policy on the episodes that both played."""
    planner = evening.outcomes("planner")
    for score in evening.scores:
        if planner is None or score.policy == "planner" or score.policy.startswith("planner, "):
            continue
        yield Compared("planner", score.policy, pair(planner, score.outcomes))


def pair(one: Outcomes, two: Outcomes) -> Paired:
    """Success on the episodes that both have."""
    first, second = np.isin(one.number, two.number), np.isin(two.number, one.number)
    return paired(one.reached[first], two.reached[second])


def settings(
    asked: Asked, subject: Subject, rival: Subject | None, world: World[Any], rules: Rules, prepared: Prepared
) -> Json:
    """Everything that decides the result, and what it means."""
    plain = world.inside if isinstance(world, Guarded) else world
    return {
        "craik": __version__,
        "run": str(asked.run),
        "model": f"{subject.model.name}, weights {subject.fingerprint}",
        "env": asked.env,
        "world": settings_of(plain),
        "episodes": asked.episodes,
        "seed": asked.seed,
        "goal": f"picture of a state drawn by the world: {first_line(plain.goal)}",
        "goal_distance": "as the world draws it" if asked.distance is None else list(asked.distance),
        "budget": rules.budget,
        "success": f"at any step of the budget: {first_line(plain.reached)}",
        "success_radius": getattr(plain, "success_radius", None),
        "last_step": f"{rules.stay} steps after the goal was first reached, or at the end of the budget",
        "frame_skip": subject.window.skip,
        "history": subject.history,
        "planning": asdict(subject.planning),
        "seconds": asked.seconds,
        "together": asked.together,
        "scale": prepared.scale,
        "critic_data": prepared.critic_data,
        "compare": None if rival is None else f"{asked.compare}, weights {rival.fingerprint}",
        "compare_planning": None if rival is None else asdict(rival.planning),
        "vary": list(asked.vary),
        "reach": asked.reach,
        "interval": "Wilson, 95 %; differences: Newcombe's paired interval and McNemar's exact test",
    }


def first_line(thing: Any) -> str:
    """The first line of what a function says of itself."""
    return (inspect.getdoc(thing) or "the world's own rule").split("\n")[0]
