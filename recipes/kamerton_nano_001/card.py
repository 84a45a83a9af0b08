"""The model's card: a template, and what is measured pasted between its marks."""

from pathlib import Path

from recipes.kamerton_nano_001.pretrain import Plan, Progress

TEMPLATE = Path(__file__).with_name("card.md")
NAME = "README.md"


def write(folder: Path, plan: Plan, progress: Progress) -> None:
    """A new card, with the facts of the run and no scores yet."""
    (folder / NAME).write_text(TEMPLATE.read_text())
    paste(
        folder,
        "training",
        f"Seed {plan.seed}, {progress.tokens:,} tokens in {progress.step:,} steps, of which "
        f"{progress.targets:,} were learned; {progress.seconds / 60:.0f} minutes.",
    )


def paste(folder: Path, mark: str, text: str) -> None:
    """Replaces what stands between `<!-- mark -->` and `<!-- end of mark -->`."""
    card = folder / NAME
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, _, rest = card.read_text().partition(begin)
    after = rest.partition(end)[2]
    card.write_text(f"{before}{begin}\n{text}\n{end}{after}")
