"""A network of the user's own is found by its name, or the name is refused in one line."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from torch import nn

from training.errors import UsageError
from training.networks import imported


@pytest.fixture(autouse=True)
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mine")
    module.__dict__.update(make=lambda: nn.Linear(2, 2), made=nn.Linear(2, 2), number=lambda: 3)
    monkeypatch.setitem(sys.modules, "mine", module)


@pytest.mark.parametrize("name", ["mine:make", "mine:made"])
def test_what_is_named_is_frozen(name: str) -> None:
    found = imported("features", name, "mean", "cpu")
    assert isinstance(found, nn.Linear) and not found.training
    assert not any(value.requires_grad for value in found.parameters())


@pytest.mark.parametrize(
    "name", ["mine", "mine:", ":make", ".mine:make", "mine:other", "no_such_module:make", "mine:number"]
)
def test_what_names_no_network_is_one_line(name: str) -> None:
    with pytest.raises(UsageError, match=r"^features: .*give mean or an importable module:function") as told:
        imported("features", name, "mean", "cpu")
    assert "\n" not in str(told.value)
