"""What the elements of a data set mean: waveforms, doses, SUV, contours, segments, measurements, where a frame lies.

Every module works on anything with `get`, `[]` and `in` by keyword (`elements.Elements`) and knows no Dataset: the
methods of `dicore.Dataset` of the same names are the way in. Nothing here is imported before it is used.
"""
