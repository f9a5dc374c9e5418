"""Programs of one device: built together, kept in the process, and on disk.

Building costs tenths of a second a kernel on some compilers, so nothing is built twice in a
process, and kernels that are needed together are built as one program.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from clnet.device import binaries, processor, profiling
from clnet.device.opencl import cl, device_error
from clnet.device.sources import KernelSource, SerialSource, excerpt, located, program_text
from clnet.errors import BuildError

Source = KernelSource | SerialSource

# No -cl-fast-relaxed-math and the like: they break NaN and infinity on the implementations tried.
OPTIONS = "-cl-std=CL1.2"

# What compilers write before the line of an error: clang's and PoCL's file:line:column, NVIDIA's
# and Intel's older file(line).
_PLACE = re.compile(r"([\w.-]+\.(?:cl|h))(?::(\d+)(?::\d+)?|\((\d+)\))")

# NVIDIA's compiler counts the lines of the whole program and names no files.
_LINE = re.compile(r"<kernel>:(\d+)")


class Kernel:
    """A kernel ready to be given arguments; `raw` is the pyopencl kernel.

    Arguments belong to the object: two launches that are prepared side by side need two.
    """

    __slots__ = ("raw", "source")

    def __init__(self, raw: Any, source: Source) -> None:
        self.raw = raw
        self.source = source

    def __repr__(self) -> str:
        return f"Kernel({self.source.file}: {self.source.entry})"


class Programs:
    """The programs built for one device.

    `name` is how messages call the device; `fingerprint()` tells drivers and their settings apart
    in the cache on disk, and is asked for only when something is built.
    """

    def __init__(
        self, context: Any, device: Any, name: str, fingerprint: Callable[[], str]
    ) -> None:
        self._context = context
        self._device = device
        self._options = OPTIONS + processor.option(device)
        self._name = name
        self._fingerprint = fingerprint
        self._built: dict[Source, Any] = {}
        self._lock = threading.Lock()

    def kernels(self, sources: Sequence[Source]) -> list[Kernel]:
        """A new kernel object for each source; those not yet built are built as one program.

        Raises BuildError with the compiler's log.
        """
        built = self._built
        if any(source not in built for source in sources):
            with self._lock:
                self._build([source for source in dict.fromkeys(sources) if source not in built])
        try:
            return [Kernel(cl.Kernel(built[source], source.name), source) for source in sources]
        except cl.Error as error:
            raise device_error("kernels", self._name, error) from error

    def seen(self, source: Source) -> bool:
        """Whether a source was built before, alone: here, or by a process that left it on disk."""
        if source in self._built:
            return True
        entry = binaries.entry(self._options, self._fingerprint(), program_text([source]))
        return entry.read() is not None

    def _build(self, sources: list[Source]) -> None:
        if not sources:
            return  # another thread built them meanwhile
        try:
            program = self._obtain(program_text(sources))
        except cl.Error as error:
            if len(sources) == 1:
                raise self._build_error(sources[0], error) from None
            # One by one, to name the kernel at fault.
            for source in sources:
                self._build([source])
            # None of them is: slower to build, and a mistake in the kernels' files.
            warnings.warn(
                f"{', '.join(s.entry for s in sources)} build only one by one: {error.clnet_log}",
                RuntimeWarning,
                stacklevel=2,
            )
            return
        for source in sources:
            self._built[source] = program

    def _obtain(self, text: str) -> Any:
        with profiling.phase("compile"):
            return self._read_or_build(text)

    def _read_or_build(self, text: str) -> Any:
        entry = binaries.entry(self._options, self._fingerprint(), text)
        saved = entry.read()
        if saved:
            try:
                return self._load(saved)
            except cl.Error:
                entry.discard()  # the driver refuses it
        # pyopencl's own Program class would add options of its own and, where the compiler fails,
        # leave the source behind in a temporary file.
        program = cl._cl._Program(self._context, text)
        try:
            self._compile(program)
        except cl.Error as error:
            log = program.get_build_info(self._device, cl.program_build_info.LOG)
            error.clnet_log = str(log or error).strip()
            raise
        if binaries.worth_keeping(self._device):
            entry.write(program.get_info(cl.program_info.BINARIES)[0])
        elif saved is None:
            entry.write(b"")
        return program

    def _load(self, binary: bytes) -> Any:
        program = cl._cl._Program(self._context, [self._device], [binary])
        self._compile(program)
        return program

    def _compile(self, program: Any) -> None:
        with warnings.catch_warnings():
            # NVIDIA's compiler has remarks on what it builds without a fault.
            warnings.simplefilter("ignore", cl.CompilerWarning)
            program.build(self._options.encode(), [self._device])

    def _build_error(self, source: Source, error: Exception) -> BuildError:
        log = getattr(error, "clnet_log", str(error))
        text = program_text([source])
        lines = [_LINE.sub(lambda m: located(text, int(m[1])), line) for line in log.splitlines()]
        places = [
            place
            for line in sorted(lines, key=lambda line: "error" not in line.lower())
            if (place := _PLACE.search(line)) is not None
        ]
        where, shown = source.file, ""
        if places:
            file, line = places[0][1], int(places[0][2] or places[0][3])
            where = places[0][0]
            shown = "\n" + excerpt(file, line)
        return BuildError(
            f"build: {source.entry} does not compile on {self._name}: {where}{shown}\n"
            f"compiler's log:\n{log}",
            log=log,
        )
