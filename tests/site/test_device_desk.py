"""What a site computes with: chosen, offered after a round that did not fit, measured."""

from __future__ import annotations

import pytest

from app.control.messages import Accepted, Calibrate, Refused, SetDevices
from app.domain.study import Transfer
from app.jobs.events import Calibrated, Failed
from app.jobs.spec import CalibrateJob, TrainJob
from app.site.device_desk import choose_devices
from app.system.settings import load_settings
from app.wire.messages import UpdateFailed, UpdateOffered

pytestmark = pytest.mark.asyncio

NO_MEMORY = Failed(code="gpu-memory", sentence="the graphics card has not enough free memory")


async def test_a_round_that_does_not_fit_is_not_counted_and_a_smaller_batch_is_offered(
    site, expected_log
):
    expected_log("app.site", "gives nothing that counts")
    await site.to_prepared()
    planned = site.snapshot.training.devices.plan_batch_size
    assert planned > 1
    assert site.snapshot.training.devices.offered_batch_size is None
    site.runner.failures = {"step": [NO_MEMORY]}
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateFailed))
    (told,) = site.coordinator.told(UpdateFailed)
    assert (told.round, told.code) == (1, "gpu-memory")
    assert site.coordinator.told(UpdateOffered) == []
    offer = site.snapshot.training.devices
    assert offer.offered_batch_size == planned // 2
    assert "Round 1 did not fit into memory and is not counted" in offer.sentence

    answer = await site.service.command(SetDevices(batch_size=offer.offered_batch_size))
    assert answer == Accepted()
    site.train(2)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert trained_with(site)[-1].batch_size == planned // 2
    now = site.snapshot.training.devices
    assert (now.batch_size, now.offered_batch_size, now.sentence) == (planned // 2, None, "")
    # It is kept: a service that starts again trains with it.
    await site.crash()
    await site.start()
    await site.until(lambda: site.snapshot.training.device == "cpu")
    assert trained_with(site)[-1].batch_size == planned // 2


async def test_nothing_smaller_than_one_is_offered(site, expected_log):
    expected_log("app.site", "gives nothing that counts")
    await site.to_prepared()
    await site.service.command(SetDevices(batch_size=1))
    site.runner.failures = {"step": [NO_MEMORY]}
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateFailed))
    offer = site.snapshot.training.devices
    assert offer.offered_batch_size is None
    assert "Close other programs" in offer.sentence


async def test_another_choice_holds_from_the_next_round_on(site):
    await site.to_prepared()
    gate = site.runner.hold("step")
    site.train(1)
    await site.until(lambda: len(site.runner.asked) == 1)
    await site.service.command(SetDevices(device="cuda", gpus=2))
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert [job.gpus for job in trained_with(site)] == [None]
    site.train(2)
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2)
    assert [(job.device, job.gpus) for job in trained_with(site)] == [("auto", None), ("cuda", 2)]
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1, (2, 3): 1, (2, 4): 1}


def trained_with(site):
    return [job for job in site.runner.started if isinstance(job, TrainJob)]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (SetDevices(gpus=0), "graphics cards is 1 to 64, not 0"),
        (SetDevices(batch_size=9999), "patches in a step is 1 to 4096"),
        (SetDevices(device="tpu"), "auto, cpu, cuda, cuda:N or mps"),
        (SetDevices(device="cuda:x"), "auto, cpu, cuda, cuda:N or mps"),
    ],
)
async def test_a_choice_that_there_is_not_is_refused(site, wish, words):
    async with site.serving():
        answer = await site.service.command(wish)
    assert isinstance(answer, Refused)
    assert words in answer.sentence
    assert load_settings(site.home).gpus is None


async def test_a_choice_is_kept_without_a_service(tmp_path):
    choose_devices(tmp_path, SetDevices(device="cpu", gpus=3, batch_size=1))
    kept = load_settings(tmp_path)
    assert (kept.device, kept.gpus, kept.batch_size) == ("cpu", 3, 1)


MEASURED = Calibrated(
    device="cpu", steps=5, step_s=0.5, validation_step_s=0.25, batch_size=2, patch=(8, 8, 8),
    scaled=False, real_images=True,
)  # fmt: skip


async def test_a_measurement_says_how_long_round_and_study_take(site):
    site.runner.measured = MEASURED
    await site.to_prepared(transfer=Transfer.INT8)
    terms = site.terms
    before = site.snapshot.federation.study.traffic
    assert (before.finish_at, before.estimated) == (None, False)
    assert before.round_up < 0.26 * 4 * before.study_down  # sizes are those of the plan
    assert await site.service.command(Calibrate()) == Accepted()
    await site.until(lambda: site.snapshot.training.calibration is not None)
    found = site.snapshot.training.calibration
    round_s = terms.epochs_per_round * (
        terms.iterations_per_epoch * 0.5 + terms.validation_iterations * 0.25
    )
    assert found.seconds_per_round == pytest.approx(round_s)
    assert found.seconds_of_study == pytest.approx(3 * round_s)
    assert found.finish_at == pytest.approx(site.clock.now() + 3 * round_s)
    assert found.sentence.startswith("A step takes 0.5 s on cpu")
    after = site.snapshot.federation.study.traffic
    assert after.finish_at == pytest.approx(found.finish_at)
    (job,) = (job for job in site.runner.started if isinstance(job, CalibrateJob))
    assert job.plan is not None
    assert not site.snapshot.training.calibration_job.running


async def test_nothing_is_measured_while_training_goes_on_or_without_a_study(site):
    async with site.serving():
        answer = await site.service.command(Calibrate())
        assert isinstance(answer, Refused)
        assert "no study is joined" in answer.sentence


async def test_training_is_its_own_measure(site):
    await site.to_prepared()
    site.runner.hold("step")
    site.train(1)
    await site.until(lambda: site.runner.asked)
    answer = await site.service.command(Calibrate())
    assert isinstance(answer, Refused)
    assert "training is under way" in answer.sentence
