"""V-JEPA 2-AC: what actions do, learned on the patch tokens of a frozen video encoder from hours of robot episodes.

Paper: Assran et al. 2025, arXiv 2506.09985, section 3.
Run:   craik import recording.parquet -o EPISODES
       craik train vjepa2_ac:tiny --data EPISODES --out runs/ac
       craik train vjepa2_ac:vitg --init vitg.pt --data EPISODES --out runs/b        # weights of V-JEPA 2, or of 2-AC
       craik plan runs/ac --data OTHER_EPISODES

Every frame is encoded alone, and layer-normalized. The predictor is told the action and the state of the robot at each
frame, and sees patches of its own and of earlier frames. Two errors, both absolute: of each next frame from the true
ones (teacher forcing), and of the first few frames, each from those that were predicted (rollout). Predictor, losses,
gradients, planner and poses are numerically equal to the published code (tests/parity).

The encoder is a ViT of tubelets, random unless `--init` names weights. Any other that gives Tokens is handed to `build`
by a recipe file of a few lines, as for `dino_wm`:

    import craik
    from craik.recipes import vjepa2_ac
    from craik.recipes.vjepa2_ac import Config, fit

    def tiny() -> Config:
        return vjepa2_ac.tiny()

    def build(cfg: Config):
        return vjepa2_ac.build(cfg, craik.load("runs/a", device="cpu").encoder)

Differences from the published code: no second, unused encoder; frames are cut to their middle square, not squashed;
actions are those of the data, not differences of poses (`nn.motion.change_of_pose` makes such); while it imagines, a
model of other robots is told states by a linear motion fitted to the data, and one that is told none takes them as
unknown: `tiny` sees that in every second window. `tiny` also predicts changes of patches: still cameras show the same
things again, and minutes are too short to learn so.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn, tensor

from craik.core.batch import Batch, Part
from craik.core.energy import l1
from craik.core.jepa import Latents, Loss
from craik.core.latent_world import as_tokens
from craik.core.limits import at_least, within
from craik.core.target import Shared, layer_normalize
from craik.core.tokens import Grid, Tokens
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.data.episode import Episodes
from craik.data.windows import Clips
from craik.errors import UsageError
from craik.nn import sizes
from craik.nn.action import ActionScale
from craik.nn.block import rescale_by_depth
from craik.nn.encoder import Encoder
from craik.nn.frame_predictor import FramePredictor
from craik.nn.motion import POSE, LinearMotion, PoseMotion, fit_linear_motion
from craik.nn.perception import FrozenPatches
from craik.nn.position import Rotary
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.plan.settings import Planning
from craik.recipes import leworldmodel
from craik.recipes.dino_wm import measure
from craik.train.optim import AdamW
from craik.train.recipe import Recipe, View, Window
from craik.train.schedule import Schedule, warmup_stable_decay

SEEN = 1  # frames from which it is planned and evaluated, as published; the predictor has learned from every number


@dataclass(frozen=True, kw_only=True, slots=True)
class StableAdamW(AdamW):
    """AdamW whose learning rate rises, stays, and falls on a line at the end."""

    anneal_fraction: float = 4500 / 94_500
    """Share of the steps in which it falls."""

    def lr_schedule(self, steps: int) -> Schedule:
        """Learning rate of a run of so many steps."""
        warmup, anneal = int(self.warmup_fraction * steps), int(self.anneal_fraction * steps)
        return warmup_stable_decay(self.start_lr, self.lr, self.final_lr, warmup, anneal, steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: the release, on DROID; 305 M parameters of its own."""

    image: int = 256
    """Side of a frame [pixels]."""
    encoder: Size = sizes.GIANT_22
    """The frozen encoder."""
    patch: int = 16
    """Side of a patch [pixels]."""
    tubelet: int = 2
    """Frames of a patch: each frame stands still for so long."""
    predictor: Size = Size(1024, 24, 16)
    """The predictor."""
    tiled: bool = True
    """Rotary positions with the slip of the published code, which published weights need (`nn/position.py`)."""
    residual: bool = False
    """The predictor gives how each patch changes, in place of what becomes of it; not in the paper."""
    num_frames: int = 8
    """Frames of a training window T: the release's file; 16 in the paper."""
    num_steps: int = 2
    """Frames predicted in a row by the rollout loss."""
    skip: int = 1
    """Steps of the environment per model step; their actions are concatenated. DROID is cut to 4 frames a second."""
    action_size: int = POSE
    """Numbers in one action of the environment A; told by the data."""
    state_size: int = POSE
    """Numbers in a state K, 0 for none; told by the data."""
    standardized: bool = False
    """Actions and states are z-scores by the data; the paper has raw units."""
    action_mean: tuple[float, ...] | None = None
    """Mean of the training actions [A]; told by the data where they are standardized."""
    action_std: tuple[float, ...] | None = None
    """Their deviation [A]."""
    state_mean: tuple[float, ...] | None = None
    """Of the states [K]."""
    state_std: tuple[float, ...] | None = None
    """[K]."""
    poses: bool = True
    """States are poses and actions changes of them, whose arithmetic is known."""
    motion: tuple[float, ...] | None = None
    """Else the weight of a linear motion, [K * (A + K + 1)]; told by the data."""
    state_dropout_prob: float = 0.0
    """Probability that a window's states are not told, so that it may be imagined without them; 0 in the paper."""
    batch: int = 256
    """Windows per step on all ranks together."""
    epochs: float = 315
    """Length of the run: 94,500 steps, in which an epoch is 300."""
    optim: StableAdamW = field(
        default_factory=lambda: StableAdamW(
            lr=4.25e-4,
            start_lr=7.5e-5,
            final_lr=0.0,
            warmup_fraction=4500 / 94_500,
            weight_decay=0.04,
            final_weight_decay=0.04,
        )
    )
    """7.5e-5 -> 4.25e-4 over 4,500 steps, constant for 85,500, then to 0."""
    planning: Planning = Planning(horizon=1, execute=1, solver="cem", samples=800, iterations=10, cost="terminal")
    """How it is planned with, unless something else is asked for; `plan.end_effector` has the published search."""

    def __post_init__(self) -> None:
        at_least(1, image=self.image, patch=self.patch, tubelet=self.tubelet, skip=self.skip)
        at_least(1, num_steps=self.num_steps, action_size=self.action_size)
        at_least(0, state_size=self.state_size)
        within(0, 1, state_dropout_prob=self.state_dropout_prob)
        if self.image % self.patch:
            raise ValueError(f"image {self.image} is no multiple of patch {self.patch}")
        if self.num_frames <= self.num_steps:
            raise ValueError(f"{self.num_steps} steps in a row want more frames than that, got {self.num_frames}")

    @property
    def history(self) -> int:
        """Most frames the predictor looks at."""
        return self.num_frames - 1

    @property
    def action_width(self) -> int:
        """Numbers of all actions of a model step."""
        return self.skip * self.action_size


def vitg() -> Config:
    """ViT-g/16 at 256 px, as released. Grasping a cup: 65 % in the paper."""
    return Config()


def tiny() -> Config:
    """Minutes on a laptop: any robot, 32 px; its encoder has the size of that of vjepa2:tiny."""
    return Config(
        image=32,
        encoder=Size(96, 4, 3),
        patch=8,
        predictor=Size(96, 3, 3),
        tiled=False,
        residual=True,
        num_frames=5,
        standardized=True,
        poses=False,
        state_dropout_prob=0.5,
        batch=16,
        epochs=40,
        optim=StableAdamW(
            lr=3e-3,
            start_lr=3e-4,
            final_lr=0.0,
            warmup_fraction=0.05,
            anneal_fraction=0.5,
            weight_decay=0.04,
            final_weight_decay=0.04,
        ),
        planning=Planning(horizon=4, execute=1, solver="cem", samples=64, iterations=4, cost="terminal"),
    )


class ActionConditioned(nn.Module):
    """Predicts the patch tokens of the next frame from those seen, actions, and states; a `core.world.WorldModel`.

    A batch has parts with x = normalized frames [B, T, C, H, W] and cond [B, T - 1, A + K]: the action taken at each
    frame but the last, and the state there, NaN where it is not known.

    Args:
        perception: Frames [M, C, H, W] to layer-normalized latents [M, N, D]; never trained.
        scale: Standardizes actions [..., A].
        state_scale: Standardizes states [..., K]; None where there are none.
        motion: States [..., K] and raw actions [..., A] to the states that follow; None leaves them unknown.
        predictor: Told actions, and states where there are any.
        history: Most frames it looks at.
        num_steps: Frames predicted in a row by the rollout loss.
        residual: What the predictor gives is added to the patches.
    """

    def __init__(
        self,
        perception: FrozenPatches,
        scale: ActionScale,
        state_scale: ActionScale | None,
        motion: nn.Module | None,
        predictor: FramePredictor,
        history: int,
        num_steps: int,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.perception = perception
        self.scale = scale
        self.state_scale = state_scale
        self.motion = motion
        self.predictor = predictor
        self.history = history
        self.num_steps = num_steps
        self.residual = residual
        self.target = Shared()

    @property
    def encoder(self) -> nn.Module:
        """What turns a frame into tokens."""
        return self.perception.encoder

    def forward(self, batch: Batch, step: int = 0) -> Loss:
        """Loss of one batch; `copy` among the terms is the energy of predicting that nothing changes."""
        found = [self.energies(*self.observe(part)) for part in batch.parts]
        energy, rollout, copy = torch.stack(found).mean(0)
        return Loss(energy + rollout, {"energy": energy, "rollout": rollout, "copy": copy.detach()})

    def observe(self, part: Part) -> tuple[Tensor, list[Tensor]]:
        """Latents [B, T, N, D] of a part, and what is told at all frames but the last.

        Raises:
            ValueError: If actions and states are missing or do not fit.
        """
        num_told = part.x.shape[1] - 1
        if part.cond is None or part.cond.shape[1] != num_told:
            found = "none" if part.cond is None else list(part.cond.shape)
            raise ValueError(f"frames are {list(part.x.shape)} and cond {found}; expected [B, {num_told}, A + K]")
        num_states = 0 if self.state_scale is None else len(self.state_scale.mean)
        actions, states = part.cond.split([part.cond.shape[-1] - num_states, num_states], -1)
        return self.encode(part.x), self.told(actions, states)

    def energies(self, latents: Tensor, told: list[Tensor]) -> Tensor:
        """Absolute errors [3] of teacher forcing, of the rollout, and of standing still."""
        forced = self.next(latents[:, :-1], told)
        seen = torch.cat([latents[:, :1], forced[:, :1]], 1)
        for num in range(2, self.num_steps + 1):
            seen = torch.cat([seen, self.next(seen, [t[:, :num] for t in told])[:, -1:]], 1)
        goals = latents[:, 1:]
        pairs = ((forced, goals), (seen[:, 1:], goals[:, : self.num_steps]), (latents[:, :-1], goals))
        return torch.stack([l1(pred, goal).mean() for pred, goal in pairs])

    def told(self, actions: Tensor, states: Tensor) -> list[Tensor]:
        """Standardized actions and states; those that are not known are 0, their mean."""
        known = [self.scale(actions)]
        return known if self.state_scale is None else [*known, self.state_scale(states).nan_to_num(nan=0.0)]

    def next(self, latents: Tensor, told: list[Tensor]) -> Tensor:
        """Latents of the frames that follow, [B, T, N, D]."""
        pred: Tensor = self.predictor(latents, told)
        return layer_normalize(latents + pred if self.residual else pred)

    def latents(self, batch: Batch) -> Latents:
        """Every prediction one step ahead, to look at: the context is the last frame it was made from."""
        found = Latents()
        for part in batch.parts:
            latents, told = self.observe(part)
            pred = self.next(latents[:, :-1], told)
            found.context.append(as_tokens(latents[:, :-1].flatten(0, 1)))
            found.goal.append(as_tokens(latents[:, 1:].flatten(0, 1)))
            found.pred.append(pred.flatten(0, 1).unsqueeze(1))
        return found

    def tokens(self, frames: Tensor) -> Tokens:
        """The latents of normalized frames [M, C, H, W] as tokens [M, N, D]."""
        return as_tokens(self.perception(frames))

    def encode(self, frames: Tensor) -> Tensor:
        """Latents [B, T, N, D] of normalized frames [B, T, C, H, W], each of its own frame alone."""
        flat: Tensor = self.perception(frames.flatten(0, 1))
        latents: Tensor = flat.unflatten(0, frames.shape[:2])
        return latents

    def rollout(
        self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None, states: Tensor | None = None
    ) -> Tensor:
        """Latents that follow when `actions` are taken; see `core.world.WorldModel`.

        Args:
            latents: Of the frames seen, [B, T, N, D].
            past: Actions between those frames, [B, T - 1, A], in units of the environment.
            actions: To be imagined, [B, H, A].
            z: There is no latent variable: None.
            states: At the frames seen, [B, T, K], in units of the environment; None where they are not known. Those
                that follow are told by the motion.

        Returns:
            [B, H, N, D].

        Raises:
            ValueError: If a shape does not fit, or z is given.
        """
        num, width = latents.shape[1], 0 if self.state_scale is None else len(self.state_scale.mean)
        if past.shape[1] != num - 1 or z is not None:
            raise ValueError(f"{num} frames want {num - 1} past actions and no z, got {past.shape[1]} actions")
        known = actions.new_full((len(latents), num, width), torch.nan) if states is None or not width else states
        if known.shape != (len(latents), num, width):
            raise ValueError(f"states are {list(known.shape)}, expected {[len(latents), num, width]}")
        taken, seen = torch.cat([past, actions], 1), latents
        for now in range(num, num + actions.shape[1]):
            told = self.told(taken[:, :now], known)
            recent = [t[:, -self.history :] for t in told]
            seen = torch.cat([seen, self.next(seen[:, -self.history :], recent)[:, -1:]], 1)
            known = torch.cat([known, self.moved(known[:, -1:], taken[:, now - 1 : now])], 1)
        return seen[:, num:]

    def moved(self, states: Tensor, actions: Tensor) -> Tensor:
        """States [B, 1, K] after raw actions [B, 1, A]; NaN where that is not known."""
        after: Tensor = torch.full_like(states, torch.nan) if self.motion is None else self.motion(states, actions)
        return after


def fit(cfg: Config, episodes: Episodes) -> Config:
    """The configuration with what the data alone tells: sizes, scales, and how states move.

    Raises:
        UsageError: If there are no actions, or states are to be poses and are not.
    """
    size = 0 if episodes.states is None else episodes.states.shape[1]
    cfg = replace(cfg, action_size=episodes.action_size, state_size=size)
    if cfg.poses and (cfg.action_size, cfg.state_size) != (POSE, POSE):
        raise UsageError(
            f"{episodes.name} has actions of {cfg.action_size} numbers and states of {size}; poses have {POSE} and "
            f"{POSE}. Learn how its states move instead: --poses False --standardized True"
        )
    if cfg.standardized:
        moments = episodes.action_moments()
        cfg = replace(cfg, action_mean=moments.mean, action_std=moments.std)
    if not size:
        return cfg
    before, actions, after = transitions(episodes)
    if cfg.standardized:
        std = before.std(0, correction=0)
        std = torch.where(std > 1e-6, std, 1.0)
        cfg = replace(cfg, state_mean=tuple(before.mean(0).tolist()), state_std=tuple(std.tolist()))
    if not cfg.poses:
        cfg = replace(cfg, motion=tuple(fit_linear_motion(before, actions, after).flatten().tolist()))
    return cfg


def transitions(episodes: Episodes) -> tuple[Tensor, Tensor, Tensor]:
    """States [M, K], actions taken there [M, A], and the states that followed, of all episodes.

    Raises:
        UsageError: If a number is not finite.
    """
    assert episodes.states is not None
    rows = torch.cat([torch.from_numpy(episodes.rows(i)[:-1]) for i in range(len(episodes))]).numpy()
    known = torch.from_numpy(episodes.known_actions())
    if episodes.discrete:
        known = nn.functional.one_hot(known[:, 0].long(), episodes.action_size)
    before, after = (torch.from_numpy(episodes.states[at]).float() for at in (rows, rows + 1))
    if not bool(torch.isfinite(before).all() and torch.isfinite(after).all()):
        raise UsageError(f"{episodes.name}: a state is not finite. See craik inspect {episodes.name}")
    return before, known.float(), after


def build(cfg: Config, encoder: nn.Module | None = None) -> Recipe:
    """The parts of the method, on a frozen encoder: a fresh one of the configuration's size unless one is given."""
    return Recipe(
        model=world(cfg, encoder),
        prepare=partial(prepare, cfg),
        optim=cfg.optim,
        momentum=None,
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.image, IMAGENET_MEAN, IMAGENET_STD),
        trained=("predictor",),
        latents=ActionConditioned.latents,
        look=ActionConditioned.tokens,
        window=Window(cfg.num_frames, SEEN, cfg.action_size, cfg.skip),
        planning=cfg.planning,
    )


def world(cfg: Config, encoder: nn.Module | None = None) -> ActionConditioned:
    """The model alone; an encoder is called as `encoder(frames) -> Tokens` and taken over, not copied."""
    encoder = fresh_encoder(cfg) if encoder is None else encoder
    num_patches, width = measure(encoder, cfg.image)
    side = round(num_patches**0.5)
    if side * side != num_patches:
        raise UsageError(f"the encoder gives {num_patches} tokens for a frame of {cfg.image} px, which are no square")
    told = [cfg.action_width, *([cfg.state_size] if cfg.state_size else [])]
    rotary = Rotary(cfg.predictor.width // cfg.predictor.heads, 3, tiled=cfg.tiled)
    predictor = FramePredictor(width, cfg.predictor, told, Grid(("h", "w"), (side, side)), rotary)
    rescale_by_depth(predictor.trunk)
    if cfg.residual:
        nn.init.zeros_(predictor.proj.weight)  # it begins with a world that stands still
    return ActionConditioned(
        perception=FrozenPatches(encoder, layer_normalize),
        scale=scale_of(cfg.action_size, cfg.action_mean, cfg.action_std),
        state_scale=scale_of(cfg.state_size, cfg.state_mean, cfg.state_std) if cfg.state_size else None,
        motion=motion_of(cfg),
        predictor=predictor,
        history=cfg.history,
        num_steps=cfg.num_steps,
        residual=cfg.residual,
    )


def fresh_encoder(cfg: Config) -> Encoder:
    """A V-JEPA 2 encoder of this size, for --init to fill."""
    tokenizer = Patchify(3, (cfg.tubelet, cfg.patch, cfg.patch), cfg.encoder.width, ("t", "h", "w"))
    rotary = Rotary(cfg.encoder.width // cfg.encoder.heads, 3, tiled=cfg.tiled)
    encoder = Encoder(tokenizer, cfg.encoder, rotary=rotary)
    rescale_by_depth(encoder.trunk)
    return encoder


def scale_of(size: int, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> ActionScale:
    """Z-scores, or raw units where no statistics are given."""
    scale = ActionScale(size)
    if mean is not None and std is not None:
        scale.set(tensor(mean), tensor(std))
    return scale


def motion_of(cfg: Config) -> nn.Module | None:
    """How states move; None where nobody told."""
    if cfg.poses or not cfg.state_size:
        return PoseMotion() if cfg.poses and cfg.state_size else None
    size = (cfg.state_size, cfg.action_size + cfg.state_size + 1)
    return LinearMotion(torch.zeros(size) if cfg.motion is None else tensor(cfg.motion).view(size))


def prepare(cfg: Config, clips: Clips, rng: torch.Generator) -> Batch:
    """Windows of episodes with the states beside the actions; some windows are told none.

    Raises:
        UsageError: If actions or states are missing or of another width.
    """
    (part,) = leworldmodel.prepare(cfg.action_width, clips, rng, side=cfg.image).parts
    if not cfg.state_size:
        return Batch((part,))
    if clips.states is None or clips.states.shape[-1] != cfg.state_size:
        found = "none" if clips.states is None else list(clips.states.shape)
        raise UsageError(f"states are {found}, and the model is told {cfg.state_size} numbers; see craik inspect DATA")
    assert part.cond is not None
    hidden = (torch.rand(len(clips), generator=rng) < cfg.state_dropout_prob).to(part.cond.device)
    states = clips.states[:, :-1].masked_fill(hidden[:, None, None], torch.nan)
    return Batch((replace(part, cond=torch.cat([part.cond, states], -1)),))
