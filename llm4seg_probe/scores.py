"""Scores: one registry of what each is called, its unit, range and direction, and its synonyms.

A score is added here, and the function that measures it in ``measures/``. Names in others' tables
are brought to the registry's by :func:`llm4seg_probe.score_names.known`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MILLIMETRES = "mm, or pixels without spacing"


@dataclass(frozen=True)
class Score:
    """A measured quantity.

    name: of its column in our tables. label: in a sentence. unit: or range, on an axis.
    lower_is_better: the direction in which it improves; for a quantity that is neither good nor
    bad, such as a rank, False, as a claim says that one has more of it. fraction: lies between 0
    and 1, or is the same in per cent. synonyms: other names, in lower case, words joined by ``_``.
    of_masks: is measured of every predicted mask. of_probabilities: of those of every pixel, which
    not every source of scores has. of_sets: of a set of labels or objects, as parts of images whose
    mean it is. printed: by ``evaluate``, too. signed: may lie below zero.
    """

    name: str
    label: str
    unit: str = ""
    lower_is_better: bool = False
    fraction: bool = False
    synonyms: tuple[str, ...] = ()
    of_masks: bool = False
    of_probabilities: bool = False
    of_sets: bool = False
    printed: bool = False
    signed: bool = True


CHOSEN_EPOCH: Mapping[str, str] = {"split": "test", "checkpoint": "best"}
"""Rows of ``scores.csv`` that results are read from, unless others are named."""


def _overlap(name: str, label: str, synonyms: str = "", **options: bool) -> Score:
    return Score(
        name, label, "0 to 1", fraction=True, synonyms=tuple(synonyms.split()),
        signed=False, **options,
    )  # fmt: skip


def _lower(
    name: str, label: str, unit: str = "", synonyms: str = "", *, signed: bool = False
) -> Score:
    return Score(
        name, label, unit, lower_is_better=True, synonyms=tuple(synonyms.split()), signed=signed
    )


def _error_rate(name: str, label: str, synonyms: str = "", **options: bool) -> Score:
    return _overlap(name, label, synonyms, lower_is_better=True, **options)


def _higher(name: str, label: str, unit: str = "", synonyms: str = "") -> Score:
    return Score(name, label, unit, synonyms=tuple(synonyms.split()))


_SET: Any = {"unit": "0 to 1", "of_sets": True, "printed": True}
_OURS = (
    _overlap(
        "iou", "IoU", "miou mean_iou iou_score m_iou intersection_over_union binary_iou fwiou",
        of_masks=True, printed=True,
    ),
    _overlap(
        "dice", "Dice",
        "mdice mean_dice dice_score dice_coefficient dice_coef dice_similarity_coefficient "
        "dice_similarity dice_index sorensen_dice softdice soft_dice gdice generalised_dice "
        "generalized_dice", of_masks=True, printed=True,
    ),
    _overlap("precision", "Precision", "ppv positive_predictive_value", of_masks=True),
    _overlap("recall", "Recall", of_masks=True),
    Score(
        "hd95", "95 % Hausdorff distance", MILLIMETRES, lower_is_better=True,
        of_masks=True, printed=True, signed=False,
        synonyms=(
            "hausdorff95", "hd_95", "95hd", "95_hd", "hausdorff_95", "hausdorff_distance_95",
            "hausdorff_distance95", "95_hausdorff", "95_hausdorff_distance", "95hausdorff",
            "hd95th", "hd_95th", "hausdorff_distance_95th", "robust_hausdorff",
            "robust_hausdorff_distance",
        ),
    ),
    _overlap("nsd", "Surface Dice", "surface_dice normalised_surface_dice normalized_surface_dice "
             "normalised_surface_distance normalized_surface_distance boundary_iou biou",
             of_masks=True, printed=True),
    Score("image_auroc", "AUROC of images", fraction=True, signed=False, **_SET),
    Score("image_balanced_accuracy", "Balanced accuracy of images", **_SET),
    Score("image_f1", "F1 of images", **_SET),
    Score("image_brier", "Brier score of images", lower_is_better=True, fraction=True, **_SET),
    Score("image_ece", "Calibration error of images", lower_is_better=True, **_SET),
    Score("object_sensitivity", "Sensitivity at 1 false alarm per image", signed=False, **_SET),
    Score("object_froc", "FROC score", signed=False, **_SET),
    _overlap("iou_reference", "IoU as the reference implementation counts it"),
    _error_rate(
        "ece", "Calibration error", "mce ace calibration_error expected_calibration_error",
        of_probabilities=True,
    ),
    _error_rate("brier", "Brier score", "brier_score", of_probabilities=True),
    Score("iou_gap", "IoU gap, training − validation"),
    Score("loss_gap", "Loss gap, validation − training"),
    _overlap("auroc", "AUROC", "auc roc_auc auc_roc roc_auc_score area_under_curve"),
    Score("contrast", "Contrast", "Cohen's d"),
    Score("noise", "Background noise", "SD of the map", lower_is_better=True),
    Score("sharpness", "Sharpness"),
    Score("effective_rank", "Effective rank", "directions"),
    Score("lsvr", "LSVR", "nats"),
    Score("entropy", "Entropy of the singular values", "nats"),
    Score("stable_rank", "Stable rank", "directions"),
    Score("participation_ratio", "Participation ratio", "directions"),
    Score("sigma1_share", "Share of the largest singular value", "0 to 1", lower_is_better=True),
    Score("largest_token_share", "Share of the largest token", "0 to 1"),
)  # fmt: skip
"""Of our tables, in their order."""

_OTHERS = (
    _overlap("jaccard", "Jaccard index", "jaccard_index jaccard_score"),
    _overlap("dsc", "Dice", "dsc_score mdsc mean_dsc"),
    _overlap("f1", "F1",
        "f1_score f_score f_measure fmeasure fscore f2 f_beta fbeta macro_f1 f1score"),
    _overlap("sensitivity", "Sensitivity", "tpr true_positive_rate hit_rate sens"),
    _overlap("specificity", "Specificity", "tnr true_negative_rate spec"),
    _overlap(
        "accuracy", "Accuracy",
        "acc top1 top_1 top5 top_5 acc1 acc5 pixel_accuracy balanced_accuracy "
        "top1_acc accuracy_score pixacc macc aacc "
        "correct exact_match em pass success success_rate solved",
    ),
    _overlap("average_precision", "Average precision", "ap map ap50 map50 aupr auprc pr_auc prauc"),
    _overlap("npv", "Negative predictive value", "negative_predictive_value"),
    _overlap("panoptic_quality", "Panoptic quality", "pq aji aji_plus"),
    _overlap("ssim", "SSIM", "ms_ssim"),
    _overlap("cldice", "clDice", "centerline_dice centreline_dice"),
    _overlap("volume_similarity", "Volume similarity", "volumetric_similarity"),
    _higher("kappa", "Cohen's kappa", "",
        "cohen_kappa cohens_kappa weighted_kappa quadratic_kappa qwk"),
    _higher("mcc", "Matthews correlation", "", "matthews matthews_corrcoef phi"),
    _higher("psnr", "PSNR", "dB", "snr cnr"),
    _higher("r2", "R²", "",
        "r_squared explained_variance pearson pearsonr spearman spearmanr icc ccc "
            "correlation corr pcc srcc plcc"),
    _higher("gain", "Gain", "", "improvement reward return utility elo win_rate winrate"),
    _higher("bleu", "BLEU", "",
        "rouge rouge1 rouge2 rougel rouge_l meteor cider chrf bertscore ndcg mrr "
            "hits map_at_k recall_at_k"),
    _higher("youden", "Youden's J", "", "youden_index"),
    _higher("throughput", "Throughput", "",
        "fps images_per_second samples_per_second tokens_per_second"),
    _higher("likelihood", "Likelihood", "", "log_likelihood loglikelihood elbo evidence"),
    _lower("loss", "Loss", "",
        "nll cross_entropy crossentropy bce ce_loss ce xent objective energy "
           "negative_log_likelihood neg_log_likelihood log_loss logloss bits_per_byte "
           "bpb bpc bits_per_character", signed=True),
    _lower("error", "Error", "", "err epe tre fre rve ave avd rvd vd "
           "relative_volume_difference absolute_volume_difference relative_volume_error "
           "volume_error voe volumetric_overlap_error ravd relative_absolute_volume_difference"),
    _lower("hd", "Hausdorff distance", MILLIMETRES,
           "hausdorff hausdorff_distance hdmax hd_max hd100 max_hausdorff"),
    _lower("assd", "Average symmetric surface distance", MILLIMETRES,
           "asd masd mssd assd_mm average_surface_distance mean_surface_distance msd "
           "average_symmetric_surface_distance ahd average_hausdorff_distance"),
    _lower("distance", "Distance", "",
        "dist chamfer chamfer_distance emd displacement deviation bias"),
    _lower("mae", "Mean absolute error", "",
           "mean_absolute_error l1 l1_error mape smape abs_rel absrel nmae"),
    _lower("mse", "Mean squared error", "", "mean_squared_error l2 l2_error sq_rel"),
    _lower("rmse", "Root mean squared error", "", "root_mean_squared_error nrmse rmsle"),
    _lower("perplexity", "Perplexity", "", "ppl word_perplexity byte_perplexity"),
    _lower("fid", "FID", "", "kid lpips niqe brisque dists fvd frechet", signed=True),
    _lower("latency", "Latency", "",
        "time runtime seconds duration wall_time inference_time memory "
           "peak_memory params parameters flops gflops macs energy_use cost"),
    _lower("regret", "Regret", "",
        "risk violations failures missed false_positives false_negatives fp fn "
           "n_errors"),
    _error_rate("error_rate", "Error rate", "misclassification misclassification_rate top1_error "
                "top5_error failure_rate miss_rate"),
    _error_rate("wer", "Word error rate", "word_error_rate cer character_error_rate per ter der"),
    _error_rate("fpr", "False positive rate", "false_positive_rate fnr false_negative_rate fdr "
                "false_discovery_rate eer equal_error_rate hter fall_out fpr95"),
)  # fmt: skip
"""Of other people's tables, by family."""

_REGISTERED = (*_OURS, *_OTHERS)
OURS: dict[str, Score] = {score.name: score for score in _OURS}
"""Scores of our own tables by name."""
SCORES: dict[str, Score] = {score.name: score for score in _REGISTERED}
"""All scores by name."""
OF_MASKS = tuple(score.name for score in _REGISTERED if score.of_masks)
OF_PROBABILITIES = tuple(score.name for score in _REGISTERED if score.of_probabilities)
OF_SETS = tuple(score.name for score in _REGISTERED if score.of_sets)
PRINTED = tuple(score.name for score in _REGISTERED if score.printed)


def claimed_lower(score: str, stated: bool | None) -> bool:
    """Whether a claim on one of our columns is that there is less of it, and not more."""
    if stated is not None:
        return stated
    return score in SCORES and SCORES[score].lower_is_better
