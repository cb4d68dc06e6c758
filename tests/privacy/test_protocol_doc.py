"""Checks of docs/PROTOCOL.md: steps, sizes, parameters, figures and the tests that it names."""

import math
import re

import pytest

from engines.deployment import Deployment
from engines.interface import DECIDE, MASKED_BY, MASKED_OF, PROGRAMS, REASONS, SIGN_OF
from engines.levelled import security
from engines.levelled.bounds import BOUNDS, MOST_COEFFICIENTS, MOST_OUTPUTS
from engines.levelled.build import SCORE, SIGN
from engines.levelled.leakage import information, report, sign_openings
from engines.levelled.masks import MaskFormat
from engines.levelled.noise import REQUIRED_LOG2, TARGET_LOG2, NoiseModel, sigmas_for
from engines.levelled.parameters import (
    DEFAULT,
    KNOWN_ZEROS,
    LEVEL_BITS,
    PROFILES,
    SIGN_BITS,
    WIDE_NOISE,
    ZERO_BITS,
)
from engines.levelled.selection import SelectionTree
from engines.levelled.sign_budgets import sign_budget
from engines.levelled.well_formed import CHECK_BITS, CHECKED, check_budget
from model.levels import LEVELS
from model.reasons import MOST_STATED
from parties.joint.asking import TURN_SECONDS
from parties.joint.messages import FIRST_STEPS, agree_step, class_of, confirm_step, partial_step
from settings import ROOT
from tests.privacy.small import PARTIES, EngineHalves
from tests.privacy.table import Table
from training.opened import opened_values
from trials.forged_inputs import FORGED_BITS, FORGED_RECORDS
from utils import errors

DOCUMENT = (ROOT / "docs" / "PROTOCOL.md").read_text()


def section(name):
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    assert DOCUMENT.count(begin) == DOCUMENT.count(end) == 1
    return DOCUMENT[DOCUMENT.index(begin) + len(begin) : DOCUMENT.index(end)]


def rows(name):
    """Return the cells of a section's table, without the header row."""
    lines = [line for line in section(name).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


STEPS = {row[0].strip("`"): row for row in rows("steps")}


@pytest.fixture(scope="module")
def played(signs_deployment, layout):
    """(table, uploads, results) of an application to the demonstration's schema."""
    halves = EngineHalves.of(Deployment.load(signs_deployment))
    table = Table(halves).keys()
    bits = layout.encode({c.name: c.default for c in layout.schema.columns()})
    uploads, results = table.sent(bits), {}
    for program in PROGRAMS:
        table.agree(program, uploads)
        results[program] = halves.server.evaluate(program, uploads)
        table.open(program, results[program])
        masked = {table[name].masked_scores(program, results[program]) for name in PARTIES}
        (uploads[PARTIES[0], MASKED_OF[program]],) = masked
        sign = SIGN_OF[program]
        results[sign] = halves.server.evaluate(sign, uploads)
        table.open(sign, results[sign])
        opened = opened_values(halves.server.public, program, halves.scores(program, bits))
        assert {table[name].scores(sign, results[sign]) for name in PARTIES} == {opened}
    return table, uploads, results


def test_documented_steps_match_the_protocol_order():
    opening = [
        step
        for program in PROGRAMS
        for step in (
            *(agree_step(program), confirm_step(program), partial_step(program)),
            *(confirm_step(SIGN_OF[program]), partial_step(SIGN_OF[program])),
        )
    ]
    assert list(STEPS) == [*FIRST_STEPS, *opening]


@pytest.mark.parametrize("step", STEPS)
def test_documented_step_content_matches_its_class(step):
    fields = [name for name in class_of(step).model_fields if name != "version"]
    assert re.findall(r"`(\w+)`", STEPS[step][3]) == fields


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_the_stated_size_and_receivers(played, step):
    table, _, _ = played
    own = [posted for posted in table.post if posted.step == step]
    assert {len(posted.body) for posted in own} == {int(STEPS[step][4])}
    to_all = STEPS[step][2] == "all"
    assert len(own) == len(PARTIES) * (1 if to_all else len(PARTIES) - 1)
    assert {posted.receiver is None for posted in own} == {to_all}
    assert ("group" in STEPS[step][5]) is to_all


def test_uploads_and_results_have_the_stated_sizes(played, layout):
    table, uploads, results = played
    stated = {(row[0].strip("`"), row[1]): (int(row[4]), row[3]) for row in rows("slots")}
    actual = {(name, party): len(message) for (party, name), message in uploads.items()}
    actual |= {(program, "server"): len(result) for program, result in results.items()}
    assert {key: size for key, (size, _) in stated.items()} == actual
    for party in PARTIES:
        bits = layout.party_bits(party)
        assert f" {bits.stop - bits.start} bits" in stated["encrypted_inputs", party][1]
    for program, result in results.items():
        count = len(table.halves.server.public.programs[program].outputs)
        content = f"mask, {count} + {KNOWN_ZEROS} coefficients"
        if program in MASKED_BY:
            some = "coefficient" if count == 1 else "coefficients"
            content = f"mask, {count} {some}; and mask, {KNOWN_ZEROS} zeros"
        assert content in stated[program, "server"][1], result
    assert f"and {CHECKED} coefficients of every party's check" in stated[DECIDE, "server"][1]
    assert f"{sum(len(p.body) for p in table.post)} bytes" in DOCUMENT
    assert f"uploads have {sum(len(message) for message in uploads.values())}" in DOCUMENT
    assert f"schema of {layout.n_bits} bits" in DOCUMENT


def test_documented_parameters_match_the_profiles():
    stated = {row[0].strip("`"): row[1:] for row in rows("parameters")}
    assert stated == {
        name: [
            str(p.n),
            str(p.levels),
            str(p.base_log),
            f"2^{p.sigma_log}",
            str(p.mask_bits),
            str(p.body_bits),
        ]
        for name, p in PROFILES.items()
    }
    assert f"keeps {DEFAULT.mask_bits} bits and a body word {DEFAULT.body_bits}" in DOCUMENT


def test_documented_bounds_match_the_code():
    bounds = BOUNDS[DEFAULT.profile]
    assert list(BOUNDS) == list(PROFILES) and set(BOUNDS.values()) == {bounds}
    assert [row[1] for row in rows("bounds")] == [
        f"2^{math.log2(bounds.least_smudge):g}",
        f"2^{math.log2(bounds.least_zeros_smudge):g}",
        f"2^{math.log2(bounds.least_sign_smudge):g}",
        f"2^{math.log2(bounds.least_level_smudge):g}",
        str(bounds.most_score_bits),
        f"{bounds.least_margin:g}",
        "1",
        f"the values that an explanation tries, at most {MOST_OUTPUTS}",
        f"the reasons that the schema states, at most {MOST_STATED}",
        f"{LEVELS - 1}, rising strictly from 1 within the range of points",
        f"at most {MOST_COEFFICIENTS} of {DEFAULT.n}",
    ]


def test_documented_security_figures_match_the_script():
    assert section("security").splitlines() == security.table()
    for parameters in PROFILES.values():
        bits = f"{security.standard_modulus_log2(parameters):.1f} bits with"
        assert f"{bits} σ = 2^{parameters.sigma_log}" in DOCUMENT.replace("with 2^", "with σ = 2^")
    allowed = security.STANDARD_MODULUS_BITS[DEFAULT.n]
    assert f"allows a modulus of {allowed} bits for N = {DEFAULT.n}" in DOCUMENT


@pytest.mark.parametrize("opens", [SIGN, SCORE])
def test_documented_leakage_matches_the_bounds(opens):
    stated = section(f"leakage of {opens}s").splitlines()
    assert stated == report(Deployment.load(ROOT / "deployment_files"), opens)


def test_documented_leakage_of_the_other_profile_and_gain_in_security(layout):
    programs = Deployment.load(ROOT / "deployment_files").programs_of("levelled")
    trees = {name: SelectionTree.of(program) for name, program in programs.items()}
    told = information(sign_openings(trees, layout, DEFAULT))
    assert f"σ = 2^{DEFAULT.sigma_log}, signs and the same check would tell {told:.3f}" in DOCUMENT
    gained = security.least_log2(WIDE_NOISE)[0] - security.least_log2(DEFAULT)[0]
    assert f"2^{WIDE_NOISE.sigma_log} gives {gained:.1f} bits" in DOCUMENT


def test_room_of_the_check_and_its_figures_are_as_stated(layout):
    room = check_budget(layout, WIDE_NOISE).room
    assert f"{int(room * 10) / 10} for the check of the largest party" in DOCUMENT
    text = section_of("#### Bits are bits")
    assert f"{CHECKED} coefficients" in text and f"within 2^-{CHECK_BITS + 1} of 0" in text
    assert f"probability 2^-{CHECK_BITS * CHECKED}" in text
    kinds = len(FORGED_BITS) + len(FORGED_RECORDS)
    assert f"{kinds} kinds of forgery" in text


def test_documented_noise_formulas_match_the_model():
    """The document's formulas, computed independently for the default profile."""
    p, model = DEFAULT, NoiseModel(DEFAULT, 3)
    v_s, u2, zero = 3 * 2 / 3, 2 / 3, p.sigma**2
    zero *= 1 + p.n * 3 * u2 + p.n * v_s
    row = zero + 2.0 ** (-2 * p.body_bits) / 12 + p.n * v_s * 2.0 ** (-2 * p.mask_bits) / 12
    product = p.n * p.base**2 / 12 * 2 * p.levels * row
    product += p.base ** (-2 * p.levels) / 12 * (p.n * v_s + 1)
    assert model.public_key_zero_variance() == pytest.approx(zero)
    assert model.row_variance() == pytest.approx(row)
    assert model.external_product_variance() == pytest.approx(product)
    assert model.program_variance(7, 3.0) == pytest.approx(7 * product + 3 * row)
    for target in (TARGET_LOG2, REQUIRED_LOG2):
        assert f"{sigmas_for(target, 1):.1f}" in section_of("### Noise budget")
        assert f"2^{target:.0f}" in section_of("### Noise budget")


def section_of(heading):
    start = DOCUMENT.index(f"\n{heading}\n") + 1
    return re.split(rf"\n#{{1,{heading.index(' ')}}} ", DOCUMENT[start:])[0]


def test_sections_are_in_the_order_of_nists_threshold_call():
    """System model, security claims, building blocks, performance (IR 8214C)."""
    top = ["System model", "Security claims", "Building blocks", "Performance", "Sources"]
    assert re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE) == top
    claims = re.findall(r"^### (.+)$", section_of("## Security claims"), re.MULTILINE)
    assert claims == ["Claims", "Active server", "Active party", "Leakage", "Not claimed"]


def test_the_known_zeros_are_as_stated():
    assert f"K + {KNOWN_ZEROS} coefficients" in DOCUMENT
    assert f"probability 2^-{ZERO_BITS * KNOWN_ZEROS} to pass" in DOCUMENT
    assert f"scores of 12 bits with 2^-{12 * KNOWN_ZEROS}" in DOCUMENT
    assert f"signs with 2^-{SIGN_BITS * KNOWN_ZEROS}" in DOCUMENT


def test_the_noise_margin_for_flooding_is_as_stated(levelled_deployment):
    facts = Deployment.load(levelled_deployment).engine_facts("levelled")
    shipped = Deployment.load(ROOT / "deployment_files").manifest.engines.get("levelled", facts)
    rooms = [
        room
        for own in (facts, shipped)
        for name, room in own["room_bits"].items()
        if name != REASONS or own["opens"] == SCORE
    ]
    levels = sign_budget(MaskFormat.of(WIDE_NOISE, 12, 3), 8, LEVEL_BITS)
    assert f"{int(levels.room * 10) / 10} for levels of 8 reasons" in DOCUMENT
    assert f"probability of 2^-{LEVEL_BITS * KNOWN_ZEROS}" in section_of("#### Levels of reasons")
    assert "4.3 to 7 bits" in DOCUMENT and all(4.3 <= room <= 7 for room in rooms)


def test_the_delay_of_a_party_before_it_requests_the_run_is_as_stated():
    assert f"asks {TURN_SECONDS:g} s later than the one before" in DOCUMENT


def test_every_claim_names_tests_and_every_named_test_exists():
    assert all("::" in row[-1] for name in ("claims", "caught") for row in rows(name))
    assert all("::" in row[2] for row in rows("refused"))
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT)
    assert len(named) > 30
    for path, test in named:
        source = (ROOT / path).read_text()
        assert re.search(rf"^def {test}\(", source, re.MULTILINE), f"{path}::{test}"


def test_every_named_error_exists():
    assert [row[1] for name in ("caught", "refused") for row in rows(name)]
    for name in re.findall(r"`([A-Z]\w+)`", DOCUMENT):
        assert issubclass(getattr(errors, name), errors.TrisealError)


def test_every_link_to_a_file_resolves():
    links = re.findall(r"\]\(([^)#:]+)\)", DOCUMENT)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_measured_noise_is_documented():
    assert "public-key zero" in section("measured noise")
