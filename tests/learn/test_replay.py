import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.core.credit import Batch, replay_probabilities
from backcast.core.errors import BadInput, WorkFailed
from backcast.core.vitals import must_act
from backcast.learn.groups import GroupSums
from backcast.learn.replay import AuthorsReplay, FilterFlat, Kept, SampleReplay
from backcast.learn.rows import pack, size, unpack

RAW = [0, 0, 0.625, -0.375, 0, 0, -0.375, 0]


def batch(advantages, step=0, width=3, length=4):
    """Rows whose ids say where they come from: row i of step s writes ``100 s + i``, with i % length + 1 tokens."""
    count = len(advantages)
    lengths = torch.tensor([i % length + 1 for i in range(count)])
    mask = (torch.arange(length) < lengths[:, None]).long()
    ids = torch.full((count, length), 100 * step) + torch.arange(count)[:, None]
    data = {
        "prompt_ids": torch.ones(count, width, dtype=torch.long),
        "prompt_mask": torch.ones(count, width, dtype=torch.long),
        "completion_ids": ids * mask,
        "completion_mask": mask,
        "old_per_token_logps": -(ids * mask).float() / 1000,
        "advantages": torch.tensor(advantages, dtype=torch.float32),
        "replayed": torch.zeros(count, dtype=torch.bool),
        "num_items_in_batch": torch.tensor(int(mask.sum())),
    }
    return Batch(data, data["advantages"], step, 4)


def filled(replay, advantages=(0.5, -0.5), step=1):
    """The shaper with two rows of an earlier step in its buffer."""
    source = batch(list(advantages), step=9)
    rows = unpack(source.data)
    replay.buffer = [Kept(row, float(a), step) for row, a in zip(rows, advantages, strict=True)]
    replay.batches = 1
    return replay


def test_a_batch_by_the_paper():
    """U5: three of eight rows teach; the buffer of two grows to five first, then fills the five empty places."""
    replay = filled(SampleReplay(episode=None))
    out = replay(batch(RAW, step=4)).data
    assert len(replay.buffer) == 5
    assert out["completion_ids"].shape[0] == 8
    assert out["completion_ids"][:3].amax(1).tolist() == [402, 403, 406]
    assert out["replayed"].tolist() == [False] * 3 + [True] * 5
    assert bool((out["advantages"] != 0).all())


def test_drawn_rows_keep_what_they_were_written_with():
    """Log-probabilities, advantage and length of every drawn row are those of its source, to the bit."""
    replay = filled(SampleReplay(episode=None, seed=3))
    out = replay(batch(RAW, step=4)).data
    sources = {int(kept.row["completion_ids"].max()): kept for kept in replay.buffer}
    for i in range(3, 8):
        kept = sources[int(out["completion_ids"][i].max())]
        n = int(out["completion_mask"][i].sum())
        assert n == len(kept.row["completion_ids"])
        assert torch.equal(out["old_per_token_logps"][i, :n], kept.row["old_per_token_logps"])
        assert float(out["advantages"][i]) == kept.advantage
        assert not out["completion_ids"][i, n:].any()


def test_a_batch_that_teaches_throughout_passes_untouched():
    """All effective: the very same object comes out, and nothing is drawn."""
    raw = batch([1.0, -1, 1, -1])
    replay = SampleReplay()
    assert replay(raw) is raw
    assert replay.acted == 0
    assert replay.opportunities == 0


def test_a_ratio_of_one_is_a_fault_only_for_rows_of_an_earlier_policy():
    """Rows of their own batch have ratio 1 by right; older ones never do, so exactly 1 is flagged then."""
    replay, sums = SampleReplay(), GroupSums()
    sums.ratio(torch.ones(3))
    found = {}
    for step in (1, 2):
        replay(batch(RAW, step) if step == 1 else batch([0.0] * 8, step))
        found[replay.aged] = {vital.name: vital.ok for vital in sums.vitals(True, replay.aged)}["replay/ratio_shift"]
    assert found == {False: True, True: False}


def test_nothing_to_teach_and_nothing_kept_is_skipped_and_counted():
    replay = SampleReplay()
    assert bool(replay(batch([0.0] * 4)).data["skip"].all())
    assert replay.metrics()["replay/skipped"] == 1
    assert {vital.name: vital.value for vital in replay.vitals()} == {
        "replay/share": None,
        "replay/age": None,
        "replay/skipped": 1,
    }


def test_the_end_of_an_episode_empties_the_buffer():
    """Episode of two batches: what was kept in the first two is gone in the third."""
    replay = SampleReplay(episode=2)
    for step in (1, 2):
        replay(batch(RAW, step))
    assert len(replay.buffer) == 6
    assert bool(replay(batch([0.0] * 8, 3)).data["skip"].all())
    assert replay.buffer == []


def test_bounds_of_the_buffer():
    """The oldest go first: by number, by age, by bytes; one row always stays."""
    by_number, by_age, by_bytes = (
        SampleReplay(episode=None, capacity=4),
        SampleReplay(episode=None, max_age=1),
        SampleReplay(episode=None, megabytes=1e-9),
    )
    for step in range(1, 4):
        for replay in (by_number, by_age, by_bytes):
            replay(batch(RAW, step))
    assert [kept.born for kept in by_number.buffer] == [2, 3, 3, 3]
    assert {kept.born for kept in by_age.buffer} == {2, 3}
    assert [kept.born for kept in by_bytes.buffer] == [3]


def test_draws_follow_the_probabilities():
    """U4: 20,000 draws within 3 standard errors (rows of one token)."""
    advantages = np.array([0.625, -0.375, 0.875, -0.125, 0.5, -0.5])
    replay = filled(SampleReplay(alpha=1.0), advantages)
    drawn = replay._draw(replay.buffer, replay_probabilities(advantages, 1.0), 20_000)
    counts = np.array([sum(kept is source for kept in drawn) for source in replay.buffer])
    chance = replay_probabilities(advantages, 1.0)
    assert (np.abs(counts - 20_000 * chance) < 3 * np.sqrt(20_000 * chance * (1 - chance))).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, -0.5, 1.0]), min_size=4, max_size=4), min_size=1, max_size=5))
def test_size_stays_and_nothing_flat_is_trained(rows):
    """Whatever comes: N rows in, N out; none flat unless the batch is marked as skipped; the input is not touched."""
    replay = SampleReplay(episode=None)
    for step, advantages in enumerate(rows):
        raw = batch(advantages, step)
        copies = {key: value.clone() for key, value in raw.data.items()}
        out = replay(raw).data
        assert len(out["advantages"]) == 4
        assert "skip" in out or bool((out["advantages"] != 0).all())
        assert all(torch.equal(raw.data[key], copies[key]) for key in copies)


def test_state_goes_on_bit_for_bit():
    """Saved to disk and loaded into a new shaper, the next batches are the same."""
    first = SampleReplay(episode=3)
    first.attach(None, 1)
    first(batch(RAW, 1))
    second = SampleReplay(episode=3)
    second.load_state_dict(first.state_dict())
    for step in (2, 3, 4):
        one, two = first(batch(RAW, step)).data, second(batch(RAW, step)).data
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert first.vitals() == second.vitals()


def test_ranks_draw_their_own():
    drawn = []
    for rank in (0, 1):
        replay = SampleReplay()
        replay.attach(None, rank)
        drawn.append(replay(batch(RAW)).data["completion_ids"].amax(1).tolist())
    assert drawn[0] != drawn[1]


def test_filter_repeats_only_the_current_batch():
    """The baseline forgets: five places are filled with the three rows that teach, uniformly."""
    control = FilterFlat()
    control(batch(RAW, 1))
    out = control(batch(RAW, 2)).data
    assert set(out["completion_ids"].amax(1).tolist()) == {202, 203, 206}
    assert bool((out["advantages"] != 0).all())
    assert bool(control(batch([0.0] * 4, 3)).data["skip"].all())


def test_authors_variant_halves_the_batch_and_never_forgets():
    """Eight rows in, four out; min(4, 3) from this batch, the rest from a store of at most four."""
    variant = AuthorsReplay()
    for step in range(1, 4):
        out = variant(batch(RAW, step)).data
        assert len(out["advantages"]) == 4
        assert len(variant.buffer) == min(4, 3 * step)
    assert [kept.born for kept in variant.buffer] == [2, 3, 3, 3]
    out = variant(batch([0.0] * 8, 9)).data
    assert len(out["advantages"]) == 4
    assert bool((out["advantages"] != 0).all())


def test_authors_variant_copies_a_small_store_whole():
    """One kept row and four places: it is added whole until the need fits."""
    variant = AuthorsReplay()
    variant(batch([0.5] + [0.0] * 7, 1))
    out = variant(batch([0.0] * 8, 2)).data
    assert out["completion_ids"].amax(1).tolist() == [100] * 4


def test_images_travel_with_their_rows():
    """Patches and grids of every length stay with their row, beside rows from a batch without images."""
    raw = batch([0.5, 0.0, -0.5, 0.0], 1)
    patches = [torch.full((i + 1, 2), float(i)) for i in range(4)]
    raw.data.update(pixel_values=patches, num_images=[1, 0, 2, 1], image_grid_thw=[p[:, :1] for p in patches])
    rows = unpack(raw.data, [2, 0]) + unpack(batch([1.0], 2).data)
    out = pack(rows, 0, "cpu")
    assert [tuple(value.shape) for value in out["pixel_values"]] == [(3, 2), (1, 2), (0, 2)]
    assert out["num_images"] == [2, 1, 0]
    assert float(out["pixel_values"][0][0, 0]) == 2
    assert size(rows[0]) > size(rows[1])


def test_a_batch_that_lost_its_images_is_left_alone():
    """TRL says ``num_images`` None when it dropped them: image tokens without features go into no buffer."""
    raw = batch(RAW, 1)
    raw.data["num_images"] = None
    replay = SampleReplay()
    assert replay(raw) is raw
    assert replay.buffer == []


def test_images_that_cannot_lie_side_by_side_are_refused():
    raw = batch([0.5, 0.5], 1)
    other = batch([0.5], 2)
    raw.data["pixel_values"], other.data["pixel_values"] = torch.zeros(2, 3, 4), torch.zeros(1, 3, 5)
    with pytest.raises(WorkFailed, match="replay cannot put 'pixel_values' of shapes"):
        pack(unpack(raw.data) + unpack(other.data), 0, "cpu")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_unpack_then_pack_gives_the_batch_back(width, length, seed):
    """Round trip on random left- and right-padded batches, whatever lies under the padding."""
    rng = torch.Generator().manual_seed(seed)
    prompts = torch.randint(1, width + 1, (3,), generator=rng)
    lengths = torch.randint(1, length + 1, (3,), generator=rng)
    prompts[0], lengths[0] = width, length
    left = (torch.arange(width) >= width - prompts[:, None]).long()
    right = (torch.arange(length) < lengths[:, None]).long()
    data = {
        "prompt_ids": torch.randint(1, 9, (3, width), generator=rng) * left,
        "prompt_mask": left,
        "completion_ids": torch.randint(1, 9, (3, length), generator=rng) * right,
        "completion_mask": right,
        "advantages": torch.randn(3, length, generator=rng) * right,
        "token_type_ids": torch.cat([left, right], dim=1),
    }
    back = pack(unpack(data), 0, "cpu")
    assert all(torch.equal(back[key], data[key]) for key in data)


def test_settings_that_make_no_sense():
    with pytest.raises(BadInput, match="alpha=-1"):
        SampleReplay(alpha=-1)
    for settings_ in ({"megabytes": 0}, {"max_age": -1}):
        with pytest.raises(BadInput, match="megabytes > 0 and max_age >= 0"):
            SampleReplay(**settings_)
    with pytest.raises(BadInput, match="put replay before the other shapers"):
        SampleReplay()(batch([[0.5, 0.5, 0.5, 0.5]]))


def test_a_replay_that_cannot_act_is_found_out():
    """A buffer that never fills (TRL 6804) is an opportunity not taken, since opportunities are counted apart."""

    class Broken(SampleReplay):
        def _choose(self, teach, count, step):
            return teach, []

    broken = Broken()
    broken(batch(RAW))
    assert (broken.acted, broken.opportunities) == (0, 1)
    with pytest.raises(Exception, match="replay is switched on but changed nothing in 1 opportunities"):
        must_act(broken.name, broken.acted, broken.opportunities)
