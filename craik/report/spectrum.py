"""The eigenvalue spectrum of embeddings: how many directions carry something."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from craik.core.collapse import alpha_req, eigenspectrum, entropy_rank
from craik.report.style import RANDOM, TRAINED, sheet, styled

SMALLEST = 1e-8  # shares of the variance below this are left out: rounding, not signal


@styled
def spectrum_figure(embeddings: Mapping[str, Tensor]) -> Figure:
    """Spectra on log axes, with the effective rank of each.

    Args:
        embeddings: Features [N, D] by the name of their encoder; the first is drawn strongest.
    """
    figure, axes = sheet(1, 1, 4.6)
    place = axes[0, 0]
    for (name, z), color, style in zip(embeddings.items(), (TRAINED, RANDOM), ("-", "--"), strict=False):
        eigenvalues = eigenspectrum(z)
        shares = (eigenvalues / eigenvalues.sum().clamp(min=1e-300)).numpy()
        shares = shares[shares > SMALLEST]
        rank = entropy_rank(eigenvalues.sqrt())
        text = f"{name}: effective rank {rank:.1f} of {z.shape[1]}, decay {decay(eigenvalues)}"
        place.loglog(np.arange(1, len(shares) + 1), shares, style, color=color, label=text, marker="o", markersize=2.5)
        place.axvline(rank, color=color, linestyle=style, linewidth=1, alpha=0.6)
    num, width = next(iter(embeddings.values())).shape
    place.set(
        xlabel="principal direction, largest first (vertical lines: effective rank)",
        ylabel="share of the variance [1]",
        title=f"Eigenvalue spectrum of the embeddings of {num:,} images",
    )
    place.set_xlim(0.9, 1.15 * width)
    place.legend(loc="lower left")
    return figure


def decay(eigenvalues: Tensor) -> str:
    """The exponent of alpha-ReQ as text."""
    alpha = alpha_req(eigenvalues)
    return f"{alpha:.2f}" if torch.isfinite(torch.tensor(alpha)) else "n/a"
