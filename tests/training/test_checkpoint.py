"""Files appear whole or not at all, come back as they were, and are refused when they are not what they should be."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save as serialize
from support.files import drawn
from support.helpers import complaint

from minivae.checks import DataFileError, InputError
from minivae.runs.draft import clear_leftovers
from minivae.training import checkpoint

ARRAYS = {
    "matrix": np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32),
    "transposed": np.random.default_rng(1).standard_normal((5, 3)).T,
    "number": np.asarray(0.5, np.float32),
    "empty": np.zeros((0, 3)),
    "integers": np.arange(4),
    "strided": np.arange(10.0)[::3],
}
RECORD = {"model": "VAE", "params": {"hidden_dims": [3, 2], "seed": 0, "clip_norm": None}, "text": "β ≤ 1", "loss": [0.1, 1e-300]}


def test_what_goes_in_comes_out(tmp_path):
    checkpoint.save(tmp_path / "file", ARRAYS, RECORD)
    arrays, record = checkpoint.load(tmp_path / "file")
    assert record == RECORD
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)


def test_settings_may_be_numpy_numbers(tmp_path):
    numpy = {"seed": np.int64(3), "hidden_dims": (np.int32(4),), "learning_rate": np.float32(0.5), "flag": np.True_}
    checkpoint.save(str(tmp_path / "file"), {}, numpy)
    assert checkpoint.load(str(tmp_path / "file"))[1] == {"seed": 3, "hidden_dims": [4], "learning_rate": 0.5, "flag": True}


def test_file_is_plain_safetensors_with_the_record_as_json(tmp_path):
    from safetensors import safe_open

    checkpoint.save(tmp_path / "file", ARRAYS, RECORD)
    with safe_open(tmp_path / "file", framework="numpy") as file:
        assert json.loads(file.metadata()["record"]) == RECORD
        np.testing.assert_array_equal(file.get_tensor("matrix"), ARRAYS["matrix"])
    assert b"pickle" not in (tmp_path / "file").read_bytes()


def test_new_file_replaces_the_old_one_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"second, longer", b""):
        checkpoint.write_whole(path, content)
        assert path.read_bytes() == content
        assert os.listdir(tmp_path) == ["file"]


def test_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "ordinary").touch()
    checkpoint.write_whole(tmp_path / "file", b"content")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full disk", "interrupt"])
def test_failure_on_the_way_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(os, step, fail)
    if isinstance(error, OSError):
        message = complaint(DataFileError, checkpoint.write_whole, path, b"new")
        assert str(path) in message
        assert "No space left on device" in message
        assert "another folder" in message
    else:
        with pytest.raises(KeyboardInterrupt):
            checkpoint.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "absent" / "model", tmp_path / "file" / "model", tmp_path / "folder", tmp_path / ("long" * 99)):
        assert str(path) in complaint(DataFileError, checkpoint.save, path, ARRAYS, RECORD)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert os.listdir(tmp_path / "folder") == []


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "file"
    checkpoint.save(path, ARRAYS, RECORD)
    return path.read_bytes()


@drawn
@given(st.data())
def test_truncated_file_is_refused_at_every_length(tmp_path, content, data):
    path = tmp_path / "cut"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert str(path) in complaint(DataFileError, checkpoint.load, path)


@drawn
@given(st.data())
def test_one_flipped_bit_is_refused_or_harmless(tmp_path, content, data):
    damaged = bytearray(content)
    damaged[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped"
    path.write_bytes(damaged)
    try:
        arrays, record = checkpoint.load(path)
    except DataFileError as error:
        message = str(error)
    else:
        message = ""
        assert record == RECORD
        assert all(array.tobytes() == ARRAYS[name].tobytes() for name, array in arrays.items())
    assert message == "" or (str(path) in message and "\n" not in message)


def test_one_flipped_bit_in_a_weight_is_refused(tmp_path, content):
    path = tmp_path / "flipped"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    message = complaint(DataFileError, checkpoint.load, path)
    assert str(path) in message
    assert "checksum" in message


META = {"format": "minivae", "version": "1", "record": "{}"}
WRONG = {
    "not safetensors": (b"PK\x03\x04 a zip file", "readable safetensors"),
    "empty": (b"", "readable safetensors"),
    "foreign": (serialize({"w": np.zeros(3)}), "minivae file of version 1"),
    "other format": (serialize({"w": np.zeros(3)}, {"format": "pt"}), "got pt"),
    "other version": (serialize({}, META | {"version": "2"}), "got minivae 2"),
    "no checksum": (serialize({}, META), "sha256"),
    "other checksum": (serialize({}, META | {"sha256": "0" * 64}), "checksum"),
}


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG)
def test_file_of_another_kind(tmp_path, content, words):
    path = tmp_path / "file"
    path.write_bytes(content)
    message = complaint(DataFileError, checkpoint.load, path)
    assert str(path) in message
    assert words in message


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        assert str(path) in complaint(DataFileError, checkpoint.load, path)


def test_bytes_are_on_the_disk_before_the_file_takes_its_name(tmp_path, monkeypatch):
    """Else a crash after the rename leaves an empty file where the old one was."""
    synced, fsync = [], os.fsync

    def look(descriptor):
        status = os.fstat(descriptor)
        synced.append((stat.S_ISDIR(status.st_mode), status.st_size, (tmp_path / "file").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    checkpoint.write_whole(tmp_path / "file", b"x" * 100)
    (first, second) = synced
    assert first == (False, 100, False)  # all of the content, and then
    assert (second[0], second[2]) == (True, True)  # the folder, with the new name in it


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system cannot be told to forget a file's pages")
def test_what_is_read_back_comes_from_the_disk(tmp_path, monkeypatch):
    """Read from memory, a file that the disk has lost would be found in order; what is not read back stays there."""
    advice = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *arguments: advice.append(arguments[1:]))
    checkpoint.save(tmp_path / "file", ARRAYS, RECORD)
    assert advice == [(0, 0, os.POSIX_FADV_DONTNEED)]
    checkpoint.write_whole(tmp_path / "page", b"content")
    assert len(advice) == 1
    monkeypatch.delattr(os, "posix_fadvise")
    checkpoint.save(tmp_path / "file", ARRAYS, RECORD)


def test_leftovers_of_a_killed_save_are_known_by_their_name(tmp_path, monkeypatch):
    """What a process leaves that is killed before the rename is cleared away later, and nothing else is."""
    (tmp_path / ".hidden").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: None)
        patch.setattr(Path, "unlink", lambda *_: None)
        checkpoint.write_whole(tmp_path / "file", b"content")
    assert len(os.listdir(tmp_path)) == 2
    clear_leftovers(tmp_path, own=True)
    assert os.listdir(tmp_path) == [".hidden"]


@pytest.mark.parametrize("length", range(8))
def test_arrays_begin_at_a_multiple_of_eight_bytes(length):
    """Where libraries map a file into memory, numbers at other places are slow, or refused."""
    content = checkpoint.packed({"x": np.arange(3.0)}, {"text": "a" * length})
    size = int.from_bytes(content[:8], "little")
    assert size % 8 == 0
    assert len(content[8 : 8 + size]) - len(content[8 : 8 + size].rstrip()) < 8


def next_descriptor() -> int:
    """Return the number that the next file to be opened gets: the lowest that is free."""
    descriptor = os.dup(1)
    os.close(descriptor)
    return descriptor


def test_saves_leave_no_file_open(tmp_path):
    before = next_descriptor()
    checkpoint.save(tmp_path / "file", ARRAYS, RECORD)
    assert next_descriptor() == before


def test_a_pipe_is_refused_and_not_read(tmp_path):
    """What is in it can be read only once, and reading one to which nobody writes would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    both_ends = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        assert "expected a file, got a folder, a pipe or a device" in complaint(DataFileError, checkpoint.load, tmp_path / "pipe")
    finally:
        os.close(both_ends)


def test_without_a_path_the_argument_is_refused():
    assert complaint(InputError, checkpoint.write_whole, None, b"").startswith("path: expected")


@pytest.mark.parametrize(
    "metadata", [{"format": "other", "version": "1"}, {"format": "minivae", "version": "2"}, {"version": "1"}, {}]
)
def test_files_of_another_format_or_version_are_named_as_such(metadata, tmp_path):
    text = json.dumps(RECORD)
    arrays = {"x": np.arange(3.0)}
    record = {"record": text, "sha256": checkpoint.checksum(arrays, text)}
    (tmp_path / "file").write_bytes(serialize(arrays, metadata | record))
    message = complaint(DataFileError, checkpoint.load, tmp_path / "file")
    expected = f"{metadata.get('format', 'another format')} {metadata.get('version', '')}".strip()
    assert f"expected a minivae file of version 1, got {expected}; save the model anew" in message


def test_a_record_without_names_is_refused(tmp_path):
    text = "[1, 2]"
    metadata = {"format": "minivae", "version": "1", "record": text, "sha256": checkpoint.checksum({}, text)}
    (tmp_path / "file").write_bytes(serialize({}, metadata))
    assert "expected a record of names and values, got list" in complaint(DataFileError, checkpoint.load, tmp_path / "file")


@pytest.mark.parametrize(
    ("error", "mends"),
    [(InputError("n: expected 1, got 2"), 1), (InputError("n: expected 1, got 2; take 1"), 0), (KeyError("one; two"), 1)],
    ids=["a complaint", "a complaint with its mend", "any other error"],
)
def test_an_error_in_a_file_comes_with_one_mend(error, mends, tmp_path):
    checkpoint.save(tmp_path / "file", ARRAYS, RECORD)

    def read():
        with checkpoint.reading(tmp_path / "file", "a good file", "take another copy"):
            raise error

    message = complaint(DataFileError, read)
    assert "expected a good file, got" in message
    assert message.count("take another copy") == mends


def test_last_good_state_is_kept_until_the_new_one_is_read_back(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.save(path, {"w": np.arange(3.0)}, {"n": 1})
    before = path.read_bytes()

    def gives_back_something_else(file):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        return load(file)

    load = checkpoint.load
    monkeypatch.setattr(checkpoint, "load", gives_back_something_else)
    assert "checksum" in complaint(DataFileError, checkpoint.save, path, {"w": np.arange(4.0)}, {"n": 2})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]
