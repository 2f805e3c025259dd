import numpy as np
import pytest
from safetensors.numpy import load_file, save

from app.coordinator.averaging import UnfitUpdate, average_updates, check_weights, publish
from app.coordinator.spool import Spool
from app.coordinator.translation import reference
from app.domain.errors import ErrorCode, PeerMistake
from app.domain.ids import SiteName, study_id
from app.domain.rounds import ModelUpdate
from app.domain.study import Aggregation, Transfer
from app.federation.transfer import encode
from app.system.clock import SystemClock
from app.system.partial_files import file_sha256
from app.system.tensor_files import apply_change, read_manifest

SHAPES = {"encoder.weight": (4, 3, 3), "encoder.bias": (4,)}


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool", study=study_id("0" * 32), clock=SystemClock())
    yield opened
    opened.close()


def tensors(seed, **changes):
    random = np.random.default_rng(seed)
    made = {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    return made | changes


def update(spool, base, site, cases, content):
    blob = reference(spool.keep_bytes(save(content)))
    return ModelUpdate(
        round=1, attempt=1, site=SiteName(site), base=base.sha256, weights=blob, cases=cases,
        train_loss=0.0, validation_loss=None, pseudo_dice=(), epoch_seconds=1.0,
    )  # fmt: skip


def run(spool, tmp_path, updates, base, rule=Aggregation.CASES):
    return average_updates(
        updates, base=base, rule=rule, spool=spool, target=tmp_path / "average.safetensors"
    )


def test_the_average_is_weighted_by_cases_and_bit_equal_in_any_order(spool, tmp_path):
    base = reference(spool.keep_bytes(save(tensors(0))))
    north, valley = tensors(1), tensors(2)
    updates = [update(spool, base, "valley", 10, valley), update(spool, base, "north", 30, north)]
    model = run(spool, tmp_path, updates, base)
    loaded = load_file(spool.path(model.sha256))
    for name in SHAPES:
        exact = (north[name].astype(np.float64) * 30 + valley[name].astype(np.float64) * 10) / 40
        assert (loaded[name] == exact.astype(np.float32)).all()
    assert run(spool, tmp_path, updates[::-1], base) == model


def test_one_site_gets_back_its_own_weights_to_the_last_bit(spool, tmp_path):
    base = reference(spool.keep_bytes(save(tensors(0))))
    mine = tensors(3)
    model = run(spool, tmp_path, [update(spool, base, "north", 19, mine)], base)
    loaded = load_file(spool.path(model.sha256))
    assert all((loaded[name] == mine[name]).all() for name in SHAPES)


def test_the_papers_rule_does_not_weigh(spool, tmp_path):
    base = reference(spool.keep_bytes(save(tensors(0))))
    updates = [update(spool, base, s, n, tensors(n)) for s, n in (("a", 1), ("b", 99))]
    model = run(spool, tmp_path, updates, base, Aggregation.PAPER)
    exact = (tensors(1)["encoder.bias"].astype(np.float64) + tensors(99)["encoder.bias"]) / 2
    assert (load_file(spool.path(model.sha256))["encoder.bias"] == exact.astype(np.float32)).all()


@pytest.mark.parametrize(
    "content",
    [
        tensors(1, **{"encoder.bias": np.array([1, np.nan, 1, 1], np.float32)}),
        tensors(1, **{"encoder.bias": np.array([1, np.inf, 1, 1], np.float32)}),
        tensors(1, **{"encoder.bias": np.array([1, 1e30, 1, 1], np.float32)}),
        tensors(1, **{"encoder.bias": np.ones(5, np.float32)}),
        tensors(1, **{"encoder.bias": np.ones(4, np.float16)}),
        tensors(1, extra=np.ones(1, np.float32)),
        {"encoder.bias": np.ones(4, np.float32)},
    ],
    ids=["NaN", "infinite", "1e30", "shape", "type", "extra", "missing"],
)
def test_a_hostile_update_is_refused_and_its_site_named(spool, tmp_path, content):
    base = reference(spool.keep_bytes(save(tensors(0))))
    good = update(spool, base, "north", 10, tensors(2))
    bad = update(spool, base, "valley", 10, content)
    path = spool.path(bad.weights.sha256)
    with pytest.raises(PeerMistake) as caught:
        check_weights(path, read_manifest(spool.path(base.sha256)))
    assert caught.value.code is ErrorCode.TENSORS_REFUSED
    with pytest.raises(UnfitUpdate, match="valley") as unfit:
        run(spool, tmp_path, [good, bad], base)
    assert unfit.value.site == "valley"
    # The round goes on without it.
    assert spool.holds(run(spool, tmp_path, [good], base).sha256)


def test_a_file_that_the_disk_has_changed_is_found_before_it_counts(spool, tmp_path):
    base = reference(spool.keep_bytes(save(tensors(0))))
    updates = [update(spool, base, s, 5, tensors(n)) for n, s in enumerate(("a", "b"), 1)]
    path = spool.path(updates[1].weights.sha256)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnfitUpdate) as caught:
        run(spool, tmp_path, updates, base)
    assert caught.value.site == "b"


def sent_change(spool, base, site, cases, change, transfer):
    """A site's update that holds what `change` makes of the base, rounded; and what that is."""
    manifest = read_manifest(spool.path(base.sha256))
    parts, made = {}, {}
    for spec in manifest:
        encoded, made[spec.name] = encode(spec, change[spec.name], transfer)
        parts |= encoded
    return update(spool, base, site, cases, parts), made


@pytest.mark.parametrize("transfer", [Transfer.FP16, Transfer.INT8])
def test_rounded_changes_are_added_to_the_exact_average_and_published_in_turn(
    spool, tmp_path, transfer
):
    exact = reference(spool.keep_bytes(save(tensors(0))))
    model = reference(spool.keep_bytes(save(tensors(0))))
    target = tmp_path / "average.safetensors"
    expected = {name: values.astype(np.float64) for name, values in tensors(0).items()}
    for number in range(1, 5):
        sent = [
            sent_change(spool, model, site, cases, scaled(tensors(10 * number + cases), 1e-2), transfer)
            for site, cases in (("north", 3), ("valley", 1))
        ]  # fmt: skip
        updates = [one for one, _ in sent]
        made = [change for _, change in sent]
        exact = average_updates(
            updates, base=exact, rule=Aggregation.CASES, spool=spool, target=target,
            transfer=transfer,
        )  # fmt: skip
        published = publish(exact, base=model, spool=spool, transfer=transfer, target=target)
        assert published == publish(
            exact, base=model, spool=spool, transfer=transfer, target=target
        )
        # A site makes the same model of what it holds, to the bit.
        apply_change(
            spool.path(model.sha256), spool.path(published.change.sha256), transfer,
            tmp_path / "made",
        )  # fmt: skip
        assert file_sha256(tmp_path / "made") == published.model.sha256
        model = published.model
        master, common = (load_file(spool.path(b.sha256)) for b in (exact, model))
        for name in SHAPES:
            expected[name] += (3 * made[0][name].astype(np.float64) + made[1][name]) / 4
            assert np.abs(master[name] - expected[name]).max() < 1e-6
            assert np.abs(common[name] - expected[name]).max() < 1e-2 / 64
    # The update of a site that is told to send weights is none here, and the other way round.
    check_weights(spool.path(updates[0].weights.sha256), read_manifest(spool.path(model.sha256)), transfer)  # fmt: skip
    with pytest.raises(PeerMistake):
        check_weights(spool.path(model.sha256), read_manifest(spool.path(model.sha256)), transfer)


def scaled(content, factor):
    return {name: (values * factor).astype(np.float32) for name, values in content.items()}
