"""About: what the program does, whose work it stands on, and what it is not."""

from __future__ import annotations

import streamlit as st

from mitosis_core import __version__
from pages.shared.shell import open_page

open_page("About")
st.container(width=900).markdown(
    f"""
Concentric **{__version__}** finds mitoses in high-power fields of H&E-stained slides, counts them, and gives the count
as a density. **For research; not a medical device.** Nothing leaves this computer: images and results stay on the
machine that runs the server.

### Guide
1. **Cases**: drop fields. They are sorted into cases by their names, stored, and analysed one after the other, also
   while you are on another page or the browser is closed. The frame at the top shows how far this is.
2. **Review**: judge what was found and add what was missed. One key or click per cell, stored at once. Finish a field
   with F; the next one follows.
3. **Results**: the corrected count of a case per mm² and per 10 fields, with pictures of what was counted.
4. **Retrain**: make a new version from finished cases and compare it with the active one. **Models** shows all
   versions, promotes, and goes back to an earlier one.

**Quick look** (under More) counts a field without keeping it, and offers a tour on a drawn sample. **Data**
(under More) shows where everything is kept, its backups and who did what. "Help" at the top of each page tells
what the page is for. Your name, at the top, is what verdicts and decisions are recorded with. The menu at the
right chooses light or dark. For whoever runs the server: the folder docs beside the program.

### What it is not
It is a research tool, **not a medical device**. A count from it must not decide a diagnosis or a grade. It has learned
from breast cancer on five scanners, and from mitoses of seven tumour types of man and dog; on other tissue, stains or
scanners it may err more. Every count should be looked at: each circle can be checked in the gallery, and the score
slider shows what lies just below the threshold.

### Methods
The default version follows **SegMitos**: a segmentation network that learns from centroids by concentric labels, where
a disc is mitosis and the ring round it is ignored. **DeepMitosis** (boxes, and a second look at each), **RDLM** (a
feature pyramid with a global bank) and **instance-max** (which learned only which images hold a mitosis) are there too.

- Li C, Wang X, Liu W, Latecki LJ, Wang B, Huang J. *Weakly supervised mitosis detection in breast histopathology
  images using concentric loss.* Medical Image Analysis 53 (2019) 165-178.
- Li C, Wang X, Liu W, Latecki LJ. *DeepMitosis: mitosis detection via deep detection, verification and segmentation
  networks.* Medical Image Analysis 45 (2018) 121-133.
- Ali H, Li H, Retta EA, et al. *Representation of differential learning method for mitosis detection.* Journal of
  Healthcare Engineering (2021).
- Fernandez-Martín C, Kiraz U, Silva-Rodríguez J, et al. *Challenging mitosis detection algorithms: global labels allow
  centroid localization.* IDEAL (2022).

### Data behind the shipped versions
- MITOS12: Roux L, et al. *Mitosis detection in breast cancer histological images: an ICPR 2012 contest.* Journal of
  Pathology Informatics 4 (2013) 8.
- MIDOG: Aubreville M, et al. *A comprehensive multi-domain dataset for mitotic figure detection.* Scientific Data 10
  (2023) 484. AMi-Br: Bertram CA, et al., BVM 2025.
- AtNorM-MD and AtNorM-Br, 2,853 mitoses of seven tumour types: Banerjee S, et al. *Benchmarking deep learning and
  vision foundation models for atypical vs. normal mitosis classification with cross-dataset evaluation.* arXiv
  2506.21444.

### Licence
Apache-2.0. The encoders started from EfficientNet-Lite0 (Apache-2.0).
"""
)
