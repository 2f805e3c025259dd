"""Values of the domain: frozen, slotted, named arguments only, as the style page asks."""

import dataclasses
import importlib
import pkgutil

import pytest

import app.domain

VALUES = [
    value
    for module in pkgutil.iter_modules(app.domain.__path__)
    for value in vars(importlib.import_module(f"app.domain.{module.name}")).values()
    if dataclasses.is_dataclass(value) and value.__module__ == f"app.domain.{module.name}"
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_values_are_frozen_slotted_and_named(value):
    parameters = value.__dataclass_params__
    assert parameters.frozen
    assert "__slots__" in vars(value)
    assert all(field.kw_only for field in dataclasses.fields(value))
