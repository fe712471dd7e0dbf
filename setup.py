"""What pyproject.toml cannot say: a wheel holds what lies beside the package in a checkout."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent))  # builds may leave it out
from ssl_swin.shipped import FOLDERS, IN_WHEEL


class WithShipped(build_py):
    """Copies configs, batch scripts and the demo's images into the package; a link needs none."""

    def run(self):
        """Copy the package, then what is shipped beside it."""
        super().run()
        for folder in () if self.editable_mode else FOLDERS:
            self.copy_tree(folder, str(Path(self.build_lib, "ssl_swin", IN_WHEEL, folder)))


setup(cmdclass={"build_py": WithShipped})
