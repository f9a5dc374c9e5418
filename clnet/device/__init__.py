"""Devices: discovery, queues, memory, programs. The only package that imports pyopencl.

Importing it looks for no device and compiles nothing; asking for a device does.
"""

from clnet.device.capabilities import Capabilities
from clnet.device.discovery import (
    Discovery,
    default_device,
    device,
    devices,
    discover,
    empty_cache,
    memory_stats,
    set_default_device,
)
from clnet.device.memory import Buffer
from clnet.device.programs import Kernel
from clnet.device.runtime import Device
from clnet.device.sizes import format_bytes
from clnet.device.sources import KernelSource, SerialSource

__all__ = [
    "Buffer",
    "Capabilities",
    "Device",
    "Discovery",
    "Kernel",
    "KernelSource",
    "SerialSource",
    "default_device",
    "device",
    "devices",
    "discover",
    "empty_cache",
    "format_bytes",
    "memory_stats",
    "set_default_device",
]
