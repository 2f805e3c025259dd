"""A scripted child that stands where Python stands in the runner's command line.

The runner starts ``[*python, "-m", "app.worker", SPEC]``; with ``python = (sys.executable,
fake_worker.py)`` this file gets the same arguments. The spec's ``folder`` names what to do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DONE = {"event": "Fingerprinted", "output": "there", "cases": 3}
FOREVER_S = 600


def tell(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def grandchild(code: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", code])
    Path("grandchild").write_text(str(child.pid))


def main() -> int:
    behaviour = json.loads(Path(sys.argv[-1]).read_text())["folder"]
    match behaviour:
        case "succeed":
            tell(event="Progressed", done=1, total=3, what="looking")
            tell(**DONE)
        case "fail":
            tell(event="Failed", code="no-foreground", sentence="no case has a label")
            return 1
        case "fail strangely":
            tell(event="Failed", code="no such code", sentence="a \u202esentence")
            return 1
        case "exit 3":
            return 3
        case "nothing":
            return 0
        case "result then 1":
            tell(**DONE)
            return 1
        case "killed":
            tell(event="Noted", text="hello")
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "spew":
            sys.stdout.write("Using device: cpu\n{half a line\n")
            sys.stdout.write("x" * 200_000 + "\n")
            tell(**DONE)
        case "long line":
            tell(event="Noted", text="y" * 1_000_000)
            tell(**DONE)
        case "environment":
            tell(event="Noted", text=json.dumps(dict(os.environ)))
            tell(event="Noted", text=json.dumps({"nice": os.nice(0), "cwd": str(Path.cwd())}))
            tell(**DONE)
        case "obey":
            tell(event="Noted", text="ready")
            for line in sys.stdin:
                tell(event="Noted", text=f"got {json.loads(line)['command']}")
            tell(event="Failed", code="job-stopped", sentence="stopped")
            return 1
        case "finish though stopped":
            tell(event="Noted", text="ready")
            sys.stdin.read()
            tell(**DONE)
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            tell(event="Noted", text="ready")
            time.sleep(FOREVER_S)
        case "ignore stop":
            tell(event="Noted", text="ready")
            time.sleep(FOREVER_S)
        case "grandchild":
            # It ignores the polite signal, prints, and keeps the event pipe open.
            grandchild(
                "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
                f"time.sleep({FOREVER_S})"
            )
            tell(**DONE)
        case "grandchild and killed":
            grandchild(f"import time; time.sleep({FOREVER_S})")
            tell(event="Noted", text="ready")
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            raise SystemExit(f"no behaviour {behaviour!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
