"""What an agent learned, as one file beside its world model: written by `craik act`, opened by a control loop.

RUN/agent/learned.safetensors    policy, lessons, usual surprises, costs of reachable goals, and a critic where the run
                                 has none; the facts about them as JSON in its header
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from craik import plan_run
from craik.act_run.assemble import Parts, Tasks, assemble, num_chosen
from craik.agent import Agent, Band, policy_for
from craik.agent.actor import Lesson
from craik.codec import decode, encode
from craik.errors import UsageError
from craik.nn.critic import TemporalDistance
from craik.plan import Bounds, Reachability
from craik.plan import bounds as spaces
from craik.plan.settings import Planning
from craik.plan_run.subject import Subject
from craik.train.run import write_atomic

FILE = "learned.safetensors"
HIDDEN, DEPTH = 256, 2  # of policy and critic
MOST_LESSONS, MOST_BYTES = 20_000, 32 << 20  # that are written; the newest


@dataclass(frozen=True, slots=True)
class Actions:
    """Those of the environment; bounds are empty where they are discrete."""

    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    max_norm: float | None = None
    num: int | None = None
    """How many discrete actions there are."""

    @classmethod
    def of(cls, bounds: Bounds) -> "Actions":
        """From what solvers know."""
        if isinstance(bounds, spaces.Discrete):
            return cls(num=bounds.num)
        return cls(tuple(bounds.low.tolist()), tuple(bounds.high.tolist()), bounds.max_norm)

    @property
    def bounds(self) -> Bounds:
        """As solvers know them."""
        return spaces.Box.of(self.low, self.high, self.max_norm) if self.num is None else spaces.Discrete(self.num)


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What has to be known to use the tensors."""

    model: str
    """Fingerprint of the world model's weights: to another one, these tensors mean nothing."""
    env: str
    """Where it lived."""
    episodes: int
    """Lived through while it learned."""
    taught: int
    """Lessons that the policy was taught with; 0 where it was not."""
    actions: Actions
    latent: tuple[int, ...]
    """Shape of a latent."""
    scale: float
    """Squared latent distance of two unrelated frames."""
    surprise_rate: float
    reach_rate: float | None
    """None where reachability was not calibrated."""
    planning: Planning


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """Facts and tensors of a file."""

    facts: Facts
    tensors: dict[str, Tensor]

    def parts(self, device: torch.device) -> Parts:
        """Policy, critic and band, on a device."""
        sample, rng, facts = torch.randn(2, *self.facts.latent), torch.Generator(), self.facts
        bounds = facts.actions.bounds
        policy = policy_for(sample, bounds, rng, self.num_chosen // bounds.size, HIDDEN, DEPTH)
        policy.load_state_dict(under(self.tensors, "policy"))
        critic, weights = None, under(self.tensors, "critic")
        if weights:
            critic = TemporalDistance(sample, rng, hidden=HIDDEN, depth=DEPTH)
            critic.load_state_dict(weights)
            critic = critic.to(device).eval().requires_grad_(False)
        band = Band(self.tensors["surprises"], facts.surprise_rate, facts.scale)
        return Parts(critic, policy.to(device), band, facts.scale)

    @property
    def num_chosen(self) -> int:
        """Numbers that the policy chooses for one step of the model."""
        return self.tensors["policy.center"].numel()

    def teach(self, agent: Agent) -> None:
        """Give an agent made of the parts what else was learned: lessons, and what is out of reach."""
        lessons = under(self.tensors, "lessons")
        if lessons and len(lessons["state"]):
            agent.actor.lessons.write(Lesson(**{k: v.to(agent.perception.device) for k, v in lessons.items()}))
        agent.actor.taught = agent.actor.lessons.written if lessons and self.facts.taught else self.facts.taught
        agent.reachability = None
        if self.facts.reach_rate is not None:
            agent.reachability = Reachability(self.tensors["reach"], self.facts.reach_rate)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """An agent with all it learned, and the tasks that fit it."""

    agent: Agent
    task: Tasks
    facts: Facts


def open_agent(run: str | Path, learned: str | Path | None = None, *, device: str = "auto", seed: int = 0) -> Opened:
    """The agent of a run, ready for `agent.begin(task(goal))` and then `agent.act(observation)`.

    Args:
        run: A trained world model.
        learned: What an agent of it learned; by default what `craik act RUN` left in the run.
        device: auto, cpu or cuda.
        seed: Of the noise of its searches.

    Raises:
        UsageError: If there is no world model, or nothing that was learned with this one.
    """
    run, path = Path(run), Path(run) / "agent" / FILE if learned is None else Path(learned)
    if not path.exists():
        raise UsageError(f"{path}: no agent has learned anything yet. Let it live: craik act {run} --env ENV")
    found = read(path)
    subject = Subject.open(run, plan_run.Asked(run=run, env=found.facts.env, device=device))
    check(found, subject, found.facts.planning, path)
    agent = assemble(
        subject, found.facts.actions.bounds, found.parts(subject.model.device), torch.Generator().manual_seed(seed)
    )
    found.teach(agent)
    return Opened(agent, Tasks(found.facts.planning, found.facts.actions.bounds, subject.window.skip), found.facts)


def read(path: Path) -> Learned:
    """What a file holds.

    Raises:
        UsageError: If it was not written by an agent, or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = (file.metadata() or {}).get("agent")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read: {error}. Learn it anew: craik act RUN --env ENV --fresh") from None
    if facts is None:
        raise UsageError(f"{path} was not written by craik act")
    return Learned(decode(Facts, json.loads(facts), str(path)), tensors)


def check(found: Learned, subject: Subject, planning: Planning, path: Path) -> None:
    """Whether it was learned with this world model, and by an agent that chose as one with this planning does.

    Raises:
        UsageError: If not.
    """
    wanted = found.facts.actions.bounds.size * num_chosen(planning, subject.window.skip)
    if found.facts.model != subject.fingerprint:
        raise UsageError(
            f"{path} was learned with another world model than that of {subject.run}, which sees the world in other "
            f"latents. Learn anew: craik act {subject.run} --env {found.facts.env} --fresh"
        )
    if found.num_chosen != wanted:
        raise UsageError(
            f"{path} holds a policy that chooses {found.num_chosen} numbers for a step of the model, and the recipe "
            f"now plans with {wanted}, as actions are {'' if planning.hold else 'not '}held. Learn anew: craik act "
            f"{subject.run} --env {found.facts.env} --fresh"
        )


def write(path: Path, agent: Agent, facts: Facts) -> None:
    """Write what an agent learned, whole or not at all."""
    assert agent.actor.policy is not None
    tensors = {f"policy.{k}": v for k, v in agent.actor.policy.state_dict().items()}
    if isinstance(agent.cost.critic, TemporalDistance):  # that of the run lies there
        tensors |= {f"critic.{k}": v for k, v in agent.cost.critic.state_dict().items()}
    tensors["surprises"] = agent.world_model.band.surprises
    if agent.reachability is not None:
        tensors["reach"] = agent.reachability.costs
    if len(agent.actor.lessons):
        lessons = agent.actor.lessons.rows()
        each = sum(column[0].numel() * column.element_size() for column in lessons)
        most = max(1, min(MOST_LESSONS, MOST_BYTES // each))
        tensors |= {f"lessons.{name}": column[-most:] for name, column in lessons._asdict().items()}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, serialize(plain, {"format": "pt", "agent": json.dumps(encode(facts))}))


def facts_of(agent: Agent, subject: Subject, env: str, episodes: int) -> Facts:
    """What has to be known of an agent."""
    actions, policy = Actions.of(agent.actor.bounds), agent.actor.policy
    assert policy is not None
    return Facts(
        model=subject.fingerprint,
        env=env,
        episodes=episodes,
        taught=agent.actor.taught,
        actions=actions,
        latent=tuple(policy.standard.shape),
        scale=agent.cost.scale,
        surprise_rate=agent.world_model.band.false_alarm_rate,
        reach_rate=None if agent.reachability is None else agent.reachability.false_alarm_rate,
        planning=subject.planning,
    )


def under(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Those whose names begin with `name.`, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
