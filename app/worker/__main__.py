"""Runs one job: `python -P -m app.worker SPEC`. Started by `app.jobs.runner` and nobody else."""

from __future__ import annotations

import faulthandler
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.jobs.events import Noted
from app.jobs.spec import AnyJob
from app.system.gpu_package import enter_package
from app.worker.dispatch import run
from app.worker.failures import failure_of
from app.worker.streams import EventStream, Inbox, claim_streams


def main(arguments: Sequence[str]) -> int:
    """Return 0 when the job gave its result, 1 when it said why not, 2 on misuse."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m app.worker SPEC\n")
        return 2
    enter_package()
    commands, events = claim_streams()
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stream = EventStream(events)
    inbox = Inbox(commands)
    try:
        job = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=AnyJob)
        # The first word: the service sees that the process lives before it imports torch.
        stream.tell(Noted(text="started"))
        stream.tell(run(job, tell=stream.tell, inbox=inbox))
    except Exception as exc:
        logging.getLogger(__name__).exception("the job failed")
        stream.tell(failure_of(exc))
        return 1
    else:
        return 0
    finally:
        inbox.job_ended()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
