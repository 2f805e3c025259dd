from __future__ import annotations

from dataclasses import replace

from app.ui.models.doctor import DoctorLine
from app.ui.text import Tone


def test_the_remedy_stands_on_its_own_line():
    line = DoctorLine(
        step="Clock",
        state="warning",
        icon="warning",
        tone=Tone.WARNING,
        sentence="It is late",
        remedy="Set it.",
    )
    assert line.said == "It is late\nSet it."
    assert replace(line, remedy="").said == "It is late"
