"""The models in use, looked up before each study: a decision works with the next study, without a restart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from hoichan.adapters.governance_sql import GovernanceSql
from hoichan.adapters.signatures import TrustedKeys
from hoichan.analysis.standing import Standing, stand
from hoichan.analysis.versions import PACKAGE_FILES, SIGNATURE_FILE, Version, find
from hoichan.errors import InputOutOfDomain, ManifestInvalid
from hoichan.ports import Outliner, Runner
from hoichan.settings import Models
from hoichan.types import (
    InferenceResult,
    Instance,
    ModelManifest,
    RefusalCode,
    Series,
    Study,
    VolumeManifest,
    VolumeResult,
)

if TYPE_CHECKING:
    from pydicom import Dataset

log = structlog.get_logger()

Mark = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies on the shelf: what may be used, and what may not with the reason."""

    versions: tuple[Version, ...]
    invalid: tuple[tuple[str, ManifestInvalid], ...]  # folder under the root


def look(roots: Iterable[Path], settings: Models) -> Found:
    """The versions on the shelf; those without a trusted signature are invalid where the site requires one.

    Raises ConfigurationError for a trusted key that is none.
    """
    versions, invalid = find(roots)
    if not settings.require_signature:
        return Found(versions=versions, invalid=invalid)
    keys = TrustedKeys(settings.trusted_keys)
    trusted: list[Version] = []
    refused = list(invalid)
    for version in versions:
        try:
            keys.check(version)
            trusted.append(version)
        except ManifestInvalid as error:
            folder = Path(version.manifest.root).name
            place = version.name if folder == version.name else f"{version.name}/{folder}"
            refused.append((place, error))
    return Found(versions=tuple(trusted), invalid=tuple(refused))


class Roster:
    """What is in use now. Safe for many threads."""

    def __init__(
        self,
        roots: tuple[Path, ...],
        settings: Models,
        governance: GovernanceSql,
        *,
        changed: Callable[[Standing], None] = lambda standing: None,
    ) -> None:
        self._roots = roots
        self._settings = settings
        self._governance = governance
        self._changed = changed  # told what is in use after a change
        self._lock = threading.Lock()
        self._mark: Mark = ()
        self._standing: Standing | None = None

    def standing(self) -> Standing:
        """As decided up to now. Raises RecordsUnavailable.

        The first call raises ManifestInvalid or ConfigurationError where a model cannot be used; a later
        change that cannot be done is logged, and what was in use stays in use.
        """
        with self._lock:
            mark = (self._governance.mark(), *_stamps(self._roots))
            if self._standing is not None and mark == self._mark:
                return self._standing
            before = self._standing
            try:
                self._standing = self._look(before)
            except ManifestInvalid as error:
                if before is None:
                    raise
                log.error("models_not_changed", code=error.code)
                self._standing = before
            self._mark = mark
            if before is not None and self._standing != before:
                log.info("models_changed", live=[_told(one.version) for one in self._standing.live])
                self._changed(self._standing)
            return self._standing

    def manifests(self, study: Study) -> tuple[ModelManifest, ...]:
        """The live models as they are for the patient of a study. Raises RecordsUnavailable."""
        return self.standing().manifests(study.patient)

    def networks(self) -> tuple[VolumeManifest, ...]:
        """The live networks for volumes. Raises RecordsUnavailable."""
        return self.standing().networks()

    def _look(self, former: Standing | None) -> Standing:
        found = look(self._roots, self._settings)
        standing = stand(
            found.versions,
            self._governance.decisions(),
            thresholds=self._governance.thresholds(),
            pins=self._settings.pins,
            former=former,
        )
        for folder, error in found.invalid:
            if former is None and "/" not in folder:  # a site that believes in a model must hear it
                raise error
            log.error("model_package_invalid", package=folder, code=error.code)
        return standing


class Thawed:
    """A runner that keeps frozen models silent: the study says that they were not asked, and why."""

    def __init__(self, runner: Runner, roster: Roster) -> None:
        self._runner = runner
        self._roster = roster

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """As the runner; raises InputOutOfDomain (`model_frozen`) for a frozen model."""
        if manifest.name in self._roster.standing().frozen:
            raise InputOutOfDomain(RefusalCode.MODEL_FROZEN)
        return self._runner.run(manifest, study, instance)


class ThawedVolumes:
    """An outliner that keeps frozen networks silent, as `Thawed` does for films."""

    def __init__(self, outliner: Outliner, roster: Roster) -> None:
        self._outliner = outliner
        self._roster = roster

    def headers(self, series: Series) -> Sequence[Dataset]:
        """As the outliner."""
        return self._outliner.headers(series)

    def run(self, manifest: VolumeManifest, study: Study, series: Series) -> VolumeResult:
        """As the outliner; raises InputOutOfDomain (`model_frozen`) for a frozen network."""
        if manifest.name in self._roster.standing().frozen:
            raise InputOutOfDomain(RefusalCode.MODEL_FROZEN)
        return self._outliner.run(manifest, study, series)


def _stamps(roots: Iterable[Path]) -> Iterable[tuple[str, int]]:
    """Changes when a package comes, goes or is changed."""
    for root in roots:
        for pattern in ("*", "*/*"):
            for file in (*PACKAGE_FILES, SIGNATURE_FILE):
                for path in sorted(root.glob(f"{pattern}/{file}")):
                    with suppress(FileNotFoundError):  # it went while we looked
                        yield str(path), path.stat().st_mtime_ns


def _told(version: Version) -> str:
    return f"{version.name} {version.version}"
