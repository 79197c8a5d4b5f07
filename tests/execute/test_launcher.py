"""What a job finds in its environment."""

import os
import subprocess
import sys

from bench.execute.launcher import job_variables


def test_file_of_the_folder_takes_the_place_of_no_module(tmp_path):
    (tmp_path / "profile.py").write_text("raise SystemExit('the wrong file')")
    command = [sys.executable, "-c", "import profile, bench; profile.run"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, **job_variables(1)}, check=True)
