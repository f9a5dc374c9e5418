"""`clnet devices` and `clnet doctor`, run as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from clnet.cli import doctor, main, trial
from clnet.device import device, devices


def clnet(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "clnet", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_devices_is_a_table_that_shows_the_choice(capsys):
    assert main(["devices"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["index", "name", "vendor", "type"]
    for row, each in zip(rows, devices(), strict=False):
        assert row.startswith(each.index)
        assert ("chosen: " in row) == (each is device())
        assert each.why in row
        assert row.index(each.name) == header.index("name")


def test_devices_as_json(capsys):
    assert main(["devices", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["index"] for each in found["devices"]] == [each.index for each in devices()]
    assert [each["index"] for each in found["devices"] if each["chosen"]] == [device().index]
    assert found["devices"][0]["memory"] == devices()[0].caps.memory
    assert found["problem"] == ""


def test_devices_without_a_match_lists_them_and_fails(capsys, monkeypatch):
    monkeypatch.setenv("CLNET_DEVICE", "rtx 9090")
    assert main(["devices"]) == 1
    out, err = capsys.readouterr()
    assert devices()[0].name in out
    assert "chosen" not in out
    assert "nothing fits 'rtx 9090' (from CLNET_DEVICE)" in err


def test_devices_on_a_machine_without_any(tmp_path):
    done = clnet("devices", OCL_ICD_VENDORS=str(tmp_path / "none.icd"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install clnet[pocl]" in done.stderr


def test_doctor_on_a_machine_without_any(tmp_path):
    done = clnet("doctor", OCL_ICD_VENDORS=str(tmp_path / "none.icd"))
    assert done.returncode == 1
    assert "no vendor file (.icd)" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("FAIL    no OpenCL platform")
    assert done.stderr == ""


def test_doctor_finds_a_device_that_works(capfd):
    assert main(["doctor"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert any(line.startswith("ok      pyopencl") for line in lines)
    assert any("local memory and barriers work, arithmetic in fp32" in line for line in lines)
    assert "devices work; the best is" in lines[-1]


def child(tmp_path, monkeypatch, script):
    """Have a shell script stand for the process that tries a device."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -SEGV $$", "crashed with SIGSEGV in the driver"),
        ("echo trouble >&2; exit 3", "ended with status 3: trouble"),
        ("exit 0", "ended with status 0: no message"),
    ],
    ids=["crash", "failure", "silence"],
)
def test_a_driver_that_fails_in_its_process_is_reported(
    tmp_path, monkeypatch, capsys, script, words
):
    child(tmp_path, monkeypatch, script)
    assert main(["doctor"]) == 1
    assert words in capsys.readouterr().out


def test_a_driver_that_hangs_is_reported(tmp_path, monkeypatch):
    child(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(doctor, "_PATIENCE", 0.1)
    assert "the driver hangs" in doctor._in_child([])["text"]


LISTED = {
    "loader": "a loader",
    "devices": [{"index": "0:0", "text": "0:0 'one'"}, {"index": "1:0", "text": "1:0 'two'"}],
    "skipped": [],
    "platforms": ["one"],
    "problem": "",
}


@pytest.mark.parametrize(
    ("works", "status", "last"),
    [
        (["1:0"], 0, "ok      1 of 2 devices work; the best is 1:0 'two'"),
        ([], 1, "FAIL    no device works; update the drivers named above"),
    ],
)
def test_doctor_succeeds_if_one_device_works(monkeypatch, capsys, works, status, last):
    def answer(arguments):
        ok = arguments and arguments[0] in works
        return {"ok": ok, "text": "a word"} if arguments else LISTED

    monkeypatch.setattr(doctor, "_in_child", answer)
    assert main(["doctor"]) == status
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_wrong_sums_are_reported():
    class Broken:
        """A driver whose barriers do nothing."""

        def __getattr__(self, name):
            return getattr(device(), name)

        def download(self, buffer, dtype, shape):
            return device().download(buffer, dtype, shape) + 1

    result = trial.try_device(Broken())
    assert not result["ok"]
    assert "wrong numbers: 64 of 64 group sums" in result["text"]
    assert trial.try_device(device())["ok"]


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m clnet devices | true", shell=True, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_an_unknown_command_says_which_there_are(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["nothing"])
    assert caught.value.code == 2
    assert "devices" in capsys.readouterr().err
