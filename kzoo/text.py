"""Numbers, shapes and tables as text, and text from files as it may be shown."""

from collections.abc import Sequence


def printable(text: str) -> str:
    r"""Text as a terminal may show it: what is not printable by Unicode is escaped, line ends and surrogates too.

    Control characters could move the cursor or set the terminal's title, those of writing direction show another name.

    >>> printable("café \x1b[31m a\nb \u202e \udcff") == r"café \x1b[31m a\nb \u202e \udcff"
    True
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str) -> str:
    r"""A message as one line that may be shown.

    >>> one_line("it failed:\n  no such file")
    'it failed: no such file'
    """
    return printable(" ".join(line.strip() for line in text.splitlines()))


def quantity(number: int) -> str:
    """A large number for a reader.

    >>> quantity(3_857_973_248), quantity(2_359_296), quantity(1500)
    ('3.86 G', '2.36 M', '1,500')
    """
    for unit, letter in ((10**9, "G"), (10**6, "M")):
        if number >= unit:
            return f"{number / unit:.2f} {letter}"
    return f"{number:,}"


def megabytes(size: int) -> str:
    """A number of bytes for a reader, in units of 10^6.

    >>> megabytes(102_546_848), megabytes(3_420_000), megabytes(51_200)
    ('103 MB', '3.42 MB', '0.05 MB')
    """
    digits = 0 if size >= 10**8 else 1 if size >= 10**7 else 2
    return f"{size / 10**6:.{digits}f} MB"


def dimensions(shape: Sequence[int]) -> str:
    """A shape for a reader.

    >>> dimensions((7, 7, 512))
    '7x7x512'
    """
    return "x".join(map(str, shape))


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, titles first, as a Markdown table.

    >>> print(markdown_table([("a", "b"), ("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    titles, *rest = ["| " + " | ".join(map(printable, row)) + " |" for row in rows]
    return "\n".join([titles, "|" + "---|" * len(rows[0]), *rest])
