"""How the text of a program is put together."""

from __future__ import annotations

import pytest

from clnet.device import KernelSource, sources
from clnet.errors import BuildError

SUM = KernelSource("doctor.cl", "group_sum", (("LOCAL", "8"),))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty kernel folder in the place of the real one."""
    (tmp_path / "include").mkdir()
    monkeypatch.setattr(sources, "kernel_folder", lambda: tmp_path)
    sources.kernel_text.cache_clear()
    yield tmp_path
    sources.kernel_text.cache_clear()


def test_includes_are_inlined_and_lines_keep_their_places(folder):
    (folder / "a.cl").write_text('first\n#include "b.h"  // why\nthird\n')
    (folder / "include" / "b.h").write_text("inside\n")
    assert sources.kernel_text("a.cl").splitlines() == [
        '#line 1 "a.cl"',
        "first",
        '#line 1 "b.h"',
        "inside",
        '#line 3 "a.cl"',
        "third",
    ]


def test_an_include_of_itself_is_refused(folder):
    (folder / "a.cl").write_text('#include "b.h"\n')
    (folder / "include" / "b.h").write_text('#include "b.h"\n')
    with pytest.raises(BuildError, match="itself"):
        sources.kernel_text("a.cl")


def test_a_missing_file_is_named():
    with pytest.raises(BuildError, match=r"cannot read nothing\.cl: No such file"):
        sources.kernel_text("nothing.cl")


def test_every_macro_of_a_source_is_undefined_after_it():
    text = sources.source_text(SUM)
    defined = {line.split()[1].partition("(")[0] for line in text.splitlines() if "#define" in line}
    undefined = {line.split()[1] for line in text.splitlines() if line.startswith("#undef")}
    assert {"LOCAL", "USE_group_sum", "KERNEL_NAME"} <= defined == undefined


def test_names_tell_macros_apart_and_stay_the_same():
    other = KernelSource("doctor.cl", "group_sum", (("LOCAL", "16"),))
    same = KernelSource("doctor.cl", "group_sum", (("LOCAL", "8"),))
    assert SUM.name == same.name != other.name
    assert len({SUM, same, other}) == 2


def test_program_text_does_not_depend_on_order_or_repetition():
    other = KernelSource("doctor.cl", "group_sum", (("LOCAL", "16"),))
    assert sources.program_text([SUM, other]) == sources.program_text([other, SUM, SUM])


def test_values_of_several_lines_are_continued():
    source = KernelSource("doctor.cl", "group_sum", (("BODY", "a;\nb;"), ("LOCAL", "8")))
    assert "#define BODY a; \\\nb;\n" in sources.source_text(source)


def test_an_excerpt_marks_the_line(folder):
    (folder / "a.cl").write_text("one\ntwo\nthree\n")
    assert sources.excerpt("a.cl", 2, around=1).splitlines()[1] == ">    2 | two"
    assert sources.excerpt("elsewhere.cl", 2) == ""
