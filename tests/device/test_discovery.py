"""Ranking, choosing, and what is said where nothing can be chosen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from clnet.device import (
    default_device,
    device,
    devices,
    discovery,
    loader,
    memory_stats,
    set_default_device,
)
from clnet.device.opencl import cl
from clnet.errors import DeviceError

INSTALL = "pip install clnet[pocl]"


def raw(kind="GPU", name="card", **facts):
    """A device as pyopencl describes it."""
    given = {
        "type": getattr(cl.device_type, kind),
        "name": name,
        "version": "OpenCL 3.0",
        "driver_version": "1.0",
        "platform": SimpleNamespace(version="OpenCL 3.0 PoCL 3.1+debian"),
        "extensions": "cl_khr_fp64",
        "native_vector_width_float": 8,
        "global_mem_size": 8 << 30,
        "max_compute_units": 16,
        "max_clock_frequency": 1000,
        "host_unified_memory": False,
        "available": True,
        "compiler_available": True,
        "endian_little": True,
    }
    return SimpleNamespace(**{**given, **facts})


def pocl(version, **facts):
    return raw("CPU", "pthread", platform=SimpleNamespace(version=f"OpenCL 3.0 {version}"), **facts)


BEST_FIRST = {
    "discrete GPU, more memory": raw(global_mem_size=80 << 30),
    "discrete GPU": raw(),
    "discrete GPU, fewer units": raw(max_compute_units=8),
    "integrated GPU": raw(host_unified_memory=True, global_mem_size=64 << 30),
    "accelerator": raw("ACCELERATOR", global_mem_size=64 << 30),
    "newest CPU runtime": pocl("PoCL 10.0"),
    "CPU runtime": pocl("PoCL 3.1+debian  Linux, LLVM 15.0.6"),
    "older CPU runtime": pocl("PoCL 3.0 Linux"),
    "release candidate": pocl("PoCL 3.0-rc2"),
    "CPU without fp64": pocl("PoCL 3.1", extensions=""),
    "rasteriser": raw("CPU", "llvmpipe (LLVM 15)", driver_version="22.3.6"),
}


def test_ranks_stand_in_order():
    ranks = {name: discovery._rank(each)[0] for name, each in BEST_FIRST.items()}
    assert sorted(ranks, key=ranks.__getitem__, reverse=True) == list(BEST_FIRST)


def test_a_rasteriser_that_calls_itself_a_gpu_is_a_cpu():
    rank, kind, why = discovery._rank(raw("GPU", "llvmpipe (LLVM 15)"))
    assert (rank[0], kind) == (0, "cpu")
    assert "rasteriser" in why


@pytest.mark.parametrize(
    ("fact", "words"), [("available", "not available"), ("compiler_available", "no compiler")]
)
def test_what_cannot_work_is_skipped_with_a_reason(fact, words):
    assert words in discovery._unusable(raw(**{fact: False}))
    assert discovery._unusable(raw()) == ""


def test_devices_are_named_by_index_type_and_fragment():
    for each in devices():
        assert device(each) is each
        assert device(each.index) is each
        assert device(f" {each.type.upper()} ").type == each.type
        assert each.name.lower() in device(each.name.upper()).name.lower()
        assert each.platform_version in device(each.platform_version).platform_version
        assert str(each).startswith(each.index)


def test_devices_with_one_name_are_told_apart_by_index():
    assert len({each.index for each in devices()}) == len(devices())


@pytest.mark.parametrize("spec", ["rtx 9090", "7:7"])
def test_an_unknown_name_says_what_there_is(spec):
    with pytest.raises(DeviceError) as caught:
        device(spec)
    assert f"nothing fits '{spec}'; there is" in str(caught.value)
    assert devices()[0].name in str(caught.value)


@pytest.mark.parametrize("spec", ["", 3, ["gpu"]])
def test_what_is_no_name_is_refused(spec):
    with pytest.raises(DeviceError, match="cannot choose by"):
        device(spec)


def test_the_environment_chooses(monkeypatch):
    last = devices()[-1]
    monkeypatch.setenv("CLNET_DEVICE", last.index)
    assert device() is last is default_device()
    monkeypatch.setenv("CLNET_DEVICE", "nothing of the kind")
    with pytest.raises(DeviceError, match=re.escape("(from CLNET_DEVICE)")):
        device()


def test_the_default_can_be_set(monkeypatch):
    monkeypatch.delenv("CLNET_DEVICE", raising=False)
    last = devices()[-1]
    try:
        set_default_device(last.index)
        assert default_device() is device() is last
        assert memory_stats() == last.memory.stats()
    finally:
        set_default_device(None)
    assert default_device() is devices()[0]


# --- other machines, imitated by the environment of a process ---

REPORT = """
import json
from clnet.device import device, devices, discover
from clnet.errors import DeviceError
found = {"devices": [[d.index, d.name, d.caps.max_work_group, d.caps.memory] for d in devices()]}
try:
    device()
except DeviceError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""


def machine(**environment):
    """What clnet finds in a process with these variables."""
    kept = {name: value for name, value in os.environ.items() if name != "CLNET_DEVICE"}
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        capture_output=True,
        text=True,
        check=True,
        env={**kept, **environment},
    )
    return json.loads(done.stdout.splitlines()[-1])


def pocl_vendor():
    """The vendor file of a PoCL of this machine."""
    for vendor in loader.vendors():
        if "pocl" in vendor.library and vendor.path is not None:
            return vendor
    pytest.skip("no PoCL on this machine")


@pytest.fixture
def one_pocl(tmp_path):
    """A vendor file that names a PoCL by its path, which makes the loader see it alone."""
    file = tmp_path / "only.icd"
    file.write_text(str(pocl_vendor().path))
    return str(file)


def test_no_vendor_file(tmp_path):
    missing = str(tmp_path / "missing.icd")
    found = machine(OCL_ICD_VENDORS=missing)
    assert found["devices"] == []
    for words in ("no vendor file", INSTALL, f"OCL_ICD_VENDORS is set to {missing}"):
        assert words in found["error"]


def test_a_vendor_file_without_its_library(tmp_path):
    file = tmp_path / "gone.icd"
    file.write_text("libgone.so.1\n")
    found = machine(OCL_ICD_VENDORS=str(file))
    assert f"{file} names libgone.so.1, which is not there" in found["error"]


def test_one_pocl_alone(one_pocl):
    found = machine(OCL_ICD_VENDORS=one_pocl)
    assert [index for index, *_ in found["devices"]] == ["0:0"]
    assert "error" not in found


def test_two_devices_of_one_platform(one_pocl):
    found = machine(OCL_ICD_VENDORS=one_pocl, POCL_DEVICES="pthread basic")
    assert sorted(index for index, *_ in found["devices"]) == ["0:0", "0:1"]


def test_limits_of_the_driver_are_seen(one_pocl):
    settings = {"POCL_MEMORY_LIMIT": "1", "POCL_MAX_WORK_GROUP_SIZE": "64"}
    ((_, _, group, memory),) = machine(OCL_ICD_VENDORS=one_pocl, **settings)["devices"]
    assert group == 64
    assert memory <= 1 << 30


def test_importing_clnet_looks_for_nothing():
    program = (
        "import sys, clnet\nfrom clnet.device import discovery\n"
        "assert discovery._discover.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- words for what is wrong ---


def test_an_import_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(discovery, "cl", None)
    monkeypatch.setattr(discovery, "import_error", ImportError("libOpenCL.so.1 is missing"))
    problem = discovery._discover.__wrapped__().problem
    assert "libOpenCL.so.1 is missing" in problem
    assert "pip install" in problem


def test_render_nodes_that_cannot_be_opened_are_told(monkeypatch):
    node = Path("/dev/dri/renderD128")
    monkeypatch.setattr(loader, "unreadable_render_nodes", lambda: [node])
    problem = discovery._problem(["rusticl (OpenCL 3.0)"], [])
    for words in (str(node), "usermod -aG render", "RUSTICL_ENABLE", "platforms without a device"):
        assert words in problem


def test_skipped_devices_are_told():
    problem = discovery._problem(["a platform"], [("0:0 'card'", "its driver has no compiler")])
    assert "0:0 'card': its driver has no compiler" in problem
    assert INSTALL in problem
