import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.coordinator.server_steps import ServerFiles, next_model
from app.domain.rounds import TensorSpec
from app.domain.study import ServerOptimiser
from app.federation.server_optimiser import ServerRule, first_state, step

RULES = {
    "fedavgm": ServerRule(optimiser=ServerOptimiser.FEDAVGM, learning_rate=1.0, momentum=0.9),
    "fedadam": ServerRule(optimiser=ServerOptimiser.FEDADAM, learning_rate=0.01, momentum=0.9),
}
MANIFEST = [TensorSpec(name="stem/1x1/weight", shape=(2, 3)), TensorSpec(name="b", shape=(4,))]


def tensors(value: float, names=("stem/1x1/weight", "b")) -> dict[str, np.ndarray]:
    shapes = {spec.name: spec.shape for spec in MANIFEST}
    return {name: np.full(shapes[name], value, np.float32) for name in names}


def write(folder, number, means, *, before, rule, kept=None):
    files = None
    if rule is not None:
        files = ServerFiles(rule=rule, kept=kept, keeps=folder / f"kept-{number}")
    with next_model(folder / f"model-{number}", MANIFEST, before=before, files=files) as put:
        for name, mean in means.items():
            put(name, mean)
    return folder / f"model-{number}", None if files is None else files.keeps


@pytest.fixture
def before(tmp_path):
    save_file(tensors(1.0), tmp_path / "before")
    return tmp_path / "before"


def test_without_an_optimiser_the_average_is_the_model(tmp_path, before):
    model, _ = write(tmp_path, 1, tensors(3.0), before=before, rule=None)
    assert all((value == 3.0).all() for value in load_file(model).values())


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_each_round_goes_on_from_what_the_last_one_kept(tmp_path, before, rule):
    first, kept = write(tmp_path, 1, tensors(1.5), before=before, rule=rule)
    second, _ = write(tmp_path, 2, tensors(2.0), before=first, rule=rule, kept=kept)
    for spec in MANIFEST:
        weight = np.full(spec.shape, 1.0, np.float32)
        state = first_state(rule, spec.shape)
        for path, mean in ((first, 1.5), (second, 2.0)):
            weight, state = step(rule, weight, np.full(spec.shape, mean, np.float32), state)
            np.testing.assert_array_equal(load_file(path)[spec.name], weight)
    # Doing a round again, from the same files, gives the same bits.
    (tmp_path / "again").mkdir()
    again, _ = write(tmp_path / "again", 2, tensors(2.0), before=first, rule=rule, kept=kept)
    assert again.read_bytes() == second.read_bytes()
    assert (tmp_path / "again" / "kept-2").read_bytes() == (tmp_path / "kept-2").read_bytes()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_tensor_without_a_place_to_step_from_is_taken_as_it_is(tmp_path, rule):
    save_file(tensors(1.0, ("b",)), tmp_path / "before")
    model, kept = write(tmp_path, 1, tensors(2.0), before=tmp_path / "before", rule=rule)
    found = load_file(model)
    assert (found["stem/1x1/weight"] == 2.0).all()
    assert not (found["b"] == 2.0).all() or rule.learning_rate == 1.0
    state = first_state(rule, (2, 3))
    for moment in rule.moments:
        np.testing.assert_array_equal(load_file(kept)[f"{moment}/stem/1x1/weight"], state[moment])
