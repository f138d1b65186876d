"""The floors of the package: a file imports only from floors below its own.

`tests/test_floors.py` enforces them, and `docs/design.md` shows this table.
"""

FLOORS: list[dict[str, str]] = [
    {"_context": "values that hold while something is traced"},
    {
        "_checks": "argument checks",
        "_random": "keys",
        "_traffic": "what is sent, noted while a report is traced",
        "_tree": "leaves and blocks",
        "_wire": "many arrays as one message of bytes",
        "geometry": "distances, norms, walks over columns",
    },
    {
        "_collectives": "the only file that names a collective or an axis type",
        "_masks": "which elements of a leaf are kept, found by its name",
    },
    {"workers": "what differs between them, how much each counts, when they meet"},
    {
        "coding": "what workers compute in common, so that stragglers can be skipped",
        "compression": "what one worker sends instead of one leaf",
        "rules": "how W contributions become one",
        "sparsity": "how many weights of each layer are kept, and which",
    },
    {
        "aggregation": "W gradients become one: routes, reports, sharded optimizers",
        "attacks": "what corrupt workers send",
        "contrib": "what is useful near a network, but not about it",
        "diagnostics": "what gradients tell about the number of workers",
        "fragments": "which parameters are exchanged together",
        "gossip": "who hears whom, and what neighbours make of each other",
        "layout": "whose gradient, whose state, and where both live",
        "leader": "workers that follow the best of them, or a centre",
        "safety": "steps that are not finite, replicas that drift apart",
        "sgmcmc": "samplers of a posterior, also over a network",
        "staleness": "updates that come late",
        "timing": "who finishes when, and whom a server waits for",
    },
    {
        "optimizers": "whole optimizers whose workers exchange little",
        "planning": "how long a step takes on a network that is not there yet",
        "recipes": "whole training steps",
        "testing": "what holds compressors and rules to their contracts",
    },
    {"__init__": "the one spelling of every public name"},
]
FAMILIES = (
    "attacks",
    "coding",
    "compression",
    "contrib",
    "contrib.symmetry",
    "diagnostics",
    "fragments",
    "gossip",
    "optimizers",
    "rules",
    "sgmcmc",
    "sparsity",
    "testing",
    "timing",
)  # of public names
