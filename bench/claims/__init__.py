"""What papers claim, judged by the stored results of suites: a listing of claims to one page."""
