"""Whether a row can be read, is empty or too long, and teaches anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kamerton.dataset.checks.registry import row_check
from kamerton.dataset.seen import INVISIBLE, VISIBLE, Seen, Texts
from kamerton.dataset.sentences import MAX_INPUT_CHARACTERS, MAX_OUTPUT_CHARACTERS
from kamerton.findings import Hit
from kamerton.types import Example


@row_check(
    "K101",
    "empty-output",
    "error",
    what="have an empty output",
    advice="Write the answer that the model should give, or remove the row.",
    why="The model would learn to say nothing. White space and invisible characters are nothing, "
    "too; of a conversation every answer that is learned must say something.",
)
def empty_output(seen: Seen) -> Iterator[Hit]:
    empty = set(seen.outputs.lacking(VISIBLE).tolist())
    for place in sorted(empty | set(_places(seen, _silent))):
        detail = _nothing(seen.outputs, place) if place in empty else "one of the answers is empty"
        yield seen.hit(place, "output", detail)


@row_check(
    "K102",
    "empty-input",
    "error",
    what="have an empty input",
    advice="Write what the model is to answer, or remove the row.",
    why="The model would learn to give this answer to nothing at all.",
)
def empty_input(seen: Seen) -> Iterator[Hit]:
    empty = set(seen.inputs.lacking(VISIBLE).tolist())
    for place in sorted(empty | set(_places(seen, _unasked))):
        detail = _nothing(seen.inputs, place) if place in empty else "no user turn says anything"
        yield seen.hit(place, seen.input_field(place), detail)


def _nothing(texts: Texts, place: int) -> str:
    if not texts.lengths[place]:
        return "is empty"
    if texts.marks[place] & INVISIBLE:
        return "has only invisible characters"
    return "has only white space"


def _places(seen: Seen, wrong: Callable[[Example], bool]) -> list[int]:
    """Of the conversations about which `wrong` says so."""
    examples = seen.chunk.made or ()
    return [at for at, made in enumerate(examples) if len(made.contents) > 1 and wrong(made)]


def _silent(example: Example) -> bool:
    answers = [turn.text for turn in example.contents if turn.role == "model" and turn.learn]
    return not all(map(_says_something, [*answers, example.output]))


def _unasked(example: Example) -> bool:
    return not any(turn.role == "user" and _says_something(turn.text) for turn in example.contents)


def _says_something(text: str) -> bool:
    """Mostly the first character tells."""
    return any(character.isprintable() and not character.isspace() for character in text)


@row_check(
    "K103",
    "unreadable-row",
    "error",
    what="cannot be read",
    advice="Correct these rows, or remove them; `kamerton check --explain K103` lists the shapes "
    "that are read.",
    why="A row that stands for no example would be missing from the run. Known shapes: text_input "
    "and output, input and output, prompt and completion, instruction (with input) and output, "
    "messages, contents, conversations.",
)
def unreadable_row(seen: Seen) -> Sequence[Hit]:
    return seen.chunk.unreadable


@row_check(
    "K104",
    "input-too-long",
    "error",
    what=f"have an input of more than {MAX_INPUT_CHARACTERS} characters",
    advice="Shorten the input to what the answer needs, or split the row into several.",
    why=f"The tuning API takes at most {MAX_INPUT_CHARACTERS} characters of input.",
)
def input_too_long(seen: Seen) -> Iterator[Hit]:
    for place in np.flatnonzero(seen.inputs.lengths > MAX_INPUT_CHARACTERS).tolist():
        length = len(seen.inputs.texts[place])
        if seen.chunk.made is not None:  # Without what was put between the turns.
            length = sum(len(turn.text) for turn in seen.chunk.made[place].contents)
        if length > MAX_INPUT_CHARACTERS:
            detail = f"{length} characters, at most {MAX_INPUT_CHARACTERS}"
            yield seen.hit(place, seen.input_field(place), detail)


@row_check(
    "K105",
    "output-too-long",
    "error",
    what=f"have an output of more than {MAX_OUTPUT_CHARACTERS} characters",
    advice="Shorten the answer, or split the row into several.",
    why=f"The tuning API takes at most {MAX_OUTPUT_CHARACTERS} characters in an answer; of a "
    "conversation, in each answer.",
)
def output_too_long(seen: Seen) -> Iterator[Hit]:
    for place in np.flatnonzero(seen.outputs.lengths > MAX_OUTPUT_CHARACTERS).tolist():
        length = len(seen.outputs.texts[place])
        if seen.chunk.made is not None:
            length = max(map(len, _answers(seen.chunk.made[place])))
        if length > MAX_OUTPUT_CHARACTERS:
            yield seen.hit(place, "output", f"{length} characters, at most {MAX_OUTPUT_CHARACTERS}")


def _answers(example: Example) -> Iterator[str]:
    """Those that are learned."""
    yield from (turn.text for turn in example.contents if turn.role == "model" and turn.learn)
    yield example.output


@row_check(
    "K106",
    "over-context",
    "warning",
    what="are longer than the base model's context",
    advice="Shorten these rows, or choose a base model with a longer context.",
    why="What does not fit is cut: first the beginning of the prompt, then the end of the answer. "
    "The model then learns answers to prompts that it has not seen in full, or half answers.",
)
def over_context(seen: Seen) -> Iterator[Hit]:
    for place, tokens in seen.tokens.items():
        cuts = [
            f"{count} {part} token{'' if count == 1 else 's'}"
            for count, part in ((tokens.cut_prompt, "prompt"), (tokens.cut_answer, "answer"))
            if count
        ]
        if cuts and tokens.answer:
            yield seen.hit(place, detail=f"{' and '.join(cuts)} would be cut")


@row_check(
    "K107",
    "trains-on-nothing",
    "error",
    what="would train on nothing",
    advice="Give at least one answer of the row the weight 1, shorten it until an answer fits, or "
    "remove the row.",
    why="A row in which every answer has the weight 0, or is cut off whole, costs time and teaches "
    "nothing.",
)
def trains_on_nothing(seen: Seen) -> Iterator[Hit]:
    yield from seen.chunk.unlearned
    for place, tokens in seen.tokens.items():
        if not tokens.answer:
            yield seen.hit(place, detail="no answer token fits the base model's context")


@row_check(
    "K108",
    "unreadable-file",
    "error",
    what="The file can be read only up to some place, or not at all.",
    advice="Correct the file at that place, or save it anew: as UTF-8 text, or whole if it was cut "
    "off on its way.",
    why="What follows that place cannot be read, so nobody knows what would be missing from the "
    "run.",
)
def unreadable_file(seen: Seen) -> Sequence[Hit]:
    """Found by the reading itself."""
    return ()


@row_check(
    "K109",
    "no-examples",
    "error",
    what="There are no examples in the file.",
    advice="Give at least one row with an input and an output.",
    why="There is nothing to train on.",
)
def no_examples(seen: Seen) -> Sequence[Hit]:
    """Found at the end of the reading."""
    return ()
