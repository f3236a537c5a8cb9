"""Files that pages are made with: 3Dmol.js 2.5.5 (BSD-3-Clause), as npm ships it."""
