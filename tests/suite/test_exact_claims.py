"""What is said before a run of claims about exact scores, which have no trainings."""

from bench.suite.reader import read_suite

SUITE = """
name: exact
dataset: gaussian
metrics: [exact_fd]
samples: {count: 1000, batch: 1000, seeds: SEEDS}
inspect: null
controlled: false
train:
  vp: {method: sde, params: {exact: true}}
  cld: {method: cld, params: {exact: true}}
  network: {method: sde, params: {network: {architecture: mlp, width: 16, blocks: 2}}}
points:
  - {train: [vp, network], sampler: ddim, times: log_snr, grid: {nfe: [10]}}
  - {train: vp, sampler: ancestral, times: log_snr, grid: {nfe: [10]}}
  - {train: cld, sampler: sscs, grid: {nfe: [10]}}
claims:
  - {metric: exact_fd, smallest_effect: 0.1, pairs: [PAIR]}
"""


def notes(tmp_path, seeds, pair):
    path = tmp_path / "suite.yaml"
    text = SUITE.replace("SEEDS", str(list(range(seeds)))).replace("PAIR", pair)
    path.write_text(text)
    return [note for note in read_suite(path).notes if note.startswith("claims")]


def test_six_sample_seeds_are_enough_for_exact_scores_of_one_model_and_of_two(tmp_path):
    for pair in ("[vp ddim, vp ancestral]", "[vp ddim, cld sscs]"):
        assert notes(tmp_path, 6, pair) == []
        few = notes(tmp_path, 5, pair)
        assert len(few) == 1
        assert few[0].endswith(
            "stays undecided: it needs 6 sample seeds, exact scores having no trainings"
        )


def test_a_network_needs_trainings_also_against_an_exact_score(tmp_path):
    (note,) = notes(tmp_path, 6, "[vp ddim, network ddim]")
    assert note.endswith("stays undecided: it needs 5 trainings each")


def test_the_least_p_of_exact_scores_is_that_of_their_sample_seeds(tmp_path):
    two = "[vp ddim, vp ancestral], [vp ddim, cld sscs]"
    (note,) = notes(tmp_path, 6, two)
    assert "0.031, after Holm's correction over 2 claims 0.062" in note
    assert notes(tmp_path, 7, two) == []
