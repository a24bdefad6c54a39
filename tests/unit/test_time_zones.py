"""Names of time zones: IANA's, and hints for those that nearly are."""

from __future__ import annotations

import pytest

from starberg.utils.time_zones import zone_name


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/Argentina/Ushuaia", "UTC", "Etc/GMT+5"])
def test_names_are_those_of_iana(name: str) -> None:
    assert zone_name(name) == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "Did you mean 'Europe/Berlin'?"),
        ("berlin", "Did you mean 'Europe/Berlin'?"),
        ("+02:00", "Write one of IANA's"),
        ("localtime", "Write one of IANA's"),
        ("../../etc/passwd", "Write one of IANA's"),
        ("", "Write one of IANA's"),
    ],
)
def test_other_names_are_refused(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match="is no time zone") as refused:
        zone_name(name)
    assert hint in refused.value.args[1]
