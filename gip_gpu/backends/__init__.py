"""Registry of backends: names, and how to load each without importing it to look."""

from importlib import import_module

from gip_gpu.backends.base import Backend
from gip_gpu.validate import one_of

# "module:class", imported on first use.
_TARGETS: dict[str, str] = {"numpy": "gip_gpu.backends.numpy_:NumpyBackend"}
# The backend for each kind of device where none is named.
DEFAULTS: dict[str, str] = {"cpu": "numpy"}


def register(name: str, target: str) -> None:
    """Makes a backend known to `select` and `Pool`.

    Args:
        name: what users pass as `backend`.
        target: "module:class" of a subclass of `gip_gpu.backends.base.Backend`; imported on first use.
    """
    _TARGETS[name] = target


def known() -> tuple[str, ...]:
    """Names of all registered backends."""
    return tuple(_TARGETS)


def load(name: str | None, device: str) -> type[Backend]:
    """The backend class for a name (None: the default) on a device such as "cpu" or "cuda:0".

    Raises:
        TypeError, ValueError: not registered, or it does not serve that device.
    """
    kind = device.partition(":")[0]
    name = DEFAULTS[kind] if name is None else one_of("backend", name, known())
    module, _, attribute = _TARGETS[name].partition(":")
    backend: type[Backend] = getattr(import_module(module), attribute)
    if kind not in backend.devices:
        serves = ", ".join(map(repr, backend.devices))
        raise ValueError(f"backend is {name!r}, which serves device {serves}; the device is {device!r}")
    return backend
