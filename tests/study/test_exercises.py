"""Exercises: their solutions are right, their empty files and their planted bugs are not, and what is said helps."""

from __future__ import annotations

import pytest

from minivae.checks import InputError
from minivae.command.cli import main
from minivae.ops import ALL_OPS
from minivae.study import exercises, judging

pytestmark = pytest.mark.slow  # whole exercises

ORDER = exercises.order()
PLANTED = [(name, number) for name in ORDER for number in range(len(exercises.bugs_of(name)))]


@pytest.fixture
def judge(tmp_path):
    """Return a function that judges a text as the solution of an exercise."""

    def judged(name: str, text: str) -> judging.Judgement:
        file = tmp_path / "solution.py"
        file.write_text(text, encoding="utf-8")
        return judging.judge(name, file)

    return judged


def test_there_are_ten_and_more_in_the_order_of_the_path():
    assert len(ORDER) == len(set(ORDER)) >= 10
    assert set(ORDER) <= set(ALL_OPS)
    assert ORDER.index("dense") < ORDER.index("reparameterize") < ORDER.index("kl_normal") < ORDER.index("bernoulli_nll")


@pytest.mark.parametrize("name", ORDER)
def test_the_solution_is_right_and_the_empty_file_is_not(judge, name):
    assert judge(name, exercises.solution_of(name)) == judging.Judgement(True, judge(name, exercises.solution_of(name)).words)
    empty = exercises.text_of(name)
    judgement = judge(name, empty)
    assert not judgement.right
    assert exercises.TODO in judgement.words[0]
    statement = empty.partition('"""\n\n')[0]
    assert not any(exercises.GRADIENT.match(line) for line in statement.splitlines()), "the gradient is given away"


@pytest.mark.parametrize(("name", "number"), PLANTED)
def test_a_planted_bug_is_one(judge, name, number):
    assert not judge(name, exercises.text_with_bug(name, number)).right


def test_bugs_are_planted():
    assert len(PLANTED) > 8


SCALED = "unbroadcast(0.5 * g * scaled_noise, log_var_shape)"
MISTAKES = {
    "g * scaled_noise, log_var_shape": "2 times what it should be",
    "-0.5 * g * scaled_noise, log_var_shape": "its sign is wrong",
    "0 * g, log_var_shape": "0 everywhere",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_said_names_the_mistake(judge, mistake):
    text = exercises.solution_of("reparameterize").replace("0.5 * g * scaled_noise, log_var_shape", mistake)
    judgement = judge("reparameterize", text)
    assert not judgement.right
    assert len(judgement.words) == 1
    assert "log_var" in judgement.words[0]
    assert MISTAKES[mistake] in judgement.words[0]
    assert "the values have a slope of" in judgement.words[0]


def test_a_sum_that_is_missing_is_named(judge):
    text = exercises.solution_of("reparameterize").replace("unbroadcast(g, mean_shape)", "g")
    words = judge("reparameterize", text).words
    assert any("mean" in line and "unbroadcast" in line for line in words)


def test_a_wrong_forward_with_its_own_right_backward_is_not_let_pass(judge):
    """The museum's first exhibit: every finite difference agrees."""
    text = exercises.solution_of("reparameterize").replace("xp.exp(0.5 * log_var)", "xp.exp(log_var)").replace("0.5 * g", "g")
    words = " ".join(judge("reparameterize", text).words)
    assert "The forward is not the equation" in words
    assert "finite differences cannot see the mistake" in words


def test_whatever_goes_wrong_is_a_line(judge):
    for text in ("import nothing_of_this_name", "def forward(xp, x, y): return 1", "syntax error"):
        judgement = judge("mul", text)
        assert not judgement.right
        assert len(judgement.words) == 1


def test_the_command_writes_judges_and_never_overwrites(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["exercise", "tanh"]) == 0
    assert main(["exercise", "tanh"]) == 2
    assert main(["exercise", "tanh", "--check"]) == 1
    (tmp_path / "exercise_tanh.py").write_text(exercises.solution_of("tanh"), encoding="utf-8")
    assert main(["exercise", "tanh", "--check"]) == 0
    assert "Right" in capsys.readouterr().out
    assert main(["exercise", "kl_normal", "--check"]) == 2
    assert main(["exercise"]) == 0
    assert "reparameterize" in capsys.readouterr().out


def test_without_the_museum_the_command_says_so(monkeypatch):
    monkeypatch.setattr("minivae.study.museum.present", lambda: False)
    with pytest.raises(InputError, match="museum"):
        exercises.text_with_bug("reparameterize")
