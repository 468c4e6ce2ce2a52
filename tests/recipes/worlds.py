"""A world for recipes to learn in a few seconds: a bright square that goes where it is told."""

import torch
from torch import Tensor

from craik.core.batch import Batch
from craik.core.latent_world import LatentWorld
from craik.data.windows import Clips
from craik.nn.statistics import reestimating
from craik.recipes.leworldmodel import prepare

SIDE = 16


def clips(num: int, num_frames: int, seed: int, skip: int = 1) -> Clips:
    """Windows of a 5 x 5 square on a dark ground; an action [-1, 1]^2 moves it by so many pixels, walls stop it."""
    rng = torch.Generator().manual_seed(seed)
    actions = 3 * (2 * torch.rand(num, (num_frames - 1) * skip, 2, generator=rng) - 1) / skip
    places = [2 + torch.rand(num, 2, generator=rng) * (SIDE - 5)]
    for action in actions.unbind(1):
        places.append((places[-1] + action).clamp(2, SIDE - 3))
    seen = torch.stack(places[::skip], 1)  # [B, T, 2]
    cells = torch.arange(SIDE)
    near = ((cells - seen[..., None]).abs() < 2.5).float()  # [B, T, 2, side]
    square = near[..., 0, :, None] * near[..., 1, None, :]
    frames = (40 + 200 * square).to(torch.uint8).unsqueeze(2).expand(-1, -1, 3, -1, -1)
    return Clips(frames, torch.arange(num), actions.unflatten(1, (-1, skip)).flatten(2))


def learn(model: LatentWorld, steps: int, lr: float = 2e-3, batch: int = 32, num_frames: int = 4) -> None:
    """Train on new windows every step, the learning rate falling to zero; then measure running statistics anew."""
    model.scale.set(torch.zeros(2), torch.full((2,), 3**0.5))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    model.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / 10) * (1 - step / steps)
        loss = model(windows(batch, num_frames, seed=step), step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    with torch.no_grad(), reestimating(model):
        for seed in range(steps, steps + 8):
            model(windows(batch, num_frames, seed), steps)


def windows(num: int, num_frames: int, seed: int) -> Batch:
    given = clips(num, num_frames, seed)
    assert given.actions is not None
    return prepare(given.actions.shape[-1], given, torch.Generator())


@torch.no_grad()
def held_out(model: LatentWorld, num_frames: int = 4) -> dict[str, Tensor]:
    """Terms of the loss on windows that were not trained on, and the spread of the latents."""
    batch = windows(256, num_frames, seed=10_000)
    model.eval()
    return {**model(batch, 0).terms, "std": model.encode(batch.parts[0].x).flatten(0, 1).std(0).mean()}
