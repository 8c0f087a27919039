"""Text for standard output and standard error."""

import click


def say(text: str, what: str, *, err: bool = False, nl: bool = True, note: str = "") -> None:
    """Prints text.

    Args:
        text: to print.
        what: its name in messages: "the summary".
        err: to standard error, not to standard output.
        nl: whether a line break follows.
        note: what has become of the files of this run, for the message.

    Raises:
        OSError: the stream takes no more, as a file on a full disk; says so of the stream, with the note.
    """
    try:
        click.echo(text, err=err, nl=nl)
    except OSError as error:
        stream = "standard error" if err else "standard output"
        why = f"cannot write {what} to {stream}: {error.strerror or error}"
        raise OSError(error.errno, f"{why}; {note}" if note else why) from error
