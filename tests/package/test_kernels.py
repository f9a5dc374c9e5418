"""Kernel files say what they are in a header that is read here and compared with the code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
SECTIONS = ("Formula", "Layout", "Launch", "Entries", "Macros", "Oracle")

# Upper-case names of OpenCL C 1.2 itself, and what the program builder defines for every file.
BUILTIN = re.compile(
    r"(CLK|FLT|DBL|HALF|CHAR|SCHAR|UCHAR|SHRT|USHRT|INT|UINT|LONG|ULONG|M|FP|CL)_\w+"
    r"|INFINITY|NAN|NULL|HUGE_VALF?|MAXFLOAT|EXTENSION|OPENCL|FP_CONTRACT|ON|OFF|STDC"
    r"|KERNEL_NAME|USE_\w+|_+\w+"
)


@dataclass(frozen=True)
class Header:
    """A kernel file's header: section -> its lines, and the macros' names with their meaning."""

    sections: dict[str, list[str]]

    @property
    def entries(self) -> set[str]:
        return {line.split()[0] for line in self.sections.get("Entries", [])}

    @property
    def macros(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in self.sections.get("Macros", []):
            name, _, meaning = line.partition("  ")
            if re.fullmatch(r"[A-Z][A-Z0-9_]*(, [A-Z][A-Z0-9_]*)*", name):
                found.update(dict.fromkeys(name.split(", "), meaning))
            elif found:  # a macro's second line
                found[list(found)[-1]] += " " + line
        return found


def read_header(text: str) -> Header:
    """Read the comment that a file begins with: `Name:` opens a section, up to the next one."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if not line.startswith("//"):
            break
        line = line[2:].strip()
        opening = re.match(rf"({'|'.join(SECTIONS)}):\s*", line)
        if opening:
            current = sections.setdefault(opening[1], [])
            line = line[opening.end() :]
        if line:
            current.append(line)
    return Header(sections)


def code_of(text: str) -> str:
    """Return the text without comments and string literals."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"[^"\n]*"', " ", text, flags=re.DOTALL)


def with_includes(text: str, folder: Path) -> str:
    """Return the text with those of the headers that it includes, and of theirs."""
    texts, waiting = [text], re.findall(r'#\s*include "([^"]+)"', text)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            texts.append((folder / name).read_text())
            waiting += re.findall(r'#\s*include "([^"]+)"', texts[-1])
    return "\n".join(texts)


def broken_rules(text: str, include: Path = KERNELS / "include") -> list[str]:
    """Return in words what a kernel file's header lacks, or says otherwise than its code."""
    header = read_header(text)
    code = code_of(text)
    wrong = [f"the header has no {name}:" for name in SECTIONS if not header.sections.get(name)]
    if header.sections.get("Macros", [""])[0].lower().startswith("none"):
        macros: dict[str, str] = {}
    else:
        macros = header.macros

    kernels = set(re.findall(r"\bKERNEL_NAME\((\w+)\)\s*\(", code_of(kernel_heads(text))))
    wrong += [f"entry {name} is not in Entries:" for name in sorted(kernels - header.entries)]
    wrong += [f"Entries: names {name}: no kernel" for name in sorted(header.entries - kernels)]
    for name in sorted(kernels):
        if not re.search(rf"#\s*if.*\bUSE_{name}\b", code):
            wrong.append(f"entry {name} is not inside #ifdef USE_{name}")
    if len(re.findall(r"\b__kernel\b", code)) != len(re.findall(r"\breqd_work_group_size\b", code)):
        wrong.append("a kernel has no reqd_work_group_size")

    for name, meaning in macros.items():
        if ";" not in meaning:
            wrong.append(f"macro {name}: needs `meaning; allowed values`")
        absent = rf"#\s*(ifndef {name}\b|if\b[^\n]*!defined\(?\s*{name}\b)[^\n]*\n\s*#\s*error"
        if not re.search(absent, text):
            wrong.append(f"macro {name}: no #ifndef {name} with #error")
    whole = with_includes(text, include)
    defined = set(re.findall(r"#\s*define (\w+)", whole))
    for parameters in re.findall(r"#\s*define \w+\(([^)]*)\)", whole):
        defined |= set(re.findall(r"\w+", parameters))
    used = set(re.findall(r"\b[A-Z][A-Z0-9_]*\b", re.sub(r"#\s*(error|pragma)[^\n]*", "", code)))
    for name in sorted(used - defined - set(macros)):
        # One letter is a template's parameter or a type's name, unless #ifndef asks for it.
        asked = re.search(rf"#\s*ifndef {name}\b", code)
        if not BUILTIN.fullmatch(name) and (len(name) > 1 or asked):
            wrong.append(f"macro {name} is used and not in Macros:")
    left = set(re.findall(r"#\s*define (\w+)", code)) - set(re.findall(r"#\s*undef (\w+)", code))
    wrong += [f"macro {name} is defined and not undefined at the end" for name in sorted(left)]
    return wrong


def kernel_heads(text: str) -> str:
    """Return the declarations of the kernels alone, up to the opening parenthesis and past it."""
    return "\n".join(re.findall(r"__kernel\b[^;{]*", text))


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.cl")), ids=lambda path: path.name)
def test_header_matches_code(path: Path) -> None:
    assert broken_rules(path.read_text()) == []


@pytest.mark.parametrize("path", sorted(KERNELS.glob("include/*.h")), ids=lambda path: path.name)
def test_include_says_what_it_is_and_is_guarded(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("//")
    guard = re.search(r"#ifndef (\w+)\n#define (\w+)", text)
    assert guard
    assert guard[1] == guard[2]


GOOD = """\
// Scaling by a constant.
//
// Formula: y[i] = FACTOR * x[i]
// Layout: x and y are contiguous
// Launch: one item an element, padded to LOCAL
// Entries:
//   scale
// Macros:
//   FACTOR  what to multiply by; any float
//   LOCAL   work-items of a work-group;
//           1 to the device's limit
// Oracle: numpy.multiply
#ifndef FACTOR
#error "scale.cl: FACTOR is not defined"
#endif
#ifndef LOCAL
#error "scale.cl: LOCAL is not defined"
#endif
#ifdef USE_scale
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void KERNEL_NAME(scale)(
    __global const float *x, const long x0, __global float *y, const long y0, const int n) {
  const int i = get_global_id(0);
  if (i < n) y[y0 + i] = FACTOR * x[x0 + i];
}
#endif
"""


def test_good_header_passes() -> None:
    assert broken_rules(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("// Formula:", "// Formal:", "no Formula"),
        ("// Oracle: numpy.multiply", "// Oracle:", "no Oracle"),
        ("//   scale\n", "//   scale\n//   shift\n", "shift: no kernel"),
        ("//   scale\n", "//   shift\n", "scale is not in Entries"),
        ("; any float", "", "FACTOR: needs"),
        ("//   FACTOR  what to multiply by; any float\n", "", "FACTOR is used"),
        ('#error "scale.cl: FACTOR is not defined"', "#define FACTOR 2", "no #ifndef FACTOR"),
        ("FACTOR * x", "TIMES * x", "TIMES is used"),
        ("#ifdef USE_scale", "#ifdef ALWAYS", "not inside #ifdef USE_scale"),
        ("__attribute__((reqd_work_group_size(LOCAL, 1, 1)))", "", "no reqd_work_group_size"),
        ("#ifdef USE_scale", "#define TWO 2\n#ifdef USE_scale", "TWO is defined and not undef"),
    ],
)
def test_broken_header_is_caught(old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert any(said in rule for rule in broken_rules(GOOD.replace(old, new)))
