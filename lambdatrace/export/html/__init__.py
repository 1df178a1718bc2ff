"""Executions as one self-contained page, to look at in a browser, to mail, to print."""

from lambdatrace.export.html.page import MOST_REPORTS as MOST_REPORTS
from lambdatrace.export.html.page import page as page
from lambdatrace.export.html.report import Report as Report
from lambdatrace.export.html.summary import summary_html as summary_html
