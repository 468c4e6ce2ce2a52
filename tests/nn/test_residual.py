"""The residual predictor: the latent, and what the action adds."""

import torch

from craik.nn.residual import ResidualPredictor


def test_adds_to_the_latent_and_looks_at_one_frame() -> None:
    torch.manual_seed(0)
    model = ResidualPredictor(width=4, action_width=2, hidden=8, depth=2)
    latents, cond = torch.randn(3, 5, 4), torch.randn(3, 5, 2)
    out = model(latents, cond)
    torch.testing.assert_close(out[:, 2:3], model(latents[:, 2:3], cond[:, 2:3]))
    torch.testing.assert_close(out, latents + cond @ model.free.weight.T)  # fresh networks add nothing
    with torch.no_grad():
        model.net[-1].bias.fill_(0.5)
    torch.testing.assert_close(model(latents, cond), out + 0.5)


def test_sharpness_scales_the_first_layer_alone() -> None:
    made = []
    for sharpness in (1.0, 5.0):
        torch.manual_seed(0)
        made.append(ResidualPredictor(width=4, action_width=2, hidden=8, depth=2, sharpness=sharpness))
    plain, sharp = (dict(model.net.named_parameters()) for model in made)
    for name, parameter in plain.items():
        torch.testing.assert_close(sharp[name], parameter * (5.0 if name.startswith("0.") else 1.0))
