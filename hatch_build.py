"""The sdist's manual pages, one a command, made from what `vqcodec COMMAND --help` says."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from click_man.core import write_man_pages
from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualPages(BuildHookInterface[BuilderConfig]):
    """Puts the pages into the folder `man` of the archive; the source tree stays as it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the pages and add them to the archive."""
        sys.path.insert(0, self.root)
        from vqcodec.commands.main import cli

        self._folder = tempfile.mkdtemp()
        # Without a date, so that one commit always gives the same archive.
        write_man_pages(
            "vqcodec", cli, version=self.metadata.version, target_dir=self._folder, date=" "
        )
        for page in Path(self._folder).iterdir():
            build_data["force_include"][str(page)] = f"man/{page.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what `initialize` wrote."""
        shutil.rmtree(self._folder)
