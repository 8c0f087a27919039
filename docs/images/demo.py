"""Makes demo.png, the picture of the README: the figure of `gip-gpu demo` at half the size and in few colours."""

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from gip_gpu.report import demo

with TemporaryDirectory() as folder:
    demo.run(Path(folder))
    with Image.open(Path(folder) / "demo.png") as figure:
        small = (
            figure.convert("RGB").resize((figure.width // 2, figure.height // 2), Image.Resampling.LANCZOS).quantize(32)
        )
small.save(Path(__file__).with_name("demo.png"), optimize=True)
