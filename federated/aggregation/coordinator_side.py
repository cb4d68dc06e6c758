"""The coordinator's side of one step: it collects the masked vectors and opens their sum.

All messages may be repeated, and after a restart be taken again from the coordinator's database:
an Opening depends on nothing else.
"""

from __future__ import annotations

import hmac

from engines.levelled.words import words_from_bytes
from federated.aggregation.group import Group
from federated.aggregation.masking import MOST_NUMBERS, WORD_BYTES, Vector, opened
from federated.aggregation.sealed_share import SEALED_BYTES, fits
from federated.aggregation.seeds import SEED_BYTES, seed_commitment
from federated.aggregation.shamir import recover
from federated.aggregation.statement import DIGEST_BYTES, Step
from federated.aggregation.upload import Upload
from utils.errors import (
    MessageOutOfOrder,
    RevealInvalid,
    UnknownLender,
    UploadInvalid,
    UploadRepeated,
)


class Opening:
    """One step's sum over a roster: vectors first, then the seeds of the self-masks.

    Errors about a lender's message are LenderAtFault, with its name; nothing of the message has
    been taken then.
    """

    def __init__(
        self, group: Group, step: Step, roster: tuple[str, ...], transcript: bytes, length: int
    ) -> None:
        """`length` is that of the vectors, in numbers. Raises RosterRefused and ValueError."""
        if not 0 < length <= MOST_NUMBERS:
            raise ValueError(f"a vector has 1 to {MOST_NUMBERS} numbers")
        self._group, self._length = group, length
        self._stated = group.statement(step, roster, transcript)
        self._uploads: dict[str, Upload] = {}
        self._seeds: dict[str, bytes] = {}
        self._shares: dict[str, dict[str, bytes]] = {name: {} for name in roster}

    @property
    def step(self) -> Step:
        return self._stated.step

    @property
    def roster(self) -> tuple[str, ...]:
        return self._stated.roster

    @property
    def missing_uploads(self) -> tuple[str, ...]:
        return tuple(name for name in self.roster if name not in self._uploads)

    @property
    def missing_seeds(self) -> tuple[str, ...]:
        return tuple(name for name in self.roster if name not in self._seeds)

    @property
    def ready(self) -> bool:
        """True if all vectors and all seeds are there."""
        return not self.missing_uploads and not self.missing_seeds

    @property
    def signatures(self) -> dict[str, bytes]:
        """Everyone's signature, for LenderMasks.reveal; raises MessageOutOfOrder before."""
        self._require_uploads()
        return {name: self._uploads[name].signature for name in self.roster}

    def take_upload(self, lender: str, upload: Upload) -> None:
        """Take a lender's masked vector.

        Raises UnknownLender, UploadInvalid for another step, statement or length,
        SignatureInvalid, and UploadRepeated for a second upload of other content.
        """
        self._require_on_roster(lender)
        known = self._uploads.get(lender)
        if known == upload:
            return
        self._require_fit(lender, upload)
        self._group.require_signed(lender, self._stated, upload.signature)
        if known is not None:
            raise UploadRepeated(
                f"{lender} has sent a second, different vector for {self.step}, which was "
                "ignored. Its folder was restored from an old copy, or it is faulty.",
                lender,
            )
        self._uploads[lender] = upload

    def take_seed(self, lender: str, seed: bytes) -> None:
        """Take the seed of a lender's self-mask from itself.

        Raises UnknownLender, MessageOutOfOrder before all vectors are there, and RevealInvalid.
        """
        self._require_on_roster(lender)
        self._require_uploads()
        if not self._is_seed(lender, seed):
            raise RevealInvalid(
                f"The seed that {lender} has revealed for {self.step} is not the one that its "
                "upload commits to; it was ignored.",
                lender,
            )
        self._seeds[lender] = seed

    def shares_for(self, holder: str) -> dict[str, bytes]:
        """Return the sealed shares that a lender has to open, by the lender that has vanished.

        They are of all lenders whose seeds are missing, other than the holder. Raises as
        `take_seed`.
        """
        self._require_on_roster(holder)
        self._require_uploads()
        return {of: self._sealed(of, holder) for of in self.missing_seeds if of != holder}

    def take_share(self, holder: str, of: str, share: bytes) -> None:
        """Take a holder's share of another lender's seed; enough of them recover the seed.

        Raises UnknownLender, MessageOutOfOrder before all vectors are there, and RevealInvalid,
        which names the holder if the share does not fit its digest, and `of` if its shares do not
        give the seed that its upload commits to.
        """
        self._require_on_roster(holder)
        self._require_on_roster(of)
        self._require_uploads()
        if holder == of or not fits(self._stated, of, holder, self._sealed(of, holder), share):
            raise RevealInvalid(
                f"The share of {of}'s seed that {holder} has revealed for {self.step} is not the "
                f"one that {of} made for it; it was ignored.",
                holder,
            )
        held = self._shares[of]
        held[holder] = share
        if of in self._seeds or len(held) < self._group.threshold:
            return
        points = [(self._group.position(name), held[name]) for name in sorted(held)]
        seed = recover(points, self._group.threshold)
        if not self._is_seed(of, seed):
            raise RevealInvalid(
                f"The shares that {of} made for {self.step} do not give the seed that its upload "
                f"commits to. Wait until {of} is back and reveals its seed, or exclude it.",
                of,
            )
        self._seeds[of] = seed

    def sum(self) -> Vector:
        """Return the sum modulo 2^64, shape (length,); raises MessageOutOfOrder until `ready`."""
        self._require_uploads()
        if self.missing_seeds:
            raise MessageOutOfOrder(
                f"The sum of {self.step} cannot be opened yet: the seeds of "
                f"{', '.join(self.missing_seeds)} are missing."
            )
        uploads = self._uploads.values()
        vectors = (words_from_bytes(upload.masked, self._length) for upload in uploads)
        return opened(vectors, self._seeds.values(), self._length)

    def _require_on_roster(self, lender: str) -> None:
        self._group.require_known(lender)
        if lender not in self._shares:
            raise UnknownLender(
                f"{lender} is not on the roster of {self.step}, so its message was ignored. It "
                "joins at the next tree.",
                lender,
            )

    def _require_uploads(self) -> None:
        if self.missing_uploads:
            raise MessageOutOfOrder(
                f"Nothing of {self.step} is opened before all vectors are there: those of "
                f"{', '.join(self.missing_uploads)} are missing."
            )

    def _require_fit(self, lender: str, upload: Upload) -> None:
        if upload.step != self.step:
            problem = f"it is for {upload.step}"
        elif not hmac.compare_digest(upload.statement, self._stated.digest):
            problem = "it is for another roster or another history of the run"
        elif len(upload.masked) != WORD_BYTES * self._length:
            problem = f"it has {len(upload.masked) // WORD_BYTES} numbers, not {self._length}"
        elif len(upload.commitment) != DIGEST_BYTES or not self._has_shares(upload):
            problem = "its shares or its commitment have a wrong size"
        else:
            return
        raise UploadInvalid(
            f"The vector that {lender} has sent for {self.step} was refused: {problem}. Run the "
            "same release and plan at the coordinator and every lender.",
            lender,
        )

    def _has_shares(self, upload: Upload) -> bool:
        sizes = {len(share) for share in upload.shares}
        return len(upload.shares) == len(self.roster) - 1 and sizes == {SEALED_BYTES}

    def _sealed(self, of: str, holder: str) -> bytes:
        others = [name for name in self.roster if name != of]
        return self._uploads[of].shares[others.index(holder)]

    def _is_seed(self, lender: str, seed: bytes) -> bool:
        # A seed of another size would be no key.
        if len(seed) != SEED_BYTES:
            return False
        found = seed_commitment(self._stated.digest, lender, seed)
        return hmac.compare_digest(found, self._uploads[lender].commitment)
