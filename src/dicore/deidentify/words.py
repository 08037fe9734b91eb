"""The words that cleaned text may hold (option codes C): those of the standard's own attribute names, and those that
protocols and anatomy are described with. A word that is not here is dropped, and so is one that occurs in a name or an
identifier of the same data set. No eponyms, no places, no numbers beyond these."""

from __future__ import annotations

import re

from dicore._native.deidentify import dictionary_names

__all__ = ["vocabulary"]

_DESCRIBING = """
2d 3d 4d a abdomen abdominal above acute adc after angio angiography ankle anterior aorta aortic ap apparent arch arm
arterial artery at atlas axial axis b before below bilateral biopsy bladder blood body bolus bone bowel brain breast bw
c1 c2 c3 c4 c5 c6 c7 calcium cardiac carotid cc cerebral cervical chest chronic cine cm coeff colon contrast coronal
coronary cranial cranium cspine ct cta ctpa cyst delayed dce diffusion disc dose dual dwi dx dynamic early echo ecg
elbow emergency enhanced epi esophagus exam expiration expiratory extremity eye face facial fast fat fdg feet femoral
femur fibula field film finger first flair flow fluid foot for fractures fracture from full fused gallbladder gated
gating gland gradient gre hand head heart hepatic high hip hrct humerus iliac image images in inferior infusion
injection inspiration inspiratory internal intravenous ir iterative iv joint ka kidney kidneys knee kv l1 l2 l3 l4 l5
lat lateral late left leg lesion lesions ligament limb liver lobe localiser localizer long loc low lower lspine lumbar
lung lungs mammography map mass maxilla mediastinum meniscus mid mip mm mpr mr mra mri mrv ms muscle nasal native neck
nerve no nodule nodules noncontrast normal not nuclear oblique of off ol oral orbit orbits ovary pa pancreas parotid
pd pe pelvic pelvis perfusion pet phantom phase plain plane pleural plus portal post posterior pre prostate protocol
proton pulmonary q quantitative radius rapid recon reconstruction renal rest result results resting rib ribs right
routine s1 sag sagittal scan scout se sedation segment sense sequence series shoulder sinus sinuses skull slice slices
small soft space spect spin spine spleen std stir stomach stress study sub subtraction superior survey sw swi t1 t1w
t2 t2w tbi temporal test thick thin thoracic thorax throat thyroid tibia time tissue tof tomography topogram toes
transverse trauma tra tse tspine tumor tumour turbo two ultrasound unenhanced unilateral upper ureter urinary us
uterus vein venous ventricle vertebra vertebral vessel vessels view views vibe volume w water wb week weeks weighted
whole window with without wo wrist x xa xr xray
"""


def vocabulary() -> frozenset[bytes]:
    """Every allowed word, in lower case."""
    named = re.findall(r"[A-Za-z]{2,}", " ".join(dictionary_names()).lower())
    return frozenset(word.encode("ascii") for word in (*named, *_DESCRIBING.split()))
