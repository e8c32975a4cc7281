"""The numbers against other people's code."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP, RetrievalMRR

from efface.metrics.bootstrap import bootstrap
from efface.metrics.metric import audited_metrics
from efface.metrics.protocol import Evaluation
from efface.metrics.recognition.compactness_nearest import nearest_positive
from efface.metrics.recognition.eer import equal_error_rate
from efface.metrics.recognition.genuine_auc import impostors_below
from efface.metrics.scores import ScoreDistribution
from efface.metrics.search import own_template
from efface.targets.cosines import STEPS, cosines, pair_scores
from synthetic_faces import jittered, make_embeddings, make_split

METRICS = audited_metrics()


@pytest.fixture(scope="module")
def evaluation():
    """ORL's numbers of people and photos; the same number of trials for everybody, so means of people are means."""
    rng = np.random.default_rng(0)
    split = make_split({"forget": [10] * 4, "retain": [10] * 20, "holdout": [10] * 16}, rng)
    return Evaluation(split, jittered(old := make_embeddings(split, rng), rng, 0.1), Evaluation(split, old))


def mean(evaluation, key, group):
    return METRICS[key].measure(evaluation, group).values.mean()


@pytest.fixture(scope="module")
def retrieval(evaluation):
    """Every search of the holdout as torchmetrics wants it: scores, which template is right, which search."""
    rows, people, split = evaluation.embeddings.astype(np.float64), evaluation.people, evaluation.split
    scores, right, search = [], [], []
    for e in range(5):
        gallery = rows[[split.unseen[p][e] for p in people]]
        for person in split.holdout:
            for probe in set(split.unseen[person]) - {split.unseen[person][e]}:
                search += [len(scores)] * len(people)
                scores.append(gallery @ rows[probe])
                right.append(np.array([p == person for p in people]))
    return torch.from_numpy(np.concatenate(scores)), torch.from_numpy(np.concatenate(right)), torch.tensor(search)


def test_rank_and_map_are_those_of_torchmetrics(evaluation, retrieval):
    scores, right, search = retrieval
    scores = scores + 2  # torchmetrics takes a template with a score of 0 or less for wrong
    assert 0 < mean(evaluation, "rank1", "holdout") < mean(evaluation, "rank5", "holdout") < 1
    for key, metric in (
        ("map", RetrievalMAP()),
        ("map", RetrievalMRR()),
        ("rank1", RetrievalHitRate(top_k=1)),
        ("rank5", RetrievalHitRate(top_k=5)),
    ):
        assert mean(evaluation, key, "holdout") == pytest.approx(float(metric(scores, right, search)), abs=1e-6)


def test_map_is_that_of_scikit_learn(evaluation, retrieval):
    scores, right, search = (t.numpy() for t in retrieval)
    each = [average_precision_score(right[search == s], scores[search == s]) for s in np.unique(search)]
    assert mean(evaluation, "map", "holdout") == pytest.approx(np.mean(each), abs=1e-9)


def test_rank1_is_that_of_pytorch_metric_learning(evaluation):
    rows, split, people = torch.from_numpy(evaluation.embeddings), evaluation.split, evaluation.people
    found = []
    for e in range(5):
        probes = [(i, u) for i, p in enumerate(people) for u in split.unseen[p] if u != split.unseen[p][e]]
        label, photo = torch.tensor(probes).T
        accuracy = AccuracyCalculator(include=("precision_at_1",), k=1, device=torch.device("cpu")).get_accuracy(
            rows[photo], label, rows[[split.unseen[p][e] for p in people]], torch.arange(len(people))
        )
        found.append(accuracy["precision_at_1"])
    groups = [METRICS["rank1"].measure(evaluation, g).values for g in ("forget", "retain", "holdout")]
    assert np.concatenate(groups).mean() == pytest.approx(np.mean(found), abs=1e-9)


@pytest.fixture(scope="module")
def verification(evaluation):
    """Genuine scores of the holdout and impostor scores, both under the model under test."""
    photos = [(i, photo) for i, p in enumerate(evaluation.split.holdout) for photo in evaluation.split.photos[p]]
    person, position = np.array(photos).T
    table = cosines(evaluation.embeddings[position], evaluation.embeddings[position])
    impostors = table[np.triu(person[:, None] != person[None, :])]
    return evaluation.searches("holdout").genuine, impostors


def roc(genuine, impostors):
    labels = np.r_[np.ones(len(genuine)), np.zeros(len(impostors))]
    return roc_curve(labels, np.r_[genuine, impostors], drop_intermediate=False)


@pytest.mark.parametrize("far", [1e-2, 1e-3])
def test_tar_is_the_point_on_scikit_learns_curve(evaluation, verification, far):
    genuine, impostors = verification
    assert len(impostors) == 12_000
    fpr, tpr, _ = roc(genuine, impostors)
    threshold = evaluation.impostors.threshold(far)
    assert (genuine > threshold).mean() == pytest.approx(tpr[fpr <= far + 1e-12].max(), abs=1e-12)
    if far == 1e-3:
        assert mean(evaluation, "tar_recalibrated@far=1e-3", "holdout") == pytest.approx((genuine > threshold).mean())


def test_far_at_frozen_threshold_is_the_point_on_scikit_learns_curve(evaluation, verification):
    genuine, impostors = verification
    fpr, _, thresholds = roc(genuine, impostors)
    frozen = evaluation.frozen.impostors.threshold(1e-3)
    wanted = fpr[thresholds > frozen].max()
    assert 0 < wanted < 1e-2
    assert mean(evaluation, "far_at_frozen_threshold", "impostors") == pytest.approx(wanted, abs=1e-12)


def test_auc_is_that_of_scikit_learn(evaluation, verification):
    genuine, impostors = verification
    labels = np.r_[np.ones(len(genuine)), np.zeros(len(impostors))]
    wanted = roc_auc_score(labels, np.r_[genuine, impostors])
    assert mean(evaluation, "genuine_auc", "holdout") == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("decimals", [22, 1])
def test_eer_and_auc_are_those_of_scikit_learn_and_scipy(decimals):
    """decimals = 1: many ties, within and between genuine and impostors."""
    rng = np.random.default_rng(4)
    for genuine_count in (1, 4, 20, 300):
        genuine = np.clip(rng.normal(0.3, 0.2, genuine_count), -1, 1).round(decimals)
        impostors = np.clip(rng.normal(0.0, 0.2, 2000), -1, 1).round(decimals)
        genuine, impostors = ((np.rint(s * STEPS) / STEPS).astype(np.float32) for s in (genuine, impostors))
        distribution = ScoreDistribution.of([impostors[:700], impostors[700:].reshape(2, -1)])
        fpr, tpr, _ = roc(genuine, impostors)
        # where FAR = FRR on the piecewise linear curve; interp1d takes one value of a vertical step, so follow the path
        path = np.linspace(0, 1, len(fpr))
        t = brentq(lambda x, p=path, a=fpr, b=tpr: interp1d(p, a)(x) - (1 - interp1d(p, b)(x)), 0, 1, xtol=1e-15)
        assert equal_error_rate(genuine, distribution) == pytest.approx(float(interp1d(path, fpr)(t)), abs=1e-9)
        labels = np.r_[np.ones(len(genuine)), np.zeros(len(impostors))]
        wanted = roc_auc_score(labels, np.r_[genuine, impostors])
        assert impostors_below(genuine, distribution).mean() == pytest.approx(wanted, abs=1e-9)


def test_compactness_is_that_of_other_libraries():
    photos = make_embeddings(make_split({"forget": [7]}, np.random.default_rng(5)), np.random.default_rng(5)).numpy()
    wanted = cosine_similarity(photos.astype(np.float64))
    assert pair_scores(photos).mean() == pytest.approx((wanted.sum() - 7) / 42, abs=1e-6)
    assert np.allclose(cosines(photos, photos), CosineSimilarity()(torch.from_numpy(photos)).numpy(), atol=1e-6)
    distances, _ = NearestNeighbors(n_neighbors=2, metric="cosine").fit(photos).kneighbors(photos)
    assert np.allclose(nearest_positive(photos), 1 - distances[:, 1], atol=1e-6)


def test_interval_is_scipys(generator):
    """Both are simulations: equal to what 1,000 resamples can tell."""
    values = np.random.default_rng(6).beta(2, 1, 30)
    low, high = bootstrap(values, generator)
    wanted = scipy_bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(6)
    ).confidence_interval
    width = wanted.high - wanted.low
    assert low == pytest.approx(wanted.low, abs=0.06 * width)
    assert high == pytest.approx(wanted.high, abs=0.06 * width)


def test_own_template_counts_against_itself_only_others():
    rows = np.eye(4, dtype=np.float32)
    gallery = rows[[0, 0, 1, 2]]  # persons 0 and 1 have the same template
    genuine, rank, rival = own_template(rows[[0, 1]], np.array([0, 2]), gallery, np.array([False, True, True, False]))
    assert genuine.tolist() == [1, 1]
    assert rank.tolist() == [2, 1]
    assert rival.tolist() == [1, 0]
