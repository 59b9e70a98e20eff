"""How many clients a server lets in."""

from __future__ import annotations

import pytest

from apviso.server.serving import connections_that_fit


@pytest.mark.parametrize(
    ("wanted", "open_files", "fitting"),
    [(50_000, None, 50_000), (50_000, 65_536, 50_000), (50_000, 4_096, 3_840), (50_000, 256, 64), (10, 65_536, 10)],
)
def test_connections_leave_open_files_for_the_server_itself(wanted: int, open_files: int | None, fitting: int) -> None:
    assert connections_that_fit(wanted, open_files) == fitting
