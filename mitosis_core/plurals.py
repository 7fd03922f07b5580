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
