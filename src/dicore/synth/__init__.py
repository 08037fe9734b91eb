"""Synthetic studies: thirteen modalities that look real, seeded, with no patient behind them."""

from dicore.pixel.sheet import contact_sheet
from dicore.synth.studies import MODALITIES, Instance, preview, studies, write

__all__ = ["MODALITIES", "Instance", "contact_sheet", "preview", "studies", "write"]
