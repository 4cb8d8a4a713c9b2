"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def table_lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; cells may hold Markdown, but a bar ends a cell: see `plain_cell`."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def plain_cell(text: str) -> str:
    """The text as a cell that shows it as it is: bars, stars and brackets mean nothing."""
    for sign in "|*[":
        text = text.replace(sign, f"\\{sign}")
    return text
