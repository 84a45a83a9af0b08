"""The tokenizer: byte-level BPE that keeps digits, capitals and Chinese characters apart."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from recipes.kamerton_nano_001.corpus import Document

VOCABULARY = 2048
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
PAD, EOS, BOS, UNK, START_OF_TURN, END_OF_TURN = range(6)
_SPLIT = "|".join(
    (
        "SELECT|FROM|WHERE|COUNT|LIMIT|CURRENT_DATE",
        r"\n",
        r"\p{N}",
        r"\p{Lu}",
        r"\p{Han}",
        r" ?\p{Ll}+",
        r" ?[^\s\p{L}\p{N}]+",
        r"\p{L}",
        r"\s",
    )
)


def train(documents: Iterable[Document]) -> Tokenizer:
    """A tokenizer whose words are the corpus's; capitals are single, so Roman numerals are too."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(_plain, documents), trainer)
    return tokenizer


def _plain(document: Document) -> str:
    text = "".join(piece.text for piece in document)
    for special in SPECIAL:
        text = text.replace(special, "\n")
    return text
