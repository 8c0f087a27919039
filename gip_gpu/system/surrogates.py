"""Lone surrogates in text, which JSON can hold and UTF-8 cannot."""


def encodable(text: str) -> str:
    r"""Returns text that UTF-8 can hold: a lone surrogate becomes U+FFFD; other text is returned itself.

    >>> encodable("a\ud800b"), encodable("\ud83d\ude00") == "\U0001f600"
    ('a\ufffdb', True)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
