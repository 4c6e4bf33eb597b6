"""Licences: SPDX expressions, and the policy that says which of them may be used (DESIGN section 6).

A policy is a YAML or JSON mapping ``{"allow": [ids], "deny": [ids]}`` of SPDX ids or ``LicenseRef-*`` names. An
expression passes when the licensee can satisfy it with allowed ids alone: every part of an AND, one side of an OR.
"""

from __future__ import annotations

import datetime
from functools import lru_cache
from typing import Any

from license_expression import ExpressionError, LicenseSymbol, LicenseWithExceptionSymbol, Licensing, get_spdx_licensing
from pydantic import BaseModel, ConfigDict

from schemas.errors import LicenceError
from schemas.ledger import Code

SYNTHETIC = "LicenseRef-Acetate-Synthetic"

PERMISSIVE = (
    "0BSD", "Apache-2.0", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC-BY-3.0", "CC-BY-4.0",
    "CC0-1.0", "ISC", "MIT", "MIT-0", "PDDL-1.0", "Unlicense", "Zlib", SYNTHETIC,
)  # fmt: skip
"""What passes without a policy file: permissive for data, with nothing asked but attribution."""


class LicencePolicy(BaseModel):
    """Which licences may enter the dataset. ``deny`` wins over ``allow``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow: tuple[str, ...] = PERMISSIVE
    deny: tuple[str, ...] = ()

    def permits(self, symbol: str) -> bool:
        return symbol in self.allow and symbol not in self.deny

    def judge(
        self, licence: str | None, licensor: str | None, expires: str | None, today: datetime.date
    ) -> tuple[Code, str]:
        """Whether a design may be used: ``Code.OK``, or the code that filters it and why."""
        if not (licence or "").strip() or not (licensor or "").strip():
            missing = "licence" if not (licence or "").strip() else "licensor"
            return Code.LICENCE_MISSING, f"the manifest gives no {missing}"
        try:
            expression = parse(licence or "")
        except LicenceError as error:
            return Code.LICENCE_NOT_ALLOWED, str(error)
        if expires:
            end = expiry(expires)
            if end is None:
                return Code.LICENCE_EXPIRED, f"expiry {expires[:40]!r} is no ISO date"
            if end <= today:
                return Code.LICENCE_EXPIRED, f"the licence ended on {end.isoformat()}"
        try:
            allowed = _satisfied(expression, self)
        except RecursionError:
            return Code.LICENCE_NOT_ALLOWED, "the licence expression is nested too deeply"
        if not allowed:
            return Code.LICENCE_NOT_ALLOWED, f"the policy does not allow {licence}"
        return Code.OK, ""


def expiry(text: str) -> datetime.date | None:
    """The day an ISO date or time names, None where it names none."""
    try:
        return datetime.datetime.fromisoformat(text).date()
    except ValueError:
        return None


def parse(expression: str) -> Any:
    """An SPDX expression as license-expression's tree; ``LicenseRef-*`` names are accepted as they are.

    Raises:
        LicenceError: it is no SPDX expression.
    """
    try:
        tree = _licensing().parse(expression, simple=False)
    except Exception as error:  # noqa: BLE001 - the parser lets IndexError and others escape for odd input such as "()"
        detail = str(error) if isinstance(error, ExpressionError) else "it cannot be parsed"
        raise LicenceError(f"{expression[:200]!r} is no SPDX licence expression: {detail}") from None
    if tree is None:
        raise LicenceError("the licence expression is empty")
    return tree


def _satisfied(node: Any, policy: LicencePolicy) -> bool:
    if isinstance(node, LicenseWithExceptionSymbol):
        if not node.exception_symbol.is_exception:
            return False
        names = {str(node.license_symbol.key), str(node)}
        return not names.isdisjoint(policy.allow) and names.isdisjoint(policy.deny)
    if isinstance(node, LicenseSymbol):
        return policy.permits(str(node.key))
    parts = [_satisfied(part, policy) for part in node.args]
    return any(parts) if node.operator.strip() == "OR" else all(parts)


@lru_cache(maxsize=1)
def _licensing() -> Licensing:
    return get_spdx_licensing()
