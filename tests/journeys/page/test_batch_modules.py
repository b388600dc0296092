"""How lines are read from texts and files, and what a batch of them would send, asked in the browser."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

from tests.journeys.page.test_modules import Ask, ask

__all__ = ["ask"]
DRAFT = {"name": "", "matrix": False, "text": "", "file": None, "values": {}, "models": None, "seeds": ""}
PLAN = """async ([draft, model]) => {
    const { planOf, metadataOf } = await import("/web/batch/plan.js");
    const plan = planOf(draft, { model, factsOf: () => undefined });
    return { ...plan, metadata: metadataOf(draft, plan) };
}"""


def test_each_line_is_a_prompt_and_blank_ones_are_none(ask: Ask) -> None:
    assert ask("batch/lines.js", "linesOfText", " a gull \r\n\r\n\ta fox\n   \n") == [
        *({"prompt": "a gull"}, {"prompt": "a fox"})
    ]


def test_a_table_gives_each_line_its_values(ask: Ask) -> None:
    text = 'Prompt,Seed,duration,steps,fallback,colour\n"a ""big"" gull, flying",4,2.5,,no,red\n\na fox,x,,8,,\n'
    assert ask("batch/lines.js", "linesOfCsv", text) == {
        "lines": [
            {"prompt": 'a "big" gull, flying', "seed": 4, "duration": 2.5, "fallback": False},
            {"prompt": "a fox", "seed": "x", "num_inference_steps": 8},
        ],
        "unknown": ["colour"],
    }


def test_a_table_gives_each_line_its_loras(ask: Ask) -> None:
    (line,) = ask("batch/lines.js", "linesOfCsv", "prompt,loras,upscaler\na gull,org/a=0.5;org/b,local:org/larger\n")[
        "lines"
    ]
    assert line == {
        "prompt": "a gull",
        "lora": [{"path": "org/a", "scale": 0.5}, {"path": "org/b"}],
        "upscaler": "local:org/larger",
    }


def test_a_table_without_heading_holds_prompts_first(ask: Ask) -> None:
    assert ask("batch/lines.js", "linesOfCsv", "a gull;1\na fox;2")["lines"] == [
        *({"prompt": "a gull"}, {"prompt": "a fox"})
    ]


def test_whatever_is_written_as_a_table_is_read_as_it_was(ask: Ask) -> None:
    @settings(max_examples=30, deadline=None)
    @given(prompts=st.lists(st.text('a";,\n\t é'), min_size=1))
    def written(prompts: list[str]) -> None:
        file = io.StringIO()
        rows = [["prompt", "negative_prompt"], *([prompt, "x"] for prompt in prompts)]
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
        read = ask("batch/lines.js", "linesOfCsv", file.getvalue())["lines"]
        assert [line.get("prompt", "") for line in read] == [prompt.strip() for prompt in prompts]

    written()


def test_json_lines_are_taken_as_they_are_and_what_is_none_as_its_text(ask: Ask) -> None:
    lines = ['{"prompt": "a gull", "sed": 1}', '"a fox"', "[1]", "no json", ""]
    assert ask("batch/lines.js", "linesOfJsonl", "\n".join(lines)) == [
        *({"prompt": "a gull", "sed": 1}, {"prompt": "a fox"}, "[1]", "no json")
    ]


@pytest.mark.parametrize(
    ("text", "seeds", "error"),
    [
        ("", [], None),
        ("1, 2;2 10-12", [1, 2, 10, 11, 12], None),
        ("1, x", [], "x is no seed"),
        ("5-1", [], "5-1 goes backwards"),
        ("1-25", [], "At most 24 seeds"),
        ("9007199254740992", [], "9007199254740992 is no seed"),
    ],
)
def test_seeds_are_numbers_and_ranges(ask: Ask, text: str, seeds: list[int], error: str | None) -> None:
    read = ask("batch/plan.js", "seedsOf", text)
    assert read["seeds"] == seeds
    assert read["error"] is None if error is None else read["error"].startswith(error)


def planned(page: Page, **draft: Any) -> Any:
    return page.evaluate(PLAN, [{**DRAFT, **draft}, "embedded"])


@pytest.mark.usefixtures("ask")
def test_a_matrix_is_each_row_with_each_model_and_seed(page: Page) -> None:
    plan = planned(
        page, matrix=True, text="a gull\na fox", seeds="4,7", models=["one", "two"], values={"seed": 9, "fps": 8}
    )
    columns = [("one", 4), ("one", 7), ("two", 4), ("two", 7)]
    assert plan["requests"] == [
        {"prompt": prompt, "custom_id": prompt, "model": model, "seed": seed, "fps": 8}
        for prompt in ("a gull", "a fox")
        for model, seed in columns
    ]
    assert plan["metadata"] == {
        "name": "a gull and 1 more",
        "shape": "matrix",
        "seeds": "[4,7]",
        "model_1": "one",
        "model_2": "two",
    }
    assert planned(page, matrix=True, text="a gull", models=[])["requests"] == []


@pytest.mark.usefixtures("ask")
def test_a_line_s_own_values_go_before_those_of_all(page: Page) -> None:
    file = {"name": "f", "lines": [{"prompt": "a fox", "seed": 1, "model": "own", "custom_id": "mine"}, "no json", {}]}
    plan = planned(page, text="a gull", file=file, values={"seed": 9, "duration": 2})
    assert plan["requests"] == [
        {"prompt": "a gull", "custom_id": "a gull", "model": "embedded", "seed": 9, "duration": 2},
        {"prompt": "a fox", "custom_id": "mine", "model": "own", "seed": 1, "duration": 2},
        "no json",
        {"model": "embedded", "seed": 9, "duration": 2},
    ]
    assert plan["problems"] == [{"number": 3, "text": "is no JSON object"}, {"number": 4, "text": "has no prompt"}]


@pytest.mark.usefixtures("ask")
def test_a_line_is_called_by_what_the_service_takes_in_a_name(page: Page) -> None:
    text = f"a\u200dgull \U0001fae8 flies {'x' * 300}"
    (request,) = planned(page, text=text)["requests"]
    assert request["prompt"] == text
    assert request["custom_id"].startswith("a gull flies xxx")
    assert len(request["custom_id"]) == 200
    assert request["custom_id"].isprintable()
    long = planned(page, text="x" * 1001)
    assert long["problems"] == [{"number": 1, "text": "has 1,001 characters; at most 1,000 are taken"}]


@pytest.mark.parametrize(
    ("metadata", "total", "matrix"),
    [
        ({"shape": "matrix", "seeds": "[1,2]", "model_1": "m"}, 4, {"models": ["m"], "seeds": [1, 2], "width": 2}),
        (
            {"shape": "matrix", "seeds": "[]", "model_1": "m", "model_2": "n"},
            2,
            {"models": ["m", "n"], "seeds": [], "width": 2},
        ),
        ({"shape": "matrix", "seeds": "[1,2]", "model_1": "m"}, 5, None),
        ({"shape": "matrix", "seeds": "oh", "model_1": "m"}, 4, None),
        ({"shape": "matrix", "seeds": "[1]"}, 4, None),
        ({"shape": "matrix", "seeds": '{"length": 2}', "model_1": "m"}, 4, None),
        ({"shape": "matrix"}, 4, None),
        ({}, 4, None),
    ],
)
def test_metadata_that_anybody_wrote_makes_no_matrix_of_what_is_none(
    ask: Ask, metadata: dict[str, str], total: int, matrix: dict[str, Any] | None
) -> None:
    assert ask("batch/plan.js", "matrixOf", {"metadata": metadata, "counts": {"total": total}}) == matrix
