"""The paper's comparison from one command: local, AsymFedAvg, FFE and centralised training.

Skorupko et al. 2025 (Sci Rep 15:38312), tables 7 to 9: one row a method, one column a site, each
with Dice and HD95 on cases that nobody trained on. Every arm trains for the same number of epochs,
from the same seed, in the same worker processes that a hospital runs; averages are made by the
coordinator's own rules. Only the network in between is left out, because all sites are folders on
this computer. What is done lies below one home folder and is not done again.

    local          every site plans from its own fingerprint and trains alone
    asymfedavg     the same plans; tensors that do the same work are averaged, the rest stays local
    ffe            one plan from the merged fingerprint; all tensors are averaged
    centralised    all images in one folder, which is what federation is there to avoid
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from app.cli import DONE
from app.cli.scoring import score_model
from app.datasets.confirmed import check_folder
from app.datasets.description import encode_description
from app.datasets.fingerprint_file import read_fingerprint
from app.datasets.scan import scan
from app.domain.dataset import Case
from app.domain.errors import DataProblem, ErrorCode, JobFailed
from app.domain.ids import SiteName
from app.domain.study import StudyTerms
from app.federation.alignment import TensorGroup, align, average_groups
from app.federation.asymmetric import first_values
from app.federation.averaging import average
from app.federation.merging import encode_merged, merge
from app.federation.plan_rules import network_of, unpack
from app.jobs.events import RoundTrained
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import FingerprintJob, PlanJob, TrainRound
from app.site import baseline_jobs
from app.site.disclosure import share
from app.site.session import TrainingSession
from app.system.atomic import write_atomic
from app.system.tensor_files import TensorFile, TensorFileWriter, read_manifest

if TYPE_CHECKING:
    from app.domain.segmentation import CaseScore
    from app.domain.shared import SharedFingerprint

LOCAL: Final = "local"
ASYM: Final = "asymfedavg"
FFE: Final = "ffe"
CENTRALISED: Final = "centralised"
METHODS: Final = (LOCAL, ASYM, FFE, CENTRALISED)
POOLED: Final = SiteName("pooled")
NNUNET_EPOCHS: Final = 1000
"""nnU-Net's own length: 1000 epochs of 250 iterations, each validated on 50."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One folder of images that takes part."""

    name: SiteName
    folder: Path


@dataclass(slots=True, kw_only=True)
class Experiment:
    """What all arms share: terms, folders, where things go, and how much may run at once."""

    terms: StudyTerms
    sites: tuple[Site, ...]
    home: Path
    device: str
    slots: asyncio.Semaphore
    threads: int = 1
    runner: JobRunner = field(init=False)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.runner = JobRunner(folder=self.home / "jobs")

    @property
    def pooled(self) -> Site:
        """All sites' images as one folder: a dataset.json of explicit paths, no copies."""
        return Site(name=POOLED, folder=self.home / "pooled")

    def held_out(self, site: Site) -> tuple[Case, ...]:
        """Cases of a site that nobody trains on."""
        return scan(site.folder).held_out


def run_experiment(parsed: argparse.Namespace) -> int:
    """Train the chosen arms, score them on the held-out cases and print the table."""
    terms, sites = _terms(parsed), _sites(parsed)
    home = parsed.home.absolute()
    figures = asyncio.run(_run(terms, sites, home, parsed))
    if parsed.json:
        write_atomic(parsed.json.absolute(), json.dumps(figures, indent=2).encode())
    print_tables(figures)
    return DONE


async def _run(
    terms: StudyTerms, sites: tuple[Site, ...], home: Path, parsed: argparse.Namespace
) -> dict[str, Any]:
    experiment = Experiment(
        terms=terms,
        sites=sites,
        home=home,
        device=parsed.device,
        slots=asyncio.Semaphore(parsed.parallel),
        threads=parsed.threads,
    )
    plans = await make_plans(experiment)
    arms: dict[str, dict[str, Any]] = {}
    for method in parsed.methods:
        _say(f"{method}: {terms.rounds} rounds of {terms.epochs_per_round} epochs")
        models = await _ARMS[method](experiment, plans)
        arms[method] = await score_arm(experiment, method, models)
    return {
        "rounds": terms.rounds,
        "epochs": terms.total_epochs,
        "iterations_per_epoch": terms.iterations_per_epoch,
        "same_plan_as_pooled": _same_configurations(plans.merged, plans.pooled),
        "sites": [site.name for site in sites],
        "methods": arms,
    }


def _terms(parsed: argparse.Namespace) -> StudyTerms:
    from app.federation.study_file import parse_study
    from app.system.sample_study import sample_folder

    file = parsed.study or sample_folder() / "study.toml"
    terms = parse_study(file.read_text(encoding="utf-8"))
    if len(terms.passes) > 1:
        raise DataProblem(
            f"{terms.configuration!r} trains ten networks, and methods are compared on one; "
            "choose '3d_fullres' in the study file",
            code=ErrorCode.STUDY_FILE,
        )
    length: dict[str, int] = {}
    if parsed.full:
        length = {
            "rounds": NNUNET_EPOCHS,
            "epochs_per_round": 1,
            "iterations_per_epoch": 250,
            "validation_iterations": 50,
        }
    for name in ("rounds", "epochs_per_round", "iterations_per_epoch", "validation_iterations"):
        if (value := getattr(parsed, name)) is not None:
            length[name] = value
    return dataclasses.replace(
        terms,
        fold=terms.folds[0],  # compared on one fold: the others would say the same five times
        rounds=length.get("rounds", terms.rounds),
        epochs_per_round=length.get("epochs_per_round", terms.epochs_per_round),
        iterations_per_epoch=length.get("iterations_per_epoch", terms.iterations_per_epoch),
        validation_iterations=length.get("validation_iterations", terms.validation_iterations),
    )


def _sites(parsed: argparse.Namespace) -> tuple[Site, ...]:
    from app.system.sample_study import sample_folder

    folders = parsed.folders or sorted(one for one in sample_folder().iterdir() if one.is_dir())
    sites = tuple(Site(name=SiteName(one.name), folder=one.absolute()) for one in folders)
    if len({site.name for site in sites}) != len(sites) or len(sites) < 2:
        raise DataProblem(
            "a comparison needs two or more folders of different names, one for each site",
            code=ErrorCode.SETTING,
        )
    return sites


# Plans


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """Plan packages: every site's own, the one of the merged fingerprint, that of all images."""

    own: Mapping[SiteName, Path]
    merged: Path
    pooled: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Weights and the plan of the network that they belong to."""

    weights: Path
    plan: Path


async def make_plans(experiment: Experiment) -> Plans:
    """Make the fingerprint of every folder, and plan from each alone and from all merged."""
    _pool(experiment)
    shared = {}
    for site in (*experiment.sites, experiment.pooled):
        output = experiment.home / "fingerprints" / f"{site.name}.json"
        output.parent.mkdir(exist_ok=True)
        if not output.exists():
            report = (await asyncio.to_thread(check_folder, site.folder)).report
            if report.blocks:
                raise DataProblem(f"the images of {site.name} have problems that block training")
            job = FingerprintJob(
                folder=str(site.folder), content_digest=report.content_digest, output=str(output)
            )
            await run_job(experiment.runner, job)
        shared[site.name] = share(read_fingerprint(output), experiment.terms.policy)
    own = {}
    for site in experiment.sites:
        own[site.name] = await _plan(experiment, site.name, [shared[site.name]])
    everybody = [shared[site.name] for site in experiment.sites]
    return Plans(
        own=own,
        merged=await _plan(experiment, "merged", everybody),
        pooled=await _plan(experiment, POOLED, [shared[POOLED]]),
    )


def _pool(experiment: Experiment) -> None:
    """Describe all sites' images as one dataset; the files stay where they are."""
    datasets = [scan(site.folder) for site in experiment.sites]
    training = [case for dataset in datasets for case in dataset.training]
    if len({case.name for case in training}) != len(training):
        raise DataProblem("two sites have a case of the same name; rename one of them")
    folder = experiment.pooled.folder
    folder.mkdir(parents=True, exist_ok=True)
    document = encode_description(datasets[0].description, training, by_map=True)
    write_atomic(folder / "dataset.json", document)


async def _plan(
    experiment: Experiment, name: str, fingerprints: Sequence[SharedFingerprint]
) -> Path:
    workspace = experiment.home / "plans" / name
    plan = workspace / "plan.json"
    if not plan.exists():
        workspace.mkdir(parents=True, exist_ok=True)
        merged = workspace / "merged.json"
        write_atomic(merged, encode_merged(merge(fingerprints, rule=experiment.terms.aggregation)))
        job = PlanJob(
            terms=experiment.terms,
            merged=str(merged),
            workspace=str(workspace),
            output=str(plan),
        )
        await run_job(experiment.runner, job)
    return plan


def _same_configurations(one: Path, other: Path) -> bool:
    """Whether two plans train the same network on the same patches with the same normalisation."""
    return bool(
        unpack(one.read_bytes())[0]["configurations"]
        == unpack(other.read_bytes())[0]["configurations"]
    )


# One site's training in one arm


class Participant:
    """A training session of one folder under one plan, kept alive over the rounds."""

    def __init__(self, experiment: Experiment, *, arm: str, site: Site, plan: Path) -> None:
        self.site, self.plan = site, plan
        self._experiment = experiment
        # The images prepared by a plan serve every arm that trains by it.
        digest = f"{site.name}-{plan.parent.name}"
        self._workspace = experiment.home / "prepared" / digest
        self.folder = experiment.home / "arms" / arm / site.name
        self.update = self.folder / "update.safetensors"
        self._session = TrainingSession(lambda _event: None)

    @property
    def name(self) -> SiteName:
        """The site's name."""
        return self.site.name

    async def first_model(self) -> Path:
        """Draw the first model of this plan with the study's seed."""
        terms, output = self._experiment.terms, self.plan.with_name("initial.safetensors")
        if not output.exists():
            job = baseline_jobs.first_model(terms, plan=self.plan, output=output)
            await run_job(self._experiment.runner, job)
        return output

    async def open(self) -> None:
        """Prepare the images and start the session; goes on from its checkpoint if there is one.

        Raises:
            JobFailed: the images cannot be prepared or the session does not stand.
        """
        experiment, terms = self._experiment, self._experiment.terms
        self.folder.mkdir(parents=True, exist_ok=True)
        async with experiment.slots:
            await run_job(
                experiment.runner,
                baseline_jobs.preparation(
                    terms,
                    plan=self.plan,
                    folder=str(self.site.folder),
                    workspace=self._workspace,
                ),
            )
            job = baseline_jobs.session(
                terms,
                plan=self.plan,
                workspace=self._workspace,
                checkpoint=self.folder / "checkpoint.pth",
                device=experiment.device,
                threads=experiment.threads,
            )
            with self._named():
                await self._session.start(experiment.runner, job, ended=lambda: None)
                await self._session.ready()

    async def train(self, number: int, base: Path) -> RoundTrained:
        """Train one round from `base`; the update lies at `update` afterwards."""
        terms = self._experiment.terms
        command = TrainRound(
            round=number,
            attempt=1,
            epochs=terms.epochs_per_round,
            start_epoch=(number - 1) * terms.epochs_per_round,
            base=str(base),
            update=str(self.update),
        )
        async with self._experiment.slots:
            with self._named():
                return await self._session.train(command)

    async def close(self) -> None:
        """End the session in peace, or at all; nothing to do when it never stood."""
        try:
            await self._session.finish()
        finally:
            await self._session.stop()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Say whose session failed."""
        try:
            yield
        except JobFailed as exc:
            raise JobFailed(f"{self.name}: {exc}", code=exc.code) from exc


# The arms. Each gives the model that a site's own held-out cases are segmented with.

Bases = Mapping[SiteName, Path]


async def _alone(
    experiment: Experiment, arm: str, site: Site, plan: Path
) -> tuple[SiteName, Model]:
    """Train one folder without anybody else, round by round from its own weights."""
    participant = Participant(experiment, arm=arm, site=site, plan=plan)
    reached = RoundsDone(participant.folder / "rounds.json")
    if reached.number < experiment.terms.rounds:
        base = participant.update if reached.number else await participant.first_model()
        await participant.open()
        try:
            for number in range(reached.number + 1, experiment.terms.rounds + 1):
                await participant.train(number, base)
                base = participant.update
                reached.keep(number, {site.name: base})
        finally:
            await participant.close()
    return site.name, Model(weights=participant.update, plan=plan)


async def train_local(experiment: Experiment, plans: Plans) -> dict[SiteName, Model]:
    """Train every site alone on its own plan: the paper's “local”."""
    return dict(
        await asyncio.gather(
            *(_alone(experiment, LOCAL, site, plans.own[site.name]) for site in experiment.sites)
        )
    )


async def train_centralised(experiment: Experiment, plans: Plans) -> dict[SiteName, Model]:
    """Train on all images in one folder: what a federation is compared with."""
    _, model = await _alone(experiment, CENTRALISED, experiment.pooled, plans.pooled)
    return {site.name: model for site in experiment.sites}


async def train_ffe(experiment: Experiment, plans: Plans) -> dict[SiteName, Model]:
    """Train on one plan; every round ends in the average of all tensors."""
    members = [
        Participant(experiment, arm=FFE, site=site, plan=plans.merged) for site in experiment.sites
    ]
    first = await members[0].first_model()

    def averaged(updates: Mapping[SiteName, RoundTrained], folder: Path) -> Bases:
        manifest = read_manifest(first)
        target = folder / "average.safetensors"
        with TensorFileWriter(target, manifest) as file:
            average(
                [TensorFile(member.update, manifest) for member in members],
                [float(updates[member.name].cases) for member in members],
                manifest,
                file.write,
                sites=[member.name for member in members],
                rule=experiment.terms.aggregation,
            )
        return dict.fromkeys(updates, target)

    bases = dict.fromkeys((member.name for member in members), first)
    return await _federate(experiment, FFE, members, bases, averaged)


async def train_asymfedavg(experiment: Experiment, plans: Plans) -> dict[SiteName, Model]:
    """Train every site on its own plan; tensors that do the same work are averaged.

    What no other site has stays as that site trained it, so every site ends with a model of its
    own: the average where it is shared, personal where it is not.
    """
    members = [
        Participant(experiment, arm=ASYM, site=site, plan=plans.own[site.name])
        for site in experiment.sites
    ]
    networks = {
        member.name: network_of(member.plan.read_bytes(), experiment.terms.configuration)
        for member in members
    }
    groups = align(networks, minimum_sites=2)
    firsts = {member.name: await member.first_model() for member in members}

    def averaged(updates: Mapping[SiteName, RoundTrained], folder: Path) -> Bases:
        cases = {name: update.cases for name, update in updates.items()}
        own = {member.name: member.update for member in members}
        return _merge_shared(groups, own, cases, folder)

    begin = experiment.home / "arms" / ASYM / "bases" / "0000"
    begin.mkdir(parents=True, exist_ok=True)
    drawn = {group.key: first_values(group, experiment.terms.seed) for group in groups}
    same_start = await asyncio.to_thread(_with_shared, groups, firsts, drawn, begin)
    return await _federate(experiment, ASYM, members, same_start, averaged)


def _merge_shared(
    groups: Sequence[TensorGroup], own: Bases, cases: Mapping[SiteName, int], folder: Path
) -> Bases:
    """Write for each site its own weights with the averages of the shared tensors in their places."""
    files = {site: TensorFile(path, read_manifest(path)) for site, path in own.items()}
    shared: dict[str, NDArray[np.float32]] = {}
    average_groups(groups, files, cases, shared.__setitem__, minimum_sites=2)
    return _with_shared(groups, own, shared, folder)


def _with_shared(
    groups: Sequence[TensorGroup],
    own: Bases,
    shared: Mapping[str, NDArray[np.float32]],
    folder: Path,
) -> Bases:
    """Write for each site its own weights with the shared values in their places."""
    manifests = {site: read_manifest(path) for site, path in own.items()}
    files = {site: TensorFile(path, manifests[site]) for site, path in own.items()}
    places = {
        (site, name): group.key
        for group in groups
        if group.key in shared
        for site, name in group.members
    }
    written = {}
    for site, file in files.items():
        target = folder / f"{site}.safetensors"
        with TensorFileWriter(target, manifests[site]) as output:
            for spec in manifests[site]:
                key = places.get((site, spec.name))
                output.write(spec.name, file.read(spec.name) if key is None else shared[key])
        written[site] = target
    return written


class RoundsDone:
    """How many rounds of an arm are done, and what the next one begins from; kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.number = 0
        self.bases: dict[SiteName, Path] = {}
        if path.exists():
            kept = json.loads(path.read_bytes())
            self.number = int(kept["number"])
            self.bases = {SiteName(name): Path(base) for name, base in kept["bases"].items()}

    def keep(self, number: int, bases: Bases) -> None:
        """Write that a round is done: the models that it ended with are on disk already."""
        self.number, self.bases = number, dict(bases)
        document = {"number": number, "bases": {name: str(path) for name, path in bases.items()}}
        write_atomic(self._path, json.dumps(document).encode())


async def _federate(
    experiment: Experiment,
    arm: str,
    members: Sequence[Participant],
    bases: Bases,
    averaged: Callable[[Mapping[SiteName, RoundTrained], Path], Bases],
) -> dict[SiteName, Model]:
    """Train rounds: every member from its base, then the bases of the next round."""
    folder = experiment.home / "arms" / arm / "bases"
    reached = RoundsDone(folder.with_name("rounds.json"))
    bases = reached.bases or bases
    try:
        if reached.number < experiment.terms.rounds:
            await asyncio.gather(*(member.open() for member in members))
        for number in range(reached.number + 1, experiment.terms.rounds + 1):
            trained = await asyncio.gather(
                *(member.train(number, bases[member.name]) for member in members)
            )
            updates = {member.name: update for member, update in zip(members, trained, strict=True)}
            # Two folders in turn: sites may still read the bases that they trained from.
            place = folder / f"{1 + number % 2:04d}"
            place.mkdir(parents=True, exist_ok=True)
            bases = await asyncio.to_thread(averaged, updates, place)
            reached.keep(number, bases)
            _say(f"{arm}: round {number} of {experiment.terms.rounds}")
    finally:
        await asyncio.gather(*(member.close() for member in members))
    return {member.name: Model(weights=bases[member.name], plan=member.plan) for member in members}


_ARMS: Final[
    Mapping[str, Callable[[Experiment, Plans], Coroutine[Any, Any, dict[SiteName, Model]]]]
] = {
    LOCAL: train_local,
    ASYM: train_asymfedavg,
    FFE: train_ffe,
    CENTRALISED: train_centralised,
}


# Scores


async def score_arm(
    experiment: Experiment, arm: str, models: Mapping[SiteName, Model]
) -> dict[str, Any]:
    """Segment the held-out cases with an arm's models; figures per site, and over all cases.

    `sites` has a site's cases by the model that the site has in this arm; `union` has every
    site's cases by each of the arm's models, which shows what a model is worth elsewhere.
    """
    everything = {site.name: experiment.held_out(site) for site in experiment.sites}
    by_model: dict[Path, dict[SiteName, tuple[CaseScore, ...]]] = {}
    for name, model in models.items():
        if model.weights not in by_model:
            scores = await _score_model(experiment, arm, name, model, everything)
            by_model[model.weights] = {
                site: tuple(one for one in scores if one.case in {case.name for case in cases})
                for site, cases in everything.items()
            }
    union = {
        name: _figures([one for part in by_model[model.weights].values() for one in part])
        for name, model in models.items()
    }
    return {
        "sites": {
            site.name: _figures(by_model[models[site.name].weights][site.name])
            for site in experiment.sites
        },
        "union": union if len(by_model) > 1 else {"all": next(iter(union.values()))},
    }


async def _score_model(
    experiment: Experiment,
    arm: str,
    name: SiteName,
    model: Model,
    cases: Mapping[SiteName, tuple[Case, ...]],
) -> tuple[CaseScore, ...]:
    folder = experiment.home / "arms" / arm / "scored" / name
    folder.mkdir(parents=True, exist_ok=True)
    async with experiment.slots:
        return await score_model(
            experiment.runner,
            experiment.terms,
            plan=model.plan,
            weights=model.weights,
            name="Comparison",
            cases=[case for part in cases.values() for case in part],
            folder=folder,
            device=experiment.device,
            threads=experiment.threads,
        )


def _figures(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """Mean over cases of the mean over labels; a distance that is not defined is counted apart."""
    dice = [one.mean_dice for one in scores if one.mean_dice is not None]
    distances = [label.hausdorff95_mm for one in scores for label in one.labels]
    defined = [distance for distance in distances if distance is not None]
    return {
        "cases": len(scores),
        "dice": sum(dice) / len(dice) if dice else None,
        "hd95_mm": sum(defined) / len(defined) if defined else None,
        "without_hd95": len(distances) - len(defined),
    }


# The result


def print_tables(figures: Mapping[str, Any]) -> None:
    """Print the table in the paper's shape, then each model on all held-out cases together."""
    from rich.console import Console
    from rich.table import Table

    sites = figures["sites"]
    own = Table(title="Dice / HD95 (mm) on each site's held-out cases")
    own.add_column("method")
    for name in sites:
        own.add_column(name, justify="right")
    own.add_column("mean of sites", justify="right")
    union = Table(title="Dice / HD95 (mm) of one model on the held-out cases of all sites")
    union.add_column("method")
    union.add_column("model of")
    union.add_column("all cases", justify="right")
    for method, arm in figures["methods"].items():
        cells = [arm["sites"][name] for name in sites]
        known = [cell["dice"] for cell in cells if cell["dice"] is not None]
        mean = f"{sum(known) / len(known):.4f}" if known else "-"
        own.add_row(method, *map(_cell, cells), mean)
        for name, cell in arm["union"].items():
            union.add_row(method, name, _cell(cell))
    console = Console()
    console.print(own)
    console.print(union)
    same = "the same network as" if figures["same_plan_as_pooled"] else "another network than"
    _say(f"The merged fingerprint plans {same} all images in one folder.")


def _cell(cell: Mapping[str, Any]) -> str:
    dice = "-" if cell["dice"] is None else f"{cell['dice']:.4f}"
    distance = "-" if cell["hd95_mm"] is None else f"{cell['hd95_mm']:.2f}"
    missing = f" ({cell['without_hd95']} undefined)" if cell["without_hd95"] else ""
    return f"{dice} / {distance}{missing}"


def _say(line: str) -> None:
    print(line)  # noqa: T201
    sys.stdout.flush()
