"""Plots of reports: calibration, and the search for alternatives."""

from __future__ import annotations

import io
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display on a server
from matplotlib import pyplot

from training.report.alternatives import Measured
from training.report.fairness import FOUR_FIFTHS


def calibration_plot(bins: list[dict[str, Any]], title: str) -> bytes:
    """Return a PNG of predicted and observed default rates, with their intervals."""
    figure, axes = pyplot.subplots(figsize=(5.5, 5), layout="constrained")
    predicted = [line["predicted"] for line in bins]
    observed = [line["observed"] for line in bins]
    below = [line["observed"] - line["low"] for line in bins]
    above = [line["high"] - line["observed"] for line in bins]
    end = min(1.0, 1.05 * max(*predicted, *(line["high"] for line in bins), 0.01))
    axes.plot([0, end], [0, end], color="grey", linestyle="--", label="calibrated")
    axes.errorbar(predicted, observed, [below, above], fmt="o", capsize=3, label="rows")
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    axes.set_xlabel("predicted probability of default")
    axes.set_ylabel("observed share of defaults (95 % interval)")
    axes.set_title(title)
    axes.legend(loc="upper left")
    return _png(figure)


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return file.getvalue()


def alternatives_plot(models: list[Measured]) -> bytes:
    """Return a PNG of AUC against the lowest impact ratio; the Pareto set has its intervals."""
    figure, axes = pyplot.subplots(figsize=(8, 5.5), layout="constrained")
    for model in models:
        x, y = model.impact_ratio, model.auc
        colour = "tab:green" if model.chosen else ("tab:blue" if model.pareto else "lightgrey")
        if model.chosen or model.pareto:
            axes.errorbar(
                x.value,
                y.value,
                xerr=[[max(0.0, x.value - x.low)], [max(0.0, x.high - x.value)]],
                yerr=[[max(0.0, y.value - y.low)], [max(0.0, y.high - y.value)]],
                color=colour,
                alpha=0.4,
            )
            axes.annotate(
                model.name,
                (x.value, y.value),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=7,
            )
        axes.scatter(x.value, y.value, color=colour, zorder=3)
    axes.axvline(FOUR_FIFTHS, color="grey", linestyle=":", label="four fifths")
    axes.set_xlabel("lowest impact ratio of the audited groups")
    axes.set_ylabel("AUC of the test rows")
    axes.set_title("Alternatives (green: trained model, blue: Pareto set)")
    axes.legend(loc="lower left")
    return _png(figure)
