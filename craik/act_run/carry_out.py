"""A life of the agent from beginning to end: put together, let learn, calibrated, measured."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch

from craik import __version__
from craik.act_run.asked import NAMES, Asked, Mode
from craik.act_run.assemble import OWN_CRITIC, Tasks, assemble, learned_parts
from craik.act_run.learned import FILE, Actions, check, facts_of, read, under, write
from craik.act_run.player import Player
from craik.act_run.result import ActReport, Lived
from craik.agent import Agent, CriticTraining, calibrate_reach
from craik.data.episode import Episodes
from craik.envs.world import World, take
from craik.errors import UsageError
from craik.evaluate.bootstrap import Interval
from craik.evaluate.planning import Rules
from craik.evaluate.policies import Policy, baselines, goal_frames
from craik.evaluate.scenes import Scenes, draw
from craik.evaluate.success import wilson
from craik.plan_run.reachable import APART, NUM, Answers
from craik.plan_run.report import Compared
from craik.plan_run.run import Evening, Turn, noted, pair
from craik.plan_run.subject import Subject, as_bounds, guarded, open_world
from craik.plan_run.subject import check as check_world
from craik.train.run import Json
from craik.train.stop import StopSignal

Say = Callable[[str], None]
LEARNING = 7_000_003  # apart of the seeds of episodes to learn in from those that are measured
DISTILL = (300, 1000)  # steps at the start of episodes while it learns, and once before it is measured


@dataclass(slots=True, eq=False)
class Life:
    """An agent, where it lives, and what it has been through."""

    asked: Asked
    subject: Subject
    world: World[Any]
    agent: Agent
    task: Tasks
    critic: str
    episodes: int
    """Lived through while it learned."""

    def save(self) -> None:
        """Write what it learned."""
        facts = facts_of(self.agent, self.subject, self.asked.planning.env, self.episodes)
        write(self.asked.folder / FILE, self.agent, facts)

    def player(self, mode: Mode, name: str) -> Player:
        """The agent in one mode."""
        return Player(self.agent, partial(self.task, mode=mode), self.task.block, name)


def act(asked: Asked, say: Say, training: CriticTraining | None = None) -> ActReport:
    """Let the agent of a run live and learn, then measure its modes on the same starts and goals.

    What it learned is written after every round; what is finished is kept, whatever happens.

    Args:
        asked: What to do.
        say: Told what is going on, line by line.
        training: Of a critic that is learned anew.

    Raises:
        UsageError: If run and world do not go together, or something was asked that cannot be.
        WorldFailed: If the environment fails before there is anything to keep.
    """
    life = begin(asked, say, training)
    planning = asked.planning
    rules = Rules(planning.max_steps or life.world.max_steps, stay=0)
    evening, reach = Evening([]), None
    rounds, lives = list[Lived](), list[Lived]()
    others: tuple[Policy, ...] = ()
    with StopSignal() as signal, noted(evening):
        turn = Turn(planning, rules, evening, lambda: signal.asked)
        rounds.extend(learn(life, turn, say))
        if evening.goes_on and asked.reach_rate:
            reach = calibrate(life, say)
        scenes = draw(life.world, planning.episodes, planning.seed, planning.distance)
        others = baselines(life.world)
        for policy in others:
            turn.play(life.world, scenes, policy, policy.name)
        for mode in asked.modes:
            if (lived := play(life, turn, scenes, mode, NAMES[mode])) is not None:
                lives.append(lived)
    return ActReport(
        settings=settings(life, rules),
        critic=life.critic,
        edge=life.agent.world_model.band.edge,
        rounds=tuple(rounds),
        lives=tuple(lives),
        baselines=tuple(score for score in evening.scores if score.policy in {policy.name for policy in others}),
        beside=tuple(beside(lives)),
        reach=reach,
        stopped=evening.stopped,
        failure=evening.failure,
    )


def begin(asked: Asked, say: Say, training: CriticTraining | None) -> Life:
    """The agent with what it learned before, or with the critic of the run, or with one that it learns now.

    Raises:
        UsageError: If run and world do not go together, or there is nothing to react by.
    """
    planning = asked.planning
    subject = Subject.open(planning.run, planning)
    world = guarded(open_world(planning.env, subject.model.recipe.view.size), planning.env)
    for note in check_world(subject, world, planning.env):
        say(note)
    goal_frames(world, draw(world, 2, planning.seed, planning.distance))  # a goal that cannot be shown is told now
    bounds, rng = as_bounds(world.action), torch.Generator().manual_seed(planning.seed)
    task = Tasks(subject.planning, bounds, subject.window.skip, planning.seconds)
    path = asked.policy or asked.folder / FILE
    if asked.policy is not None and not path.exists():
        raise UsageError(f"--policy {path}: no such file. Learn one: craik act {planning.run} --env {planning.env}")
    found = read(path) if path.exists() and not asked.fresh else None
    if found is not None:
        check(found, subject, subject.planning, path)
        if found.facts.actions != Actions.of(bounds):
            raise UsageError(
                f"{path} was learned in {found.facts.env}, whose actions have other bounds than those of "
                f"{planning.env}: {found.facts.actions} and {Actions.of(bounds)}. Learn anew: --fresh"
            )
        say(f"{path}: learned in {found.facts.episodes:,} episodes of {found.facts.env}; --fresh forgets it")
    if asked.mode != "plan" and not asked.rounds and (found is None or not found.facts.taught):
        raise UsageError("nothing was learned yet that Mode-1 could react by: give --rounds 1 or more, or --mode plan")
    if found is not None:
        agent = assemble(subject, bounds, found.parts(subject.model.device), rng)
        found.teach(agent)
        agent.world_model.band = replace(agent.world_model.band, false_alarm_rate=asked.surprise_rate)
        critic = "critic: learned before" if under(found.tensors, "critic") else OWN_CRITIC
        return Life(asked, subject, world, agent, task, critic, found.facts.episodes)
    if subject.critic is None or planning.data is not None:
        say("training a critic on encoded and imagined states")
    data = None if planning.data is None else Episodes.open(planning.data)
    parts, report = learned_parts(subject, world, bounds, data, rng, planning.seed, asked.surprise_rate, training)
    life = Life(asked, subject, world, assemble(subject, bounds, parts, rng), task, report, 0)
    life.save()
    return life


def learn(life: Life, turn: Turn, say: Say) -> Iterator[Lived]:
    """Rounds of episodes of their own: the first is planned, then Mode-1 takes over what it can."""
    asked, agent = life.asked, life.agent
    rounds = 0 if asked.mode == "plan" else asked.rounds
    agent.distill_steps, agent.reachability = DISTILL[0], None if rounds else agent.reachability
    for number in range(1, rounds + 1):
        if not turn.evening.goes_on:
            break
        mode: Mode = "both" if agent.actor.taught else "plan"
        scenes = draw(
            life.world, asked.planning.episodes, LEARNING + asked.planning.seed + life.episodes, asked.planning.distance
        )
        lived = play(life, turn, scenes, mode, f"round {number}")
        if agent.actor.lessons.written > agent.actor.taught:
            loss = agent.actor.distill(DISTILL[1])
            say(f"round {number}: {len(agent.actor.lessons):,} lessons distilled into Mode-1, error {loss:.3f}")
        life.episodes += 0 if lived is None else len(lived.score.outcomes)
        life.save()
        if lived is not None:
            yield lived
    agent.distill_steps = 0  # measured as it is


def play(life: Life, turn: Turn, scenes: Scenes, mode: Mode, name: str) -> Lived | None:
    """Episodes in one mode; None if none was finished, or there is nothing to react by."""
    if mode == "react" and not life.agent.actor.taught:
        return None
    player, before = life.player(mode, name), len(turn.evening.scores)
    turn.play(life.world, scenes, player, name)
    if len(turn.evening.scores) == before:
        return None
    score = turn.evening.scores[-1]
    return Lived(score, player.deeds(len(score.outcomes)))


def calibrate(life: Life, say: Say) -> Answers:
    """When to say "cannot reach", on pairs that can be reached; tried on others, and on goals in other layouts."""
    asked, agent, world = life.asked.planning, life.agent, life.world
    mode: Mode = "both" if agent.actor.taught and life.asked.mode != "plan" else "plan"
    held, tried = (draw(world, NUM, asked.seed + apart, asked.distance) for apart in (APART, 2 * APART))
    pairs = world.render(held.start), goal_frames(world, held)
    say(f"calibrating 'cannot reach' on {NUM} pairs")
    rate = life.asked.reach_rate
    agent.reachability = calibrate_reach(agent, life.task(pairs[1][:1], mode), *pairs, rate, asked.together)
    life.save()

    def alarms(scenes: Scenes) -> Interval:
        costs = []
        for first in range(0, len(scenes), asked.together):
            some = scenes.some(slice(first, first + asked.together))
            costs.append(agent.cost_of_best_plan(life.task(goal_frames(world, some), mode), world.render(some.start)))
        assert agent.reachability is not None
        return wilson(int(agent.reachability.cannot_reach(torch.cat(costs)).sum()), len(scenes))

    roll = np.roll(np.arange(NUM), 1)
    rows = np.flatnonzero(elsewhere(tried.start, roll))
    other = tried.some(rows), take(tried.goal, roll[rows])
    detected = Interval(*[float("nan")] * 3)
    if len(rows):
        detected = alarms(Scenes(other[0].start, other[1], other[0].distance))
    return Answers(NUM, rate, agent.reachability.threshold, alarms(tried), detected)


def elsewhere(state: Any, other: np.ndarray) -> np.ndarray:
    """Whether the worlds of a state differ from others of it in their layout, bool [num]; false where it has none."""
    layout = getattr(state, "layout", None)
    differ = np.zeros(len(other), dtype=bool)
    for field in fields(layout) if is_dataclass(layout) and not isinstance(layout, type) else ():
        column = getattr(layout, field.name)
        if isinstance(column, np.ndarray) and column.dtype.kind in "iufb":
            same = (column == column[other]) | ((column != column) & (column[other] != column[other]))
            differ |= ~same.reshape(len(other), -1).all(1)
    return differ


def beside(lives: list[Lived]) -> Iterator[Compared]:
    """Every two modes on the episodes that both finished."""
    for one, two in combinations(reversed(lives), 2):
        if set(one.score.outcomes.number) & set(two.score.outcomes.number):
            names = one.score.policy, two.score.policy
            yield Compared(*names, pair(one.score.outcomes, two.score.outcomes))


def settings(life: Life, rules: Rules) -> Json:
    """Everything that decides the result."""
    asked, subject = life.asked, life.subject
    planning = asked.planning
    return {
        "craik": __version__,
        "run": str(planning.run),
        "model": f"{subject.model.name}, weights {subject.fingerprint}",
        "env": planning.env,
        "episodes": planning.episodes,
        "rounds": asked.rounds,
        "lived": life.episodes,
        "lessons": len(life.agent.actor.lessons),
        "mode": asked.mode,
        "seed": planning.seed,
        "goal_distance": "as the world draws it" if planning.distance is None else list(planning.distance),
        "budget": rules.budget,
        "frame_skip": subject.window.skip,
        "history": subject.history,
        "planning": asdict(subject.planning),
        "seconds": planning.seconds,
        "together": planning.together,
        "surprise_rate": life.agent.world_model.band.false_alarm_rate,
        "interval": "Wilson, 95 %; differences: Newcombe's paired interval and McNemar's exact test",
    }
