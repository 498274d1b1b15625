"""Where a circuit was verified on too few rows for any claim."""

from acdc.artefacts.verification.report import Report
from acdc.artefacts.verification.sampling import FEWEST_UNITS
from acdc.words import are, count_of


def too_few(report: Report) -> str:
    """That there were too few rows, in a sentence without its full stop; nothing where there were enough, or none."""
    sampling = report.full_verification.sampling if report.full_verification else None
    count, unit = (report.rows, "row") if sampling is None else (sampling.units, sampling.unit)
    if not 0 < count < FEWEST_UNITS:
        return ""
    return f"{count_of(count, f'unseen {unit}')} {are(count)} too few for any claim: it takes at least {FEWEST_UNITS}"
