"""Believable patients in several character sets. Every name is made of common first and last names; nobody is meant."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import numpy as np

__all__ = ["Patient", "Staff", "patient", "staff"]

# (Specific Character Set, family names, female given names, male given names)
_LATIN = (
    ["Müller", "Schäfer", "Núñez", "García", "Lefèvre", "Gonçalves", "Åkesson", "Sørensen", "Whitfield", "Moreau"],
    ["Jördis", "María", "Hélène", "Inês", "Åsa", "Emma", "Zoë", "Françoise", "Grace", "Karen"],
    ["Jürgen", "José", "Jérôme", "João", "Björn", "Søren", "Thomas", "François", "Henry", "Luís"],
)
_PLAIN = (
    ["Smith", "Jones", "Okafor", "Patel", "Novak", "Rossi", "Kowalski", "Larsen", "Brown", "Silva"],
    ["Alice", "Ngozi", "Priya", "Julia", "Anna", "Maria", "Ruth", "Clara", "Susan", "Beatriz"],
    ["Adam", "Chidi", "Arjun", "Peter", "Marco", "Jan", "Erik", "David", "Samuel", "Paulo"],
)
_CYRILLIC = (
    ["Иванов", "Петров", "Смирнов", "Соколов", "Кузнецов", "Попов"],
    ["Анна", "Ольга", "Мария", "Елена", "Татьяна", "Ирина"],
    ["Иван", "Сергей", "Алексей", "Дмитрий", "Павел", "Николай"],
)
_GREEK = (
    ["Παπαδόπουλος", "Γεωργίου", "Νικολάου", "Δημητρίου"],
    ["Ελένη", "Μαρία", "Σοφία", "Κατερίνα"],
    ["Γιώργος", "Νίκος", "Δημήτρης", "Κώστας"],
)
# alphabetic = ideographic = phonetic component groups (PS3.5 6.2.1)
_JAPANESE = [
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Suzuki^Hanako=鈴木^花子=すずき^はなこ",
    "Sato^Ken=佐藤^健=さとう^けん",
]
_CHINESE = ["Wang^XiaoDong=王^小东", "Zhang^Wei=张^伟", "Li^Na=李^娜"]
_KOREAN = ["Hong^Gildong=洪^吉洞=홍^길동", "Kim^Minji=金^敏智=김^민지"]

_PHYSICIANS = ["Adler^Ruth^^Dr.", "Bennett^Oliver^^Dr.", "Castillo^Elena^^Dr.", "Dubois^Marc^^Dr.", "Ek^Linnea^^Dr."]


@dataclass(frozen=True, slots=True)
class Patient:
    """`name` in PN notation; `charset` the Specific Character Set that holds it; `birth` YYYYMMDD; `sex` M or F."""

    name: str
    charset: str
    identifier: str
    birth: str
    sex: str
    age: int
    kilograms: float
    metres: float


@dataclass(frozen=True, slots=True)
class Staff:
    referring: str
    performing: str


def patient(rng: np.random.Generator, number: int, day: datetime.date) -> Patient:
    """A patient as seen on `day`. `number` steps through the character sets, so a few studies have them all."""
    sex = "MF"[int(rng.integers(2))]
    kind = number % 8
    if kind in (0, 3):
        name, charset = _person(rng, _PLAIN, sex), ""
    elif kind in (1, 5):
        name, charset = _person(rng, _LATIN, sex), "ISO_IR 100"
    elif kind == 2:
        name, charset = str(rng.choice(_JAPANESE)), "ISO_IR 192"
    elif kind == 4:
        name, charset = str(rng.choice(_CHINESE + _KOREAN)), "ISO_IR 192"
    elif kind == 6:
        name, charset = _person(rng, _CYRILLIC, sex), "ISO_IR 144"
        name = name if sex == "M" else name.replace("^", "а^", 1)
    else:
        name, charset = _person(rng, _GREEK, sex), "ISO_IR 192"
    age = int(np.clip(rng.normal(58, 17), 18, 94))
    birth = datetime.date(day.year - age, 1, 1) + datetime.timedelta(days=int(rng.integers(365)))
    if (birth.month, birth.day) > (day.month, day.day):
        age -= 1
    metres = float(np.clip(rng.normal(1.77 if sex == "M" else 1.65, 0.08), 1.4, 2.05))
    kilograms = float(np.clip(rng.normal(25.5, 3.5), 17, 42)) * metres * metres
    return Patient(
        name=name,
        charset=charset,
        identifier=f"SYN{int(rng.integers(10**8)):08d}",
        birth=birth.strftime("%Y%m%d"),
        sex=sex,
        age=age,
        kilograms=round(kilograms, 1),
        metres=round(metres, 2),
    )


def staff(rng: np.random.Generator) -> Staff:
    referring, performing = rng.choice(len(_PHYSICIANS), 2, replace=False)
    return Staff(_PHYSICIANS[int(referring)], _PHYSICIANS[int(performing)])


def _person(rng: np.random.Generator, names: tuple[list[str], list[str], list[str]], sex: str) -> str:
    family, female, male = names
    return f"{rng.choice(family)}^{rng.choice(female if sex == 'F' else male)}"
