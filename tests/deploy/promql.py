"""What a PromQL expression names: its metrics and labels, held against those that are declared."""

from __future__ import annotations

from typing import Any

import promql_parser

from cinelet.observability.metrics import DECLARED

TARGET_LABELS = {"instance", "job"}
"""What Prometheus adds to everything that it scrapes."""
OF_PROMETHEUS = {"up": set[str]()}
"""Metrics that Prometheus makes itself, and their labels."""
_SUFFIXES = {"_bucket": {"le"}, "_sum": set[str](), "_count": set[str]()}


class UnknownNameError(AssertionError):
    """An expression names what nobody declares."""


def labels_of_metric(name: str | None) -> set[str]:
    """Return the labels that the samples of a metric have; raise `UnknownNameError` where there is no such metric."""
    if name is None:
        raise UnknownNameError("a selector names no metric")
    if name in OF_PROMETHEUS:
        return TARGET_LABELS | OF_PROMETHEUS[name]
    declared, more = DECLARED.get(name), set[str]()
    if declared is not None and declared.kind == "histogram":
        raise UnknownNameError(f"{name} is a histogram: take its _bucket, _sum or _count")
    if declared is None:
        suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")
        declared, more = DECLARED.get(name.removesuffix(suffix)), _SUFFIXES.get(suffix, set())
        if not suffix or declared is None or declared.kind != "histogram":
            raise UnknownNameError(f"there is no metric {name}")
    return {*declared.labels, "process", *more} | TARGET_LABELS


def labels_of(expression: str) -> set[str]:
    """Return the labels that the results may have, after a look at everything that the expression names.

    Raises `UnknownNameError`, and `ValueError` for what is no PromQL.
    """
    return _labels(promql_parser.parse(expression))


def _labels(node: Any) -> set[str]:
    match node:
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return set()
        case promql_parser.VectorSelector():
            known = labels_of_metric(node.name)
            _require({matcher.name for matcher in node.matchers.matchers}, known, where=str(node))
            return known
        case promql_parser.MatrixSelector():
            return _labels(node.vector_selector)
        case promql_parser.Call():
            inner: set[str] = set().union(*map(_labels, node.args))
            if node.func.name == "histogram_quantile":
                _require({"le"}, inner, where=str(node))
                inner -= {"le"}
            return inner
        case promql_parser.AggregateExpr():
            inner = _labels(node.expr)
            if node.op in {"topk", "bottomk"} or str(node.op) in {"topk", "bottomk"}:
                return inner
            if node.modifier is None:
                return set()
            chosen = set(node.modifier.labels)
            _require(chosen, inner, where=str(node))
            return chosen if node.modifier.type == promql_parser.AggModifierType.By else inner - chosen
        case promql_parser.BinaryExpr():
            left, right = _labels(node.lhs), _labels(node.rhs)
            matching = node.modifier.matching if node.modifier is not None else None
            if matching is not None:
                _require(set(matching.labels), left & right, where=str(node))
            elif left and right and left != right:
                raise UnknownNameError(f"its sides never match, {sorted(left)} and {sorted(right)}: {node}")
            return left or right
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            return _labels(node.expr)
        case _:
            raise UnknownNameError(f"nobody looks into a {type(node).__name__}: {node}")


def _require(named: set[str], known: set[str], *, where: str) -> None:
    if not named <= known:
        raise UnknownNameError(f"{', '.join(sorted(named - known))} is no label here: {where}")
