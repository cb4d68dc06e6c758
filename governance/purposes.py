"""Purposes for which data may be asked for, as terms of the W3C Data Privacy Vocabulary.

Terms and hierarchy are those of DPV 2.1 (2025), https://w3id.org/dpv, except `CreditChecking`: it
was in the core vocabulary of DPV 1.0 (2022) and is in no core vocabulary since 2.0. It keeps its
name and its place below `CustomerSolvencyMonitoring` here. The words are this project's own.

A rule for a purpose includes all purposes below it: `Marketing` includes `DirectMarketing`.
"""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "dpv:"
NAMESPACE = "https://w3id.org/dpv#"


@dataclass(frozen=True)
class Purpose:
    """A purpose in words, which complete `the data is used …`, and the terms directly above it."""

    words: str
    broader: tuple[str, ...] = ()


PURPOSES: dict[str, Purpose] = {
    "dpv:AcademicResearch": Purpose("for academic research", ("dpv:ResearchAndDevelopment",)),
    "dpv:AccountManagement": Purpose("to manage an account"),
    "dpv:Advertising": Purpose("for advertising", ("dpv:Marketing",)),
    "dpv:AgeVerification": Purpose("to verify an age", ("dpv:Verification",)),
    "dpv:CommercialPurpose": Purpose("for a commercial purpose"),
    "dpv:CommercialResearch": Purpose(
        "for commercial research", ("dpv:CommercialPurpose", "dpv:ResearchAndDevelopment")
    ),
    "dpv:CounterMoneyLaundering": Purpose(
        "to prevent and detect money laundering", ("dpv:FraudPreventionAndDetection",)
    ),
    "dpv:CreditChecking": Purpose(
        "to assess creditworthiness", ("dpv:CustomerSolvencyMonitoring",)
    ),
    "dpv:CustomerManagement": Purpose("to manage customers"),
    "dpv:CustomerSolvencyMonitoring": Purpose(
        "to monitor the solvency of customers", ("dpv:CustomerManagement",)
    ),
    "dpv:DirectMarketing": Purpose("for direct marketing", ("dpv:Marketing",)),
    "dpv:EnforceSecurity": Purpose("for security"),
    "dpv:EstablishContractualAgreement": Purpose("to conclude a contract"),
    "dpv:FraudPreventionAndDetection": Purpose(
        "to prevent and detect fraud", ("dpv:MisusePreventionAndDetection",)
    ),
    "dpv:FulfilmentOfContractualObligation": Purpose(
        "to fulfil a contract", ("dpv:FulfilmentOfObligation",)
    ),
    "dpv:FulfilmentOfObligation": Purpose("to fulfil an obligation"),
    "dpv:HumanResourceManagement": Purpose("to manage personnel matters"),
    "dpv:IdentityVerification": Purpose("to verify an identity", ("dpv:Verification",)),
    "dpv:LegalCompliance": Purpose("to comply with the law", ("dpv:FulfilmentOfObligation",)),
    "dpv:Marketing": Purpose("for marketing"),
    "dpv:MisusePreventionAndDetection": Purpose(
        "to prevent and detect misuse", ("dpv:EnforceSecurity",)
    ),
    "dpv:NonCommercialPurpose": Purpose("for a non-commercial purpose"),
    "dpv:NonCommercialResearch": Purpose(
        "for non-commercial research", ("dpv:NonCommercialPurpose", "dpv:ResearchAndDevelopment")
    ),
    "dpv:PaymentManagement": Purpose("to manage payments", ("dpv:ServiceProvision",)),
    "dpv:Personalisation": Purpose("for personalisation"),
    "dpv:PersonalisedAdvertising": Purpose(
        "for personalised advertising", ("dpv:Advertising", "dpv:Personalisation")
    ),
    "dpv:PersonnelHiring": Purpose("to hire personnel", ("dpv:PersonnelManagement",)),
    "dpv:PersonnelManagement": Purpose("to manage personnel", ("dpv:HumanResourceManagement",)),
    "dpv:ProvideOfficialStatistics": Purpose("for official statistics", ("dpv:PublicBenefit",)),
    "dpv:PublicBenefit": Purpose("for the benefit of the public"),
    "dpv:ResearchAndDevelopment": Purpose("for research and development"),
    "dpv:ServiceProvision": Purpose("to provide a service"),
    "dpv:Verification": Purpose("for verification", ("dpv:EnforceSecurity",)),
}


def purpose_words(term: str) -> str:
    """Return the words of a purpose, or the term itself if it is not in `PURPOSES`."""
    found = PURPOSES.get(term)
    return found.words if found else term


def iri_of(term: str) -> str:
    """Return the IRI of a term such as `dpv:Marketing`."""
    return NAMESPACE + term.removeprefix(PREFIX)
