"""Words and figures as people read them. No jargon; every page's empty sentence is here."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Final

NAME: Final = "FednnU-Net Desktop"
RESEARCH_USE: Final = "Research use only"
PURPOSE_OF_PROGRAM: Final = (
    "Hospitals train one nnU-Net together; every image stays at home. The program tells what would "
    "leave, and nothing leaves before a person allows it."
)
NOT_FOR_CARE: Final = (
    "For research use only. Not a medical device: nothing it shows may guide the care of a patient."
)
GOES_ON: Final = (
    "Training goes on without this window. Open the program again whenever you like: it shows "
    "everything that happened meanwhile."
)
GOES_ON_IN_TRAY: Final = (
    "Training goes on without this window. The icon in the tray shows how it stands and tells when "
    "somebody is needed; click it to open the window again."
)
REMOVES: Final = (
    "This ends the sample study's coordinator and its three invented hospitals and deletes all that "
    "they wrote, the trained model included. Your own site is not touched, and the sample study can "
    "be tried again at any time. Remove it?"
)
ESTIMATE: Final = "Estimate on patches, not a clinical result"
NOTHING: Final = "–"


class Page(enum.Enum):
    """The pages, in the order of the work."""

    HOME = "Home"
    DATA = "Data"
    FINGERPRINT = "Fingerprint"
    FEDERATION = "Federation"
    TRAINING = "Training"
    SEGMENT = "Segment"
    REVIEW = "Review"


class Tone(enum.Enum):
    """What a colour says; never the only sign of it."""

    NEUTRAL = "neutral"
    INFO = "info"
    GOOD = "good"
    WARNING = "warning"
    DANGER = "danger"


PURPOSE: Final = {
    Page.HOME: "Where this site stands and what to do next.",
    Page.DATA: "The images and labels of this hospital. They are read here and never changed.",
    Page.FINGERPRINT: "What the study would learn about your images. Nothing leaves before you allow it.",
    Page.FEDERATION: "The study, the sites that take part, and the link to the coordinator.",
    Page.TRAINING: "How the training runs on this computer and what it has learned so far.",
    Page.SEGMENT: "Run a model on cases of this site. Images and segmentations stay on this computer.",
    Page.REVIEW: "Look at each segmentation, worst first, and judge it. Verdicts, comments and scores stay here.",
}

EMPTY_DATA: Final = "Choose the folder that holds your images and labels."
EMPTY_DATA_HINT: Final = (
    "Drop the folder here or choose it. It is opened for reading only; nothing in it is changed "
    "and no image leaves this computer."
)
EMPTY_FINDINGS: Final = "What the check finds is listed here, one row per finding."
NO_FINDINGS: Final = "The check found nothing to mend."
EMPTY_CASES: Final = "The cases of the chosen folder are listed here after the check."
GALLERY_HINT: Final = (
    "The middle slice of the largest structure, with its outline. An outline beside the structure "
    "means that image and label do not belong together. Click a picture to open the case."
)
EMPTY_FINGERPRINT: Final = "Here you will see, byte for byte, what would leave this hospital."
EMPTY_FINGERPRINT_HINT: Final = (
    "The fingerprint sums up spacings, sizes and intensities of your images, so that all sites can "
    "use the same plan. It is computed on this computer and stays here until you allow it."
)
EMPTY_RETURNED: Final = (
    "When all sites have shared theirs, the merged fingerprint and the plan that follows from it "
    "appear here, beside yours."
)
EMPTY_FEDERATION: Final = "This site takes part in no study yet."
EMPTY_FEDERATION_HINT: Final = (
    "The coordinator of the study sends you an invitation file (it ends in .fedjoin). Open it here "
    "to see who invites you and what would be shared; joining is a second step."
)
COME_BACK: Final = (
    "To come back with another invitation: leave the study here, then open the invitation."
)
DOCTOR_HINT: Final = (
    "Tests the way to the coordinator layer by layer, from the name of its computer to the version "
    "of its program. It joins nothing and sends nothing of yours."
)
DOCTOR_RUNS: Final = "The connection is being tested; this takes up to a minute."
COMMON_PLAN: Final = "The plan all sites use"
OWN_PLAN: Final = "The plan of this site"
EMPTY_SITES: Final = "The sites of the study are listed here once the coordinator has told them."
EMPTY_ROUNDS: Final = "Each closed round adds a row: who took part and how well the model did."
EMPTY_TRAINING: Final = "Training has not begun."
EMPTY_TRAINING_HINT: Final = (
    "It starts by itself when the study begins: every site has shared its fingerprint and received "
    "the plan. Curves, progress and the load of this computer then appear here."
)
EMPTY_REVIEW: Final = "There is nothing to review yet."
EMPTY_REVIEW_HINT: Final = (
    "Segment cases on the Segment page first: those that were held out, or the images of any "
    "folder. You then look at each result here in three planes, worst first."
)
SEGMENTING: Final = "The model is at work; the cases appear here one by one."
EMPTY_RUNS: Final = "Each model that segments cases adds a row here."
EMPTY_RUN_CASES: Final = "Choose a row on the left to see its cases."
NO_MODELS: Final = (
    "The study has no model yet. It brings one after its first round; until then you can open any "
    "nnU-Net model file."
)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return “1 case”, “24 cases”, “no cases”."""
    many = plural or f"{noun}s"
    if number == 0:
        return f"no {many}"
    return f"{number:,} {noun if number == 1 else many}".replace(",", "\N{NO-BREAK SPACE}")


def length(rounds: int, folds: int, stages: int = 1) -> str:
    """Return “50 rounds”, “5 folds of 50 rounds”, or “2 passes of 5 folds of 50 rounds”."""
    words = [count(rounds // (folds * stages), "round")]
    if folds > 1:
        words.insert(0, count(folds, "fold"))
    if stages > 1:
        words.insert(0, count(stages, "pass", "passes"))
    return " of ".join(words)


def duration(seconds: float | None) -> str:
    """Return a time span as a person says it; “–” when unknown."""
    if seconds is None or seconds < 0:
        return NOTHING
    if seconds < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def size(number_of_bytes: int) -> str:
    """Return a number of bytes as a person reads it (decimal units, as disks are sold)."""
    amount = float(number_of_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError(number_of_bytes)


def figure(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits; “–” where it is not defined."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def triple(values: tuple[float, ...], digits: int | None = None) -> str:
    """Return sizes along the axes as “1.00 × 1.00 × 1.20”; integers without digits."""
    if digits is None:
        return " × ".join(f"{value:g}" for value in values)
    return " × ".join(f"{value:.{digits}f}" for value in values)


def moment(seconds: float, *, now: float | None = None) -> str:
    """Return a point in time in this computer's zone; the date only when it is not today."""
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    if now is not None and datetime.fromtimestamp(now, UTC).astimezone().date() == local.date():
        return local.strftime("%H:%M")
    return f"{local.day} {local.strftime('%b %Y, %H:%M')}"


def time_of_day(seconds: float) -> str:
    """Return a point in time with its seconds, in this computer's zone, as a log shows it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%H:%M:%S")


def listed(words: tuple[str, ...]) -> str:
    """Return “a, b and c”."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def sentence_case(text: str) -> str:
    """Return `text` with its first letter large; domain sentences begin small."""
    return text[:1].upper() + text[1:]


def site_title(name: str) -> str:
    """Return a site's name as a title: “north-hospital” becomes “North hospital”."""
    return sentence_case(name.replace("-", " "))
