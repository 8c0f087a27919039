"""Registry of backends by name; each is imported on first use."""

from importlib import import_module

from gip_gpu.backends.base import Backend
from gip_gpu.validation.settings import one_of

# "module:class", imported on first use.
_TARGETS: dict[str, str] = {
    "numpy": "gip_gpu.backends.numpy.backend:NumpyBackend",
    "triton": "gip_gpu.backends.triton.backend:TritonBackend",
    "cupy": "gip_gpu.backends.cuda.backend:CupyBackend",
}
# Backends to try for each kind of device if none is named; the first that can run is used.
DEFAULTS: dict[str, tuple[str, ...]] = {"cpu": ("numpy",), "cuda": ("triton", "cupy")}


def register(name: str, target: str) -> None:
    """Makes a backend known to `select` and `Pool`.

    Args:
        name: what users pass as `backend`.
        target: "module:class" of a subclass of `gip_gpu.backends.base.Backend`; imported on first use.
    """
    _TARGETS[name] = target


def known() -> tuple[str, ...]:
    """Returns the names of all registered backends."""
    return tuple(_TARGETS)


def serves(name: str) -> tuple[str, ...]:
    """Returns the kinds of device that a backend serves."""
    return _import(one_of("backend", name, known())).devices


def missing(name: str, device: str) -> str:
    """Returns the reason why a backend cannot be used on a device, in a few words; "" if it can."""
    backend = _import(one_of("backend", name, known()))
    kind = device.partition(":")[0]
    if kind not in backend.devices:
        return f"it serves device {', '.join(map(repr, backend.devices))}; the device is {device!r}"
    return backend.missing(device)


def load(name: str | None, device: str) -> type[Backend]:
    """Returns the backend class for a name on a device such as "cpu" or "cuda:0"; None: the first that can run.

    Raises:
        TypeError, ValueError: the backend is not registered, or cannot be used on that device.
    """
    names = DEFAULTS[device.partition(":")[0]] if name is None else (one_of("backend", name, known()),)
    reasons = {each: missing(each, device) for each in names}
    for each, why in reasons.items():
        if not why:
            return _import(each)
    raise ValueError("; ".join(f"backend is {each!r}, which cannot be used: {why}" for each, why in reasons.items()))


def _import(name: str) -> type[Backend]:
    module, _, attribute = _TARGETS[name].partition(":")
    backend: type[Backend] = getattr(import_module(module), attribute)
    return backend
