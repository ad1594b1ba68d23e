"""report: one HTML page of what check and measure found. It needs no network and no script.

In reading order: page (the page, section by section), chart (histograms as inline SVG), style (its
look, dark and light), command. The standard library only.
"""
