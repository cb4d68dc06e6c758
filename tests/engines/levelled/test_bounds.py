"""The party's own bounds: every model that can be compiled is within them, little else is."""

import math
from dataclasses import replace

import pytest

from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN, MASKED_BY, SIGN_OF
from engines.levelled.bounds import (
    BOUNDS,
    MOST_COEFFICIENTS,
    MOST_OUTPUTS,
    allowed_outputs,
    check_bounds,
    check_coefficients,
    check_outputs,
)
from engines.levelled.build import PARAMETERS_OF, SCORE, SCORE_WIDTHS, SIGN
from engines.levelled.leakage import Opening, information, score_openings, sign_openings
from engines.levelled.masks import MaskFormat
from engines.levelled.messages import ClientFacts
from engines.levelled.noise import REQUIRED_LOG2, NoiseModel, sigmas_for
from engines.levelled.parameters import (
    DEFAULT,
    KNOWN_ZEROS,
    LEVEL_BITS,
    PROFILES,
    SIGN_BITS,
    ZERO_BITS,
)
from engines.levelled.results import coefficients_of_parts
from engines.levelled.selection import SelectionTree
from engines.levelled.server import LevelledServer
from engines.levelled.sign_budgets import border_failure_log2, sign_budget
from features.schema import MAXIMUM_EXPLAINED, Schema
from model.reasons import MOST_STATED
from settings import ROOT
from utils.errors import NoiseBudgetExceeded, UnsafeParameters

OWN = BOUNDS[DEFAULT.profile]


@pytest.fixture(scope="module")
def deployed(levelled_deployment):
    """The public model and client facts of a compiled model."""
    server = LevelledServer(Deployment.load(levelled_deployment))
    return server.public, ClientFacts.from_archive(server.client_files())


@pytest.fixture(scope="module")
def opens_signs(signs_deployment):
    """The same of a model of which only signs are opened."""
    server = LevelledServer(Deployment.load(signs_deployment))
    return server.public, ClientFacts.from_archive(server.client_files())


def sign_budgets_of(parameters, parties):
    """Yield the budgets of known zeros and signs of programs with every admissible noise."""
    model = NoiseModel(parameters, parties)
    for bits in SCORE_WIDTHS:
        own = MaskFormat.of(parameters, bits, parties)
        for outputs, compared in (
            (1, SIGN_BITS),
            (MOST_OUTPUTS, SIGN_BITS),
            (MOST_STATED, LEVEL_BITS),
        ):
            sign = sign_budget(own, outputs, compared).client
            for quarter in range(-120, -40):
                variance = 4.0 ** (quarter / 4)
                if border_failure_log2(own, variance, outputs) <= REQUIRED_LOG2:
                    zeros = model.divided(ZERO_BITS, variance, KNOWN_ZEROS).client
                    yield zeros.model_copy(update={"score_bits": bits}), sign


def least(made, bits):
    return min(sign.sigma_smudge for _, sign in made if sign.score_bits == bits)


def budgets(parties):
    """Yield the budgets of programs with every admissible noise, by width and outputs."""
    model = NoiseModel(DEFAULT, parties)
    for bits in SCORE_WIDTHS:
        for outputs in (1, MOST_OUTPUTS, MOST_STATED):
            for quarter in range(-120, -40):  # log2 of the program's standard deviation, times 4
                squares = 4.0 ** (quarter / 4) / model.row_variance()
                try:
                    yield model.budget("", bits, 0, squares, outputs + KNOWN_ZEROS).client
                except NoiseBudgetExceeded:
                    continue


def parties_of(public, count):
    """Return the model with parties of one column added, up to `count` in all."""
    document = public.schema_.model_dump(mode="json")
    flag = {"kind": "boolean", "label": "Flag", "default": False}
    for i in range(len(document["parties"]), count):
        column = flag | {"name": f"Flag{i}"}
        document["parties"].append({"name": f"party{i}", "label": "One", "columns": [column]})
    return public.model_copy(update={"schema_": Schema.parse(document)})


def with_budget(client, budget):
    return client.model_copy(update={"budgets": client.budgets | {"decide": budget}})


@pytest.mark.parametrize("parties", [3, 5, 8])
def test_every_budget_that_can_be_compiled_is_within_the_bounds(deployed, parties):
    public, client = parties_of(deployed[0], parties), deployed[1]
    made = list(budgets(parties))
    assert len(made) > 300 and {b.score_bits for b in made} == set(SCORE_WIDTHS)
    for budget in made:
        check_bounds(public, with_budget(client, budget))


def test_the_floor_is_one_step_below_the_smallest_budget():
    most = Schema.model_json_schema()["properties"]["parties"]["maxItems"]
    smallest = min(budget.sigma_smudge for budget in budgets(most))
    assert math.log2(smallest) == pytest.approx(math.log2(OWN.least_smudge) + 0.25)


def test_limits_are_those_of_the_schema_and_the_compiler():
    assert set(BOUNDS) <= set(PROFILES)
    assert OWN.most_score_bits == max(SCORE_WIDTHS)
    assert max(MAXIMUM_EXPLAINED, MOST_STATED) == MOST_OUTPUTS
    assert MOST_COEFFICIENTS == MOST_OUTPUTS + KNOWN_ZEROS
    assert 9.0 <= OWN.least_margin < sigmas_for(-64, 1)


@pytest.mark.parametrize("parameters", PROFILES.values(), ids=list(PROFILES))
@pytest.mark.parametrize("parties", [3, 8])
def test_every_budget_of_signs_that_can_be_compiled_is_within_the_bounds(
    opens_signs, parameters, parties
):
    public, client = parties_of(opens_signs[0], parties), opens_signs[1]
    client = client.model_copy(update={"profile": parameters.profile})
    made = list(sign_budgets_of(parameters, parties))
    assert len(made) > 100
    for zeros, sign in made:
        program = "decide" if sign.score_bits == SIGN_BITS else "reasons"
        given = {program: zeros, SIGN_OF[program]: sign}
        check_bounds(public, client.model_copy(update={"budgets": client.budgets | given}))
    if parties == 8:
        for floor, smallest in (
            (OWN.least_zeros_smudge, min(zeros.sigma_smudge for zeros, _ in made)),
            (OWN.least_sign_smudge, least(made, SIGN_BITS)),
            (OWN.least_level_smudge, least(made, LEVEL_BITS)),
        ):
            assert math.log2(smallest) == pytest.approx(math.log2(floor) + 0.25)


@pytest.mark.parametrize("program", ["decide", "decide_sign", "reasons_levels"])
def test_smudge_below_the_floor_of_signs_is_refused(opens_signs, program):
    public, client = opens_signs
    floors = {
        "decide": OWN.least_zeros_smudge,
        "decide_sign": OWN.least_sign_smudge,
        "reasons_levels": OWN.least_level_smudge,
    }
    check_bounds(public, client)
    low = client.budgets[program].model_copy(update={"sigma_smudge": floors[program] * 0.999})
    with pytest.raises(UnsafeParameters, match=f"for {program}, less than"):
        check_bounds(public, client.model_copy(update={"budgets": client.budgets | {program: low}}))


@pytest.mark.parametrize(
    "changed",
    [
        {"sigma_smudge": OWN.least_smudge * 0.999},
        {"sigma_smudge": 1e-300},
        {"sigma_smudge": math.nan},
        {"sigma_smudge": math.inf},
        {"sigma_smudge": -1.0},
        {"sigma_flood": math.nan},
        {"sigma_flood": math.inf},
        {"sigma_smudge": 2.0**-16},
        {"sigma_flood": 2.0**-16},
        {"score_bits": 13},
        {"score_bits": 64},
    ],
)
def test_budget_outside_the_bounds_is_refused(deployed, changed):
    """The values are not validated again here, so that the bounds alone must refuse them."""
    public, client = deployed
    check_bounds(public, client)
    budget = client.budgets["decide"].model_copy(update=changed)
    with pytest.raises(UnsafeParameters, match="opens nothing with it"):
        check_bounds(public, with_budget(client, budget))


def test_unknown_profiles_and_programs_are_refused(deployed):
    public, client = deployed
    with pytest.raises(UnsafeParameters, match="'n1024'"):
        check_bounds(public, client.model_copy(update={"profile": "n1024"}))
    extra = client.budgets | {"third": client.budgets["decide"]}
    with pytest.raises(UnsafeParameters, match="'third'"):
        check_bounds(public, client.model_copy(update={"budgets": extra}))


def test_known_zeros_of_levels_are_a_part_of_their_own(opens_signs):
    """Forged masks move values of the table to other coefficients (test_forged_masks.py)."""
    counts = coefficients_of_parts(opens_signs[0], "reasons_levels")
    assert counts == [8, KNOWN_ZEROS]


def test_only_the_exact_number_of_scores_is_opened(schema):
    allowed = allowed_outputs(schema)
    own = {"decide": 1, "explain": 11, "reasons": 8}
    assert allowed == own | {SIGN_OF[name]: count for name, count in own.items()}
    for program, count in allowed.items():
        check_outputs(program, count, schema)
        for other in (0, count - 1, count + 1, MOST_OUTPUTS + 1, 2040):
            with pytest.raises(UnsafeParameters):
                check_outputs(program, other, schema)
    check_coefficients(MOST_COEFFICIENTS)
    with pytest.raises(UnsafeParameters):
        check_coefficients(MOST_COEFFICIENTS + 1)


@pytest.mark.parametrize(
    "edges",
    [
        None,
        (),
        (1, 17, 33, 49, 65, 81),
        (17, 33, 49, 65, 81, 97, 113),
        (1, 17, 17, 49, 65, 81, 97),
        (1, 18, 33, 49, 65, 81, 97),
        (1, 17, 33, 49, 65, 81, 2049),
    ],
    ids=["none", "empty", "six", "not from 1", "equal", "within a position", "beyond"],
)
def test_edges_that_mean_nothing_are_refused(opens_signs, edges):
    public, client = opens_signs
    assert public.programs["reasons"].score_bits == 12
    own = public.programs["reasons_levels"].model_copy(update={"edges": edges})
    changed = public.model_copy(update={"programs": public.programs | {"reasons_levels": own}})
    with pytest.raises(UnsafeParameters, match="edges of levels"):
        check_bounds(changed, client)


@pytest.mark.parametrize("program", ["reasons_levels", "explain_sign"])
def test_points_beside_signs_are_refused(opens_signs, program):
    """Without the comparison, a party would open points where it opens levels otherwise."""
    public, client = opens_signs
    check_bounds(public, client)
    left = {name: own for name, own in public.programs.items() if name != program}
    # With the noise of opened scores, which the server states as well.
    masked = MASKED_BY[program]
    noise = {"sigma_smudge": OWN.least_smudge, "sigma_flood": 0.0}
    budgets = client.budgets | {masked: client.budgets[masked].model_copy(update=noise)}
    client = client.model_copy(update={"budgets": budgets})
    with pytest.raises(UnsafeParameters, match="and scores of all others"):
        check_bounds(public.model_copy(update={"programs": left}), client)


def test_levels_of_another_program_are_refused(opens_signs):
    public, client = opens_signs
    for update in ({"edges": (1, 17, 33, 49, 65, 81, 97)}, {}):
        signs = public.programs["explain_sign"].model_copy(update=update)
        wide = public.programs["reasons_levels"].model_copy(update={"score_bits": 4})
        programs = {"explain_sign": signs} if update else {"reasons_levels": wide}
        changed = public.model_copy(update={"programs": public.programs | programs})
        with pytest.raises(UnsafeParameters, match="levels of"):
            check_bounds(changed, client)


def test_schema_with_too_many_reasons_has_no_program_of_them(schema):
    document = schema.model_dump(mode="json") | {"reasons": []}
    flag = {"kind": "boolean", "label": "Flag"}
    count = len(list(schema.columns()))
    document["parties"][0]["columns"] += [
        flag | {"name": f"Flag{i}"} for i in range(MOST_STATED - count)
    ]
    assert allowed_outputs(Schema.parse(document))["reasons"] == MOST_STATED
    document["parties"][0]["columns"].append(flag | {"name": "More"})
    assert set(allowed_outputs(Schema.parse(document))) == {
        "decide",
        "decide_sign",
        "explain",
        "explain_sign",
    }


def at_the_floor(openings):
    """Return the bits that the openings tell with the least smudges, by the module's formulas."""
    floors = {
        "known zeros of masked scores": OWN.least_zeros_smudge,
        "signs": OWN.least_sign_smudge,
        "known zeros of signs": OWN.least_sign_smudge,
        "levels": OWN.least_level_smudge,
        "known zeros of levels": OWN.least_level_smudge,
        "scores and known zeros": OWN.least_smudge,
    }
    least = [replace(own, smudge=floors.get(own.opens, own.smudge)) for own in openings]
    unit = math.sqrt(2 * math.pi * math.e)
    chosen = [own.coefficients * math.log2(1 / (own.smudge * unit)) for own in least]
    checks = sum(
        bits for own, bits in zip(openings, chosen, strict=True) if own.opens not in floors
    )
    return information(least), sum(chosen), checks


def test_leakage_at_the_floor_is_as_stated(layout):
    """The figures of the module's docstring and of docs/PROTOCOL.md."""
    programs = Deployment.load(ROOT / "deployment_files").programs_of("levelled")
    trees = {name: SelectionTree.of(programs[name]) for name in (DECIDE, EXPLAIN)}
    honest, chosen, checks = at_the_floor(sign_openings(trees, layout, PARAMETERS_OF[SIGN][0]))
    secret = DEFAULT.n * math.log2(3)
    figures = [
        f"{honest:.2f} and {chosen:,.0f} bits of the secret's {secret:,.0f} if signs are opened",
        f"{100 * checks / chosen:.0f} %",
    ]
    honest, chosen, _ = at_the_floor(score_openings(trees, 3, PARAMETERS_OF[SCORE][0]))
    figures.append(f"{honest:.2f} and {chosen:.0f} bits if scores are")
    zeros = "known zeros of masked scores"
    counts = {zeros: KNOWN_ZEROS, "levels": 8, "known zeros of levels": KNOWN_ZEROS}
    levels = [Opening("reasons", opens, count, 1.0, 1.0) for opens, count in counts.items()]
    figures.append(f"Levels of 8 reasons add {at_the_floor(levels)[1]:.0f} bits to the second")
    for path in ("engines/levelled/bounds.py", "docs/PROTOCOL.md"):
        text = " ".join((ROOT / path).read_text().split())
        assert [figure for figure in figures if figure not in text] == []
