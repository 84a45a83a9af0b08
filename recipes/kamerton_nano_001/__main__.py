"""Makes the model: `python -m recipes.kamerton_nano_001 --seed 11 --tokens 20000000`."""

import argparse
import itertools
import os
from pathlib import Path

os.environ.setdefault("RAYON_NUM_THREADS", "1")

import torch
from tokenizers import Tokenizer

from recipes.kamerton_nano_001 import card, corpus, tokenizer
from recipes.kamerton_nano_001.export import export
from recipes.kamerton_nano_001.model import Shape
from recipes.kamerton_nano_001.pretrain import Plan, pretrain

SHIPPED = Path(__file__).parents[2] / "kamerton" / "models" / "kamerton-nano-001"
TOKENIZER_DOCUMENTS = 60_000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recipes.kamerton_nano_001", description=__doc__)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--tokens", type=int, default=20_000_000, help="how long to pretrain")
    parser.add_argument("--threads", type=int, default=1, help="processor cores to use")
    parser.add_argument("--device", default="cpu", help="where torch computes, as cuda")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where the model goes")
    parser.add_argument(
        "--work", type=Path, default=Path("build/kamerton-nano-001"), help="for checkpoints"
    )
    return parser.parse_args()


def make_tokenizer(seed: int, directory: Path) -> Tokenizer:
    """The run's tokenizer, trained once."""
    path = directory / "tokenizer.json"
    if not path.exists():
        documents = itertools.islice(corpus.documents(seed, -1), TOKENIZER_DOCUMENTS)
        tokenizer.train(documents).save(str(path))
    return Tokenizer.from_file(str(path))


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    trained = make_tokenizer(options.seed, options.work)
    plan = Plan(options.seed, options.tokens, options.work, options.device)
    model, progress = pretrain(plan, trained, Shape())
    export(model, trained, options.out)
    card.write(options.out, plan, progress)
    print(
        f"{progress.tokens:,} tokens ({progress.targets:,} learned), {progress.step} steps, "
        f"{progress.seconds / 60:.1f} min; written to {options.out}"
    )


if __name__ == "__main__":
    main()
