"""Every environment variable that the program reads, for docs/security.md. A test looks for those that are missing."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """One variable. default: what holds without it, in words."""

    name: str
    default: str
    about: str


SETTINGS = (
    Setting("CONCENTRIC_DATA", "`data/` beside app.py", "the data folder: database, images, versions, runs, keys"),
    Setting("CONCENTRIC_DATABASE", "a file in the data folder", "the URL of a PostgreSQL database (docs/operation.md)"),
    Setting("CONCENTRIC_IMAGES", "`images/` in the data folder", "where images lie: a folder or `s3://BUCKET/PREFIX`"),
    Setting("CONCENTRIC_CACHE", "`~/.cache/concentric`", "converted networks and downloaded encoders; may be deleted"),
    Setting("CONCENTRIC_LOG", "`INFO`", "the level of the log: `DEBUG`, `INFO`, `WARNING` or `ERROR`"),
    Setting("CONCENTRIC_RESERVE_MB", "500", "megabytes of the disk that new fields, versions and runs leave free"),
    Setting("CONCENTRIC_METRICS_TOKEN", "none", "as `Authorization: Bearer` it opens `/api/metrics` to others"),
    Setting("CONCENTRIC_BACKUPS", "`backups/` in the data folder", "where the daily copies go; best on another disk"),
    Setting("CONCENTRIC_BACKUP_DAYS", "7", "of how many days a copy is kept; 0 for no daily copy"),
    Setting("CONCENTRIC_WATCH", "none", "a folder whose new images come in by themselves (docs/operation.md)"),
    Setting("CONCENTRIC_DASK", "none", "a Dask scheduler: detections and runs go there (docs/cluster.md)"),
    Setting("CONCENTRIC_DASK_RUNS", "`GPU`", "the resource of workers that train; `any`: all of them, `none`: none"),
    Setting("CONCENTRIC_HOSTS", "none", "names, with commas, that the server goes by besides this computer's own"),
    Setting("CONCENTRIC_ADMINS", "nobody", "names, with commas, who log in as admin"),
    Setting("CONCENTRIC_REVIEWERS", "nobody", "names, with commas, who log in as reviewer"),
    Setting("CONCENTRIC_DEFAULT_ROLE", "`reader`", "of the others who log in: `nobody`, `reader`, `reviewer`, `admin`"),
    Setting("CONCENTRIC_PROXY_HEADER", "none", "the header in which a trusted proxy names who has logged in"),
    Setting("CONCENTRIC_PROXY_SECRET", "none", "16 characters or more that it sends in `X-Concentric-Proxy-Secret`"),
)


def dask_address() -> str:
    """The Dask scheduler that fields and runs are given to; "" where everything is done on this computer."""
    return os.environ.get("CONCENTRIC_DASK", "").strip()


def training_resource() -> str | None:
    """What a worker of the cluster must offer to train: "" for nothing; None where runs stay on this computer."""
    wanted = os.environ.get("CONCENTRIC_DASK_RUNS", "").strip() or "GPU"
    if not dask_address() or wanted == "none":
        return None
    return "" if wanted == "any" else wanted
