"""Synthetic studies: CT and MR series that look real, seeded, with no patient behind them."""

from dicore.pixel.sheet import contact_sheet
from dicore.synth.studies import Instance, preview, studies, write

__all__ = ["Instance", "contact_sheet", "preview", "studies", "write"]
