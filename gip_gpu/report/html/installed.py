"""Check that the libraries of a report are installed."""

INSTALL = 'a report needs jinja2 and scikit-learn: pip install "gip_gpu[report]"'


def check_installed() -> None:
    """Raises ImportError, with the command that installs them, if libraries of a report are missing."""
    try:
        import jinja2  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(INSTALL) from error
