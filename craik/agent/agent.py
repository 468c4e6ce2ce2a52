"""The agent: perceive, compare, react or plan, remember.

    Mode-1: a = A(s, goal)                                one pass, no search
    Mode-2: a = argmin of the cost over imagined futures  stored, and distilled into A

Mode-1 acts alone while the last step was no surprise, and what it foresees is cheaper than any place in this episode;
else Mode-2 takes over, environment by environment. A plan is followed for as many steps as the task says, while nothing
is a surprise. Where the last step led nowhere near where it should have, and the task allows detours, neither is asked:
the same situation would give the same answer, so a random move is made, of which nobody learns.

Source: LeCun 2022, sections 3.1 to 3.4.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from craik.agent.actor import Actor, Lesson
from craik.agent.configurator import Configuration, TaskSpec, configure
from craik.agent.cost import CostModule, Wanted, at
from craik.agent.memory import Memory, Moment
from craik.agent.perception import Perception
from craik.agent.report import Decision, Report, Why
from craik.agent.world_model import WorldModel
from craik.errors import UsageError
from craik.plan import Detour, Plan, Reachability, Situation, calibrate, imagine
from craik.plan.objective import Cost

Seen = TypeVar("Seen", np.ndarray, Tensor)
_NO_SEARCH = (Why.REACTS, Why.FOLLOWS, Why.STRAYS, Why.OVER)


@dataclass(slots=True, eq=False)
class Agent:
    """Six modules and the loop that joins them, for B environments whose episodes begin together.

    Attributes:
        perception: Observations to states.
        world_model: Imagines, and is surprised.
        cost: Guard rails and critic.
        memory: What was.
        actor: Policy and search.
        reachability: When to say "cannot reach"; see `calibrate_reach`. With it, each episode begins with a plan.
        distill_steps: Optimizer steps that teach the policy when an episode begins after new lessons; 0 for none.
        report: What was done since the agent was made; set it to `Report()` to count anew.
        last: The last decision.
        cannot_reach: Whether each goal of this episode seems out of reach, bool [B]; None where it was not asked.
    """

    perception: Perception
    world_model: WorldModel
    cost: CostModule
    memory: Memory
    actor: Actor
    reachability: Reachability | None = None
    distill_steps: int = 300
    report: Report = field(default_factory=Report)
    last: Decision | None = field(default=None, init=False)
    cannot_reach: Tensor | None = field(default=None, init=False)
    _left: Tensor | None = field(default=None, init=False)
    _lowest: Tensor | None = field(default=None, init=False)
    _over: Tensor | None = field(default=None, init=False)
    _configuration: Configuration | None = field(default=None, init=False)
    _goal: Tensor | Cost | None = field(default=None, init=False)
    _detour: Detour | None = field(default=None, init=False)
    _queue: list[Tensor] = field(default_factory=list, init=False)
    _time: int = field(default=0, init=False)
    _episodes: int = field(default=0, init=False)
    _first_episode: int = field(default=0, init=False)

    def begin(self, task: TaskSpec) -> None:
        """New episodes begin, with this task. What planning decided in earlier ones is distilled first.

        Raises:
            UsageError: If the task does not fit the agent.
        """
        self._prepare(task)
        new = self.actor.lessons.written > self.actor.taught
        if new and self.actor.policy is not None and self.distill_steps:
            self.actor.distill(self.distill_steps)
        if task.mode == "react" and not self.actor.taught:
            raise UsageError('there is nothing to react by: let the agent plan some episodes first (mode="both")')

    def act(self, observation: Seen) -> Seen:
        """What to do now, in each environment.

        Args:
            observation: [B, ...], as perception takes it. Inside a block of actions it is not looked at.

        Returns:
            Actions [B, A], or int64 choices [B]; numpy arrays where the observation is one.

        Raises:
            UsageError: If no task was begun, or the observation is malformed.
        """
        if not self._queue:
            actions = self._decide(observation).actions
            inside = self._setup.inside.split(actions.unsqueeze(1))  # [B, block, A]
            self._queue = list(inside.unbind(1))
        action = self._queue.pop(0)
        return action.cpu().numpy() if isinstance(observation, np.ndarray) else action

    @property
    def begins(self) -> bool:
        """Whether nothing was decided yet since the task was begun."""
        return self._time == 0

    def retire(self, over: np.ndarray | Tensor) -> None:
        """In some environments, bool [B], the episode is over: until the next begins, nothing is planned or remembered
        there, and the action means nothing.
        """
        self._over = torch.as_tensor(over, dtype=torch.bool, device=self.perception.device)

    @property
    def answers(self) -> tuple[str, ...]:
        """For each environment, whether its goal can be reached, in a sentence; empty where it was not asked."""
        if self.reachability is None or self._left is None:
            return ()
        return tuple(self.reachability.sentence(cost) for cost in self._left.tolist())

    def cost_of_best_plan(self, task: TaskSpec, observation: np.ndarray | Tensor) -> Tensor:
        """How much would be left to go at the end of the best plan from here, [B]; nothing is done or remembered.

        Beginning an episode is what comes next: the plans and the history of the last one are forgotten.
        """
        self._prepare(task)
        situation = self.perception.perceive(observation)
        rows = torch.ones(len(situation.now), dtype=torch.bool, device=situation.now.device)
        left = self._left_after(situation, self._search(situation, rows).actions)
        self._prepare(task)
        return left

    @property
    def _setup(self) -> Configuration:
        if self._configuration is None:
            raise UsageError("the agent has no task: call agent.begin(TaskSpec(goal=...)) first")
        return self._configuration

    def _prepare(self, task: TaskSpec) -> None:
        setup = self._configuration = configure(task, self.actor.bounds, self.cost)
        self.actor.check(setup.bounds)
        self._goal = task.goal if callable(task.goal) else self._seen(task.goal)
        block = setup.bounds.num_inside
        self._detour = Detour(self.actor.bounds, block, self.actor.rng, task.detour) if task.detour else None
        self.perception.begin(setup.inside.size)
        self.world_model.reset()
        self.actor.forget_plans()
        self._queue, self._time, self._first_episode = [], 0, self._episodes
        self.cannot_reach = self._left = self._over = self._lowest = None

    def _seen(self, goal: np.ndarray | Tensor) -> Tensor:
        """Latents [B, D] of goals."""
        try:
            return self.perception.encode(goal)
        except UsageError as error:
            raise UsageError(f"the goal of the task: {error}") from None

    def _decide(self, observation: np.ndarray | Tensor) -> Decision:
        """One step of the model for every environment."""
        began = time.perf_counter()
        situation = self.perception.perceive(observation)
        usual = self.world_model.compare(situation)
        over = torch.zeros_like(usual) if self._over is None else self._over
        strays = torch.zeros_like(usual) if self._detour is None else self._detour.away(situation.now)
        follows = self._follows(usual) & ~over & ~strays
        reaction, gains = self._react(situation)
        flags = (over, strays, follows, usual, gains)
        reasons = [self._why(*row) for row in zip(*(flag.tolist() for flag in flags), strict=True)]
        thinking = torch.tensor([why not in _NO_SEARCH for why in reasons], device=usual.device)
        evaluations = 0
        if thinking.any():
            plan = self._search(situation, thinking)
            evaluations = plan.evaluations
            if self._time == 0 and self.reachability is not None and thinking.all():
                self._left = self._left_after(situation, plan.actions)
                self.cannot_reach = self.reachability.cannot_reach(self._left)
        by_plan = thinking | follows
        chosen = torch.where(by_plan[:, None], self.actor.planned(), reaction) if by_plan.any() else reaction
        if self._detour is not None:
            chosen = self._detour.instead(chosen.unsqueeze(1))[:, 0]
        self.actor.stepped(~by_plan)
        actions = self._setup.whole(chosen)
        imagined = self.world_model.expect(situation, actions)
        if self._detour is not None:
            self._detour.expect(situation.now, imagined, self._goal if isinstance(self._goal, Tensor) else None)
        self.perception.acted(actions)
        self._remember(situation, chosen, by_plan, ~over)
        seconds = time.perf_counter() - began
        self.last = Decision(actions, tuple(reasons), self.world_model.surprise, seconds, evaluations)
        self.report = self.report.plus(self.last)
        self._time += 1
        return self.last

    def _follows(self, usual: Tensor) -> Tensor:
        """Who goes on with a plan, bool [B]."""
        held = self.actor.holds(self._setup.task.execute)
        return torch.zeros_like(usual) if held is None else held & usual

    def _why(self, over: bool, strays: bool, follows: bool, usual: bool, gains: bool) -> Why:
        """Whether to react to an environment, or why not."""
        mode = self._setup.task.mode
        if over:
            return Why.OVER
        if strays:
            return Why.STRAYS
        if mode == "react":
            return Why.REACTS
        if follows:
            return Why.FOLLOWS
        if mode == "plan":
            return Why.TOLD
        if not self.actor.taught or callable(self._goal):
            return Why.UNTAUGHT
        if self._time == 0 and self.reachability is not None:
            return Why.ASKED
        if not usual:
            return Why.SURPRISED
        return Why.REACTS if gains else Why.NO_GAIN

    def _react(self, situation: Situation) -> tuple[Tensor, Tensor]:
        """What the policy would do, [B, A], and whether that is foreseen to be cheaper than staying at the cheapest
        place so far, bool [B]: who goes to and fro gains at every other step, and gets nowhere.
        """
        setup, now = self._setup, situation.now
        rows = torch.ones(len(now), dtype=torch.bool, device=now.device)
        idle = setup.bounds.neutral().to(now).expand(len(now), -1)
        if not self._can_react or setup.task.mode == "plan":
            return idle, ~rows
        goal, to_go = self._aim(now, rows)
        glance = 1 if setup.task.mode == "react" else setup.task.glance
        model = self.world_model.model
        proposal = self.actor.propose(model, situation, goal, to_go, glance, setup)
        if setup.task.mode == "react":
            return proposal.actions[:, 0], rows
        wanted = self._wanted(rows)
        still = now.unsqueeze(1).expand_as(proposal.imagined)
        with torch.no_grad():
            then = wanted.whole(proposal.imagined.unsqueeze(1), proposal.actions.unsqueeze(1))[:, 0]
            stay = wanted.whole(still.unsqueeze(1), idle[:, None, None].expand(-1, 1, glance, -1))[:, 0]
        self._lowest = stay if self._lowest is None else torch.minimum(self._lowest, stay)
        return proposal.actions[:, 0], then < self._lowest

    def _search(self, situation: Situation, rows: Tensor) -> Plan:
        """The best plan for some of the environments."""
        setup, model = self._setup, self.world_model.model
        some = Situation(situation.latents[rows], situation.past[rows])
        proposed = None
        if self._can_react and setup.task.mode != "plan":
            goal, to_go = self._aim(some.now, rows)
            proposed = self.actor.propose(model, some, goal, to_go, setup.task.horizon, setup).actions
        return self.actor.optimize(model, some, self._wanted(rows).whole, setup, rows, proposed)

    @torch.no_grad()
    def _left_after(self, situation: Situation, actions: Tensor) -> Tensor:
        """What is left to go after plans [B, H, A] for all environments, [B]."""
        imagined = imagine(self._setup.imagining(self.world_model.model), situation, actions.unsqueeze(1))[:, 0]
        rows = torch.ones(len(imagined), dtype=torch.bool, device=imagined.device)
        return at(self._wanted(rows).remaining, imagined[:, -1], actions[:, -1])

    def _remember(self, situation: Situation, chosen: Tensor, by_plan: Tensor, live: Tensor) -> None:
        """Write the moment, with actions as the model takes them, and what planning decided."""
        now, num = situation.now, len(situation.now)
        everyone = torch.ones_like(live)
        with torch.no_grad():
            cost = at(self._wanted(everyone).intrinsic, now, chosen)
        self._episodes = self._first_episode + num
        which = torch.arange(self._first_episode, self._episodes)
        moments = Moment(torch.full((num,), self._time), now, self._setup.whole(chosen), cost, which)
        self.memory.write(Moment(*(column[live.to(column.device)] for column in moments)))
        if by_plan.any() and not callable(self._goal):
            goal, to_go = self._aim(now[by_plan], by_plan)
            self.actor.lessons.write(Lesson(now[by_plan], goal, to_go, chosen[by_plan]))

    @property
    def _can_react(self) -> bool:
        return self.actor.taught > 0 and not callable(self._goal)

    def _aim(self, state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Goal latents [R, D] of some environments, and the steps to them [R] as far as is known."""
        goal = self._goal_of(rows)
        assert isinstance(goal, Tensor)
        goal = goal.expand_as(state)
        return goal, self.cost.steps_to_go(state, goal, otherwise=self._setup.task.horizon)

    def _wanted(self, rows: Tensor) -> Wanted:
        setup = self._setup
        return self.cost.wanted(self._goal_of(rows), setup.weights, setup.task.over)

    def _goal_of(self, rows: Tensor) -> Tensor | Cost:
        """The goal of some environments, bool [B].

        Raises:
            UsageError: If there is neither one goal for all nor one for each.
        """
        goal = self._goal
        assert goal is not None
        if not isinstance(goal, Tensor) or len(goal) == 1:
            return goal
        if len(goal) != len(rows):
            raise UsageError(
                f"the task has {len(goal)} goals and there are {len(rows)} environments: give one goal for all of "
                "them, or one for each"
            )
        return goal[rows]


def calibrate_reach(
    agent: Agent,
    task: TaskSpec,
    starts: Sequence[np.ndarray] | np.ndarray | Tensor,
    goals: Sequence[np.ndarray] | np.ndarray | Tensor,
    false_alarm_rate: float = 0.05,
    together: int = 1,
) -> Reachability:
    """When to say "cannot reach", measured on pairs of start and goal that are known to be reachable.

    Args:
        agent: Plans for each pair, as it will when an episode begins; calibrate anew when its model, its critic or
            its policy changed.
        task: Its goal is replaced by those of the pairs; all else as it will be.
        starts: Observations [N, ...].
        goals: Observations [N, ...].
        false_alarm_rate: Share of reachable goals that may be called unreachable, in (0, 1).
        together: Environments that will be planned for at once: they share the budget of the task.

    Raises:
        UsageError: If there are too few pairs for the rate, or not as many goals as starts.
    """
    if len(starts) != len(goals):
        raise UsageError(f"calibration wants pairs; got {len(starts)} starts and {len(goals)} goals")
    costs = []
    for first in range(0, len(starts), together):
        some = slice(first, first + together)
        here, there = (x[some] if isinstance(x, Tensor) else np.asarray(x[some]) for x in (starts, goals))
        costs.append(agent.cost_of_best_plan(replace(task, goal=there), here))
    return calibrate(torch.cat(costs), false_alarm_rate)
