"""Saving and loading: tensors as safetensors files, and checkpoints from which training goes on.

A safetensors file is the length of its header (8 bytes, little-endian), the header (JSON: dtype,
shape and place of each tensor, and metadata) and the bytes of the tensors. It is written here, as
the raw interface of safetensors differs between its versions, and read by safetensors.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from clnet import core
from clnet.core import Tensor
from clnet.dtypes import DTYPES, DType
from clnet.errors import CheckpointError
from clnet.files import replace
from clnet.ops.convert import host_array
from clnet.ops.create import as_tensor, upload
from clnet.ops.random import get_rng_state, set_rng_state

_CODES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int32": "I32",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}
_DTYPES = {code: DTYPES[name] for name, code in _CODES.items()}
_CHECKSUM = "clnet.crc32"
_CHECKPOINT = "clnet.checkpoint"

PathLike = str | os.PathLike[str]


# --- files ---------------------------------------------------------------------------------------


def save(
    tensors: Mapping[str, Any], path: PathLike, metadata: Mapping[str, str] | None = None
) -> None:
    """Save tensors (or what `cn.as_tensor` takes) by name to a safetensors file.

    The file is replaced as a whole: a crash leaves the old one. A checksum is added to the
    metadata, whose keys and values are strings. Waits for the device. Errors: TypeError for other
    metadata; CheckpointError where the file cannot be written.

    >>> import clnet as cn, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "w.safetensors"
    >>> cn.save({"w": cn.tensor([1.0, 2.0])}, path)
    >>> cn.load(path)["w"].tolist()
    [1.0, 2.0]
    """
    path = Path(path)
    notes = dict(metadata or {})
    if not all(isinstance(text, str) for item in notes.items() for text in item):
        raise TypeError(f"save: metadata is {notes}; needs strings as keys and values")
    values = {name: as_tensor(value).detach() for name, value in tensors.items()}
    core.evaluate(*values.values())
    # Larger elements first: then each tensor lies at a multiple of its element's size.
    names = sorted(values, key=lambda name: -values[name].dtype.itemsize)
    header: dict[str, Any] = {}
    chunks: list[bytes] = []
    begin = checksum = 0
    for name in names:
        array = np.ascontiguousarray(host_array(values[name]))
        chunk = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {
            "dtype": _CODES[values[name].dtype.name],
            "shape": list(values[name].shape),
            "data_offsets": [begin, begin + len(chunk)],
        }
        begin += len(chunk)
        checksum = zlib.crc32(chunk, checksum)
        chunks.append(chunk)
    header = {"__metadata__": {**notes, _CHECKSUM: f"{checksum:08x}"}, **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        replace(path, [len(text).to_bytes(8, "little"), text, *chunks])
    except OSError as error:
        raise CheckpointError(f"save: cannot write {path}: {error.strerror or error}") from error


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Return a file's bytes and its header, checked against the file's length and checksum."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"load: cannot read {path}: {error.strerror or error}") from error
    if len(data) < 8:
        raise CheckpointError(
            f"load: {path} is no safetensors file: it has {len(data)} bytes, less than a header"
        )
    length = int.from_bytes(data[:8], "little")
    header = None
    if data[8:9] == b"{":
        if length > len(data) - 8:
            raise CheckpointError(
                f"load: {path} is truncated or damaged: its header has {length} bytes, "
                f"{len(data) - 8} of them are there"
            )
        with contextlib.suppress(ValueError):
            header = json.loads(data[8 : 8 + length])
    if not isinstance(header, dict):
        raise CheckpointError(f"load: {path} is no safetensors file, or its header is damaged")
    notes = header.setdefault("__metadata__", {})
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        wanted = 8 + length + max(ends, default=0)
        if len(data) < wanted:
            raise CheckpointError(
                f"load: {path} is truncated: it has {len(data)} bytes of {wanted}"
            )
        checksum = notes.get(_CHECKSUM)
        if checksum is not None and zlib.crc32(memoryview(data)[8 + length :]) != int(checksum, 16):
            raise CheckpointError(f"load: {path} is damaged: its checksum does not match its data")
    return data, header


def _tensor(name: str, code: str, shape: list[int], data: Any, path: Path, device: Any) -> Tensor:
    dtype: DType | None = _DTYPES.get(code)
    if dtype is None:
        raise CheckpointError(
            f"load: {path} holds {name!r} as {code}, which clnet has not; "
            f"it has {', '.join(_CODES.values())}"
        )
    array = np.frombuffer(data, dtype.storage.newbyteorder("<")).reshape(shape)
    if dtype.name == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return upload("load", array, dtype, device)


def load(path: PathLike, device: Any = None) -> dict[str, Tensor]:
    """Load the tensors of a safetensors file, by name, onto a device (the default one).

    Errors: CheckpointError, which names the file and what is wrong, for one that is missing,
    truncated, damaged or not of this format; DTypeError for float64 on a device without it.
    """
    path = Path(path)
    data, _ = _read(path)
    try:
        found = safetensors.deserialize(data)
    except Exception as error:  # safetensors' own exception, which differs between versions
        raise CheckpointError(f"load: {path} is damaged: {error}") from error
    on = core.runtime.device(device)
    return {
        name: _tensor(name, t["dtype"], t["shape"], t["data"], path, on)
        for name, t in sorted(found, key=lambda item: item[0])
    }


def load_metadata(path: PathLike) -> dict[str, str]:
    """Return the metadata of a safetensors file. Errors: CheckpointError."""
    return dict(_read(Path(path))[1]["__metadata__"])


# --- checkpoints ---------------------------------------------------------------------------------


def _flattened(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return nested values as JSON can hold them; tensors go to `tensors` and leave their names."""
    if isinstance(value, Tensor):
        while name in tensors:
            name += "'"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[_flattened(k, name, tensors), _flattened(v, f"{name}.{k}", tensors)]
                         for k, v in value.items()]}  # fmt: skip
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_flattened(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"save_checkpoint: cannot save {name}, a {type(value).__name__}; needs tensors, numbers, "
        "strings, None, and lists, tuples and dicts of them"
    )


def _nested(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_nested(k, tensors): _nested(v, tensors) for k, v in content}
    items = [_nested(v, tensors) for v in content]
    return items if kind == "list" else tuple(items)


def save_checkpoint(
    path: PathLike,
    *,
    model: Any = None,
    optimizer: Any = None,
    scheduler: Any = None,
    rng: bool = True,
    **values: Any,
) -> None:
    """Save all that training needs to go on as if it had not stopped, in one safetensors file.

    `model`, `optimizer`, `scheduler`: what has a `state_dict`; `rng`: also the state of the
    generator of `cn.manual_seed`. Further keywords are saved as they are: tensors, numbers,
    strings, and nested lists, tuples and dicts. The file is replaced as a whole: a crash leaves the
    old one. Errors: TypeError for values of other types; CheckpointError.

    >>> import clnet as cn, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.safetensors"
    >>> net = cn.nn.Linear(3, 2)
    >>> cn.save_checkpoint(path, model=net, optimizer=cn.optim.SGD(net.parameters()), step=7)
    >>> cn.load_checkpoint(path, model=net)
    {'step': 7}
    """
    tree: dict[str, Any] = {"values": values}
    for name, part in (("model", model), ("optimizer", optimizer), ("scheduler", scheduler)):
        if part is not None:
            tree[name] = part.state_dict()
    if rng:
        tree["rng"] = get_rng_state()
    tensors: dict[str, Tensor] = {}
    flat = {name: _flattened(part, name, tensors) for name, part in tree.items()}
    save(tensors, path, {_CHECKPOINT: json.dumps(flat)})


def load_checkpoint(
    path: PathLike,
    *,
    model: Any = None,
    optimizer: Any = None,
    scheduler: Any = None,
    rng: bool = True,
    device: Any = None,
) -> dict[str, Any]:
    """Restore what `save_checkpoint` saved into the objects given, and return the other values.

    Parameters and optimizer state go to the devices of the model's parameters, wherever they were
    saved; returned tensors to `device`. Errors: CheckpointError for a file that is missing, damaged
    or of another model, and for an object whose state the file does not have.
    """
    path = Path(path)
    tensors = load(path, device)
    text = load_metadata(path).get(_CHECKPOINT)
    if text is None:
        raise CheckpointError(f"load_checkpoint: {path} holds tensors only; use cn.load")
    tree = {name: _nested(part, tensors) for name, part in json.loads(text).items()}
    for name, part in (("model", model), ("optimizer", optimizer), ("scheduler", scheduler)):
        if part is None:
            continue
        if name not in tree:
            raise CheckpointError(
                f"load_checkpoint: {path} holds no {name}; it holds {', '.join(tree)}"
            )
        try:
            part.load_state_dict(tree[name])
        except CheckpointError as error:
            raise CheckpointError(f"load_checkpoint: {path}: {error}") from error
    if rng and "rng" in tree:
        set_rng_state(tree["rng"])
    values: dict[str, Any] = tree["values"]
    return values
