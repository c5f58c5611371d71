"""A line for each recording of a prepared folder: whose it is, how long, and what of it is in no window and why."""

import csv
import io
import re
from collections.abc import Mapping

from data_pipelines.describe import seconds_of

COLUMNS = ("recording", "subject", "hours_recorded", "hours_worn", "hours_in_windows", "windows")
DAYS = ("days_with_windows", "first_day", "last_day")


def people_table(manifest: Mapping) -> str:
    """csv text with COLUMNS, DAYS and hours_lost_REASON for each reason; empty where the manifest does not know.

    The hours recorded are those in windows and those lost, and count as in `describe.Cohort`.
    """
    rows = [_row(entry, manifest["sample_rate_hz"]) for entry in manifest["recordings"]]
    lost = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS + DAYS)
    text = io.StringIO()
    writer = csv.DictWriter(text, (*COLUMNS, *DAYS, *lost), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(entry: Mapping, rate_hz: int) -> dict:
    recorded, in_windows, lost = seconds_of(entry, rate_hz)
    hours = {"hours_recorded": recorded, "hours_in_windows": in_windows}
    if "wear_s" in entry:
        hours["hours_worn"] = entry["wear_s"]
    hours |= {f"hours_lost_{re.sub('[ -]', '_', reason)}": seconds for reason, seconds in lost.items()}
    row = {"recording": entry["name"], "subject": entry["subject"], "windows": entry["windows"]}
    row |= {name: round(seconds / 3600, 4) for name, seconds in hours.items()}
    if "days" in entry:
        days = sorted(entry["days"])
        row |= dict(zip(DAYS, (len(days), *days[:1], *days[-1:]), strict=False))
    return row
