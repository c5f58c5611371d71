"""Tables of hand-made results: marks, methods that did not run, Holm's correction, and both renderings."""

import re

import pytest

from selfpab_jax.evaluate.paper_tables import (
    Cell,
    Table,
    differences,
    escaped,
    holm,
    latex,
    markdown,
    marks,
    overview,
    per_dataset,
    row_order,
)
from selfpab_jax.evaluate.published import IN_THE_PAPER, MACRO_F1, ROWS, TITLES


def results(**methods):
    """Of two activities, each done 100 times: a subject's macro F1, recall and accuracy are the percentage given."""
    return {
        "methods": {
            name: {
                "subjects": {
                    who: {"confusion": [[f1, 100 - f1], [100 - f1, f1]]}
                    for who, f1 in zip("ABCDEF", shares, strict=False)
                }
            }
            for name, shares in methods.items()
        },
        "classes": ["walking", "sitting"],
        "protocol": {},
        "seeds": [0],
    }


def only_raw(**methods):
    return {"raw": results(**methods), "smoothed": None}


def by_name(table):
    """Row label -> column -> cell."""
    return {row[0].text: dict(zip(table.header[1:], row[1:], strict=True)) for row in table.rows}


def test_the_paper_as_data():
    for dataset, numbers in MACRO_F1.items():
        assert dataset in TITLES
        assert list(numbers) == [name for name in ROWS if name in numbers]
        assert all(40 < mean < 100 and (se is None or 0 < se < 5) for mean, se in numbers.values())
    assert max(MACRO_F1["harth"], key=MACRO_F1["harth"].get) == "pretrained"
    assert set(MACRO_F1["harth"]) == set(MACRO_F1["har70plus"]) == set(ROWS) - {"random_forest"}


def test_rows_keep_the_paper_s_order_and_others_come_after():
    assert row_order(["mine", "pretrained", "svm", "another", "mine"]) == ["svm", "pretrained", "mine", "another"]


def test_marks_compare_what_is_printed():
    nan = float("nan")
    assert marks([0.81, nan, 0.9, 0.7]) == ["second", "", "best", ""]
    assert marks([0.8141, 0.8138, 0.802, 0.8019, 0.5]) == ["best", "best", "second", "second", ""]
    assert marks([nan, 0.4]) == ["", "best"]
    assert marks([]) == []


def test_holm_by_hand():
    # 3 x 0.01, then 2 x 0.03, then 1 x 0.04, which may not fall below the one before.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_overview_of_unlike_data_sets():
    found = {
        "harth": only_raw(pretrained=[80, 90], mine=[70, 80], svm=[70, 70]),
        "usc_had": only_raw(mine=[60]),
    }
    table = overview(found)
    assert table.header == ["method", "HARTH", "HARTH, paper", "USC-HAD"]
    rows = by_name(table)
    assert list(rows) == [ROWS[name] for name in IN_THE_PAPER] + ["mine"]
    assert rows["SelfPAB"] == {
        "HARTH": Cell("85.0 ± 5.0", "best"),
        "HARTH, paper": Cell("81.3 ± 1.3"),
        "USC-HAD": Cell("not run"),
    }
    assert rows["mine"] == {
        "HARTH": Cell("75.0 ± 5.0", "second"),
        "HARTH, paper": Cell("–"),
        "USC-HAD": Cell("60.0", "best"),
    }
    assert rows["SVM"]["HARTH"] == Cell("70.0 ± 0.0") and rows["SVM"]["HARTH, paper"] == Cell("71.7")
    assert rows["SimCLR"]["HARTH"] == rows["SelfHAR"]["HARTH"] == Cell("not run")
    assert "(n of N)" not in table.note


def test_an_unfinished_method_says_so_and_is_not_ranked():
    found = {"pamap2": only_raw(svm=[60, 60, 60], pretrained=[90, 90], mine=[50, 50, 50])}
    table = overview(found)
    rows = by_name(table)
    assert rows["SelfPAB"]["PAMAP2"] == Cell("90.0 ± 0.0 (2 of 3)")
    assert [rows[name]["PAMAP2"].mark for name in ("SVM", "mine")] == ["best", "second"]
    assert "(n of N)" in table.note


def test_a_subject_without_labels_is_skipped():
    one = only_raw(svm=[80, 100], pretrained=[70, 0])
    one["raw"]["methods"]["pretrained"]["subjects"]["B"]["confusion"] = [[0, 0], [0, 0]]
    assert by_name(overview({"harth": one}))["SelfPAB"]["HARTH"] == Cell("70.0", "second")
    svm, *_ = differences(one, "pretrained").rows
    assert [cell.text for cell in svm] == ["SVM − SelfPAB", "+10.0", "1.000", "1.000", "1 of 1", "2"]


def test_one_data_set():
    one = {"raw": results(svm=[50, 70], pretrained=[80, 80]), "smoothed": results(svm=[90, 70])}
    one["raw"]["methods"]["svm"]["subjects"]["A"]["confusion"] = [[10, 0], [45, 45]]
    table = per_dataset("harth", one)
    assert table.header == [
        "method",
        "macro F1",
        "macro F1 with HMM",
        "macro F1, paper",
        "recall",
        "precision",
        "accuracy",
    ]
    rows = by_name(table)
    assert list(rows) == [ROWS[name] for name in IN_THE_PAPER]
    # Subject A: F1 20/65 and 2/3, recall 1 and 1/2, precision 10/55 and 1, accuracy 55/100. Subject B: all 0.7.
    assert [cell.text for cell in rows["SVM"].values()] == [
        "59.4 ± 10.6",
        "80.0 ± 10.0",
        "71.7",
        "72.5 ± 2.5",
        "64.5 ± 5.5",
        "62.5 ± 7.5",
    ]
    assert rows["SVM"]["macro F1 with HMM"].mark == "best"
    assert rows["SelfPAB"]["macro F1 with HMM"] == Cell("not run")
    assert [cell.mark for cell in rows["SelfPAB"].values()] == ["best", "", "", "best", "best", "best"]


def test_one_data_set_without_smoothing_or_the_paper():
    table = per_dataset("usc_had", only_raw(mine=[60, 70]))
    assert table.header == ["method", "macro F1", "recall", "precision", "accuracy"]
    assert [row[0].text for row in table.rows] == ["mine"]
    assert (table.caption, table.label) == ("Scores on USC-HAD", "tab:usc_had")


def test_differences_by_hand():
    base = [50, 50, 50, 50, 50, 50]
    raw = results(pretrained=base, mine=[51, 52, 53, 54, 55, 56], svm=[49, 52, 53, 54, 55, 56], xgboost=[90, 90])
    table = differences({"raw": raw, "smoothed": results(pretrained=[60] * 6, late=base)}, "pretrained", "harth")
    assert table.header == ["comparison", "macro F1", "p (Wilcoxon)", "p (Holm)", "better", "subjects"]
    rows = [[cell.text for cell in row] for row in table.rows]
    # The least difference alone against the rest: p 4/64; none against: 2/64, times the two complete methods.
    assert rows[0] == ["SVM − SelfPAB", "+3.2 ± 1.0", "0.062", "0.062", "5 of 6", "6"]
    assert rows[1] == ["XGBoost − SelfPAB", "incomplete", "–", "–", "–", "2 against 6, 2 shared"]
    assert rows[2] == ["mine − SelfPAB", "+3.5 ± 0.8", "0.031", "0.062", "6 of 6", "6"]
    assert rows[3] == ["SelfPAB, HMM − raw", "+10.0 ± 0.0", "0.031", "0.031", "6 of 6", "6"]
    assert len(rows) == 4  # nothing to compare a smoothed method with that has no raw results
    assert (table.caption, table.label) == ("Paired differences of macro F1 on HARTH", "tab:differences-harth")


def test_as_many_but_other_subjects_are_no_pairs():
    one = only_raw(pretrained=[50, 60], svm=[50, 60, 70])
    del one["raw"]["methods"]["svm"]["subjects"]["A"]
    (row,) = differences(one, "pretrained").rows
    assert [cell.text for cell in row] == ["SVM − SelfPAB", "incomplete", "–", "–", "–", "2 against 2, 1 shared"]


def test_differences_need_their_reference():
    with pytest.raises(ValueError, match="the reference 'mae' is not among the methods"):
        differences(only_raw(svm=[60]), "mae")


ODD = Table(
    ["method", "a|b", "50 % & more"],
    [
        [Cell("[mae_frozen] {x}"), Cell("81.3 ± 1.3", "best"), Cell("< 0.001")],
        [Cell("A#1 $ ~ ^ \\"), Cell("-2.5", "second"), Cell("–")],
    ],
    "Scores & more",
    "In %.",
    "tab:usc_had",
)


def test_markdown():
    assert markdown(ODD).splitlines() == [
        "Scores & more.",
        "",
        "| method | a\\|b | 50 % & more |",
        "|---|---:|---:|",
        "| [mae_frozen] {x} | **81.3 ± 1.3** | < 0.001 |",
        "| A#1 $ ~ ^ \\ | *-2.5* | – |",
        "",
        "In %. Bold is the best of our numbers in a column, italic the second best.",
    ]
    assert markdown(ODD._replace(rows=[[Cell("x"), Cell("1"), Cell("2")]])).endswith("\nIn %.\n")


def test_latex():
    text = latex(ODD)
    assert r"\caption{Scores \& more}" in text and r"\label{tab:usc-had}" in text
    assert r"method & a\textbar{}b & 50 \% \& more \\" in text
    assert r"{[}mae\_frozen] \{x\} & \textbf{81.3 $\pm$ 1.3} & $<$ 0.001 \\" in text
    hard = r"A\#1 \$ \textasciitilde{} \textasciicircum{} \textbackslash{}"
    assert hard + r" & \underline{$-$2.5} & -- \\" in text
    assert r"In \%. Bold is the best of our numbers in a column, underlined the second best." in text


def test_a_hyphen_inside_a_word_stays():
    assert escaped("USC-HAD, 5-fold, -0.5, a-1") == "USC-HAD, 5-fold, $-$0.5, a-1"


def test_latex_is_balanced():
    one = {"raw": results(pretrained=[50, 60], mine_100=[51, 52]), "smoothed": results(pretrained=[60, 60])}
    for table in (ODD, overview({"harth": one}), per_dataset("harth", one), differences(one, "pretrained")):
        text, open_environments = latex(table), []
        for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
            if kind == "begin":
                open_environments.append(name)
            else:
                assert open_environments.pop() == name
        assert open_environments == []
        bare = re.sub(r"\\[{}&$%\\]", "", text)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
        body = re.search(r"\\toprule\n(.*)\\bottomrule", text, re.S).group(1).replace("\\midrule\n", "")
        for line in body.splitlines():
            assert line.endswith(r" \\") and len(re.findall(r"(?<!\\)&", line)) == len(table.header) - 1
        assert text.isascii()
