"""A collection from start to end: what is there already, what is still to do, and every episode into the folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from craik.collect.crew import Make, carry_out
from craik.collect.simulate import Done, Failure, Job, Simulator
from craik.collect.worlds import made, maker, settings_of, space_of
from craik.data.episode_layout import Layout, Origin, Storage, is_episodes, read_layout
from craik.data.episode_writer import Mode, Writer
from craik.envs.policy import find_policy
from craik.envs.user import is_world
from craik.errors import UsageError

TOGETHER_BYTES = 64 << 20  # frames of the episodes that are simulated together
TOGETHER = 64  # episodes at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to collect."""

    env: str
    """As `craik.envs.find` knows it."""
    episodes: int
    """How many the data is to hold; to add, when they are appended."""
    policy: str = "random"
    """random, walk, expert or mixed."""
    steps: int | None = None
    """Actions in an episode; by default as many as the world gives to reach a goal."""
    size: int | None = None
    """Side of the frames [px]; by default that of the world."""
    seed: int = 0
    """All randomness follows from it, whatever the number of workers."""
    storage: Storage = "raw"

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"-n {self.episodes}: collect at least 1 episode")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"--steps {self.steps}: an episode has at least 1 action")
        if self.size is not None and self.size < 8:
            raise ValueError(f"--size {self.size}: frames have at least 8 pixels")
        if self.seed < 0:
            raise ValueError(f"--seed {self.seed} is negative; give 0 or more")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a collection ended."""

    before: int
    """Episodes that were there."""
    episodes: int
    """Episodes that are there now."""
    wanted: int
    frames: int
    """Collected now."""
    interrupted: bool = False
    failure: Failure | None = None
    """What the environment raised."""


def collect(
    plan: Plan,
    folder: Path | str,
    mode: Mode = "error",
    *,
    make: Make | None = None,
    workers: int = 1,
    advance: Callable[[int, int, int], None] = lambda episodes, wanted, frames: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Collects episodes; a collection that was interrupted goes on when it is asked for again.

    Args:
        plan: What to collect.
        folder: Where to.
        mode: error refuses a folder with other data than the plan's, append adds to it, overwrite replaces it.
        make: Makes the world; by default that which `plan.env` names.
        workers: Processes that simulate.
        advance: Told how many episodes there are, how many there will be, and the frames collected so far.
        stop: Asked now and then whether to stop; episodes under way are finished first.

    Raises:
        UsageError: No such environment, or the folder holds something else.
        CraikError: A worker process died; what was finished is kept.
    """
    make = make or maker(plan.env, plan.size)
    world = made(make, plan.env)
    check_policy(plan, world)
    steps = world.max_steps if plan.steps is None else plan.steps
    folder, origin = Path(folder).expanduser(), describe(plan, world, steps)
    going_on, wanted = goes_on(folder, mode, origin, plan)
    new = None if going_on else origin
    with Writer(
        folder,
        "append" if going_on else mode,
        origin=new,
        storage=plan.storage,
        action=space_of(world),
        state_names=getattr(world, "truth_names", None),
    ) as writer:
        began = writer.episodes
        if not going_on:
            wanted = began + plan.episodes
            writer.note(streams=streams_used(writer.layout, origin))
        wanted = max(wanted, began)
        writer.note(wanted=wanted)
        jobs = to_do(writer, plan, steps, wanted - began, together(world, steps))
        advance(began, wanted, 0)
        return fill(writer, jobs, make, wanted, workers, advance, stop)


def to_do(writer: Writer, plan: Plan, steps: int, num: int, most: int) -> list[Job]:
    """The jobs that give `num` episodes, at most `most` in each."""
    first = 0 if writer.origin is None else writer.origin.streams
    begins = range(0, num, most)
    return [
        Job(plan.policy, min(most, num - begin), steps, plan.seed, first + number)
        for number, begin in enumerate(begins)
    ]


def fill(
    writer: Writer,
    jobs: list[Job],
    make: Make,
    wanted: int,
    workers: int,
    advance: Callable[[int, int, int], None],
    stop: Callable[[], bool],
) -> Outcome:
    """Does the jobs, until the environment fails or somebody wants to stop."""
    began, frames = writer.episodes, 0
    failures: list[Failure] = []

    def over() -> bool:
        return bool(failures) or stop()

    for done in carry_out(jobs, make, max(1, min(workers, len(jobs))), over):
        failures += [] if done.failure is None else [done.failure]
        frames += keep(writer, done)
        advance(writer.episodes, wanted, frames)
    missing = writer.episodes < wanted and not failures
    return Outcome(began, writer.episodes, wanted, frames, missing, failures[0] if failures else None)


def keep(writer: Writer, done: Done) -> int:
    """Makes the episodes of a job part of the data; the number of their frames.

    The stream is noted before the first of them, so that whatever happens, no stream is ever used twice.
    """
    writer.note(streams=done.job.stream + 1)
    for episode in done.episodes:
        writer.add(episode)
    writer.commit()
    return sum(len(episode) for episode in done.episodes)


def together(world: Simulator, steps: int) -> int:
    """How many episodes are simulated at once. It follows from the plan alone, so that the data does, too."""
    if not is_world(world):
        return 1
    height, width, channels = world.shape
    return min(max(TOGETHER_BYTES // (height * width * channels * (steps + 1)), 1), TOGETHER)


def check_policy(plan: Plan, world: Simulator) -> None:
    """Tells before any work that there is no such policy for this environment.

    Raises:
        UsageError: There is none.
    """
    if is_world(world):
        find_policy(plan.policy, world)  # type: ignore[arg-type]
    elif plan.policy != "random":
        raise UsageError(f"{plan.env} is no world of craik, and so has no {plan.policy} policy; use --policy random")


def describe(plan: Plan, world: Simulator, steps: int) -> Origin:
    """What is noted with the data: another plan gives another description."""
    settings = {"steps": steps, "size": plan.size, "world": settings_of(world)}
    return Origin(plan.env, plan.policy, settings, plan.seed)


def same(one: Origin, other: Origin) -> bool:
    """Whether two collections are of one plan."""
    return (one.source, one.policy, one.settings, one.seed) == (other.source, other.policy, other.settings, other.seed)


def goes_on(folder: Path, mode: Mode, origin: Origin, plan: Plan) -> tuple[bool, int]:
    """Whether the last collection in a folder is the one that is asked for, and how many episodes there are to be.

    Raises:
        UsageError: There is other data, and nothing was said about adding or replacing.
    """
    if mode == "overwrite" or not is_episodes(folder):
        return False, plan.episodes
    layout = read_layout(folder)
    last = layout.origins[-1] if layout.origins else None
    known = last is not None and same(last, origin)
    if mode == "append":
        unfinished = known and last is not None and (last.wanted or 0) > layout.episodes
        return unfinished, (last.wanted or 0) if unfinished and last is not None else 0
    if known and len(layout.origins) == 1:
        return True, plan.episodes
    what = "other data" if last is None else f"{last.source}{f' by a {last.policy} policy' if last.policy else ''}"
    raise UsageError(
        f"{folder} holds {layout.episodes:,} episodes of {what}, collected with other settings than these. "
        "Add to them with --append, replace them with --overwrite, or name another folder (-o)."
    )


def streams_used(layout: Layout | None, origin: Origin) -> int:
    """Streams of this seed that the data has used already."""
    origins = () if layout is None else layout.origins
    return max((o.streams for o in origins if (o.source, o.seed) == (origin.source, origin.seed)), default=0)
