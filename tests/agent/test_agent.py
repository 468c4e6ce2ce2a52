"""The six modules together, in rooms whose dynamics are known: no learning from pixels, no luck."""

import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

import craik.agent
from craik.agent import (
    Actor,
    Agent,
    CostModule,
    Experience,
    IntrinsicCost,
    Memory,
    Perception,
    Report,
    TaskSpec,
    WorldModel,
    calibrate_reach,
    calibrate_surprise,
    policy_for,
)
from craik.agent.report import Why
from craik.errors import UsageError
from craik.plan import ICEM, CategoricalCEM, Discrete, Forbidden, Term, Within, ball, latent_scale, worst_step
from tests.agent.worlds import BOX, DOOR, STEP, Env, Room, generator, places, seen, to_frames, walks

PLANNER = ICEM(num_samples=32, num_elites=5, num_iterations=3)
NUM = 12


def agent_in(room: Room, intrinsic: IntrinsicCost | None = None, seed: int = 0) -> Agent:
    rng = generator(seed)
    episodes = walks(room, 30, 20, rng)
    latents = torch.cat([episode.latents for episode in episodes])
    return Agent(
        perception=Perception(room, prepare=to_frames),
        world_model=WorldModel(room, calibrate_surprise(room, walks(room, 20, 20, rng))),
        cost=CostModule(intrinsic or IntrinsicCost(), latent_scale(latents)),
        memory=Memory(1000),
        actor=Actor(BOX, policy_for(latents, BOX, rng, hidden=48), rng),
        distill_steps=0,
    )


def near(at: Tensor, rng: torch.Generator) -> Tensor:
    """Goals a few steps away."""
    return (at + 0.9 * (torch.rand(at.shape, generator=rng) - 0.5)).clamp(-1, 1)


@dataclass
class Outcome:
    env: Env
    goal: Tensor
    report: Report
    reasons: list[tuple[Why, ...]]

    @property
    def reached(self) -> float:
        return float(((self.env.at - self.goal).norm(dim=1) < STEP).float().mean())


def live(agent: Agent, mode: str, seed: int, steps: int = 9, gain_from: tuple[int, float] = (99, 1.0)) -> Outcome:
    """One episode in each of several rooms."""
    rng = generator(seed)
    env = Env(agent.perception.model, places(NUM, rng), seed)
    goal = near(env.at, rng)
    agent.begin(TaskSpec(goal=seen(goal, rng), horizon=5, planner=PLANNER, mode=mode))
    agent.report, reasons, observation = Report(), [], env.observe()
    for step in range(steps):
        env.gain = gain_from[1] if step >= gain_from[0] else 1.0
        observation = env.step(agent.act(observation))
        reasons.append(agent.last.reasons)
    return Outcome(env, goal, agent.report, reasons)


@pytest.fixture(scope="module")
def school() -> tuple[Agent, Outcome]:
    """An agent that planned two sets of episodes, and how the second went."""
    agent = agent_in(Room())
    live(agent, "plan", seed=1)
    outcome = live(agent, "plan", seed=2)
    agent.actor.distill(400)
    return agent, outcome


@pytest.fixture
def agent(school: tuple[Agent, Outcome]) -> Agent:
    return school[0]


def test_mode_2_reaches_its_goals(school: tuple[Agent, Outcome]) -> None:
    outcome = school[1]
    assert outcome.reached == 1
    assert outcome.report.share_reacting == 0
    assert outcome.report.reasons == {Why.TOLD: 9 * NUM}


def test_mode_1_learns_from_it_and_takes_a_fraction_of_the_time(school: tuple[Agent, Outcome]) -> None:
    agent, planned = school
    outcome = live(agent, "react", seed=3)
    assert outcome.reached >= 0.9
    assert outcome.report.share_reacting == 1
    tries = [outcome, *(live(agent, "react", seed=3) for _ in range(4))]  # the quickest: others may use the machine
    assert min(one.report.seconds_per_reaction for one in tries) < 0.5 * planned.report.seconds_per_search
    calls = agent.perception.model.calls
    live(agent, "react", seed=3, steps=4)
    assert agent.perception.model.calls - calls == 4 * 2, "one step to propose, one to be surprised by"


def test_both_react_while_all_is_well(agent: Agent) -> None:
    outcome = live(agent, "both", seed=4, steps=7)
    assert outcome.reached >= 0.9
    assert outcome.report.share_reacting > 0.5
    assert outcome.report.num_decisions == 7 * NUM
    assert f"{7 * NUM} decisions" in str(outcome.report)


def test_a_sudden_change_of_dynamics_raises_surprise_and_mode_2_takes_over(agent: Agent) -> None:
    outcome = live(agent, "both", seed=5, steps=6, gain_from=(2, -1.0))
    before, after = outcome.reasons[1:3], outcome.reasons[3:]
    assert sum(row.count(Why.SURPRISED) for row in before) <= 1
    moving = [(row.count(Why.SURPRISED)) / NUM for row in after]
    assert min(moving) > 0.8, moving
    assert (agent.last.surprise > agent.world_model.band.edge).float().mean() > 0.8


def test_the_band_of_surprise_holds_what_it_promises() -> None:
    room, rng = Room(), generator(7)
    band = calibrate_surprise(room, walks(room, 40, 30, rng), false_alarm_rate=0.1)
    fresh = calibrate_surprise(room, walks(room, 40, 30, rng), false_alarm_rate=0.1)
    assert 0.06 < float((~band.holds(fresh.surprises)).float().mean()) < 0.14
    assert not band.holds(torch.tensor(float("nan")))
    with pytest.raises(UsageError, match="wants 999 steps"):
        calibrate_surprise(room, walks(room, 2, 10, rng), false_alarm_rate=0.001)


def test_goals_out_of_reach_are_told_at_the_calibrated_rate() -> None:
    """Near goals on the same side of the wall can be reached; the other side can not, in as many steps."""
    agent, rng = agent_in(Room(wall=True)), generator(8)
    task = TaskSpec(goal=torch.zeros(1, 4), horizon=5, planner=PLANNER, mode="both")

    def pairs(num: int) -> tuple[Tensor, Tensor]:
        at = places(num, rng, side=-1)
        goal = near(at, rng)
        return at, torch.stack([goal[:, 0].clamp(max=-0.02), goal[:, 1].clamp(max=0.9)], 1)

    known = [seen(place, rng) for place in pairs(99)]
    agent.reachability = calibrate_reach(agent, task, *known, false_alarm_rate=0.1, together=33)
    assert len(agent.memory) == 0 and agent.report.num_decisions == 0

    def told(at: Tensor, goal: Tensor) -> Tensor:
        agent.begin(TaskSpec(goal=seen(goal, rng), horizon=5, planner=PLANNER, mode="both"))
        agent.act(seen(at, rng))
        return agent.cannot_reach

    at, goal = pairs(100)
    assert 0.02 <= float(told(at, goal).float().mean()) <= 0.22
    beyond = places(20, rng, side=-1)
    assert told(beyond, beyond * torch.tensor([-1.0, 0.0]) + torch.tensor([0.5, -0.5])).float().mean() > 0.9
    assert all(answer.startswith(("Cannot reach", "No sign")) for answer in agent.answers)


def test_memory_holds_what_was_lived_and_lessons_what_was_planned(agent: Agent) -> None:
    written, lessons = agent.memory.written, agent.actor.lessons.written
    outcome = live(agent, "both", seed=9, steps=4)
    planned = sum(why is not Why.REACTS for row in outcome.reasons for why in row)
    assert agent.memory.written - written == 4 * NUM
    assert agent.actor.lessons.written - lessons == planned
    last = agent.memory.experiences()[-NUM:]
    assert all(isinstance(episode, Experience) and len(episode.latents) == 4 for episode in last)
    first = torch.stack([episode.latents[0, :2] for episode in last])
    assert torch.equal(first, places(NUM, generator(9)))
    cost = agent.memory.rows().cost[-NUM:]
    away = (agent.memory.rows().state[-NUM:, :2] - outcome.goal).square().sum(1) / agent.cost.scale
    assert torch.allclose(cost, away, atol=0.01)


def test_guard_rails_are_kept_on_the_way() -> None:
    lake = Forbidden(lambda latents: latents[..., :2], ball([0.0, 0.0], radius=0.2), over=worst_step)
    agent = agent_in(Room(), IntrinsicCost({"lake": Term(lake, 100.0)}))
    env = Env(Room(), torch.tensor([[-0.35, 0.02]]))
    region = Within(lambda latents: latents[..., :2], ball([0.35, 0.0], radius=0.05))
    agent.begin(TaskSpec(goal=region, horizon=10, planner=ICEM(num_samples=64, num_elites=6)))
    deepest, observation = 1.0, env.observe()
    for _ in range(14):
        observation = env.step(agent.act(observation))
        deepest = min(deepest, float(env.at.norm()))
    assert deepest > 0.17
    assert float((env.at - torch.tensor([[0.35, 0.0]])).norm()) < 0.1
    assert agent.actor.lessons.written == 0, "a goal that cannot be seen is not distilled"


class Blocks(Room):
    """One step of the model is two of the world; actions are the four directions."""

    MOVES = STEP * torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        assert past.shape[1:] == (latents.shape[1] - 1, 8)
        return super().rollout(latents, past, actions.unflatten(-1, (2, 4)).sum(-2) @ self.MOVES, z)


def test_blocks_of_choices_for_worlds_of_numpy_with_a_history() -> None:
    room, rng = Blocks(), generator()
    latents = torch.cat([e.latents for e in walks(Room(), 5, 10, rng)])
    bounds = Discrete(4)
    agent = Agent(
        Perception(room, prepare=to_frames, history=3),
        WorldModel(room, agent_in(Room()).world_model.band),
        CostModule(IntrinsicCost(), latent_scale(latents)),
        Memory(100),
        Actor(bounds, policy_for(latents, bounds, rng, block=2, hidden=16), rng),
        distill_steps=20,
    )
    solver = CategoricalCEM(num_samples=40, num_elites=6, num_iterations=3)
    at, goal = np.zeros((2, 4), dtype=np.float32), np.array([[0.4, 0.2, 0, 0], [-0.2, 0.2, 0, 0]], dtype=np.float32)
    for mode in ("both", "both"):
        at[:] = 0
        agent.begin(TaskSpec(goal=goal, horizon=3, planner=solver, block=2, mode=mode))
        for step in range(8):
            action = agent.act(at)
            assert isinstance(action, np.ndarray) and action.shape == (2,) and action.dtype == np.int64
            at[:, :2] += room.MOVES[action].numpy()
            assert agent.report.num_decisions % 8 == 2 * (step // 2 + 1) % 8, "one for two steps"
    assert np.abs(at - goal).max() < 0.15
    assert agent.actor.taught > 0


class Pairs(Room):
    """One step of the model is two of the world; actions are real."""

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        assert past.shape[1:] == (latents.shape[1] - 1, 4) and actions.shape[2] == 4
        return super().rollout(latents, past, actions.unflatten(-1, (2, 2)).sum(-2))


def test_a_held_action_is_chosen_once_and_carried_out_through_the_block() -> None:
    room, rng = Pairs(), generator()
    agent = agent_in(Room())
    agent.perception = Perception(room, prepare=to_frames, history=2)
    agent.world_model = WorldModel(room, agent.world_model.band)
    at = places(NUM, rng)
    env, goal = Env(Room(), at), near(at, rng)
    task = TaskSpec(goal=seen(goal, rng), horizon=4, planner=PLANNER, block=2, hold=True)
    for _ in range(2):
        env.at = at
        agent.begin(task)
        observation, taken = env.observe(), []
        for _ in range(10):
            taken.append(agent.act(observation))
            observation = env.step(taken[-1])
        assert all(torch.equal(first, second) for first, second in zip(taken[::2], taken[1::2], strict=True))
        assert (env.at - goal).norm(dim=1).max() < 1.5 * STEP
        agent.actor.distill(300)
    assert agent.report.share_reacting > 0.25, "the second time the policy has single actions to propose"
    moments, lessons = agent.memory.rows(), agent.actor.lessons.rows()
    assert lessons.action.shape[1] == 2, "the policy learns single actions"
    assert torch.equal(moments.action[:, :2], moments.action[:, 2:]), "the critic's replay has what the model takes"
    with pytest.raises(UsageError, match="the policy chooses 2 numbers for a step of the model and the task wants 4"):
        agent.begin(TaskSpec(goal=task.goal, block=2))


@pytest.mark.parametrize("mode", ["plan", "react"])
def test_where_nothing_moves_as_imagined_a_random_move_leads_on(agent: Agent, mode: str) -> None:
    """The model overlooks a wall: plans and reactions go straight at it, again and again."""
    at = torch.tensor([[-0.15, DOOR - 0.1]]).repeat(NUM, 1)
    goal = torch.tensor([[0.3, DOOR - 0.05]]).repeat(NUM, 1)

    def passed(detour: float) -> tuple[float, int]:
        env, rng = Env(Room(wall=True), at), generator(11)
        agent.actor.rng.manual_seed(3)
        agent.begin(TaskSpec(goal=seen(goal, rng), horizon=4, planner=PLANNER, mode=mode, detour=detour))
        lessons, strayed, observation = agent.actor.lessons.written, 0, env.observe()
        there = torch.zeros(NUM, dtype=torch.bool)
        for _ in range(30):
            observation = env.step(agent.act(observation))
            strayed += agent.last.reasons.count(Why.STRAYS)
            there |= env.at[:, 0] > 0
        learned = agent.actor.lessons.written - lessons
        assert learned == (30 * NUM - strayed if mode == "plan" else 0), "nobody learns from a random move"
        return float(there.float().mean()), strayed

    without, with_detours = passed(0.0), passed(0.5)
    assert without[1] == 0 and without[0] < 0.5, without
    assert with_detours[1] > NUM and with_detours[0] > without[0] + 0.3, with_detours


def test_what_cannot_be_acted_on(agent: Agent) -> None:
    fresh = agent_in(Room())
    with pytest.raises(UsageError, match=r"call agent\.begin"):
        fresh.act(torch.zeros(1, 4))
    with pytest.raises(UsageError, match="let the agent plan some episodes first"):
        fresh.begin(TaskSpec(goal=torch.zeros(1, 4), mode="react"))
    fresh.begin(TaskSpec(goal=torch.zeros(3, 4), horizon=2, planner=PLANNER))
    with pytest.raises(UsageError, match="3 goals and there are 2 environments"):
        fresh.act(torch.zeros(2, 4))
    fresh.begin(TaskSpec(goal=torch.zeros(1, 4), horizon=2, planner=PLANNER))
    with pytest.raises(UsageError, match="detour -1: give a share of the imagined way"):
        TaskSpec(goal=torch.zeros(1, 4), detour=-1)
    with pytest.raises(UsageError, match="environment 1 has numbers that are not finite"):
        fresh.act(torch.tensor([[0.0] * 4, [float("nan")] * 4]))
    fresh.act(torch.zeros(2, 4))
    with pytest.raises(UsageError, match="2 environments and now there are 3"):
        fresh.act(torch.zeros(3, 4))


def test_the_example_of_the_package_runs(capsys: pytest.CaptureFixture[str]) -> None:
    paragraphs = textwrap.dedent(craik.agent.__doc__.split("\n", 1)[1]).split("\n\n")
    code = "\n\n".join(textwrap.dedent(p) for p in paragraphs if p.startswith("    "))
    room, rng = Room(), generator()
    episodes = walks(room, 12, 20, rng)
    latents = torch.cat([e.latents for e in episodes])
    env = Env(room, torch.tensor([[-0.3, 0.0]]))
    names: dict[str, object] = dict(
        vars(craik.agent),
        Term=Term,
        Forbidden=Forbidden,
        model=room,
        experiences=episodes,
        held_out=walks(room, 10, 20, rng),
        to_frames=to_frames,
        position=lambda latents: latents[..., :2],
        lake=ball([0.0, 0.9], radius=0.1),
        scale=latent_scale(latents),
        latents=latents,
        bounds=BOX,
        rng=rng,
        goals=torch.tensor([[[0.3, 0.1, 0.0, 0.0]], [[-0.3, 0.1, 0.0, 0.0]]]),
        env=env,
        observation=env.observe(),
        held_out_pairs=lambda: (seen(places(9, rng), rng), seen(places(9, rng), rng)),
    )
    quick = craik.agent.CriticTraining(num_steps=30, batch=64, hidden=16)

    def fit_quickly(experiences, model, rng):  # type: ignore[no-untyped-def]
        return craik.agent.fit_critic(experiences, model, rng, quick)

    exec(code, names | {"fit_critic": fit_quickly})
    printed = capsys.readouterr().out
    assert "unseen pairs" in printed
    assert "20 decisions" in printed
    assert "No sign that the goal is out of reach" in printed or "Cannot reach this goal" in printed
