"""Numbers with their noun, in sentences for the user."""

_IRREGULAR = {"mitosis": "mitoses"}


def plural(number: int, noun: str) -> str:
    """The noun as it stands after that number: "field" after 1, else "fields"; it may have words before it."""
    if number == 1:
        return noun
    *before, last = noun.split(" ")
    return " ".join([*before, _IRREGULAR.get(last, f"{last}s")])


def count_noun(number: int, noun: str) -> str:
    """ "1 field", "3 finished fields", "0 mitoses"."""
    return f"{number} {plural(number, noun)}"


def duration(seconds: float) -> str:
    """A span of time in words: "75 s", "2 min"."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
