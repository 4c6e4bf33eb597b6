"""The report: one static page a reviewer opens from a file or an object store, with no server and nothing fetched."""

from pipelines.report.config import ReportConfig
from pipelines.report.write import REPORT_HTML, SUMMARY_JSON, stale_assets, write_report

__all__ = ["REPORT_HTML", "SUMMARY_JSON", "ReportConfig", "stale_assets", "write_report"]
