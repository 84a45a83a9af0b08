"""Reports, estimates and diagnoses as JSON: the same in every API, and on the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import msgspec

from kamerton.card import Baseline, Card
from kamerton.findings import Finding, Hit, Report, Spread, Statistics, Tokens
from kamerton.types import Diagnosis, Estimate, Evidence, Hyperparameters

Json = dict[str, Any]


def report(noun: Report) -> Json:
    return {
        "name": noun.name,
        "format": noun.format,
        "shapes": [{"shape": shape, "rows": rows} for shape, rows in noun.shapes],
        "findings": [finding(found) for found in noun.findings],
        "allowed": list(noun.allowed),
        "summary": {
            "errors": noun.count("error"),
            "warnings": noun.count("warning"),
            "notes": noun.count("note"),
        },
        "statistics": statistics(noun.statistics),
    }


def finding(noun: Finding) -> Json:
    """`count` is 0 for what is about the dataset as a whole; `rows` are the first of those, and
    `rowsLeftOut` how many more there are."""
    left_out = noun.count - len(noun.hits)
    return {
        "code": noun.code,
        "name": noun.name,
        "severity": noun.severity,
        "message": noun.message,
        "advice": noun.advice,
        **({"dataset": "validation"} if noun.of_validation else {}),
        "count": noun.count,
        "rows": [_row(noun.unit, hit) for hit in noun.hits],
        **({"rowsLeftOut": left_out} if left_out > 0 else {}),
    }


def _row(unit: str, hit: Hit) -> Json:
    texts = {"field": hit.field, "detail": hit.detail}
    return {unit: hit.number, **{name: text for name, text in texts.items() if text}}


def statistics(noun: Statistics) -> Json:
    made: Json = {
        "rowCount": noun.row_count,
        "exampleCount": noun.example_count,
        "inputCharacters": _spread(noun.input_characters),
        "outputCharacters": _spread(noun.output_characters),
        "histogram": [{"upTo": end, "rows": rows} for end, rows in noun.histogram],
        "histogramUnit": "tokens" if noun.tokens else "characters",
    }
    if noun.tokens:
        made["tokens"] = _tokens(noun.tokens)
    return made


def _tokens(noun: Tokens) -> Json:
    return {
        "prompt": _spread(noun.prompt),
        "answer": _spread(noun.answer),
        "row": _spread(noun.row),
        "truncatedCount": noun.truncated_count,
    }


def _spread(noun: Spread) -> Json:
    return asdict(noun) | {"mean": round(noun.mean, 2)}


def estimate(noun: Estimate) -> Json:
    """What was not measured is left out."""
    made: Json = {
        "hyperparameters": hyperparameters(noun.hyperparameters),
        "reasons": {camel_case(name): reason for name, reason in noun.reasons},
        "exampleCount": noun.example_count,
        "heldOutCount": noun.held_out_count,
        "totalSteps": noun.total_steps,
        "tokens": noun.tokens,
        "trainedTokens": noun.trained_tokens,
    }
    measured = {
        "cost": noun.cost,
        "seconds": noun.seconds,
        "secondsError": noun.seconds_error,
        "memoryBytes": noun.memory_bytes,
        "budgetSteps": noun.budget_steps,
        "budgetReason": noun.budget_reason or None,
        "budgetTokens": noun.budget_tokens,
        "budgetCost": noun.budget_cost,
    }
    return made | {name: value for name, value in measured.items() if value is not None}


def hyperparameters(noun: Hyperparameters) -> Json:
    told = asdict(noun) | {"target_modules": list(noun.target_modules)}
    return {camel_case(name): value for name, value in told.items()}


def adapter(noun: Hyperparameters) -> Json:
    """Those that published messages have no field for, as a request to create has them."""
    return {
        "adapterSize": noun.lora_rank,
        "loraAlpha": noun.lora_alpha,
        "loraDropout": noun.lora_dropout,
        "targetModules": list(noun.target_modules),
        "rslora": noun.rslora,
    }


def diagnosis(noun: Diagnosis) -> Json:
    """`hyperparameters` are those to change in the next run."""
    return {
        "pattern": noun.pattern,
        "confidence": noun.confidence,
        "summary": noun.summary,
        "cause": noun.cause,
        "advice": noun.advice,
        "evidence": [_evidence(point) for point in noun.evidence],
        "hyperparameters": {camel_case(name): value for name, value in noun.request},
    }


def _evidence(noun: Evidence) -> Json:
    """JSON knows no number that is not finite; `what` says it."""
    value = {"value": noun.value} if math.isfinite(noun.value) else {}
    return {"step": noun.step, **value, "what": noun.what}


def card(noun: Card | Baseline) -> Json:
    """A report card, or how a base model did before a run."""
    made: Json = _renamed(msgspec.to_builtins(noun), camel_case)
    return made


def card_of(told: Json) -> Card:
    """The same back. Raises msgspec.ValidationError when it is none, or of another version."""
    return msgspec.convert(_renamed(told, _snake_case), Card)


def _renamed(value: Any, name: Callable[[str], str]) -> Any:
    """With other names of fields, all the way down."""
    if isinstance(value, dict):
        return {name(key): _renamed(inner, name) for key, inner in value.items()}
    return [_renamed(inner, name) for inner in value] if isinstance(value, list | tuple) else value


def _snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))
