"""The local control API: how a window or a command line talks to a service on the same computer.

A websocket on 127.0.0.1 with a token from a file that only this user can read. A client attaches,
gets a `Snapshot`, then a `Change` whenever a section of it changes, and sends commands, each of
which is answered. The window keeps no truth of its own.
"""
