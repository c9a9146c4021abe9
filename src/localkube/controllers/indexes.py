"""Sets of completion indexes as Jobs write them: `1,3-5,7`."""

from collections.abc import Iterable


def parse(text: str, completions: int) -> set[int]:
    """The indexes below `completions`; what cannot be read is left out, as the job controller does."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found.update(range(int(first), min(int(last or first), completions - 1) + 1))
    return found


def text(indexes: Iterable[int]) -> str:
    """The shortest form: runs of three and more are written with a dash."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(
        str(first) if first == last else f"{first},{last}" if last == first + 1 else f"{first}-{last}"
        for first, last in runs
    )
