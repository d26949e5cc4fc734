"""Tables for people, or for RESULTS.md."""

__all__ = ["table"]


def table(heads: list[str], rows: list[list[str]], markdown: bool) -> str:
    """Return rows under their heads, all columns but the first to the right."""
    if markdown:
        rule = ["---", *["---:"] * (len(heads) - 1)]
        return "\n".join("| " + " | ".join(row) + " |" for row in [heads, rule, *rows])
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]

    def line(row: list[str]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    return "\n".join([line(heads), "  ".join("-" * w for w in widths), *map(line, rows)])
