import pytest
import torch

from craik.evaluate import neighbors
from craik.evaluate.neighbors import centered, near_duplicates, search


def test_search_equals_a_sort_of_all_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "MAX_SCORES", 150)  # two queries at a time
    g = torch.Generator().manual_seed(0)
    index, query = torch.randn(70, 5, generator=g), torch.randn(9, 5, generator=g)
    scores, rows = search(index, query, 4)
    cosine = torch.nn.functional.cosine_similarity(query[:, None], index[None], dim=-1)
    torch.testing.assert_close(scores, cosine.sort(dim=1, descending=True).values[:, :4])
    torch.testing.assert_close(cosine.gather(1, rows), scores)


def test_search_finds_at_most_what_there_is() -> None:
    scores, rows = search(torch.eye(3), torch.eye(3)[:2], 10)
    assert scores.shape == rows.shape == (2, 3)
    assert rows[:, 0].tolist() == [0, 1]
    assert search(torch.eye(3), torch.empty(0, 3), 2)[1].shape == (0, 2)


@pytest.mark.parametrize(("index", "query", "k"), [((3, 2), (3, 4), 1), ((0, 2), (1, 2), 1), ((3, 2), (1, 2), 0)])
def test_search_refuses(index: tuple[int, int], query: tuple[int, int], k: int) -> None:
    with pytest.raises(ValueError, match="search"):
        search(torch.zeros(index), torch.zeros(query), k)


def test_centered_uses_the_mean_of_the_index_only() -> None:
    index, query = torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([[10.0, 0.0]])
    a, b = centered(index, query)
    assert a.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert b.tolist() == [[8.0, -5.0]]


@pytest.mark.parametrize("block", [7, 64, 2048])
def test_duplicates_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(neighbors, "BLOCK", block)
    g = torch.Generator().manual_seed(0)
    z = torch.randn(200, 32, generator=g) + 5
    for source, copy in [(3, 150), (150, 199), (40, 41), (40, 7)]:
        z[copy] = z[source] + 1e-3 * torch.randn(32, generator=g)
    assert near_duplicates(z, 0.99) == [[3, 150, 199], [7, 40, 41]]


def test_groups_are_the_connected_components() -> None:
    g = torch.Generator().manual_seed(1)
    z = torch.randn(60, 3, generator=g)
    unit = torch.nn.functional.normalize(z - z.mean(0), dim=1)
    close = (unit @ unit.T >= 0.95).tolist()
    group = list(range(60))
    for _ in range(60):
        group = [min(group[j] for j in range(60) if close[i][j]) for i in range(60)]
    expected = {tuple(i for i in range(60) if group[i] == g) for g in set(group)}
    found = near_duplicates(z, 0.95)
    assert {tuple(members) for members in found} == {members for members in expected if len(members) > 1}
    assert [len(members) for members in found] == sorted((len(members) for members in found), reverse=True)


def test_a_data_set_of_one_image_is_one_group() -> None:
    assert near_duplicates(torch.ones(50, 8) * 3, 0.9) == [list(range(50))]


def test_unrelated_features_have_no_duplicates() -> None:
    assert near_duplicates(torch.randn(300, 64, generator=torch.Generator().manual_seed(0)), 0.9) == []


def test_threshold_is_a_cosine() -> None:
    with pytest.raises(ValueError, match="cosine"):
        near_duplicates(torch.eye(3), 95)


def test_a_single_image_is_like_itself() -> None:
    """Its mean is itself, so nothing would be left of it."""
    z = torch.randn(1, 8, generator=torch.Generator().manual_seed(0)) + 5
    index, query = centered(z, z)
    assert float(search(index, query, 1)[0]) == pytest.approx(1.0)
