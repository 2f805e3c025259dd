"""What a site service knows, on disk: SQLite with one writer, durable before it is announced."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from app.control.messages import Interruption, ModelView, RunView
from app.domain.dataset import DatasetFolder
from app.domain.errors import ErrorCode, OurMistake, SetupProblem
from app.domain.findings import ValidationReport
from app.domain.layout_proposal import LayoutProposal
from app.domain.study import StudyTerms
from app.domain.training import EpochRecord, HeldOutScore
from app.site.rounds import RoundTask
from app.system.atomic import PRIVATE_FILE, disk_errors, make_folder
from app.wire.messages import RoundSummary

_VERSION: Final = 1


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything kept under its own name; there is at most one of each."""


class Folder(Record, frozen=True):
    """The chosen folder. `serial` grows with every wish to check it (again).

    `confirmed` is the data set in this site's home that stands for it since a person confirmed
    its layout.
    """

    path: str
    serial: int
    confirmed: str | None = None

    @property
    def used(self) -> str:
        """The folder that jobs read as a data set."""
        return self.path if self.confirmed is None else self.confirmed


class LayoutWish(Record, frozen=True):
    """A person confirmed a layout of the folder at `path`; `serial` grows with every answer."""

    serial: int
    path: str
    proposal: LayoutProposal


class LayoutSerial(Record, frozen=True):
    """The last number given to a confirmation; kept so that no workspace is used twice."""

    serial: int


class CheckedFolder(Record, frozen=True):
    """The answer to the check wished for by `serial`, with the study's terms or without any."""

    serial: int
    study: str | None
    report: ValidationReport
    dataset: DatasetFolder | None
    proposal: LayoutProposal | None = None


class FingerprintWish(Record, frozen=True):
    """A fingerprint is wanted; `serial` grows with every wish."""

    serial: int
    leave_out: tuple[str, ...] = ()


class LocalFingerprint(Record, frozen=True):
    """A local fingerprint lies on disk, made for this content of the folder."""

    serial: int
    content_digest: str
    leave_out: tuple[str, ...]


class Outgoing(Record, frozen=True):
    """The exact bytes that would leave lie on disk; `serial` is that of the local fingerprint."""

    sha256: str
    size: int
    cases: int
    content_digest: str
    serial: int
    policy: str
    study: str | None


class Allowance(Record, frozen=True):
    """An operator's permission to share the bytes with `digest` with `study`."""

    operator: str
    allowed_at: float
    digest: str
    study: str
    receipt: str
    standing: bool
    sent: bool = False


class StandingAllowance(Record, frozen=True):
    """An operator allowed, when joining without a window, whatever the check lets through."""

    operator: str


class Plan(Record, frozen=True):
    """The study's plan as this site has it; `identity` proves that it trains what others train.

    `fold_cases` are the training cases of each fold, in a study of several. `merged` is what this
    site shares in asymmetric averaging, of the network of the pass `merged_stage`.
    """

    sha256: str
    merged: str | None
    prepared: bool = False
    told: bool = False
    training_cases: int = 0
    fold_cases: tuple[int, ...] = ()
    validation_cases: int = 0
    refused_code: str = ""
    refused_sentence: str = ""
    identity: str | None = None
    merged_stage: int = 0


class Task(Record, frozen=True):
    """The round this site works on, or did last."""

    task: RoundTask


class Remainders(Record, frozen=True):
    """Rounds whose updates counted and rounded something away, as (round, base); the newest two.

    Two, for the newest round may have to be trained again, from the remainder before it.
    """

    rounds: tuple[tuple[int, str], ...]

    def before(self, round_number: int) -> tuple[int, str] | None:
        """Return the newest one before a round."""
        return max((one for one in self.rounds if one[0] < round_number), default=None)

    def after(self, round_number: int, base: str) -> Remainders:
        """Return the list with one more round in it."""
        others = [one for one in self.rounds if one[0] < round_number]
        return Remainders(rounds=(*sorted(others)[-1:], (round_number, base)))


class OwnWeights(Record, frozen=True):
    """File name, in the training folder, of the newest weights that were trained here.

    `earlier` are (round, file) of the newest weights of each fold before, of a study of several.
    """

    file: str
    round: int
    earlier: tuple[tuple[int, str], ...] = ()

    @property
    def files(self) -> dict[int, str]:
        """Every kept file by its round."""
        return {**dict(self.earlier), self.round: self.file}

    def after(self, round_number: int, file: str, *, fold_begins: int) -> OwnWeights:
        """Return the list with newer weights, of a fold whose first round is `fold_begins`."""
        kept = {number: name for number, name in self.files.items() if number < fold_begins}
        return OwnWeights(file=file, round=round_number, earlier=tuple(sorted(kept.items())))


class FirstPass(Record, frozen=True):
    """The training cases are segmented for a cascade's second pass.

    `models` are (fold, digest) of the last averages that did it; `name` names all of them.
    """

    name: str
    models: tuple[tuple[str, str], ...]


class Wish(Record, frozen=True):
    """The coordinator's last directive, as its JSON: the work goes on while the link is down."""

    directive: msgspec.Raw


class OperatorPause(Record, frozen=True):
    """The operator stopped training; `at_checkpoint` once the epoch that runs is saved."""

    at: float
    at_checkpoint: bool = False


class Schedule(Record, frozen=True):
    """When the operator lets this site train; fields as in `control.messages.SetSchedule`."""

    from_minute: int | None = None
    to_minute: int | None = None
    weekends: bool = False
    yield_card: bool = False


class ClosedRounds(Record, frozen=True):
    """Every closed round that a directive named; each directive holds only the newest."""

    rounds: tuple[RoundSummary, ...]

    def with_newest(self, newest: tuple[RoundSummary, ...]) -> ClosedRounds:
        """Return the list with `newest` in it, by number."""
        by_number = {one.number: one for one in (*self.rounds, *newest)}
        return ClosedRounds(rounds=tuple(by_number[number] for number in sorted(by_number)))


class AverageScore(msgspec.Struct, frozen=True, kw_only=True):
    """How the average with this digest does on this site's held-out cases."""

    sha256: str
    score: HeldOutScore


class FinalModel(Record, frozen=True):
    """The study's final model is here; `exported` once its zip is written.

    `sha256` names the last average, or those of all folds together. `scores` are how they do on
    this site's held-out cases; `best` names the averages that did best over all sites, once their
    zip is written.
    """

    sha256: str
    round: int
    exported: bool = False
    personal_exported: bool = False
    scores: tuple[AverageScore, ...] = ()
    best: str = ""

    def score_of(self, sha256: str) -> HeldOutScore | None:
        """Return how an average does here, None before that is known."""
        return next((one.score for one in self.scores if one.sha256 == sha256), None)


class Models(Record, frozen=True):
    """Models that can segment here; the global one is last."""

    models: tuple[ModelView, ...]


class BestAverage(Record, frozen=True):
    """The average that did best so far on this site's validation cases, kept beside the models.

    `round` is the one that it came out of; `file` lies in the folder of models.
    """

    round: int
    file: str
    dice: float


class Runs(Record, frozen=True):
    """Every run of a model over cases whose segmentations lie on disk, oldest first.

    `serial` is the last number given to a run; no folder is used twice.
    """

    serial: int
    runs: tuple[RunView, ...]


class Baseline(Record, frozen=True):
    """Training this site alone is wanted, by the plan with this digest.

    `trained` once its weights lie on disk, `exported` once its zip does; `stopped` by a person or
    by what would only fail again.
    """

    sha256: str
    asked_at: float
    trained: bool = False
    exported: bool = False
    stopped: bool = False
    epochs: tuple[EpochRecord, ...] = ()


class MemoryFailure(Record, frozen=True):
    """A round did not fit into memory; `batch_size` is what was chosen, None where the plan's was."""

    round: int
    batch_size: int | None


class PaceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The median step of one epoch; `key` names what its time depends on."""

    key: str
    step_s: float
    at: float


class PaceHistory(Record, frozen=True):
    """How long steps took on this computer, over all its studies, oldest first."""

    items: tuple[PaceEntry, ...]


class MeasuredPace(Record, frozen=True):
    """What a calibration measured; it outlives a study, for the next one may be like it.

    `planned` says that a study's own plan was measured, not the largest network of its kind;
    `trained` that it is the pace of training itself, the best there is to know. `plan` is that plan.
    """

    at: float
    device: str
    step_s: float
    validation_step_s: float
    configuration: str
    planner: str
    scaled: bool
    planned: bool
    trained: bool = False
    plan: str = ""

    @property
    def rough(self) -> bool:
        """Whether another plan, or smaller patches, were measured."""
        return self.scaled or not self.planned

    def for_plan(self, plan: Plan | None) -> MeasuredPace:
        """Return it as what it says about training by `plan`: of another plan it says it roughly."""
        if plan is not None and plan.sha256 == self.plan:
            return self
        return msgspec.structs.replace(self, planned=False, trained=False)

    def fits(self, terms: StudyTerms) -> bool:
        """Whether it says something about a study of these terms."""
        return (self.configuration, self.planner) == (terms.configuration, terms.planner)


class LastCheckpoint(Record, frozen=True):
    """When the training session was last safe on disk."""

    at: float
    epoch: int


class Interruptions(Record, frozen=True):
    """Unplanned ends of training and what they cost, the newest first."""

    items: tuple[Interruption, ...]


STUDY_RECORDS: Final[tuple[type[Record], ...]] = (
    Outgoing,
    Allowance,
    StandingAllowance,
    Plan,
    Task,
    Remainders,
    MemoryFailure,
    OwnWeights,
    FirstPass,
    Wish,
    OperatorPause,
    ClosedRounds,
    FinalModel,
    LastCheckpoint,
    Interruptions,
    Baseline,
    BestAverage,
)
"""What belongs to one study and goes when the site leaves it."""

R = TypeVar("R", bound=Record)


class SiteStore:
    """The database of one site service. One process, one thread."""

    def __init__(self, path: Path) -> None:
        """Open or make the database; raises SetupProblem when it cannot be used."""
        self._known: dict[type[Record], Record | None] = {}
        make_folder(path.parent)
        with disk_errors(path):
            # SQLite would make it readable by everyone on this computer.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE))
        try:
            self.database = sqlite3.connect(path)
            self.database.execute("PRAGMA journal_mode=WAL")
            self.database.execute("PRAGMA synchronous=FULL")
            (version,) = self.database.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise SetupProblem(
                    f"this home was used by a newer version of this program ({version})",
                    code=ErrorCode.VERSION,
                )
            with self.database:
                self.database.execute(f"PRAGMA user_version={_VERSION}")
                self.database.execute(
                    "CREATE TABLE IF NOT EXISTS record (name TEXT PRIMARY KEY, json BLOB NOT NULL)"
                )
                self.database.execute(
                    "CREATE TABLE IF NOT EXISTS epoch (epoch INTEGER PRIMARY KEY, json BLOB NOT NULL)"
                )
        except sqlite3.DatabaseError as exc:
            raise SetupProblem(f"the site's database cannot be used: {exc}") from exc

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def get(self, kind: type[R]) -> R | None:
        """Return the record of this kind, None when there is none."""
        if kind not in self._known:
            row = self.database.execute(
                "SELECT json FROM record WHERE name = ?", (kind.__name__,)
            ).fetchone()
            self._known[kind] = None if row is None else msgspec.json.decode(row[0], type=kind)
        known = self._known[kind]
        if known is None or isinstance(known, kind):
            return known
        raise OurMistake(f"the record {kind.__name__} is a {type(known).__name__}")

    def put(self, *records: Record) -> None:
        """Keep `records` in one transaction, each in the place of its predecessor.

        Raises:
            SetupProblem: the disk is full or forbidden; nothing changed.
        """
        self._write(
            [
                (
                    "INSERT OR REPLACE INTO record VALUES (?, ?)",
                    (type(record).__name__, msgspec.json.encode(record)),
                )
                for record in records
            ]
        )
        # Only after the commit: what is announced must be what a restart finds.
        self._known.update({type(record): record for record in records})

    def drop(self, *kinds: type[Record]) -> None:
        """Forget the records of these kinds."""
        self._write([("DELETE FROM record WHERE name = ?", (kind.__name__,)) for kind in kinds])
        self._known.update(dict.fromkeys(kinds))

    def add_epoch(self, record: EpochRecord) -> None:
        """Keep an epoch; one that was trained again replaces its first run and what followed."""
        self._write(
            [
                ("DELETE FROM epoch WHERE epoch >= ?", (record.epoch,)),
                ("INSERT INTO epoch VALUES (?, ?)", (record.epoch, msgspec.json.encode(record))),
            ]
        )

    def fill_epochs(self, records: Iterable[EpochRecord]) -> None:
        """Keep those epochs that nobody told: their worker outlived the service by a moment."""
        self._write(
            [
                (
                    "INSERT OR IGNORE INTO epoch VALUES (?, ?)",
                    (record.epoch, msgspec.json.encode(record)),
                )
                for record in records
            ]
        )

    def epochs(self) -> tuple[EpochRecord, ...]:
        """Return every epoch of the study at this site, oldest first."""
        rows = self.database.execute("SELECT json FROM epoch ORDER BY epoch")
        return tuple(msgspec.json.decode(row[0], type=EpochRecord) for row in rows)

    def drop_epochs(self) -> None:
        """Forget the history of a study."""
        self._write([("DELETE FROM epoch", ())])

    def _write(self, statements: list[tuple[str, tuple[str | bytes | int, ...]]]) -> None:
        try:
            with self.database:
                for statement, values in statements:
                    self.database.execute(statement, values)
        except sqlite3.OperationalError as exc:
            full = "full" in str(exc)
            raise SetupProblem(
                "the disk that holds this site's home is full"
                if full
                else f"the site's database cannot be written: {exc}",
                code=ErrorCode.DISK_FULL if full else ErrorCode.NO_PERMISSION,
            ) from exc
