"""The activities of the made-up household, as text: ``mean frames | object look place+place contact+contact [away]``.

Alternatives of a step are set apart by " / ". ``away``: put away when the step ends; ``worn``: worn from then on.
"""

_L, _N = "looking_at", "not_looking_at"
_F, _S, _B, _U = "in_front_of", "on_the_side_of", "behind", "beneath"
_NONE = "not_contacting"


def _steps(*steps: str) -> tuple[str, ...]:
    short = {"L": _L, "N": _N, "F": _F, "S": _S, "B": _B, "U": _U, "FS": f"{_F}+{_S}", "UB": f"{_U}+{_B}", "-": _NONE}
    return tuple(" ".join(short.get(word, word) for word in step.split()) for step in steps)


ACTIVITIES = {
    "coffee": _steps(
        "4.5 | shelf N F touching / 4.5 | closet/cabinet N F touching",
        "6 | cup/glass/bottle L F holding | table N F -",
        "4.5 | cup/glass/bottle N F holding+touching | refrigerator N F touching away",
        "7.5 | cup/glass/bottle N F holding+drinking_from | table N FS touching",
    ),
    "breakfast": _steps(
        "3 | refrigerator N F touching+holding",
        "4.5 | food L F holding | table L F -",
        "6 | chair N UB sitting_on+leaning_on | food L F holding | dish N F touching",
        "7.5 | chair N UB sitting_on | food L F holding+eating away | table N F -",
        "4.5 | chair N UB sitting_on | dish L F holding",
    ),
    "sandwich": _steps(
        "4.5 | refrigerator N F touching away | food L F holding",
        "6 | sandwich N F holding+touching | table N F - | dish N F -",
        "6 | sandwich L F holding+eating away | sofa/couch N UB sitting_on / "
        "6 | sandwich L F holding+eating away | chair N U sitting_on",
        "4.5 | dish L F holding | table N F touching",
    ),
    "dishes": _steps(
        "4.5 | dish N F holding+touching",
        "6 | dish L F holding+wiping | towel L F holding",
        "4.5 | dish N F touching away | closet/cabinet N F touching",
        "4.5 | towel N F holding away | table L F wiping",
    ),
    "sweeping": _steps(
        "3 | closet/cabinet N F touching away",
        "9 | broom L F holding | floor N U standing_on",
        "7.5 | broom N F holding+carrying | floor N U standing_on | doorway N S -",
        "3 | broom N S holding away | door N F touching",
    ),
    "vacuuming": _steps(
        "4.5 | vacuum N F holding+touching | floor N U standing_on",
        "9 | vacuum L F holding | floor N U standing_on | sofa/couch N S -",
        "4.5 | vacuum L FS touching away | floor N U standing_on",
        "4.5 | pillow L F holding | sofa/couch N F touching",
    ),
    "laundry": _steps(
        "4.5 | clothes N F holding+carrying | box N F -",
        "6 | clothes N F holding+touching | bed N F -",
        "4.5 | clothes L F holding away | shelf N F touching / "
        "4.5 | clothes L F holding away | closet/cabinet N F touching",
        "4.5 | blanket N F holding | bed N F touching",
    ),
    "dressing": _steps(
        "4.5 | closet/cabinet N F touching | clothes L F holding",
        "4.5 | clothes L S touching worn | mirror L F -",
        "6 | mirror L F - | light N S -",
        "4.5 | shoe L U holding+touching worn | chair N UB sitting_on",
        "3 | bag N S holding+carrying | door N F touching",
    ),
    "reading": _steps(
        "3 | shelf N F touching away | book L F holding",
        "4.5 | sofa/couch N UB sitting_on | book L F holding",
        "10.5 | sofa/couch N UB sitting_on+leaning_on | book L F holding | blanket N U covered_by",
        "4.5 | sofa/couch N UB lying_on | pillow N B leaning_on | book N S -",
    ),
    "television": _steps(
        "3 | sofa/couch N UB sitting_on | television L F -",
        "9 | sofa/couch N UB sitting_on+leaning_on | television L F - | phone/camera N F holding",
        "7.5 | sofa/couch N UB sitting_on | television L F - | cup/glass/bottle N F holding+drinking_from",
        "4.5 | television N F - | phone/camera L F holding",
    ),
    "working": _steps(
        "3 | table N F touching | chair N UB sitting_on",
        "10.5 | laptop N F touching | table N F - | chair N UB sitting_on",
        "6 | laptop N F - | paper/notebook L F holding+writing_on | table N F leaning_on",
        "6 | laptop N F touching | phone/camera L F holding | chair N UB sitting_on",
        "3 | laptop N F holding+carrying away | paper/notebook N S -",
    ),
    "medicine": _steps(
        "4.5 | closet/cabinet N F touching away | medicine L F holding",
        "4.5 | medicine N F holding+touching | cup/glass/bottle N F holding",
        "4.5 | cup/glass/bottle L F holding+drinking_from | medicine N F holding away",
        "6 | bed N UB sitting_on | cup/glass/bottle N F -",
    ),
    "sleeping": _steps(
        "4.5 | bed L U sitting_on | light N F touching",
        "4.5 | bed N U lying_on | pillow N UB leaning_on",
        "12 | bed N U lying_on | pillow N UB leaning_on | blanket N U covered_by",
        "4.5 | bed N U sitting_on | blanket N F holding / 4.5 | bed N U sitting_on | phone/camera L F holding",
    ),
    "groceries": _steps(
        "4.5 | door N F touching+holding away | groceries N S carrying",
        "6 | groceries L F holding | bag N F holding+touching | table N F -",
        "6 | refrigerator N F touching | groceries L F holding away",
        "4.5 | bag N F holding away | shelf N F touching",
    ),
}

AFTER = {
    "coffee": ("breakfast", "working", "reading"),
    "breakfast": ("dishes", "medicine"),
    "sandwich": ("television", "dishes"),
    "dishes": ("sweeping", "television", "coffee"),
    "sweeping": ("vacuuming", "dressing"),
    "vacuuming": ("reading", "laundry"),
    "laundry": ("dressing", "sleeping"),
    "dressing": ("groceries", "working"),
    "reading": ("sleeping", "coffee"),
    "television": ("sandwich", "sleeping", "vacuuming"),
    "working": ("coffee", "sandwich"),
    "medicine": ("sleeping", "reading"),
    "sleeping": ("dressing", "medicine", "breakfast"),
    "groceries": ("sandwich", "coffee"),
}
"""What may follow each activity: two or three of the others."""
