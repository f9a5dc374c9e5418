"""Building, the program cache on disk, and launching."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from clnet.device import KernelSource, binaries, device
from clnet.device.opencl import cl
from clnet.device.programs import Programs
from clnet.errors import BuildError, DeviceError, OutOfMemoryError

SUM = KernelSource("doctor.cl", "group_sum", (("LOCAL", "8"),))
WRONG = KernelSource("doctor.cl", "arithmetic", (("REAL", "flot"),))


@pytest.fixture
def on():
    return device()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder for binaries, and a warning still to be given."""
    monkeypatch.setattr(binaries, "worth_keeping", lambda raw: True)
    monkeypatch.setenv("CLNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(binaries, "_warned", False)
    return tmp_path / "cache" / "programs"


def fresh(on):
    """The programs of a process that has built none."""
    return Programs(on.context, on.raw, "a device", lambda: "fingerprint")


def sums(on, kernel):
    x = np.arange(64, dtype=np.float32)
    given, result = on.upload(x), on.allocate(32)
    kernel.raw.set_args(given, result)
    on.enqueue(kernel, (64,), (8,))
    return on.download(result, np.float32, (8,))


EXPECTED = np.arange(64, dtype=np.float32).reshape(8, 8).sum(1)


def test_a_kernel_runs(on):
    (kernel,) = on.kernels([SUM])
    assert repr(kernel) == "Kernel(doctor.cl: group_sum)"
    np.testing.assert_array_equal(sums(on, kernel), EXPECTED)


def test_kernels_of_one_source_have_arguments_of_their_own(on):
    one, other = on.kernels([SUM, SUM])
    x, y = np.ones(8, np.float32), np.full(8, 2, np.float32)
    given = [on.upload(x), on.upload(y)]  # kept: a kernel does not hold its arguments' blocks
    results = [on.allocate(4), on.allocate(4)]
    one.raw.set_args(given[0], results[0])
    other.raw.set_args(given[1], results[1])
    for kernel in (one, other):
        on.enqueue(kernel, (8,), (8,))
    assert [on.read_scalar(result, np.float32) for result in results] == [8, 16]


def test_what_is_missing_is_built_together_and_once(on, cache, monkeypatch):
    programs, built = fresh(on), []
    obtain = programs._obtain
    monkeypatch.setattr(programs, "_obtain", lambda text: built.append(text) or obtain(text))
    other = KernelSource("doctor.cl", "group_sum", (("LOCAL", "4"),))
    programs.kernels([SUM, other])
    programs.kernels([other, SUM, SUM])
    assert len(built) == 1


def test_a_build_error_has_log_place_and_source(on, cache):
    with pytest.raises(BuildError) as caught:
        fresh(on).kernels([WRONG])
    message = str(caught.value)
    assert message.startswith("build: arithmetic does not compile on a device: doctor.cl:")
    assert "flot" in caught.value.log
    assert caught.value.log in message
    assert "__global const REAL *x" in message


def test_a_missing_macro_is_an_error_that_says_so(on, cache):
    with pytest.raises(BuildError, match="LOCAL is not defined: work-items of a work-group"):
        fresh(on).kernels([KernelSource("doctor.cl", "group_sum")])


def test_one_wrong_kernel_is_named_and_spares_the_others(on, cache):
    programs = fresh(on)
    with pytest.raises(BuildError, match="arithmetic does not compile"):
        programs.kernels([SUM, WRONG])
    (kernel,) = programs.kernels([SUM])
    np.testing.assert_array_equal(sums(on, kernel), EXPECTED)


def test_entries_of_one_file_with_the_same_macros_are_built_together(on, cache):
    macros = {"X": "float32", "CELL_TYPE": "lstm", "INDEX": "int", "LANES": "16", "TILE_M": "4"}
    defines = tuple({**macros, "LENGTHS": "0", "OWN_MATH": "0"}.items())
    made = fresh(on)
    made.kernels([KernelSource("rnn.cl", f"rnn_{way}", defines) for way in ("forward", "backward")])
    assert len(set(map(id, made._built.values()))) == 1


def test_kernels_that_are_built_only_one_by_one_are_told(on, cache, monkeypatch):
    obtain = Programs._obtain

    def refusing(self, text):
        if "fma_peak" in text and "group_sum" in text:
            error = cl.RuntimeError("refused")
            error.clnet_log = "redefinition"
            raise error
        return obtain(self, text)

    other = KernelSource("limits.cl", "fma_peak", (("LOCAL", "8"), ("VECTOR", "float4")))
    monkeypatch.setattr(Programs, "_obtain", refusing)
    with pytest.warns(RuntimeWarning, match="group_sum, fma_peak build only one by one: redefin"):
        assert len(fresh(on).kernels([SUM, other])) == 2


def test_a_launch_that_the_device_refuses_is_a_device_error(on):
    (kernel,) = on.kernels([SUM])
    given, result = on.allocate(256), on.allocate(64)
    kernel.raw.set_args(given, result)
    with pytest.raises(DeviceError, match=r"group_sum over \(64,\) in groups of \(4,\)") as caught:
        on.enqueue(kernel, (64,), (4,))
    assert not isinstance(caught.value, OutOfMemoryError)


# --- the cache on disk ---


def saved(on, cache):
    """Build as a process would that finds nothing."""
    fresh(on).kernels([SUM])
    (entry,) = cache.iterdir()
    assert len(binaries.Entry(entry).read()) > 100
    return entry


def test_the_first_build_saves_the_binary_and_the_second_loads_it(on, cache, monkeypatch):
    saved(on, cache)
    monkeypatch.setattr(binaries.Entry, "write", None)  # writing would fail
    (kernel,) = fresh(on).kernels([SUM])
    np.testing.assert_array_equal(sums(on, kernel), EXPECTED)


DAMAGE = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "another format": lambda data: b"something else" + data,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_entry_is_deleted_and_built_again(on, cache, damage):
    path = saved(on, cache)
    path.write_bytes(damage(path.read_bytes()))
    assert binaries.Entry(path).read() is None
    assert not path.exists()
    (kernel,) = fresh(on).kernels([SUM])
    np.testing.assert_array_equal(sums(on, kernel), EXPECTED)
    assert path.exists()


def test_a_binary_that_the_driver_refuses_is_built_again(on, cache, monkeypatch):
    path = saved(on, cache)

    # Imitated: Mesa's rusticl 22.3 ends the process when it is given what is no binary.
    def refuse(self, binary):
        raise cl.Error("INVALID_BINARY")

    monkeypatch.setattr(Programs, "_load", refuse)
    (kernel,) = fresh(on).kernels([SUM])
    np.testing.assert_array_equal(sums(on, kernel), EXPECTED)
    assert len(binaries.Entry(path).read()) > 100


def test_where_binaries_cost_too_much_a_note_says_what_was_built(on, cache, monkeypatch):
    monkeypatch.setattr(binaries, "worth_keeping", lambda raw: False)
    assert not fresh(on).seen(SUM)
    fresh(on).kernels([SUM])
    (entry,) = cache.iterdir()
    assert binaries.Entry(entry).read() == b""
    assert fresh(on).seen(SUM)
    (kernel,) = fresh(on).kernels([SUM])
    np.testing.assert_array_equal(sums(on, kernel), EXPECTED)


@pytest.mark.parametrize("change", range(3), ids=["options", "fingerprint", "text"])
def test_each_part_of_the_key_counts(change):
    parts = ["options", "fingerprint", "text"]
    other = [part + "!" * (i == change) for i, part in enumerate(parts)]
    assert binaries.entry(*parts).path == binaries.entry(*parts).path != binaries.entry(*other).path


def test_the_fingerprint_knows_settings_of_the_driver(on, monkeypatch):
    before = on._fingerprint()
    monkeypatch.setenv("POCL_MAX_WORK_GROUP_SIZE", "64")
    assert on._fingerprint() != before


def test_a_folder_that_cannot_be_written_costs_one_warning(on, tmp_path, cache, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLNET_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(RuntimeWarning, match="set CLNET_CACHE"):
        (kernel,) = fresh(on).kernels([SUM])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh(on).kernels([SUM])
    np.testing.assert_array_equal(sums(on, kernel), EXPECTED)


def test_a_full_cache_loses_its_oldest_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(binaries, "_LARGEST_CACHE", 5000)
    for hour in range(5):
        binaries.Entry(tmp_path / str(hour)).write(bytes(1000))
        if hour < 4:
            os.utime(tmp_path / str(hour), (hour, hour))
    assert {path.name for path in tmp_path.iterdir()} == {"3", "4"}


def test_the_folder_follows_the_settings(monkeypatch, tmp_path):
    monkeypatch.delenv("CLNET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert binaries.cache_folder() == tmp_path / "clnet"
    monkeypatch.setenv("CLNET_CACHE", str(tmp_path / "mine"))
    assert binaries.cache_folder() == tmp_path / "mine"


RACE = """
import numpy as np
from clnet.device import KernelSource, device
on = device()
(kernel,) = on.kernels([KernelSource("doctor.cl", "group_sum", (("LOCAL", "8"),))])
x, y = on.upload(np.ones(64, np.float32)), on.allocate(32)
kernel.raw.set_args(x, y)
on.enqueue(kernel, (64,), (8,))
assert (on.download(y, np.float32, (8,)) == 8).all()
"""


def test_four_processes_share_the_cache(cache):
    for _ in range(2):  # the first round writes entries, the second reads them
        racers = [subprocess.Popen([sys.executable, "-W", "error", "-c", RACE]) for _ in range(4)]
        assert [racer.wait(120) for racer in racers] == [0] * 4
    assert not list(cache.glob("*.part"))
    assert all(binaries.Entry(path).read() is not None for path in cache.iterdir())
