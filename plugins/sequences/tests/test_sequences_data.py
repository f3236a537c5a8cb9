"""Data sets, vocabularies and languages."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.libraries import transformers
from flowloom.spec import Spec
from flowloom_sequences.data import SequenceFile, Text
from flowloom_sequences.data import text as text_module
from flowloom_sequences.data.vocabulary import Bytes, Characters, Named, Pretrained, require_ids
from flowloom_sequences.languages import Dyck, Independent, Markov, MotifDNA

SONG = "the quick brown fox jumps over the lazy dog\n" * 60


@pytest.fixture
def song(tmp_path):
    file = tmp_path / "song.txt"
    file.write_text(SONG)
    return str(file)


def test_windows_are_pieces_of_the_text_and_splits_are_disjoint(song):
    data = Text(song, length=16, blocks=10)
    x = data.take(torch.tensor([0, 5, len(data) - 1])).x
    assert x.shape == (3, 16)
    assert all(data.vocabulary.decode(row) in SONG for row in x.tolist())
    spans = {}
    for name in ("train", "test", "judge"):
        part = data.split(name)
        starts = part._starts[name]
        spans[name] = {int(s) + k for s in starts for k in range(16)}
    assert not any(a & b for a, b in itertools.combinations(spans.values(), 2))
    same, other = Text(song, length=16, blocks=10), Text(song, length=16, blocks=10, seed=1)
    assert torch.equal(same.take(torch.arange(5)).x, data.take(torch.arange(5)).x)
    assert len(other) > 0
    assert not torch.equal(other._starts["judge"], data._starts["judge"])
    with pytest.raises(DataError, match="no split 'val'; it has: train, test, judge"):
        data.split("val")


def test_levels(song, tmp_path):
    data = Text(song, level="bytes", length=8, blocks=5)
    assert data.spec.vocab == 256
    assert data.vocabulary.decode(data.take(torch.tensor([0])).x[0].tolist()) in SONG
    assert Bytes().decode(Bytes().encode("naïve €")) == "naïve €"
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel()
    raw.train_from_iterator([SONG], trainers.BpeTrainer(vocab_size=60, show_progress=False))
    from tokenizers import decoders

    raw.decoder = decoders.ByteLevel()
    transformers().PreTrainedTokenizerFast(tokenizer_object=raw).save_pretrained(tmp_path / "tok")
    pieces = Text(song, level="tokenizer", tokenizer=str(tmp_path / "tok"), length=8, blocks=5)
    assert pieces.spec.vocab == len(Pretrained(str(tmp_path / "tok")).tokens)
    assert pieces.vocabulary.decode(pieces.take(torch.tensor([3])).x[0].tolist()).strip() in SONG
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot load tokenizer"):
        Pretrained(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="go together"):
        Text(song, level="tokenizer")


def test_bad_text(tmp_path, song, monkeypatch):
    broken = tmp_path / "latin.txt"
    broken.write_bytes(b"caf\xe9 au lait")
    with pytest.raises(DataError, match="byte 0xe9 at offset 3"):
        len(Text(str(broken), length=4))
    with pytest.raises(DataError, match="cannot read"):
        len(Text(str(tmp_path / "none.txt")))
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="empty"):
        len(Text(str(tmp_path / "empty.txt")))
    with pytest.raises(DataError, match="shorter than one window"):
        len(Text(song, length=500))
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "tinyshakespeare.txt").write_text(SONG)
    assert len(Text(length=16, blocks=10)) > 0
    (tmp_path / "altered").write_text(SONG)
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(text_module, "TINYSHAKESPEARE", (tmp_path / "altered").as_uri())
    with pytest.raises(DataError, match="checksum"):
        len(Text())
    assert not list((tmp_path / "elsewhere").rglob("*.txt"))


FASTA = """>one label=a
ACGT
ACGT
>two label=b
acgtac
"""


def test_fasta(tmp_path):
    file = tmp_path / "x.fa"
    file.write_text(FASTA * 10)
    data = SequenceFile(str(file))
    spec = data.spec
    assert (spec.shape, spec.vocab, spec.ragged) == ((8,), 4, True)
    assert spec.conditions["label"].names == ("a", "b")
    everything = data.all()
    assert everything.cond["mask"].sum(1).unique().tolist() in ([6, 8], [6], [8])
    row = everything.x[everything.cond["mask"].sum(1) == 6][0]
    assert data.vocabulary.decode(row[:6].tolist()) == "ACGTAC"
    total = sum(len(data.split(s)) for s in ("train", "test", "judge"))
    assert total == 20


def test_bad_sequences(tmp_path):
    def write(text):
        file = tmp_path / "y.txt"
        file.write_text(text)
        return str(file)

    lines = "\n\nACGT\n\nACNT\nTTTT\nGGGG\nCCCC\n"
    with pytest.raises(DataError, match="line 5: letter 'N' at position 2 stands for any of ACGT"):
        len(SequenceFile(write(lines)))
    assert (
        sum(len(SequenceFile(write(lines), ambiguous="drop").split(s)) for s in ("train", "test", "judge"))
        == 4
    )
    drawn = SequenceFile(write(lines), ambiguous="draw")
    assert drawn.spec.ragged is False
    with pytest.raises(DataError, match="'X' at position 1 is not in the alphabet"):
        len(SequenceFile(write("AXGT\n" * 9)))
    with pytest.raises(DataError, match="line 1 has 8 letters, more than length 4"):
        len(SequenceFile(write("ACGTACGT\n" * 9), length=4))
    assert SequenceFile(write("ACGTACGT\n" * 9), length=4, longer="cut").spec.shape == (4,)
    with pytest.raises(DataError, match="only empty lines"):
        len(SequenceFile(write("\n \n")))
    with pytest.raises(DataError, match="has no sequence"):
        len(SequenceFile(write(">a\n>b\nACGT\n")))
    with pytest.raises(DataError, match="has no label"):
        len(SequenceFile(write("ACGT\ta\nACGT\n" * 5)))
    assert SequenceFile(write("MKVL\nMAAA\nMKKK\nLLLL"), alphabet="protein").spec.vocab == 20


def test_vocabularies_and_prompts_that_do_not_match():
    vocabulary = Characters("abc")
    with pytest.raises(DataError, match="'d' at position 1"):
        vocabulary.encode("adc")
    with pytest.raises(IncompatibleError, match="3 tokens and the run's has 5"):
        vocabulary.require(Spec((4,), vocab=5))
    with pytest.raises(IncompatibleError, match="token 2 is 'c' here and 'x' in the run"):
        vocabulary.require(Spec((4,), vocab=3, tokens=("a", "b", "x")))
    vocabulary.require(Spec((4, 3), tokens=("a", "b", "c")))
    assert vocabulary.decode([0, 3, 2]) == "a_c"
    with pytest.raises(IncompatibleError, match="own tokenizer"):
        Named(("ab", "c")).encode("abc")
    require_ids(torch.tensor([[0, 2, 3]]), 3, mask=True)
    with pytest.raises(ShapeError, match=r"id 3 at \(0, 2\)"):
        require_ids(torch.tensor([[0, 2, 3]]), 3)
    with pytest.raises(ShapeError, match="int64"):
        require_ids(torch.tensor([[0.0]]), 3)


@pytest.mark.parametrize(
    "data",
    [
        Markov(vocab=3, order=2, length=5, n=3000),
        Markov(vocab=4, order=0, length=3, n=3000),
        Independent(vocab=4, length=3, n=3000),
        MotifDNA(classes=2, motif=2, length=4, n=3000),
        Dyck(kinds=2, length=6, depth=2, n=3000),
    ],
    ids=lambda d: type(d.language).__name__,
)
def test_languages_are_laws(data):
    law = data.language
    strings = torch.cartesian_prod(*[torch.arange(law.vocab)] * law.length)
    log_p = law.log_prob(strings).double()
    p = log_p.exp()
    assert abs(float(p.sum()) - 1) < 1e-6
    exact = float(-(p[p > 0] * log_p[p > 0]).sum())
    assert abs(exact - law.entropy()) < 0.01
    assert torch.equal(law.valid(strings), p > 0)
    # Draws have the law: the mean surprise is the entropy, and no draw is impossible.
    surprise = -law.log_prob(data.all().x)
    assert surprise.isfinite().all()
    assert abs(float(surprise.mean()) - exact) < 4 * float(surprise.std()) / math.sqrt(len(surprise)) + 1e-6
    assert not torch.equal(data.split("test").all().x, data.all().x)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["\x0c", "\x1c", "\x85", "\u2028"])
def test_lines_end_where_lines_of_files_do(tmp_path, end, mark):
    """A form feed and its like are characters of a line, not its end."""
    file = tmp_path / "s.txt"
    file.write_bytes("".join(f"ab{mark}cd{i % 10}{end}" for i in range(30)).encode())
    assert [len(r.ids) for r in SequenceFile(str(file), alphabet="characters").read()] == [6] * 30
