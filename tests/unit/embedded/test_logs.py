from pathlib import Path

from dispatcher.embedded.logs import open_log, rotate, tail


def test_a_log_above_the_limit_is_cut_and_its_child_goes_on_writing(tmp_path: Path) -> None:
    with open_log(tmp_path, "api") as log:
        log.write(b"old\n" * 10)
        rotate(tmp_path, limit=20)
        log.write(b"new\n")
    assert (tmp_path / "api.log").read_bytes() == b"new\n"
    assert (tmp_path / "api.log.1").read_bytes() == b"old\n" * 10


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    with open_log(tmp_path, "api") as log:
        log.write(b"line\n")
    rotate(tmp_path, limit=20)
    assert (tmp_path / "api.log").read_bytes() == b"line\n"
    assert not (tmp_path / "api.log.1").exists()


def test_logs_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with open_log(tmp_path, "api") as log:
        log.write(b"x" * 30)
    rotate(tmp_path, limit=20)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_the_tail_shows_the_last_lines_whatever_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_bytes(b"\xff\n" * 9000 + b"one\ntwo\n")
    assert tail(tmp_path, "api", lines=2) == "    one\n    two"


def test_a_log_that_was_never_written_has_no_tail(tmp_path: Path) -> None:
    assert tail(tmp_path, "api") == ""
