"""Model cards, read back with the hub's own reader."""

from huggingface_hub import ModelCard

from backcast.core.run import Gap
from backcast.report.card import Card, card, licence_of


def test_a_card_says_what_it_was_given():
    """Metadata the hub understands, the gap table, further figures, settings and the lineage."""
    gaps = [
        Gap("judge", "NLL of held-out answers", 3.412, 3.271, -0.214, -0.068, 8, paired=True),
        Gap("judge", "another scorer", None, None),
    ]
    about = Card(
        "Thinking writer",
        "org/base-135M",
        "apache-2.0",
        data=["7 traces, CC0"],
        gaps=gaps,
        figures={"rows": 7},
        settings={"learning_rate": 0.002},
        lineage=["5 kept traces + smollm2 -> model/ (LoRA, merged)"],
        tags=["sft"],
    )
    text = card(about)
    read = ModelCard(text)
    assert (read.data.base_model, read.data.license, read.data.library_name) == (
        "org/base-135M",
        "apache-2.0",
        "transformers",
    )
    assert read.data.tags == ["backcast", "sft"]
    assert "# Thinking writer" in text
    assert "| judge: NLL of held-out answers | 3.412 | 3.271 | −0.141 | −0.214 to −0.068 (difference) | 8 |" in text
    assert "another scorer | not measured | not measured |" in text
    assert "1. 5 kept traces + smollm2 -> model/ (LoRA, merged)" in text
    for line in ("- Data: 7 traces, CC0", "| rows | 7 |", "| `learning_rate` | 0.002 |"):
        assert line in text.splitlines()


def test_a_licence_in_words_is_called_other_with_its_name():
    """The hub's field takes short names only."""
    data = ModelCard(card(Card("T", licence="Gemma Terms of Use"))).data
    assert (data.license, data.license_name) == ("other", "Gemma Terms of Use")


def test_the_licence_of_a_folder_is_what_the_folder_says(tmp_path):
    """A converted model says it in backcast.json, another one in its card; a folder without either says nothing."""
    assert licence_of(tmp_path) is None
    (tmp_path / "README.md").write_text(card(Card("T", licence="mit")))
    assert licence_of(tmp_path) == "mit"
    (tmp_path / "backcast.json").write_text('{"licence": "Apache-2.0"}')
    assert licence_of(tmp_path) == "Apache-2.0"


def test_a_card_leaves_out_what_is_not_known():
    """A title alone: no base model, no licence, no empty headings, no invented value."""
    text = card(Card("Bare"))
    read = ModelCard(text)
    assert read.data.base_model is None
    assert read.data.license is None
    assert "##" not in text
    assert "None" not in text


def test_card_tables_survive_pipes_and_line_breaks():
    """A metric with a pipe, a newline and a tag stays one cell of one row."""
    text = card(Card("T", gaps=[Gap("s", "a | b\n<b>", 1.0, 2.0, n=3)]))
    (row,) = [line for line in text.splitlines() if "s: a" in line]
    assert row == r"| s: a \| b &lt;b> | 1.000 | 2.000 | +1.000 | not measured | 3 |"
