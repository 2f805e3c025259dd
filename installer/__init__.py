"""Bring the program onto a machine: set-up, locks, checks, packages.

Everything here runs on the standard library alone, before the program's environment exists.
``bootstrap.py`` is the one door; a person or ``.ci/run`` starts it. ``app`` never imports from here.
"""
