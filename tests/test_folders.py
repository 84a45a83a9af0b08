from __future__ import annotations

from pathlib import Path

import pytest

from kamerton import folders


def write(text: str) -> folders.Write:
    def into(folder: Path) -> None:
        (folder / "weights").write_text(text)

    return into


def test_what_is_published_is_whole(tmp_path: Path) -> None:
    folders.publish(tmp_path / "a", write("one"))
    assert folders.is_whole(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folders.publish(tmp_path / "a", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_parent_is_not_brought_back(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        folders.publish(tmp_path / "gone" / "a", write("one"))
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "no manifest", "bad manifest"])
def test_damage_is_seen_and_an_older_one_is_taken(tmp_path: Path, damage: str) -> None:
    folders.publish(tmp_path / "step-1", write("first"))
    folders.publish(tmp_path / "step-2", write("second"))
    file = tmp_path / "step-2" / "weights"
    manifest = tmp_path / "step-2" / folders.MANIFEST
    if damage == "cut":
        file.write_text("sec")
    elif damage == "changed":
        file.write_text("sec0nd")
    elif damage == "missing":
        file.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text("{")
    assert not folders.is_whole(tmp_path / "step-2")
    assert folders.newest_whole(tmp_path) == tmp_path / "step-1"


def test_publishing_again_replaces(tmp_path: Path) -> None:
    folders.publish(tmp_path / "a", write("one"))
    folders.publish(tmp_path / "a", write("two"))
    assert (tmp_path / "a" / "weights").read_text() == "two"


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(1, 5):
        folders.publish(tmp_path / f"step-{step}", write(str(step)))
    (tmp_path / ".step-5.crashed").mkdir()
    folders.keep_newest(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-3", "step-4"]


def test_nothing_is_whole_where_nothing_is(tmp_path: Path) -> None:
    assert folders.newest_whole(tmp_path / "nowhere") is None
    assert not folders.is_whole(tmp_path)
