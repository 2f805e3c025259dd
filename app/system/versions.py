"""Versions of the installed libraries, read without importing them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def library_versions() -> dict[str, str]:
    """Return the versions that decide how a plan and a training come out; "" for a missing one.

    Of torch only major and minor count: builds for different graphics cards differ in the rest.
    """
    return {"nnunetv2": _version("nnunetv2"), "torch": ".".join(_version("torch").split(".")[:2])}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
