"""Actions: z-scores of blocks, embedding, and reading them back."""

import pytest
import torch
import torch.nn.functional as F

from craik.nn.action import ActionEncoder, ActionScale, InverseDynamics


def test_blocks_share_the_statistics_of_one_action() -> None:
    scale = ActionScale(2)
    block = torch.tensor([[[1.0, 10.0, 3.0, 30.0]]])  # two actions of two numbers
    assert torch.equal(scale(block), block)
    scale.set(torch.tensor([1.0, 10.0]), torch.tensor([2.0, 20.0]))
    torch.testing.assert_close(scale(block), torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]))


def test_statistics_travel_with_the_weights() -> None:
    scale, other = ActionScale(3), ActionScale(3)
    scale.set(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0]))
    other.load_state_dict(scale.state_dict())
    x = torch.randn(4, 3)
    assert torch.equal(other(x), scale(x))
    assert not torch.equal(other(x), x)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.0], [1.0, 1.0], "2 finite numbers"),
        ([0.0, torch.nan], [1.0, 1.0], "2 finite numbers"),
        ([0.0, 0.0], [1.0, 0.0], "never varies"),
    ],
)
def test_bad_statistics_are_refused(mean: list[float], std: list[float], message: str) -> None:
    scale = ActionScale(2)
    with pytest.raises(ValueError, match=message):
        scale.set(torch.tensor(mean), torch.tensor(std))
    assert torch.equal(scale.std, torch.ones(2))


def test_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="5 wide, expected a multiple of 2"):
        ActionScale(2)(torch.zeros(1, 5))


def test_first_map_is_a_convolution_of_one_step() -> None:
    encoder, actions = ActionEncoder(4, 6, smoothed=5), torch.randn(2, 7, 4)
    smooth = F.conv1d(actions.mT, encoder.smooth.weight.unsqueeze(-1), encoder.smooth.bias).mT
    expected = encoder.fc2(F.silu(encoder.fc1(smooth)))
    torch.testing.assert_close(encoder(actions), expected)
    assert encoder.fc1.out_features == 24


def test_inverse_dynamics_learns_what_was_done() -> None:
    """Latents that move by the action: it is read back far better than by its mean."""
    torch.manual_seed(0)
    head = InverseDynamics(3, 3, hidden=32)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(150):
        before, action = torch.randn(64, 3), torch.randn(64, 3)
        loss = (head(before, before + action) - action).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2  # the mean has 1
