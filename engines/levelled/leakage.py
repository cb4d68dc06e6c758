"""Bounds on what the opened noise tells of one party to all others and the server.

Every opened coefficient is message + x + z. The noise x depends on the party's secret, encryption
randomness and record, and z is its smudge, Gaussian with standard deviation τ. The other parties
and an honest server know the message, the server's flooding and re-randomisation and their own
smudges, so that z alone covers x. `python -m engines.levelled.leakage FOLDER` prints the bounds for
a deployment, as docs/PROTOCOL.md has them.

- Mutual information of x and what opens: at most ½·log2(1 + E[x²]/τ²) for each coefficient, summed,
  whatever the distribution of x, and also if an opening depends on earlier ones: the capacity of a
  channel with Gaussian noise, which feedback does not increase (Cover, Thomas, "Elements of
  Information Theory", 2nd edition, 2006, theorem 9.1.1, and section 7.12 for feedback).
- Rényi divergence of order 2 from openings without x: x²/τ² nats for each coefficient (van Erven,
  Harremoës, IEEE Trans. Information Theory 60, 2014, for Gaussians), in the mean E[x²]/τ². Bai,
  Lepoint, Roux-Langlois, Sakzad, Stehlé, Steinfeld, J. Cryptology 31 (2018) use it for such noise.
- Guess of the answer to any question of yes or no about the party. Whatever the question, what
  opens raises the probability of a right guess by at most √(I·ln 2 / 2), for I bits of mutual
  information (Pinsker's inequality; Cover, Thomas, lemma 11.6.1). For a question whose answers are
  equally likely and Gaussian x, independent in all coefficients, it is at most 1/2 + arcsin(ρ)/π,
  with ρ² the largest of σ²/(σ² + τ²): no set of probability 1/2 is more stable under noise than a
  half-space (Borell, Z. Wahrscheinlichkeitstheorie 70, 1985).

E[x²] is the noise model's variance (noise.py), for which no reserve is counted. It also contains
what the others know themselves of x, so that the bounds are the same whichever party is alone.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN, PROGRAMS, REASONS
from engines.levelled.budgets import noise_budgets
from engines.levelled.build import PARAMETERS_OF, SCORE, SIGN
from engines.levelled.messages import NAME
from engines.levelled.noise import NoiseBudget, NoiseModel
from engines.levelled.parameters import KNOWN_ZEROS, Parameters
from engines.levelled.relations import Relations
from engines.levelled.selection import SelectionTree
from engines.levelled.sign_budgets import sign_budgets
from engines.levelled.well_formed import CHECKED, check_budget, check_variance
from features.encoding import Layout
from utils.terminal import print_any_text


@dataclass(frozen=True)
class Opening:
    """Coefficients of one ciphertext that are opened; standard deviations in units of the torus."""

    program: str
    opens: str
    coefficients: int
    noise: float
    smudge: float

    @property
    def signal(self) -> float:
        """E[x²]/τ²."""
        return (self.noise / self.smudge) ** 2

    @property
    def information(self) -> float:
        """Bound on the mutual information, in bits."""
        return self.coefficients / 2 * math.log2(1 + self.signal)

    @property
    def renyi(self) -> float:
        """Mean Rényi divergence of order 2, in bits."""
        return self.coefficients * self.signal / math.log(2)


def information(openings: Iterable[Opening]) -> float:
    """Return the bound on the mutual information of several openings, in bits."""
    return sum(own.information for own in openings)


def renyi(openings: Iterable[Opening]) -> float:
    """Return the mean Rényi divergence of order 2 of several openings, in bits."""
    return sum(own.renyi for own in openings)


def gain(openings: Iterable[Opening]) -> float:
    """Return Pinsker's bound on the gain of any guess of yes or no, a probability."""
    return math.sqrt(information(openings) * math.log(2) / 2)


def gaussian_gain(openings: Iterable[Opening]) -> float:
    """Return Borell's bound on the gain over 1/2, for Gaussian noise; see the module."""
    widest = max(own.signal for own in openings)
    return math.asin(math.sqrt(widest / (1 + widest))) / math.pi


def _programs(trees: Mapping[str, SelectionTree]) -> list[str]:
    """Return the programs that there are, in order."""
    return [name for name in PROGRAMS if name in trees]


def sign_openings(
    trees: Mapping[str, SelectionTree], layout: Layout, parameters: Parameters
) -> list[Opening]:
    """Return all openings of an application of which only signs are opened, in order.

    Masked scores are not among them, since nothing opens of them. Raises NoiseBudgetExceeded.
    """
    parties = layout.schema.party_names
    model = NoiseModel(parameters, len(parties))
    budgets = sign_budgets(trees, len(parties), parameters)
    openings = []
    for name in _programs(trees):
        own, outputs = budgets[name], trees[name].outputs
        zeros = "known zeros of masked scores"
        openings.append(_opening(name, zeros, KNOWN_ZEROS, own.zeros, model))
        if name == DECIDE:
            openings += _check_openings(layout, parameters)
        compared = "levels" if name == REASONS else "signs"
        openings.append(_opening(name, compared, outputs, own.signs, model))
        fresh = math.sqrt(model.public_key_zero_variance())
        smudge = own.signs.sigma_smudge
        openings.append(Opening(name, f"known zeros of {compared}", KNOWN_ZEROS, fresh, smudge))
    return openings


def score_openings(
    trees: Mapping[str, SelectionTree], parties: int, parameters: Parameters
) -> list[Opening]:
    """Return all openings of an application of which scores are opened, in order.

    Raises NoiseBudgetExceeded.
    """
    model, budgets = NoiseModel(parameters, parties), noise_budgets(trees, parties, parameters)
    return [
        _opening(name, "scores and known zeros", tree.outputs + KNOWN_ZEROS, budgets[name], model)
        for name, tree in ((name, trees[name]) for name in _programs(trees))
    ]


def about_the_model(
    trees: Mapping[str, SelectionTree], parties: int, parameters: Parameters, opens: str
) -> float:
    """Return the bits that all parties together, who know all smudges, learn of the model.

    Flooding alone covers the programs' noise. That of signs and of checks does not depend on the
    model. Raises NoiseBudgetExceeded.
    """
    if opens == SIGN:
        signs = sign_budgets(trees, parties, parameters)
        zeros = [(KNOWN_ZEROS, signs[name].zeros) for name in _programs(trees)]
    else:
        scores = noise_budgets(trees, parties, parameters)
        zeros = [(trees[name].outputs + KNOWN_ZEROS, scores[name]) for name in _programs(trees)]
    return information(
        Opening("", "", count, own.sigma_program, own.sigma_flood) for count, own in zeros
    )


def _check_openings(layout: Layout, parameters: Parameters) -> list[Opening]:
    parties = layout.schema.party_names
    model, budget = NoiseModel(parameters, len(parties)), check_budget(layout, parameters)
    variances = {
        party: check_variance(Relations.of(layout, party), parameters, len(parties))
        for party in parties
    }
    return [
        Opening(
            DECIDE,
            f"check of {party}",
            CHECKED,
            math.sqrt(variance + model.public_key_zero_variance()),
            budget.sigma_smudge,
        )
        for party, variance in variances.items()
    ]


def _opening(
    program: str, opens: str, coefficients: int, own: NoiseBudget, model: NoiseModel
) -> Opening:
    """Return an opening of so many coefficients with this budget.

    The noise of the re-randomisation is added.
    """
    noise = math.sqrt(own.sigma_program**2 + model.public_key_zero_variance())
    return Opening(program, opens, coefficients, noise, own.sigma_smudge)


def _table(openings: Sequence[Opening]) -> list[str]:
    """Return a Markdown table of openings, with their sums and the bounds on guesses, as lines."""
    lines = [
        "| opened | coefficients | noise | smudge | mutual information, bit | Rényi-2, bit |",
        "|---|---|---|---|---|---|",
    ]
    for own in openings:
        lines.append(
            f"| `{own.program}`: {own.opens} | {own.coefficients} | 2^{math.log2(own.noise):.2f} "
            f"| 2^{math.log2(own.smudge):.2f} | {own.information:.4f} | {own.renyi:.4f} |"
        )
    sums = {
        "a decision": (DECIDE,),
        "a decision and an explanation": (DECIDE, EXPLAIN),
        "a decision, an explanation and reasons": PROGRAMS,
    }
    if not any(own.program == REASONS for own in openings):
        del sums["a decision, an explanation and reasons"]
    for label, programs in sums.items():
        some = [own for own in openings if own.program in programs]
        count = sum(own.coefficients for own in some)
        lines.append(f"| {label} | {count} | | | **{information(some):.3f}** | {renyi(some):.3f} |")
    lines += [
        "",
        f"Any guess of yes or no gains at most {gain(openings):.2f}; for Gaussian noise and "
        f"equally likely answers, at most {gaussian_gain(openings):.3f}.",
    ]
    return lines


def profile_of(deployment: Deployment, opens: str) -> Parameters:
    """Return the deployment's profile, or that of another that opens `opens`."""
    recorded = deployment.engine_facts(NAME)
    if recorded["opens"] == opens:
        return Parameters.by_profile(recorded["profile"])
    return PARAMETERS_OF[opens][0]


def report(deployment: Deployment, opens: str) -> list[str]:
    """Return the table for a deployment's programs, if `opens` is opened, and of the model.

    Raises NoiseBudgetExceeded.
    """
    programs = deployment.programs_of(NAME)
    trees = {name: SelectionTree.of(program) for name, program in programs.items()}
    layout, parameters = deployment.layout, profile_of(deployment, opens)
    parties = len(layout.schema.parties)
    if opens == SIGN:
        openings = sign_openings(trees, layout, parameters)
    else:
        openings = score_openings(trees, parties, parameters)
    model = about_the_model(trees, parties, parameters, opens)
    return [
        *_table(openings),
        "",
        f"Of the model, all parties together learn at most {model:.4f} bit from the noise.",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of a deployment for signs and for scores; return 0."""
    print_any_text()
    parser = CommandParser(prog="engines.levelled.leakage", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the deployment, deployment_files")
    deployment = Deployment.load(parser.parse_args(arguments).folder)
    for opens in (SIGN, SCORE):
        print(f"Opening the {opens}, profile {profile_of(deployment, opens).profile}:\n")
        print("\n".join(report(deployment, opens)) + "\n")
    return 0


if __name__ == "__main__":
    run_command(main)
