"""Facts of this machine: CPU and memory."""

import sys

import pytest

from gip_gpu.system import cpu, memory


def test_processor():
    assert cpu.processor()
    assert cpu.cores() >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="the files are those of Linux")
def test_sizes(tmp_path):
    block = bytearray(50 << 20)
    assert 50 << 20 <= memory.peak() < 1 << 50
    assert 0 < memory.available() < 1 << 50
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t   1234 kB\nVmRSS:\t 7 kB\n")
    assert memory._kilobytes(str(tmp_path / "status"), b"VmHWM:") == 1234 << 10
    with pytest.raises(ValueError, match="VmSwap"):
        memory._kilobytes(str(tmp_path / "status"), b"VmSwap:")
    assert len(block) == 50 << 20


def test_where_the_system_does_not_say(monkeypatch):
    def missing(path, name):
        raise FileNotFoundError(path)

    monkeypatch.setattr(memory, "_kilobytes", missing)
    assert memory.available() > 0
    assert memory.peak() > 0
