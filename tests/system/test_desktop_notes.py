from __future__ import annotations

import shutil
import subprocess
import sys
import threading

import pytest

from app.system.desktop_notes import send_note

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="D-Bus")


@pytest.fixture
def bus(monkeypatch, tmp_path):
    """A session bus of the test's own."""
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        pytest.skip("no dbus-daemon here")
    socket = f"unix:path={tmp_path / 'bus'}"
    process = subprocess.Popen(
        [daemon, "--session", "--nofork", "--print-address", f"--address={socket}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    yield address
    process.terminate()
    process.communicate()


def test_a_note_arrives_as_the_specification_says(bus):
    from jeepney import MessageType, new_method_return
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import open_dbus_connection

    heard = []
    with open_dbus_connection(bus="SESSION") as desktop:
        desktop.send_and_get_reply(message_bus.RequestName("org.freedesktop.Notifications"))

        def serve():
            while not heard:
                message = desktop.receive(timeout=20)
                if message.header.message_type is MessageType.method_call:
                    heard.append(message.body)
                    desktop.send(new_method_return(message, "u", (7,)))

        server = threading.Thread(target=serve)
        server.start()
        taken = send_note("Round 3", "It goes on.", program="FednnU-Net", icon="x", urgent=True)
        server.join(20)
    assert taken
    ((program, replaces, icon, title, body, actions, hints, timeout),) = heard
    assert (program, replaces, icon, title, body, actions, timeout) == (
        "FednnU-Net",
        0,
        "x",
        "Round 3",
        "It goes on.",
        [],
        -1,
    )
    assert hints["urgency"] == ("y", 2)


def test_a_bus_without_a_desktop_takes_no_note(bus):
    assert not send_note("Round 3", "It goes on.", program="FednnU-Net", icon="x")


@pytest.mark.parametrize("address", ["", "unix:path=/nowhere/at/all", "nonsense"])
def test_without_a_bus_nothing_is_sent(monkeypatch, address):
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    assert not send_note("Round 3", "It goes on.", program="FednnU-Net", icon="x")
