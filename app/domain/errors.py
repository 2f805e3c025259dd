"""Every error a person may see, as one tree.

    FednnunetError                 has a code, a sentence (`str`) and a remedy
    ├── OurMistake                 a bug in this program: a state or value we should not have made
    ├── PeerMistake                the other end broke the protocol or sent something hostile
    ├── DataProblem                the images, labels or folder cannot be used as they are
    ├── SetupProblem               the machine or installation lacks something
    ├── LinkProblem                the network or the coordinator cannot be reached or refuses us
    └── JobFailed                  a worker could not do its work

The sentence says what, which value, where; the remedy says what a site operator can do.
A peer's words pass `safe_text` before they reach a log or a screen.
"""

from __future__ import annotations

import enum
import unicodedata
from typing import Final


class ErrorCode(enum.Enum):
    """Stable names of problems; help pages and tests refer to them."""

    INTERNAL = "internal"
    # data
    FOLDER_MISSING = "folder-missing"
    FOLDER_IS_FILE = "folder-is-file"
    FOLDER_EMPTY = "folder-empty"
    FOLDER_NOT_READABLE = "folder-not-readable"
    FOLDER_LAYOUT = "folder-layout"
    DATASET_DESCRIPTION = "dataset-description"
    DESCRIPTION_MISSING = "description-missing"
    NO_CASES = "no-cases"
    GEOMETRY_DIFFERS = "geometry-differs"
    CASE_UNREADABLE = "case-unreadable"
    DATA_BLOCKS = "data-blocks"
    NO_FOREGROUND = "no-foreground"
    TOO_FEW_CASES = "too-few-cases"
    # machine
    DISK_FULL = "disk-full"
    MEMORY_FULL = "memory-full"
    NO_PERMISSION = "no-permission"
    SERVICE_RUNNING = "service-running"
    SERVICE_NOT_RUNNING = "service-not-running"
    SECRET_STORE = "secret-store"  # noqa: S105 - a name, not a secret
    WORKSPACE = "workspace"
    MISSING_LIBRARY = "missing-library"
    # study
    STUDY_FILE = "study-file"
    STUDY_STATE = "study-state"
    SITE_NAME = "site-name"
    ADDRESS = "address"
    SETTING = "setting"
    # link
    INVITATION = "invitation"
    INVITATION_EXPIRED = "invitation-expired"
    INVITATION_USED = "invitation-used"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    REFUSED = "refused"
    REVOKED = "revoked"
    VERSION = "version"
    PROTOCOL = "protocol"
    TOO_LARGE = "too-large"
    # method
    PLANS_REFUSED = "plans-refused"
    TENSORS_REFUSED = "tensors-refused"
    FINGERPRINT_REFUSED = "fingerprint-refused"
    NOT_ALLOWED = "not-allowed"
    # job
    JOB_FAILED = "job-failed"
    JOB_STOPPED = "job-stopped"
    JOB_LOST = "job-lost"
    GPU_MEMORY = "gpu-memory"
    NOT_FINITE = "not-finite"
    MODEL_FILE = "model-file"


REMEDIES: Final[dict[ErrorCode, str]] = {
    ErrorCode.INTERNAL: "Use “Report a problem” and send the file to the people who run your study.",
    ErrorCode.FOLDER_MISSING: "Check that the drive is connected and choose the folder again.",
    ErrorCode.FOLDER_IS_FILE: "Choose the folder that holds the images, not one of its files.",
    ErrorCode.FOLDER_EMPTY: "Copy images and labels into the folder, or choose another one.",
    ErrorCode.FOLDER_NOT_READABLE: "Ask IT for read permission on this folder.",
    ErrorCode.FOLDER_LAYOUT: "Arrange the folder as nnU-Net does: imagesTr, labelsTr, dataset.json.",
    ErrorCode.DATASET_DESCRIPTION: "Correct the named entry in dataset.json and check again.",
    ErrorCode.DESCRIPTION_MISSING: "Put a dataset.json beside imagesTr: channel_names, labels, file_ending.",
    ErrorCode.NO_CASES: "Copy the images into imagesTr and their labels into labelsTr.",
    ErrorCode.GEOMETRY_DIFFERS: "Resample the segmentation to the grid of its image and try again.",
    ErrorCode.CASE_UNREADABLE: "Replace the file by an intact copy, or leave the case out.",
    ErrorCode.DATA_BLOCKS: "Mend the rows marked “blocks” on the Data page and check again.",
    ErrorCode.NO_FOREGROUND: "Add at least one case in which a structure is labelled.",
    ErrorCode.TOO_FEW_CASES: "Add labelled cases, or ask the study lead to lower the minimum.",
    ErrorCode.DISK_FULL: "Free disk space, or move the workspace to a larger disk, and try again.",
    ErrorCode.MEMORY_FULL: "Close other programs, or use a computer with more memory.",
    ErrorCode.NO_PERMISSION: "Ask IT for permission to write to this place, or choose another.",
    ErrorCode.SERVICE_RUNNING: "Use the window that is already open, or stop the other service.",
    ErrorCode.SERVICE_NOT_RUNNING: "Start it with “fednnunet site run” or “fednnunet coordinator serve”, or open the window.",
    ErrorCode.SECRET_STORE: "Unlock the key store of this computer and try again.",
    ErrorCode.WORKSPACE: "Choose an empty folder, or one that this program made, as its workspace.",
    ErrorCode.MISSING_LIBRARY: "Install the program again; from a checkout: “python3 installer/bootstrap.py setup”.",
    ErrorCode.STUDY_FILE: "Correct the named entry in the study file.",
    ErrorCode.STUDY_STATE: "Do first what the sentence names, or wait; the Federation page shows how far the study is.",
    ErrorCode.SITE_NAME: "Give the site a short name without spaces, as in “north-hospital”.",
    ErrorCode.ADDRESS: "Name the host or IP address that every site can reach, and a port from 1 to 65535.",
    ErrorCode.SETTING: "Write the value in that form and try again.",
    ErrorCode.INVITATION: "Ask the coordinator to send the invitation file again.",
    ErrorCode.INVITATION_EXPIRED: "Ask the coordinator for a new invitation.",
    ErrorCode.INVITATION_USED: "Each invitation works once; ask the coordinator for a new one.",
    ErrorCode.UNREACHABLE: "Check the network; the connection test says where the way ends. A running service keeps trying and loses nothing.",
    ErrorCode.CERTIFICATE: "Do not go on. Show this to IT: something on the way replaces certificates.",
    ErrorCode.REFUSED: "Ask the coordinator why this site is refused.",
    ErrorCode.REVOKED: "Ask the coordinator for a new invitation if this was not intended.",
    ErrorCode.VERSION: "Install the version of this program that the coordinator names.",
    ErrorCode.PROTOCOL: "Update this program and the coordinator to the same version.",
    ErrorCode.TOO_LARGE: "Ask the study lead to check the study's limits.",
    ErrorCode.PLANS_REFUSED: "The study goes on without this plan; tell the coordinator.",
    ErrorCode.TENSORS_REFUSED: "The study goes on without this update; the site's log says more.",
    ErrorCode.FINGERPRINT_REFUSED: "Compute the fingerprint again and allow it anew.",
    ErrorCode.NOT_ALLOWED: "Look at what would be shared on the Fingerprint page and allow it there.",
    ErrorCode.JOB_FAILED: "Read the job's log on the Training page, mend the cause and try again.",
    ErrorCode.JOB_STOPPED: "Start it again when you are ready; finished work is kept.",
    ErrorCode.JOB_LOST: "It is started again from its last checkpoint by itself.",
    ErrorCode.GPU_MEMORY: "Close other programs that use the graphics card, or use a smaller batch.",
    ErrorCode.NOT_FINITE: "This round is not counted; the next one starts from the shared model.",
    ErrorCode.MODEL_FILE: "Export the model again, or ask the sender for an intact copy.",
}

_LONGEST_PEER_TEXT: Final = 300


def safe_text(text: str, limit: int = _LONGEST_PEER_TEXT) -> str:
    """Return a peer's words without control or bidirectional characters, cut to `limit`."""
    cleaned = "".join(
        character if unicodedata.category(character)[0] != "C" else "\N{REPLACEMENT CHARACTER}"
        for character in text[: limit + 1]
    )
    return cleaned if len(cleaned) <= limit else cleaned[:limit] + "…"


class FednnunetError(Exception):
    """A problem with a name, a sentence and a remedy."""

    code: ErrorCode = ErrorCode.INTERNAL

    def __init__(self, sentence: str, *, code: ErrorCode | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        if code is not None:
            self.code = code

    @property
    def remedy(self) -> str:
        """What a site operator can do about it."""
        return REMEDIES[self.code]

    def __str__(self) -> str:
        return self.sentence


class OurMistake(FednnunetError):
    """A bug of ours: a value or event that the program should never have produced."""


class PeerMistake(FednnunetError):
    """The other end sent something that the protocol does not allow."""

    code = ErrorCode.PROTOCOL


class DataProblem(FednnunetError):
    """The chosen images or labels cannot be used as they are."""

    code = ErrorCode.DATA_BLOCKS


class SetupProblem(FednnunetError):
    """The machine, workspace or installation lacks something."""

    code = ErrorCode.WORKSPACE


class LinkProblem(FednnunetError):
    """The coordinator cannot be reached, or it refuses this site."""

    code = ErrorCode.UNREACHABLE


class JobFailed(FednnunetError):
    """A worker ended without its result."""

    code = ErrorCode.JOB_FAILED
