import os
import subprocess
import sys
from pathlib import Path

import pytest

from idplane.store.datafolder import DataFolder, DataFolderProblem


def test_the_folder_is_made_with_its_parents_and_is_private(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "a" / "b") as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        assert folder.database.parent == folder.key_file.parent == folder.path


def test_a_second_opener_learns_who_has_it(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path), pytest.raises(DataFolderProblem) as caught:
        DataFolder.open(tmp_path)
    assert str(caught.value) == f"process {os.getpid()} is already running on the data folder {tmp_path}"


def test_another_process_is_named(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from idplane.store.datafolder import DataFolder\n"
    script += "folder = DataFolder.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(DataFolderProblem, match=f"^process {child.pid} is already running on the data folder"):
            DataFolder.open(tmp_path)
        child.kill()
        child.wait()
        DataFolder.open(tmp_path).close()


def test_closing_lets_the_next_one_in(tmp_path: Path) -> None:
    first = DataFolder.open(tmp_path)
    first.close()
    first.close()
    DataFolder.open(tmp_path).close()


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(DataFolderProblem, match="is a file: name a folder"):
        DataFolder.open(tmp_path / "data")


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(DataFolderProblem, match="cannot be created: not a directory"):
        DataFolder.open(tmp_path / "data" / "below")


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(DataFolderProblem, match="make it private with chmod 700"):
        DataFolder.open(tmp_path)


def test_a_folder_that_is_not_writable_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()  # what the superuser cannot open either
    with pytest.raises(DataFolderProblem, match="is not writable: is a directory"):
        DataFolder.open(tmp_path)
