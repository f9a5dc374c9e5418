"""Kernel sources: where the `.cl` files are, and how one program's text is put together.

A `.cl` file writes each of its kernels as

    #ifdef USE_reduce_rows
    __kernel void KERNEL_NAME(reduce_rows)(...) { ... }
    #endif

and `program_text` selects one entry of one file with a set of macros. Several selections, of the
same file too, stand in one program: every kernel's name carries a digest of its text and macros,
and macros are undefined after use. Files of `kernels/include` are inlined where they are included,
because search paths for includes are where OpenCL compilers differ; `#line` keeps their names in
messages.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clnet.errors import BuildError

# Pragmas for compilers that honour OpenCL C 1.2 to the letter; macros exist where the device has
# the type.
PRELUDE = """\
#ifdef cl_khr_fp64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif
#ifdef cl_khr_fp16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#endif
"""
_LINE = re.compile(r'#line (\d+) "([^"]*)"')
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"[ \t]*(?://.*)?$')


@dataclass(frozen=True)
class KernelSource:
    """One kernel: a `.cl` file, the entry in it, and the macros that it is compiled with.

    `defines` are (name, value) pairs in the order they are to be written; values may be long and
    may hold newlines.

    >>> KernelSource("doctor.cl", "group_sum", (("LOCAL", "64"),)).entry
    'group_sum'
    """

    file: str
    entry: str
    defines: tuple[tuple[str, str], ...] = ()

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        # Looked up for every launch of a new plan, and the macros of a fused kernel are long.
        return hash((self.file, self.entry, self.defines))

    @functools.cached_property
    def name(self) -> str:
        """The kernel's name in a program: the entry and a digest of it, of text and macros.

        The digest stands in the names of a file's helpers too, so that two entries of the file
        can be in one program.
        """
        digest = hashlib.sha256()
        words = (word for pair in self.defines for word in pair)
        for part in (kernel_text(self.file), self.entry, *words):
            digest.update(part.encode())
            digest.update(b"\0")
        return f"{self.entry}_{digest.hexdigest()[:12]}"


@dataclass(frozen=True)
class SerialSource:
    """A kernel of one work-item that calls others, of one work-item each, one after another.

    `params` are its parameters, `body` the calls.
    """

    parts: tuple[KernelSource, ...]
    params: str
    body: str
    file = "serial"
    entry = "serial"

    @functools.cached_property
    def name(self) -> str:
        """The kernel's name in a program: the entry and a digest of all that it is made of."""
        digest = hashlib.sha256()
        for part in (*(part.name for part in self.parts), self.params, self.body):
            digest.update(part.encode())
            digest.update(b"\0")
        return f"{self.entry}_{digest.hexdigest()[:12]}"

    @property
    def text(self) -> str:
        """The text of the kernel itself, which follows those of its parts."""
        head = "__kernel __attribute__((reqd_work_group_size(1, 1, 1)))"
        return f"{head} void {self.name}({self.params}) {{\n{self.body}\n}}"


@functools.cache
def kernel_folder() -> Path:
    """The folder of the `.cl` files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "kernels", package.parent / "kernels"):
        if (folder / "include").is_dir():
            return folder
    raise BuildError(f"kernels: no folder of .cl files in {package} or beside it; reinstall clnet")


@functools.cache
def kernel_text(file: str) -> str:
    """The text of a `.cl` file with its includes inlined, and `#line` directives around them.

    Raises BuildError where the file or one that it includes does not exist.
    """
    return _inlined(file, kernel_folder() / file, (file,))


def _inlined(file: str, path: Path, stack: tuple[str, ...]) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BuildError(
            f"kernels: cannot read {file}: {error.strerror}; reinstall clnet"
        ) from None
    lines = [f'#line 1 "{file}"']
    for number, line in enumerate(text.splitlines(), 1):
        include = _INCLUDE.match(line)
        if include is None:
            lines.append(line)
            continue
        name = include[1]
        if name in stack:
            raise BuildError(f"kernels: {' includes '.join((*stack, name))}, itself; remove one")
        lines.append(_inlined(name, kernel_folder() / "include" / name, (*stack, name)))
        lines.append(f'#line {number + 1} "{file}"')
    return "\n".join(lines)


def _define(name: str, value: str) -> str:
    return f"#define {name} " + value.replace("\n", " \\\n")


def source_text(source: KernelSource) -> str:
    """The text that compiles one kernel: its macros, the file, and the macros undefined again."""
    macros = [
        (f"USE_{source.entry}", "1"),
        ("KERNEL_NAME(entry)", "entry##_" + source.name.rpartition("_")[2]),
        *source.defines,
    ]
    lines = [f'#line 1 "defines of {source.entry}"']
    lines += [_define(name, value) for name, value in macros]
    lines.append(kernel_text(source.file))
    lines.append(f'#line 1 "end of {source.file}"')
    lines += [f"#undef {name.partition('(')[0]}" for name, _ in macros]
    return "\n".join(lines)


def program_text(sources: Sequence[KernelSource | SerialSource]) -> str:
    """The text of one program that holds all the kernels, in an order of their own.

    >>> text = program_text([KernelSource("doctor.cl", "group_sum", (("LOCAL", "64"),))])
    >>> "#define LOCAL 64" in text, '#line 1 "doctor.cl"' in text, "#undef LOCAL" in text
    (True, True, True)
    """
    serial = [s for s in dict.fromkeys(sources) if isinstance(s, SerialSource)]
    plain = {s for s in sources if isinstance(s, KernelSource)}
    plain.update(part for s in serial for part in s.parts)
    ordered = sorted(plain, key=lambda source: source.name)
    return "\n".join([PRELUDE, *map(source_text, ordered), *(s.text for s in serial), ""])


def located(text: str, line: int) -> str:
    """Return the file and line, by `#line`, of a line of a program's text.

    >>> located('#line 1 "a.cl"\\nint x;\\n#line 7 "b.h"\\nint y;', 4)
    'b.h:7'
    """
    file, number = "program", 0
    for given in text.splitlines()[:line]:
        moved = _LINE.match(given)
        file, number = (moved[2], int(moved[1]) - 1) if moved else (file, number + 1)
    return f"{file}:{number}"


def excerpt(file: str, line: int, around: int = 2) -> str:
    """The lines of a kernel file about one line, numbered, that one marked; or nothing."""
    folder = kernel_folder()
    for path in (folder / file, folder / "include" / file):
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            first, last = max(1, line - around), min(len(lines), line + around)
            return "\n".join(
                f"{'>' if number == line else ' '} {number:4} | {lines[number - 1]}"
                for number in range(first, last + 1)
            )
    return ""
