"""Root does not start the daemon on another user's state."""

from __future__ import annotations

import os

import pytest

from wxgptd.process.ownership import AnothersState, require_own

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")


def test_root_may_not_write_into_the_state_of_the_unit(tmp_path):
    require_own(tmp_path)
    require_own(tmp_path / "not there yet")
    os.chown(tmp_path, 12_345, -1)
    with pytest.raises(AnothersState, match="belongs to user 12345") as raised:
        require_own(tmp_path)
    assert raised.value.exit_status == 4
    assert raised.value.hint.startswith("systemctl start wxgptd")
