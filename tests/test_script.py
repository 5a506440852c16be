"""How a script ends: one line and exit code 2 where the user has to act, and alone at what it does."""

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepclust.errors import UserError
from deepclust.script import run_as_script


@pytest.fixture(autouse=True)
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stages/some.py"])


def end(error: Exception, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a script that meets an error writes as its last words."""

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_as_script(main)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_user_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(UserError("k must be\n  above 0"), capsys) == "error: k must be above 0\n"


def test_wrong_number_of_arguments_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main(dataset: str) -> None:
        raise AssertionError(dataset)

    with pytest.raises(SystemExit) as ended:
        run_as_script(main)
    assert ended.value.code == 2
    assert "missing a required argument: 'dataset'" in capsys.readouterr().err


ADVICE = "; mend that and run the same command again: what was finished is kept\n"


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.ENAMETOOLONG]
)
def test_storage_that_takes_no_more_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(number, os.strerror(number))
    error.add_note("while writing x")
    assert end(error, capsys) == f"error: [Errno {number}] {os.strerror(number)} while writing x{ADVICE}"


def test_failed_copy_of_many_files_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / "from" / name).mkdir(parents=True)
        (tmp_path / "from" / name / "file").write_text("")

    def refuse(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", target)

    with pytest.raises(shutil.Error) as caught:
        shutil.copytree(tmp_path / "from", tmp_path / "to", copy_function=refuse)
    line = end(caught.value, capsys)
    assert line.startswith(f"error: [Errno {errno.ENOSPC}] No space left on device: '{tmp_path}/to/")
    assert line.endswith(ADVICE)
    assert line.count("Errno") == 1


def test_a_stage_by_hand_names_the_file_that_no_stage_made_before(capsys: pytest.CaptureFixture[str]) -> None:
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "data/plan/few/cluster/dec.json")
    assert end(error, capsys).startswith("error: data/plan/few/cluster/dec.json is not there; `dvc repro` in ")


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "none", "src/some.py"), RuntimeError("a bug")], ids=repr
)
def test_bugs_keep_their_traceback(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)):
        run_as_script(main)


def lock_of(script: str) -> bool:
    """Return whether another open file holds a script's lock."""
    with open(Path("work/locks") / script, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.mark.parametrize("ending", [lambda: None, lambda: end_with(UserError("x"))], ids=["well", "badly"])
def test_script_holds_the_lock_of_its_arguments_until_it_ends(
    ending: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["stages/some.py", "few", "a/b"])
    held = []

    def main(dataset: str, name: str) -> None:
        held.append(lock_of("some few a_b"))
        assert (Path("work/locks") / "some few a_b").read_text().startswith(f"process {os.getpid()} on ")
        ending()

    with contextlib.suppress(SystemExit):
        run_as_script(main)
    assert held == [True]
    assert not lock_of("some few a_b")


def end_with(error: Exception) -> None:
    raise error


def test_file_system_without_locks_costs_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    ran = []
    run_as_script(lambda: ran.append(True))
    assert ran == [True]
    assert "work/locks/some: no lock (No locks available)" in caplog.text


@pytest.mark.parametrize(
    ("stage", "given", "arguments"),
    [
        ("evaluate@digits-ae_kmeans", [], ["digits", "ae_kmeans"]),
        ("fetch@digits", [], ["digits"]),
        ("sweep@digits-gamma", ["sweep"], ["digits", "gamma", "sweep"]),
        ("grids/x/dvc.yaml:fetch@digits", [], ["digits"]),
        ("report", [], []),
        ("", ["digits"], ["digits"]),
    ],
)
def test_a_stage_works_on_what_its_name_in_dvc_says(
    stage: str, given: list[str], arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", stage)
    monkeypatch.setattr(sys, "argv", ["stages/some.py", *given])
    found: list[str] = []
    run_as_script(lambda *words: found.extend(words))
    assert found == arguments


def test_a_stage_of_no_proper_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DVC_STAGE", "own@x; touch y #")
    with pytest.raises(SystemExit):
        run_as_script(lambda name: None)
    assert capsys.readouterr().err.startswith("error: the stage 'own@x; touch y #' is none of cells.yaml's")


@pytest.mark.parametrize("where", ["while it loads", "while it works"])
def test_ctrl_c_is_one_line(where: str, tmp_path: Path) -> None:
    program = "import os, signal, threading; from deepclust.script import run_as_script\n"
    program += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores Ctrl-C
    wait = "threading.Thread(target=threading.Event().wait).start(); os.kill(os.getpid(), signal.SIGINT)"
    program += wait if where == "while it loads" else f"def main():\n    {wait}\nrun_as_script(main, is_stage=False)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 130
    assert done.stderr == "interrupted: what was finished is kept, and the same command goes on from there\n"


def test_ctrl_c_may_say_what_was_kept(tmp_path: Path) -> None:
    program = "import deepclust.script\nraise KeyboardInterrupt('nothing was written')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stderr) == (130, "interrupted: nothing was written\n")


def test_a_minus_is_one_in_every_encoding(tmp_path: Path) -> None:
    program = "from deepclust.script import run_as_script\n"
    program += "run_as_script(lambda: print('\\u22121.5 \\u00b1 0.1 \\u00e9'), is_stage=False)"
    for encoding, expected in {"ascii": "-1.5 +- 0.1 ?", "cp1252": "-1.5 \u00b1 0.1 \u00e9"}.items():
        surroundings = os.environ | {"PYTHONIOENCODING": encoding}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=surroundings, cwd=tmp_path)
        assert done.stdout.decode(encoding) == f"{expected}\n"


def test_a_reader_that_has_read_enough_ends_it_without_a_word(tmp_path: Path) -> None:
    program = "from deepclust.script import run_as_script\n"
    program += "def main():\n    for i in range(100_000):\n        print(i)\nrun_as_script(main, is_stage=False)"
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -c '{program}' | head -1"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_closed_output_costs_its_words_alone(tmp_path: Path) -> None:
    program = "import pathlib; from deepclust.errors import UserError; from deepclust.script import run_as_script\n"
    program += "def main():\n    print(1); pathlib.Path('made').touch(); raise UserError('no')\n"
    program += "run_as_script(main, is_stage=False)"
    for closed, said in {">&-": "error: no\n", "2>&-": "1\n"}.items():
        command = f'{sys.executable} -c "{program}" {closed}'
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stdout + done.stderr) == (2, said)
        (tmp_path / "made").unlink()
