"""A selection as HTML in notebooks."""

from html.parser import HTMLParser

import numpy as np

import gip_gpu


class Tags(HTMLParser):
    """Names of the open tags, which must all be closed in turn."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def parsed(selection):
    tags = Tags()
    tags.feed(selection._repr_html_())
    assert tags.open == []
    assert not {"script", "link", "style", "img"} & {tag for tag, _ in tags.seen}
    return tags


def test_it_shows_figures_picks_and_curves():
    F = np.random.default_rng(0).normal(size=(500, 16))
    chosen = gip_gpu.select(F, F[:, 0] ** 2, 40, device="cpu")
    tags = parsed(chosen)
    assert tags.text.startswith("Selection of 40 from 500: [" + ", ".join(map(str, chosen[:8])) + ", ...]")
    assert str(chosen.certificate) in tags.text
    curves = [attributes["points"] for tag, attributes in tags.seen if tag == "polyline"]
    heights = [float(point.split(",")[1]) for point in curves[0].split()]
    assert len(heights) == 40
    # Larger gains are drawn higher, with smaller y.
    assert (np.argsort(heights, kind="stable")[:3] == np.argsort(-chosen.gains, kind="stable")[:3]).all()


def test_few_picks_and_scores_far_from_the_embeddings():
    assert "polyline" not in {tag for tag, _ in parsed(gip_gpu.select(np.eye(3), np.ones(3), 1, device="cpu")).seen}
    F = np.random.default_rng(0).normal(size=(300, 4)) + 2
    chosen = gip_gpu.select(F, np.random.default_rng(1).normal(size=300) * 3, 5, device="cpu", sign="any")
    tags = parsed(chosen)
    assert ("explainednone" in tags.text) == (chosen.explained[-1] < 0)
    assert chosen.explained[-1] < 0


def test_values_are_escaped():
    chosen = gip_gpu.select(np.eye(3), np.ones(3), 2, device="cpu")
    object.__setattr__(chosen.plan, "objective", "<script>alert(1)</script>")
    assert "&lt;script&gt;" in chosen._repr_html_()
    parsed(chosen)
