"""A linker for one file: turns the object that PoCL compiles a kernel to into a shared library.

PoCL runs `ld` for each kernel, with the libraries of a C compiler (`-lgcc -lc`). A machine without
a compiler has neither, and PoCL from PyPI brings neither; there `clnet.device.toolchain` puts this
program on PATH under the name `ld`. It understands what PoCL needs: one relocatable ELF file for
x86-64, position-independent, to one shared library. Symbols that the object does not define are
left to the dynamic loader; libm and libgcc_s, which are on every Debian, are named as needed.

It runs once a kernel, so it imports little. Formats: System V ABI (gABI chapters 4 and 5) and its
AMD64 supplement (table 4.9, relocation types).
"""

from __future__ import annotations

import struct
import sys
from typing import NamedTuple

PAGE = 0x1000
SHF_WRITE, SHF_ALLOC, SHF_EXEC = 1, 2, 4
SHT_SYMTAB, SHT_RELA, SHT_NOBITS = 2, 4, 8
SHN_ABS, SHN_COMMON = 0xFFF1, 0xFFF2
STB_LOCAL, STB_WEAK = 0, 2
R_64, R_PC32, R_PLT32, R_GOTPCREL, R_PC64 = 1, 2, 4, 9, 24
R_GOTPCRELX, R_REX_GOTPCRELX = 41, 42
R_GLOB_DAT, R_RELATIVE = 6, 8
READ, READ_WRITE, READ_EXEC = 4, 6, 5


class LinkError(Exception):
    """The object needs what this linker does not do."""


class Section(NamedTuple):
    """A section header of the object: name and link as indices, `data` its bytes in the file."""

    kind: int
    flags: int
    data: bytes
    size: int
    link: int
    info: int
    align: int


class Symbol(NamedTuple):
    """A symbol of the object; `section` is 0 where it is defined elsewhere."""

    name: str
    binding: int
    type: int
    section: int
    value: int
    size: int


def read_object(blob: bytes) -> tuple[list[Section], list[Symbol]]:
    """Read sections and symbols of a relocatable file; raises LinkError for any other file."""
    # ELF, 64 bits, little-endian; ET_REL, EM_X86_64
    if blob[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", blob, 16) != (1, 62):
        raise LinkError("not a relocatable x86-64 ELF file")
    (table,) = struct.unpack_from("<Q", blob, 40)
    _, count = struct.unpack_from("<HH", blob, 58)
    sections = []
    for index in range(count):
        _, kind, flags, _, offset, size, link, info, align, _ = struct.unpack_from(
            "<IIQQQQIIQQ", blob, table + 64 * index
        )
        data = b"" if kind == SHT_NOBITS else blob[offset : offset + size]
        sections.append(Section(kind, flags, data, size, link, info, max(align, 1)))
    symbols = []
    for section in sections:
        if section.kind == SHT_SYMTAB:
            names = sections[section.link].data
            for at in range(0, section.size, 24):
                name, info, _, index, value, size = struct.unpack_from("<IBBHQQ", section.data, at)
                text = names[name : names.index(b"\0", name)].decode()
                symbols.append(Symbol(text, info >> 4, info & 15, index, value, size))
    return sections, symbols


def aligned(offset: int, align: int) -> int:
    return -(-offset // align) * align


def symbol_hash(name: str) -> int:
    """The hash of DT_HASH (gABI, figure 5-13)."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high
    return value & 0xFFFFFFFF


class Image:
    """The shared library being laid out: bytes from address 0, which are also file offsets."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.segments: list[tuple[int, int, int, int]] = []  # type, flags, start, size

    def place(self, data: bytes, align: int = 16) -> int:
        """Append bytes at the next aligned address, which is returned."""
        self.data.extend(bytes(aligned(len(self.data), align) - len(self.data)))
        address = len(self.data)
        self.data.extend(data)
        return address

    def segment(self, flags: int, start: int) -> None:
        """Close a loadable segment that began at `start`; the next one begins on a new page."""
        self.segments.append((1, flags, start, len(self.data) - start))
        self.place(b"", PAGE)


def link(blob: bytes) -> bytes:
    """Return the shared library of one relocatable object.

    Raises LinkError for relocations and sections that position-independent kernels do not have.
    """
    sections, symbols = read_object(blob)
    relocations = []  # section, offset, type, symbol, addend
    for section in sections:
        if section.kind == SHT_RELA and sections[section.info].flags & SHF_ALLOC:
            for offset, info, addend in struct.iter_unpack("<QQq", section.data):
                relocations.append((section.info, offset, info & 0xFFFFFFFF, info >> 32, addend))

    outside = [s.section == 0 or s.section == SHN_COMMON for s in symbols]
    if any(symbol.section == SHN_COMMON for symbol in symbols):
        raise LinkError("common symbols are not supported")
    wanted = [index for index, s in enumerate(symbols) if s.name and outside[index]]
    # Types 3 and 4 are section and file names; what is local stays local.
    shown = [
        index
        for index, s in enumerate(symbols)
        if not outside[index] and s.binding != STB_LOCAL and s.name
    ]
    dynamic_index = {index: number for number, index in enumerate([*wanted, *shown], 1)}
    got = sorted({r[3] for r in relocations if r[2] in (R_GOTPCREL, R_GOTPCRELX, R_REX_GOTPCRELX)})
    got = sorted({*got, *(r[3] for r in relocations if outside[r[3]] and r[2] != R_64)})
    calls = [index for index in got if outside[index]]
    absolute = [r for r in relocations if r[2] == R_64]

    image = Image()
    image.place(bytes(64 + 56 * 6), 1)  # headers, written at the end
    strings = bytearray(b"\0")

    def string(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text.encode()) - 1

    names = {index: string(symbols[index].name) for index in dynamic_index}
    needed = [string(name) for name in libraries([symbols[index].name for index in wanted])]
    symbols_at = image.place(bytes(24 * (len(dynamic_index) + 1)))
    strings_at = image.place(bytes(strings), 1)
    hashes_at = image.place(hash_table([symbols[index].name for index in dynamic_index]), 8)
    dynamic_relocations = len(got) + len(absolute)
    relocations_at = image.place(bytes(24 * dynamic_relocations), 8)

    addresses: dict[int, int] = {}
    written = {r[0] for r in absolute}  # the dynamic loader writes there

    def place_sections(flags: int) -> None:
        for index, section in enumerate(sections):
            kept = section.flags & (SHF_WRITE | SHF_EXEC)
            kept |= SHF_WRITE if index in written else 0
            if section.flags & SHF_ALLOC and kept == flags:
                data = section.data if section.kind != SHT_NOBITS else bytes(section.size)
                addresses[index] = image.place(data, section.align)

    place_sections(0)
    image.segment(READ, 0)
    start = len(image.data)
    place_sections(SHF_EXEC)
    stubs_at = image.place(bytes(8 * len(calls)))
    image.segment(READ_EXEC, start)
    start = len(image.data)
    place_sections(SHF_WRITE)
    got_at = image.place(bytes(8 * len(got)), 8)
    unplaced = [s for i, s in enumerate(sections) if s.flags & SHF_ALLOC and i not in addresses]
    if unplaced:
        raise LinkError("a section is both writable and executable")

    entries = [(1, offset) for offset in needed]
    entries += [(4, hashes_at), (5, strings_at), (6, symbols_at), (10, len(strings)), (11, 24)]
    if dynamic_relocations:
        entries += [(7, relocations_at), (8, 24 * dynamic_relocations), (9, 24)]
    entries.append((0, 0))
    dynamic_at = image.place(b"".join(struct.pack("<QQ", *entry) for entry in entries), 16)
    image.segments.append((1, READ_WRITE, start, len(image.data) - start))
    image.segments.append((2, READ_WRITE, dynamic_at, 16 * len(entries)))  # PT_DYNAMIC
    image.segments.append((0x6474E551, READ_WRITE, 0, 0))  # PT_GNU_STACK: not executable

    def address(index: int) -> int:
        symbol = symbols[index]
        return symbol.value + (0 if symbol.section == SHN_ABS else addresses[symbol.section])

    for index, number in dynamic_index.items():
        symbol = symbols[index]
        value = 0 if outside[index] else address(index)
        defined = 0 if outside[index] else 1  # a section's number: the loader asks only if it is 0
        packed = (names[index], symbol.binding << 4 | symbol.type, 0, defined, value, symbol.size)
        struct.pack_into("<IBBHQQ", image.data, symbols_at + 24 * number, *packed)

    # Each slot of the global offset table is filled by the dynamic loader.
    rows = []
    slots = {index: got_at + 8 * place for place, index in enumerate(got)}
    for index, slot in slots.items():
        if outside[index]:
            rows.append((slot, dynamic_index[index] << 32 | R_GLOB_DAT, 0))
        else:
            rows.append((slot, R_RELATIVE, address(index)))
    for within, offset, _, index, addend in absolute:
        place = addresses[within] + offset
        if outside[index]:
            rows.append((place, dynamic_index[index] << 32 | R_64, addend))
        else:
            rows.append((place, R_RELATIVE, address(index) + addend))
    for number, row in enumerate(rows):
        struct.pack_into("<QQq", image.data, relocations_at + 24 * number, *row)

    # A call of a function outside goes through a stub: jmp *slot(%rip).
    stubs = {index: stubs_at + 8 * place for place, index in enumerate(calls)}
    for index, stub in stubs.items():
        struct.pack_into("<BBi", image.data, stub, 0xFF, 0x25, slots[index] - (stub + 6))

    for within, offset, kind, index, addend in relocations:
        place = addresses[within] + offset
        if kind in (R_GOTPCREL, R_GOTPCRELX, R_REX_GOTPCRELX):
            struct.pack_into("<i", image.data, place, slots[index] + addend - place)
        elif kind in (R_PC32, R_PLT32):
            target = stubs[index] if outside[index] else address(index)
            struct.pack_into("<i", image.data, place, target + addend - place)
        elif kind == R_PC64 and not outside[index]:
            struct.pack_into("<q", image.data, place, address(index) + addend - place)
        elif kind != R_64:
            raise LinkError(f"relocation type {kind} is not supported")

    write_headers(image)
    return bytes(image.data)


def libraries(wanted: list[str]) -> list[str]:
    """The libraries that the names wanted may come from; libc is always there."""
    found = ["libm.so.6"] if wanted else []
    # What compilers call for arithmetic that has no instruction: __udivti3, __extendhfsf2, ...
    if any(name.startswith("__") for name in wanted):
        found.append("libgcc_s.so.1")
    return found


def hash_table(names: list[str]) -> bytes:
    """DT_HASH with one bucket for each name: how the loader finds a symbol."""
    buckets, chains = [0] * max(len(names), 1), [0] * (len(names) + 1)
    for number, name in enumerate(names, 1):
        bucket = symbol_hash(name) % len(buckets)
        chains[number], buckets[bucket] = buckets[bucket], number
    words = [len(buckets), len(chains), *buckets, *chains]
    return struct.pack(f"<{len(words)}I", *words)


def write_headers(image: Image) -> None:
    """Write the ELF header and the program headers at the image's start."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    count = len(image.segments)
    header = struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, count, 64, 0, 0)
    image.data[:64] = ident + header
    for number, (kind, flags, start, size) in enumerate(image.segments):
        align = PAGE if kind == 1 else 8
        program = struct.pack("<IIQQQQQQ", kind, flags, start, start, start, size, size, align)
        image.data[64 + 56 * number : 64 + 56 * (number + 1)] = program


def main(arguments: list[str]) -> int:
    """Link as `ld -shared -o OUT OBJECT` does; other options do not matter here."""
    out, objects = "", []
    words = iter(arguments)
    for word in words:
        if word == "-o":
            out = next(words, "")
        elif word == "-m":
            next(words, "")
        elif not word.startswith("-"):
            objects.append(word)
    if "-shared" not in arguments or not out or len(objects) != 1:
        print("ld: clnet's linker makes a shared library of one object", file=sys.stderr)
        return 1
    try:
        with open(objects[0], "rb") as file:
            library = link(file.read())
        with open(out, "wb") as file:
            file.write(library)
    except (OSError, LinkError) as error:
        print(f"ld: {objects[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
