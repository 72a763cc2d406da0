"""A peer that cannot be had is skipped with the reason, or fails where it must be there. Needs no peer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop import installs
from tests.interop.installs import NotInstalledError, Peer, installed


def no_network(_sources: Path, _folder: Path) -> None:
    raise NotInstalledError("`pip install …` failed: no network")


def peer(*, runs_with: tuple[str, ...] = ()) -> Peer:
    return Peer("npm", "9", ("package.json",), (), runs_with, no_network, lambda _sources, folder: [str(folder)])


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (peer(runs_with=("no-such-tool",)), "npm 9: no-such-tool is not on the path"),
        (peer(), "npm 9: `pip install …` failed: no network"),
    ],
)
def test_the_reason_is_said(made: Peer, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installs, "BUILD", tmp_path)
    monkeypatch.delenv("UNS_REQUIRE_INTEROP", raising=False)
    with pytest.raises(pytest.skip.Exception, match=reason):
        installed(made)
    monkeypatch.setenv("UNS_REQUIRE_INTEROP", "1")
    with pytest.raises(pytest.fail.Exception, match=f"UNS_REQUIRE_INTEROP=1, but {reason}"):
        installed(made)


def test_what_was_not_installed_to_the_end_is_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installs, "BUILD", tmp_path)
    monkeypatch.delenv("UNS_REQUIRE_INTEROP", raising=False)
    with pytest.raises(pytest.skip.Exception):
        installed(peer())
    (half,) = tmp_path.iterdir()
    (half / "left").touch()
    done = Peer("npm", "9", ("package.json",), (), (), lambda _sources, _folder: None, lambda _sources, f: [str(f)])
    assert installed(done) == [str(half)]
    assert not (half / "left").exists()
