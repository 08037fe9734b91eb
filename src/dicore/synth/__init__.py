"""Synthetic studies: fifteen kinds that look real, seeded, with no patient behind them."""

from dicore.pixel.sheet import contact_sheet
from dicore.synth.sheet import all_modalities
from dicore.synth.studies import MODALITIES, Instance, preview, stream, studies, write

__all__ = ["MODALITIES", "Instance", "all_modalities", "contact_sheet", "preview", "stream", "studies", "write"]
