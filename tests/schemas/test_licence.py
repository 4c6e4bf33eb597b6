"""The licence policy: what may enter a dataset, by SPDX expression."""

from __future__ import annotations

import datetime

import pytest

from schemas.errors import LicenceError
from schemas.ledger import Code
from schemas.licence import PERMISSIVE, SYNTHETIC, LicencePolicy, parse

TODAY = datetime.date(2026, 11, 20)


def judged(licence: str | None, policy: LicencePolicy | None = None, **changes: str | None) -> tuple[Code, str]:
    terms = {"licensor": "Studio", "expires": None, **changes}
    return (policy or LicencePolicy()).judge(licence, terms["licensor"], terms["expires"], TODAY)


@pytest.mark.parametrize("licence", [*PERMISSIVE, "mit", "MIT OR GPL-3.0-only", "(MIT AND ISC) OR GPL-2.0-only"])
def test_permissive_licences_pass_without_a_policy(licence: str) -> None:
    assert judged(licence) == (Code.OK, "")


@pytest.mark.parametrize(
    "licence",
    [
        "GPL-3.0-only", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-SA-4.0", "LicenseRef-Mine", "MIT AND GPL-3.0-only",
        "GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only OR CC-BY-NC-4.0", "All rights reserved", "MIT OR",
        "MIT; rm -rf", "((((", "NoSuchLicence-9.9",
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_its_name(licence: str) -> None:
    code, message = judged(licence)
    assert code is Code.LICENCE_NOT_ALLOWED
    assert licence.split(" ", maxsplit=1)[0] in message


@pytest.mark.parametrize("nothing", [None, "", "  ", "\t"])
def test_terms_that_are_not_given_are_missing(nothing: str | None) -> None:
    assert judged(nothing)[0] is Code.LICENCE_MISSING
    assert judged("MIT", licensor=nothing) == (Code.LICENCE_MISSING, "the manifest gives no licensor")


def test_a_licence_ends_on_its_day() -> None:
    assert judged("MIT", expires="2026-11-21")[0] is Code.OK
    assert judged("MIT", expires="2026-11-21T23:00:00Z")[0] is Code.OK
    assert judged("MIT", expires="2026-11-20") == (Code.LICENCE_EXPIRED, "the licence ended on 2026-11-20")
    assert judged("MIT", expires="1999-01-01")[0] is Code.LICENCE_EXPIRED


def test_an_expiry_that_is_no_date_does_not_pass() -> None:
    assert judged("MIT", expires="next year")[0] is Code.LICENCE_EXPIRED


def test_a_policy_replaces_the_defaults_and_deny_wins() -> None:
    policy = LicencePolicy(allow=("LicenseRef-Studio", "MIT"), deny=("MIT",))
    assert judged("LicenseRef-Studio", policy)[0] is Code.OK
    assert judged("MIT", policy)[0] is Code.LICENCE_NOT_ALLOWED
    assert judged("MIT OR LicenseRef-Studio", policy)[0] is Code.OK
    assert judged("MIT AND LicenseRef-Studio", policy)[0] is Code.LICENCE_NOT_ALLOWED
    assert judged("Apache-2.0", policy)[0] is Code.LICENCE_NOT_ALLOWED


def test_an_exception_only_adds_freedom_but_can_be_denied() -> None:
    expression = "Apache-2.0 WITH LLVM-exception"
    assert judged(expression)[0] is Code.OK
    gpl = "GPL-2.0-only WITH Classpath-exception-2.0"
    assert judged(gpl, LicencePolicy(allow=(gpl,)))[0] is Code.OK
    assert judged("GPL-2.0-only", LicencePolicy(allow=(gpl,)))[0] is Code.LICENCE_NOT_ALLOWED
    assert judged(expression, LicencePolicy(allow=("Apache-2.0",), deny=(expression,)))[0] is Code.LICENCE_NOT_ALLOWED


def test_synthetic_designs_pass_by_default() -> None:
    assert judged(SYNTHETIC)[0] is Code.OK


def test_an_empty_expression_is_an_error() -> None:
    with pytest.raises(LicenceError, match="empty"):
        parse(" ")
