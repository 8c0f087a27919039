"""Text for standard output and standard error."""

import click


def say(text: str, what: str, *, err: bool = False, nl: bool = True, note: str = "") -> None:
    """Prints text.

    Args:
        text: text to print.
        what: name of the text in messages: "the summary".
        err: whether to print to standard error instead of standard output.
        nl: whether a line break follows.
        note: state of this run's files, for the message.

    Raises:
        OSError: the stream cannot be written, such as a file on a full disk; the message names it and adds the note.
    """
    try:
        click.echo(text, err=err, nl=nl)
    except OSError as error:
        stream = "standard error" if err else "standard output"
        why = f"cannot write {what} to {stream}: {error.strerror or error}"
        raise OSError(error.errno, f"{why}; {note}" if note else why) from error
