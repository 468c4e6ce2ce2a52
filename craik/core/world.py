"""World model: what a planner asks of a model that predicts the consequences of actions.

Letters: B batch, T frames seen, H horizon [model steps], A width of an action, D width of a latent, Z width of z.
One model step may span several steps of the environment (frame skip); its action is then the concatenation of the
actions inside, and A counts them all.
"""

from typing import Protocol

from torch import Tensor


class WorldModel(Protocol):
    """Encodes observations, and imagines what follows from actions, all in latent space.

    Rows are independent: row b of a result depends on row b of the inputs alone. A planner relies on it when it
    lays thousands of candidates side by side. Latents are one vector per frame, [B, T, D], or a set of patch tokens,
    [B, T, N, D]; whatever `encode` gives, `rollout` takes and gives back.
    """

    def encode(self, frames: Tensor) -> Tensor:
        """Latents [B, T, D] or [B, T, N, D] of normalized frames [B, T, C, H, W], each of its own frame alone."""

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        """Latents that follow when `actions` are taken, [B, H, D] or [B, H, N, D].

        Args:
            latents: Of the frames seen, oldest first, [B, T, D] or [B, T, N, D]; T >= 1.
            past: Actions between those frames, [B, T - 1, A].
            actions: To be imagined, [B, H, A], in the units of the environment; discrete ones one-hot. The first
                is taken at the last frame seen. Differentiable in them where gradient planners are to work.
            z: What the actions do not decide, [B, H, Z]; None asks for the model's default future.
        """
