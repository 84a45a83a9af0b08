"""The recipe of `models/kamerton-nano-001`: corpus, tokenizer, pretraining, export, gate."""
