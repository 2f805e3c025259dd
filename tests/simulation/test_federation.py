"""A federation under a network that loses, doubles, delays and reorders, and under crashes.

Everything runs in one thread without socket or clock; see `helpers.federation_world` for what
must hold at any time.
"""

import random
from dataclasses import replace
from typing import ClassVar

import pytest
from helpers.federation_world import EPOCH_STEPS, World, with_rounds
from helpers.studies import TERMS
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.domain.folds import CASCADE
from app.domain.study import Method
from app.federation.study_events import Begin, Left, Pause, Resume, Revoked, Tick
from app.federation.study_machine import StudyState

ROUNDS = 8
GROUPS = 6
POSITION = st.integers(0, 1000)
NAME = st.integers(0, 49)
"""A site: its number, modulo how many there are."""
SOME = st.sets(st.integers(0, GROUPS - 1), min_size=1)
"""Groups of sites: one site each, or eight when there are fifty."""


class Federation(RuleBasedStateMachine):
    """Any order of any faults; in the end, when messages flow again, no study may hang."""

    names: ClassVar = [f"site-{number:02d}" for number in range(GROUPS)]

    @initialize(
        minimum=st.integers(1, 4),
        joined=st.integers(4, 6),
        training=st.booleans(),
        method=st.sampled_from(Method),
        length=st.sampled_from(["0", "1-4", CASCADE]),
    )
    def open(self, minimum, joined, training, method, length):
        each = len(self.names) // GROUPS
        if length == CASCADE:
            # Where networks differ, who comes again late has no part in the second pass: that such a
            # study may wait for ever is meant (decision 0058).
            terms = replace(TERMS, minimum_cases=1, configuration=CASCADE, fold="0-4")
        else:
            terms = replace(TERMS, minimum_cases=1, method=method, fold=length)
        terms = with_rounds(terms, max(1, ROUNDS // len(terms.trainings)), minimum * each)
        self.world = World(terms, self.names)
        for name in self.names[: joined * each]:
            self.world.admit(name)
            self.world.connect(name)
        if training:
            self.world.tell(Begin())
            while self.world.study.record.round is None:
                assert not self.world.calm(turns=1)

    def one(self, number: int) -> str:
        return self.names[number % len(self.names)]

    def some(self, groups: set[int]) -> list[str]:
        return [name for n, name in enumerate(self.names) if n % GROUPS in groups]

    # --- what usually happens (hypothesis draws rules evenly, so these are several) -------------

    @rule(groups=SOME, steps=st.integers(1, 3))
    def work(self, groups, steps):
        for name in self.some(groups):
            for _ in range(steps):
                self.world.work(name)

    @rule(groups=SOME)
    def some_get_their_work_done(self, groups):
        names = self.some(groups)
        for name in names:
            self.world.connect(name)
            self.world.remind(name)
        self.deliver_everything()
        for name in names:
            for _ in range(EPOCH_STEPS):
                self.world.work(name)
        self.deliver_everything()

    @rule()
    def deliver_everything(self):
        for _ in range(len(self.world.to_site)):
            self.world.deliver_down(0)
        for _ in range(len(self.world.to_coordinator)):
            self.world.deliver_up(0)

    @rule(minutes=st.sampled_from([1, 11, 100]))
    def everybody_is_online(self, minutes):
        self.world.now += 60.0 * minutes
        self.world.tell(Tick())
        for name in self.world.sites:
            self.world.connect(name)
            self.world.remind(name)

    @rule(position=POSITION, outcome=st.sampled_from(["good", "good", "good", "site", "bad"]))
    def finish_a_job(self, position, outcome):
        self.world.work_on_job(position, outcome=outcome)
        if outcome == "bad":
            self.world.tell(Resume())

    # --- what goes wrong -----------------------------------------------------------------------

    @rule(fault=st.sampled_from(["late", "lost", "doubled"]), up=st.booleans(), position=POSITION)
    def the_network_errs(self, fault, up, position):
        waiting = self.world.to_coordinator if up else self.world.to_site
        if not waiting:
            return
        position %= len(waiting)
        if fault == "lost":
            waiting.pop(position)
        elif fault == "doubled":
            waiting.append(waiting[position])
        elif up:
            self.world.deliver_up(position)  # before all that were sent earlier
        else:
            self.world.deliver_down(position)

    @rule(fault=st.sampled_from(["cut", "restart", "fails"]), number=NAME)
    def a_site_errs(self, fault, number):
        name = self.one(number)
        if fault == "fails":
            self.world.work(name, fails=True)
            return
        self.world.disconnect(name)
        if fault == "restart":
            self.world.sites[name].restart()

    @rule(groups=SOME)
    def some_fail_in_their_round(self, groups):
        """Often all of them at once, so that the round runs short of sites."""
        names = self.some(groups)
        for name in names:
            self.world.connect(name)
            self.world.remind(name)
        self.deliver_everything()
        for name in names:
            self.world.work(name, fails=True)
        self.deliver_everything()

    @rule(when=st.sampled_from(["between", "before", "after"]), position=POSITION)
    def the_coordinator_is_killed(self, when, position):
        if when == "between":
            self.world.restart_coordinator()
        else:
            self.world.deliver_up(position, crash=when)

    @rule(
        what=st.sampled_from(
            ["begin", "without", "pause", "admit", "left", "revoked", "silence", "silence"]
        ),
        number=NAME,
    )
    def something_rare(self, what, number):
        world, name = self.world, self.one(number)
        if what == "begin":
            world.tell(Begin())
        elif what == "without":
            world.tell(Begin(without_missing=True))
        elif what == "pause":
            world.tell(Pause())
            self.deliver_everything()
            world.tell(Resume())
        elif what == "admit":
            world.admit(name)
        elif what == "silence":
            world.now += 241 * 60.0
            world.tell(Tick())
        elif len(world.study.members()) > world.terms.minimum_sites:
            world.tell(Left(site=name) if what == "left" else Revoked(site=name))

    @invariant()
    def holds(self):
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self):
        if not hasattr(self, "world"):
            return
        # Nobody new comes to help: those who take part now must bring it to its end.
        for _ in range(4):  # a pause, failed planning, and both again
            self.world.tell(Begin())
            self.world.tell(Resume())
            if self.world.calm():
                break
        assert self.world.study.record.state is StudyState.FINISHED, self.world.study.view(
            self.world.now
        )
        assert len(self.world.study.record.closed) == self.world.terms.total_rounds


TestFederation = Federation.TestCase
TestFederation.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class LongFederation(Federation):
    """The same rules for longer."""


@pytest.mark.slow
@pytest.mark.timeout(3000)
class TestLongFederation(LongFederation.TestCase):
    settings = settings(TestFederation.settings, max_examples=600, stateful_step_count=100)


class FiftySites(Federation):
    """The same rules for fifty sites."""

    names: ClassVar = [f"site-{number:02d}" for number in range(50)]


@pytest.mark.slow
@pytest.mark.timeout(3000)
class TestFiftySites(FiftySites.TestCase):
    settings = settings(TestFederation.settings, max_examples=25, stateful_step_count=50)


def storm(
    seed: int,
    sites: int,
    rounds: int,
    method: Method = Method.FFE,
    fold: str = "0",
    configuration: str = "3d_fullres",
) -> World:
    """Run a federation through a storm that ends, and return it finished."""
    chance = random.Random(seed)
    names = [f"site-{number:02d}" for number in range(sites)]
    terms = replace(TERMS, minimum_cases=1, method=method, fold=fold, configuration=configuration)
    terms = with_rounds(terms, rounds // len(terms.trainings), sites // 2)
    world = World(terms, names)
    for name in names:
        world.admit(name)
        world.connect(name)
    world.tell(Begin())
    closed_in_storm = 0
    for _ in range(200):
        world.now += 60.0 * chance.random()
        world.tell(Tick())
        for name in names:
            if chance.random() < 0.05:
                world.disconnect(name)
            elif chance.random() < 0.5:
                world.connect(name)
            if chance.random() < 0.02:
                world.disconnect(name)
                world.sites[name].restart()
            if chance.random() < 0.5:
                world.work(name, fails=chance.random() < 0.02)
            if world.sites[name].connected and chance.random() < 0.1:
                world.to_site.append((name, world.study.instruction_for(name, world.now)))
        for waiting, deliver in (
            (world.to_site, world.deliver_down),
            (world.to_coordinator, world.deliver_up),
        ):
            for _ in range(len(waiting)):
                fate = chance.random()
                if not waiting:
                    break
                position = chance.randrange(len(waiting))
                if fate < 0.15:
                    waiting.pop(position)  # lost
                elif fate < 0.25:
                    waiting.append(waiting[position])  # doubled
                elif fate < 0.80:
                    deliver(position)  # out of order; the rest is late
        if chance.random() < 0.05:
            world.restart_coordinator()
        if world.jobs and chance.random() < 0.7:
            outcome = "site" if chance.random() < 0.1 else "good"
            if len(world.study.record.closed) < rounds:
                world.work_on_job(chance.randrange(100), outcome=outcome)
        closed_in_storm = len(world.study.record.closed)
    world.check()
    assert closed_in_storm > 0, "nothing got done in the storm"
    world.tell(Resume())
    assert world.calm()
    return world


@pytest.mark.parametrize("method", Method)
def test_fifty_sites_come_through_a_storm(method):
    world = storm(1, sites=50, rounds=6, method=method)
    assert [one.model.round for one in world.study.record.closed] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("method", Method)
def test_a_study_of_five_folds_comes_through_a_storm(method):
    """Every fold begins from its own first model; a late site is asked for the fold that runs."""
    world = storm(3, sites=10, rounds=15, method=method, fold="0-4")
    record = world.study.record
    assert [one.model.round for one in record.closed] == list(range(1, 16))
    assert world.finished == 1


@pytest.mark.parametrize("method", Method)
def test_a_cascade_comes_through_a_storm(method):
    """No site trains the second pass before it is told what every fold of the first one ended with."""
    world = storm(5, sites=10, rounds=20, method=method, fold="0-4", configuration=CASCADE)
    record = world.study.record
    assert [one.model.round for one in record.closed] == list(range(1, 21))
    assert world.finished == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2, 22))
def test_fifty_sites_come_through_many_storms(seed):
    storm(seed, sites=50, rounds=6, method=list(Method)[seed % 2])


def test_a_storm_gives_the_same_models_as_a_calm_day_with_the_same_contributors():
    """`World.check` compares each round with its undisturbed average; here whole studies."""
    calm = World(
        replace(with_rounds(TERMS, 4, 4), minimum_cases=1), [f"site-{n:02d}" for n in range(4)]
    )
    for name in calm.sites:
        calm.admit(name)
        calm.connect(name)
    calm.tell(Begin())
    assert calm.calm()
    stormy = None
    for seed in range(5):
        world = storm_of_all(seed)
        models = [one.model for one in world.study.record.closed]
        assert models == [one.model for one in calm.study.record.closed]
        stormy = world
    assert stormy is not None


def storm_of_all(seed: int) -> World:
    """Run a storm in which every round needs all four sites, so that contributors are the same."""
    chance = random.Random(seed)
    names = [f"site-{n:02d}" for n in range(4)]
    world = World(replace(with_rounds(TERMS, 4, 4), minimum_cases=1), names)
    for name in names:
        world.admit(name)
    world.tell(Begin())
    for _ in range(300):
        world.now += 30.0
        world.tell(Tick())
        name = chance.choice(names)
        chance.choice(
            [
                lambda name=name: world.connect(name),
                lambda name=name: world.connect(name),
                lambda name=name: world.disconnect(name),
                lambda name=name: world.work(name),
                lambda name=name: world.work(name),
                lambda name=name: world.sites[name].restart(),
                lambda: world.deliver_up(chance.randrange(100)),
                lambda: world.deliver_up(chance.randrange(100)),
                lambda: world.deliver_up(chance.randrange(100), crash="after"),
                lambda: world.deliver_down(chance.randrange(100)),
                lambda: world.deliver_down(chance.randrange(100)),
                world.to_site.clear,
                world.to_coordinator.clear,
                lambda: world.work_on_job(0),
            ]
        )()
        world.check()
    assert world.calm()
    return world
